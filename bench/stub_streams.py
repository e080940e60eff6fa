"""Server streams of gRPC through stubs of grpc.aio, in bytes: what a program's own process does at the least."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import grpc.aio

from bench.processes import BenchmarkError
from bench.raw_streams import STREAMS_PER_CONNECTION, Failed, Received


@asynccontextmanager
async def open_streams(
    address: str, method: str, requests: Sequence[bytes], received: Received, failed: Failed
) -> AsyncIterator[None]:
    """As `raw_streams.open_streams`."""
    tasks: list[asyncio.Task[None]] = []
    async with AsyncExitStack() as stack:
        for first in range(0, len(requests), STREAMS_PER_CONNECTION):
            options = (("grpc.use_local_subchannel_pool", 1),)
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, options=options))
            open_stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(method)
            tasks += [
                asyncio.create_task(_read(open_stream(request), first + place, received, failed))
                for place, request in enumerate(requests[first : first + STREAMS_PER_CONNECTION])
            ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def _read(
    stream: grpc.aio.UnaryStreamCall[bytes, bytes], number: int, received: Received, failed: Failed
) -> None:
    try:
        async for message in stream:
            received(number, message)
    except grpc.aio.AioRpcError as error:
        failed(BenchmarkError(f"stream {number}: {error.details()}"))
    else:
        failed(BenchmarkError(f"the server ended stream {number}"))
