"""The yardstick of the wire: a bare grpc.aio server that sends back what it got, and a client that counts."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from statistics import median
from typing import Any

import grpc
import grpc.aio

from bench.processes import say

PAYLOAD = b"x" * 100
IN_FLIGHT = 64
_SERVICE = "bench.Echo"


async def serve() -> None:
    """Serves until SIGTERM ends the process; says its port first."""

    async def unary(request: bytes, _context: Any) -> bytes:
        return request

    async def stream(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.stream_stream_rpc_method_handler(stream),
    }
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    say(address=f"127.0.0.1:{port}")
    await server.wait_for_termination()


async def call(address: str, count: int) -> None:
    """Each shape after a short warm-up, in calls or messages per second; says all of them."""
    async with grpc.aio.insecure_channel(address) as channel:
        unary: Any = channel.unary_unary(f"/{_SERVICE}/Unary")
        stream: Any = channel.stream_stream(f"/{_SERVICE}/Stream")

        async def one_unary() -> None:
            await unary(PAYLOAD)

        times: list[float] = []

        async def timed_unary() -> None:
            began = time.perf_counter()
            await unary(PAYLOAD)
            times.append(time.perf_counter() - began)

        await _rate(one_unary, count // 10, width=1)
        rates = {
            "unary_per_second": await _rate(timed_unary, count, width=1),
            "unary_merged_per_second": await _rate(one_unary, count, width=IN_FLIGHT),
            "stream_per_second": await _stream_rate(stream(), count, window=1),
            "stream_merged_per_second": await _stream_rate(stream(), 2 * count, window=IN_FLIGHT),
        }
        say(**rates, unary_p50_ms=1000 * median(times))


async def _rate(one: Callable[[], Coroutine[Any, Any, None]], count: int, *, width: int) -> float:
    numbers = iter(range(count))

    async def repeat() -> None:
        for _ in numbers:
            await one()

    began = time.perf_counter()
    await asyncio.gather(*(repeat() for _ in range(width)))
    return count / (time.perf_counter() - began)


async def _stream_rate(stream: Any, count: int, *, window: int) -> float:
    """Messages there and back per second, so many under way at once."""
    free = asyncio.Semaphore(window)

    async def write() -> None:
        for _ in range(count):
            await free.acquire()
            await stream.write(PAYLOAD)
        await stream.done_writing()

    began = time.perf_counter()
    writer = asyncio.create_task(write())
    async for _ in stream:
        free.release()
    await writer
    return count / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=["serve", "call"])
    parser.add_argument("address", nargs="?", default="")
    parser.add_argument("count", nargs="?", type=int, default=0)
    arguments = parser.parse_args()
    work = serve() if arguments.side == "serve" else call(arguments.address, arguments.count)
    factory = None
    with suppress(ImportError):
        import uvloop

        # As the server has it; the SDK's programs use asyncio's own.
        factory = uvloop.new_event_loop if arguments.side == "serve" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)


if __name__ == "__main__":
    main()
