"""The I/O of the blocking client; `aio_driver` is its twin."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, TypeVar

import grpc

from jobhall.calls import WATCH, Call, Page
from jobhall.channel import CHANNEL_OPTIONS, Endpoint
from jobhall.client_silence import Listeners
from jobhall.client_waits import Followers
from jobhall.errors import ApiError
from jobhall.model_events import WatchUpdate
from jobhall.procedures import Await, Pause, Procedure, Procedures, Send, client_closed
from jobhall.v1 import job_service_pb2 as jobs_pb2
from jobhall.watching import WatchPlace
from jobhall.wire_errors import error_from_call

T = TypeVar("T")


class Driver:
    """Does the I/O of the procedures over one channel."""

    def __init__(self, endpoint: Endpoint, channel: grpc.Channel, sleep: Callable[[float], None]) -> None:
        self.endpoint = endpoint
        self.channel = channel
        self._sleep = sleep
        self._methods: dict[str, grpc.UnaryUnaryMultiCallable[Any, Any]] = {}
        self._closed = threading.Event()
        self._listeners = Listeners()
        self._followers = Followers(self)

    def run(self, procedure: Procedure[T]) -> T:
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
                outcome = self._do(step)

    def pages(self, procedures: Procedures, page_call: Callable[..., Call[Page[T]]]) -> Iterator[T]:
        """All entries of a list, page by page; the call takes the page_token."""
        page_token = ""
        while True:
            page = self.run(procedures.call(page_call(page_token=page_token)))
            yield from page.entries
            page_token = page.next_page_token
            if not page_token:
                return

    def watch(self, place: WatchPlace) -> Generator[WatchUpdate, None, None]:
        """The updates of a watch, over as many streams as that takes."""
        open_stream = self.channel.unary_stream(
            WATCH,
            request_serializer=jobs_pb2.WatchJobsRequest.SerializeToString,
            response_deserializer=jobs_pb2.WatchJobsResponse.FromString,
        )
        while not self._over(place):
            error: ApiError | None = None
            try:
                stream: Any = open_stream(place.request(), metadata=self.endpoint.metadata)
            except ValueError:
                # As in `_send`: another thread closed the channel meanwhile.
                if not self._closed.is_set():
                    raise
                continue
            place.opened(stream.cancel)
            ear = self._listeners.ear(stream.cancel, place.silence_seconds)
            try:
                while (response := ear.hear(stream)) is not None:
                    yield place.take(response)
            except grpc.RpcError as failure:
                error = place.silent() if ear.silent else error_from_call(failure, address=self.endpoint.address)
            finally:
                stream.cancel()
                self._listeners.drop(ear)
            if error is None and place.ends:
                return
            if not self._over(place):
                self._sleep(place.delay_seconds(error))
        if place.ends and not place.stopped:
            # Who waits for the end of jobs is not to take this for it.
            raise client_closed()

    def pause(self, seconds: float) -> None:
        """Lets the time pass."""
        self._sleep(seconds)

    def close(self) -> None:
        """Closes the channel; what is under way fails."""
        self._closed.set()
        self.channel.close()
        self._listeners.close()
        self._followers.join()

    def _do(self, step: Send | Pause | Await) -> Any:
        match step:
            case Send():
                return self._send(step.call, step.timeout_seconds)
            case Pause():
                self._sleep(step.seconds)
            case Await():
                self._followers.wait(step)
        return None

    def _send(self, call: Call[Any], timeout_seconds: float) -> Any:
        method = self._methods.get(call.path)
        if method is None:
            method = self._methods[call.path] = self.channel.unary_unary(
                call.path,
                request_serializer=type(call.request).SerializeToString,
                response_deserializer=call.response.FromString,
            )
        try:
            return method(call.request, timeout=timeout_seconds, metadata=self.endpoint.metadata)
        except grpc.RpcError as failure:
            return error_from_call(failure, address=self.endpoint.address)
        except ValueError:
            # What gRPC says of a channel that another thread closed meanwhile.
            if not self._closed.is_set():
                raise
            return client_closed()

    def _over(self, place: WatchPlace) -> bool:
        return self._closed.is_set() or place.stopped


def open_channel(endpoint: Endpoint) -> grpc.Channel:
    """A channel to the endpoint; it connects when it is first used."""
    if endpoint.secure:
        return grpc.secure_channel(endpoint.address, grpc.ssl_channel_credentials(), options=CHANNEL_OPTIONS)
    return grpc.insecure_channel(endpoint.address, options=CHANNEL_OPTIONS)
