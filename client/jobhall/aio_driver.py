"""The I/O of the async client; `client_driver` is its twin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import closing
from typing import Any, TypeVar

import grpc
import grpc.aio

from jobhall.aio_waits import AsyncFollowers
from jobhall.calls import WATCH, Call, Page
from jobhall.channel import CHANNEL_OPTIONS, Endpoint
from jobhall.errors import ApiError
from jobhall.model_events import WatchUpdate
from jobhall.procedures import Await, Pause, Procedure, Procedures, Send, client_closed
from jobhall.v1 import job_service_pb2 as jobs_pb2
from jobhall.watching import WatchPlace
from jobhall.wire_errors import error_from_call

T = TypeVar("T")


class AsyncDriver:
    """Does the I/O of the procedures over one channel."""

    def __init__(
        self, endpoint: Endpoint, channel: grpc.aio.Channel | None, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self.endpoint = endpoint
        self._channel = channel
        self._sleep = sleep
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable[Any, Any]] = {}
        self._closed = asyncio.Event()
        self._followers = AsyncFollowers(self)

    def channel(self) -> grpc.aio.Channel:
        """The channel, opened when it is first asked for, in the loop that asks."""
        if self._channel is None:
            self._channel = _open_channel(self.endpoint)
        return self._channel

    async def run(self, procedure: Procedure[T]) -> T:
        """Does what the procedure asks for, until it has its answer."""
        outcome: Any = None
        with closing(procedure):
            while True:
                try:
                    step = procedure.send(outcome)
                except StopIteration as end:
                    result: T = end.value
                    return result
                if self._closed.is_set():
                    raise client_closed()
                outcome = await self._do(step)

    async def pages(self, procedures: Procedures, page_call: Callable[..., Call[Page[T]]]) -> AsyncIterator[T]:
        """All entries of a list, page by page; the call takes the page_token."""
        page_token = ""
        while True:
            page = await self.run(procedures.call(page_call(page_token=page_token)))
            for entry in page.entries:
                yield entry
            page_token = page.next_page_token
            if not page_token:
                return

    async def watch(self, place: WatchPlace) -> AsyncGenerator[WatchUpdate, None]:
        """The updates of a watch, over as many streams as that takes."""
        open_stream = self.channel().unary_stream(
            WATCH,
            request_serializer=jobs_pb2.WatchJobsRequest.SerializeToString,
            response_deserializer=jobs_pb2.WatchJobsResponse.FromString,
        )
        while not self._over(place):
            error: ApiError | None = None
            stream = open_stream(place.request(), metadata=self.endpoint.metadata)
            place.opened(stream.cancel)
            try:
                while (response := await _heard(stream, place.silence_seconds)) is not grpc.aio.EOF:
                    yield place.take(response)
            except TimeoutError:
                error = place.silent()
            except grpc.aio.AioRpcError as failure:
                error = error_from_call(failure, address=self.endpoint.address)
            except asyncio.CancelledError:
                if _cancelling() or not self._over(place):
                    raise
                error = client_closed()
            finally:
                stream.cancel()
            if error is None and place.ends:
                return
            if not self._over(place):
                await self._sleep(place.delay_seconds(error))
        if place.ends and not place.stopped:
            # Who waits for the end of jobs is not to take this for it.
            raise client_closed()

    async def pause(self, seconds: float) -> None:
        """Lets the time pass."""
        await self._sleep(seconds)

    async def close(self) -> None:
        """Closes the channel; what is under way fails."""
        self._closed.set()
        if self._channel is not None:
            await self._channel.close()
        await self._followers.join()

    async def _do(self, step: Send | Pause | Await) -> Any:
        match step:
            case Send():
                return await self._send(step.call, step.timeout_seconds)
            case Pause():
                await self._sleep(step.seconds)
            case Await():
                await self._followers.wait(step)
        return None

    async def _send(self, call: Call[Any], timeout_seconds: float) -> Any:
        method = self._methods.get(call.path)
        if method is None:
            method = self._methods[call.path] = self.channel().unary_unary(
                call.path,
                request_serializer=type(call.request).SerializeToString,
                response_deserializer=call.response.FromString,
            )
        try:
            return await method(call.request, timeout=timeout_seconds, metadata=self.endpoint.metadata)
        except grpc.aio.AioRpcError as failure:
            return error_from_call(failure, address=self.endpoint.address)
        except asyncio.CancelledError:
            if not self._closed_meanwhile():
                raise
            return client_closed()

    def _over(self, place: WatchPlace) -> bool:
        return self._closed.is_set() or place.stopped

    def _closed_meanwhile(self) -> bool:
        """Whether a CancelledError is of the closed channel, which cancels its calls, and not meant for the task."""
        return self._closed.is_set() and not _cancelling()


async def _heard(stream: grpc.aio.UnaryStreamCall[Any, Any], silence_seconds: float) -> Any:
    """The next message, or EOF; TimeoutError when there is none for so long, which cancels the stream."""
    async with asyncio.timeout(silence_seconds):
        return await stream.read()


def _cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _open_channel(endpoint: Endpoint) -> grpc.aio.Channel:
    if endpoint.secure:
        return grpc.aio.secure_channel(endpoint.address, grpc.ssl_channel_credentials(), options=CHANNEL_OPTIONS)
    return grpc.aio.insecure_channel(endpoint.address, options=CHANNEL_OPTIONS)
