"""The yardstick of the watch: a bare grpc.aio server that sends what is published to every open stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from bench.processes import say
from jobhall_server.rpc.server import OPTIONS

STREAM = "/bench.Push/Stream"
PUBLISH = "/bench.Push/Publish"
NUMBER_BYTES = 8
"""A value begins with its number, so long. Publish answers when it was published, in microseconds since 1970."""


async def main() -> None:
    """Serves until SIGTERM ends the process; says its port first."""
    streams: set[asyncio.Queue[bytes]] = set()

    async def stream(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        streams.add(queue)
        yield b""
        try:
            while True:
                yield await queue.get()
        finally:
            streams.discard(queue)

    async def publish(value: bytes, _context: Any) -> bytes:
        at = time.time_ns() // 1000
        for queue in streams:
            queue.put_nowait(value)
        return at.to_bytes(8)

    handlers: dict[str, Any] = {
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
        "Publish": grpc.unary_unary_rpc_method_handler(publish),
    }
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench.Push", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    say(address=f"127.0.0.1:{port}")
    await server.wait_for_termination()


if __name__ == "__main__":
    factory = None
    with suppress(ImportError):
        import uvloop

        # As the server has it.
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
