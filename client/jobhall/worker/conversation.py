"""The two directions of one worker stream: what the server says goes to the machine, what the machine says to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from grpc import aio

from jobhall.errors import ApiError, Code
from jobhall.v1.worker_service_pb2 import WorkRequest, WorkResponse
from jobhall.wire_errors import error_from_call
from jobhall.worker.stream import Effects, WorkerStream

Call: TypeAlias = aio.StreamStreamCall[WorkRequest, WorkResponse]


async def listen(
    call: Call, stream: WorkerStream, perform: Callable[[Effects], None], *, address: str
) -> ApiError | None:
    """Hears the server until the stream ends; the error that it ended with, None for OK."""
    clock = asyncio.get_running_loop().time
    try:
        while (response := await call.read()) is not aio.EOF:
            if response is None:
                # gRPC logged why it could not read it.
                return ApiError(f"{address} sent what is no message of the worker stream", code=Code.INTERNAL)
            assert isinstance(response, WorkResponse)
            perform(stream.receive(response, clock()))
    except aio.AioRpcError as error:
        return error_from_call(error, address=address)
    return None


async def speak(call: Call, stream: WorkerStream, perform: Callable[[Effects], None], wake: asyncio.Event) -> None:
    """Says hello, then all there is to say whenever it is woken; returns after the farewell.

    One message at a time: what a slow connection does not take stays in the machine, where it is bounded, and what is
    most urgent once there is room goes first.
    """
    loop = asyncio.get_running_loop()
    try:
        await call.write(stream.hello(loop.time()))
        while True:
            while (message := stream.next_message(loop.time())) is not None:
                await call.write(message)
                if (effects := stream.sent()).start:
                    perform(effects)
            if stream.finished:
                await call.write(stream.farewell())
                await call.done_writing()
                return
            wake.clear()
            send_at = stream.send_at
            timer = None if send_at is None else loop.call_at(send_at, wake.set)
            await wake.wait()
            if timer is not None:
                timer.cancel()
    except (aio.AioRpcError, aio.UsageError, asyncio.InvalidStateError):
        # The stream is at its end, and its reader knows why.
        await asyncio.Event().wait()
