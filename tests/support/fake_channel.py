"""The blocking client over grpcio-testing's fake channel and clock: a test plays the server, and no time passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
import grpc_testing
from google.protobuf.message import Message

from jobhall import CallRetry, Client
from jobhall.errors import ApiError
from jobhall.v1 import (
    admin_service_pb2,
    batch_service_pb2,
    job_service_pb2,
    job_type_service_pb2,
    worker_service_pb2,
)
from jobhall.wire_errors import status_from_error
from tests.support.waiting import eventually

T = TypeVar("T")

SERVICES = [
    module.DESCRIPTOR.services_by_name[name]
    for module, name in (
        (job_service_pb2, "JobService"),
        (batch_service_pb2, "BatchService"),
        (job_type_service_pb2, "JobTypeService"),
        (worker_service_pb2, "WorkerService"),
        (admin_service_pb2, "AdminService"),
    )
]
METHODS = {method.name: method for service in SERVICES for method in service.methods}


class FakeServer:
    """Takes the client's calls one by one, in the test's own words; `pauses` are the seconds that the client slept."""

    def __init__(self, pool: ThreadPoolExecutor, *, timeout: float, retry: CallRetry | None, token: str) -> None:
        self.time = grpc_testing.strict_fake_time(0.0)
        self.channel = grpc_testing.channel(SERVICES, self.time)
        self.pauses: list[float] = []
        self.metadata: list[tuple[str, str]] = []
        self._pool = pool
        self.client = Client(
            "jobs.example:50051",
            token=token,
            timeout=timeout,
            retry=retry,
            channel=self.channel,
            clock=self.time.time,
            sleep=self._sleep,
        )

    def calling(self, work: Callable[[], T]) -> Future[T]:
        """Lets the client work while the test plays the server."""
        return self._pool.submit(work)

    def answer(self, method: str, response: Message, *, after_seconds: float = 0.0) -> Any:
        """Takes the next call of the method and answers it OK; returns the request."""
        request, rpc = self._take(method)
        self.time.sleep_for(after_seconds)
        rpc.terminate(response, (), grpc.StatusCode.OK, "")
        return request

    def refuse(self, method: str, error: ApiError, *, after_seconds: float = 0.0) -> Any:
        """The same with an error of the service."""
        request, rpc = self._take(method)
        self.time.sleep_for(after_seconds)
        rpc.terminate(None, *_end(error))
        return request

    def fail(self, method: str, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> Any:
        """The same with a failure of the transport, which says nothing but its code."""
        request, rpc = self._take(method)
        rpc.terminate(None, (), code, "connection refused")
        return request

    def stream(self, method: str, *responses: Message, code: grpc.StatusCode = grpc.StatusCode.OK) -> Any:
        """Takes the next call of a streaming method, sends the responses and ends it; returns the request."""
        _, request, rpc = self.channel.take_unary_stream(METHODS[method])
        for response in responses:
            rpc.send_response(response)
        # Unlike a real channel this one forgets what is unread when a stream ends badly.
        eventually(lambda: not rpc._rpc_state._responses, within=10, what="the client has read the stream")
        rpc.terminate((), code, "")
        return request

    def open_stream(self, method: str) -> Any:
        """Takes the next call of a streaming method, for a test that answers other calls meanwhile; returns it."""
        return self.channel.take_unary_stream(METHODS[method])[2]

    def refuse_stream(self, method: str, error: ApiError) -> None:
        """Takes the next call of a streaming method and ends it with an error of the service."""
        _, _, rpc = self.channel.take_unary_stream(METHODS[method])
        rpc.terminate(*_end(error))

    def _take(self, method: str) -> tuple[Any, Any]:
        metadata, request, rpc = self.channel.take_unary_unary(METHODS[method])
        self.metadata = list(metadata)
        rpc.send_initial_metadata(())
        return request, rpc

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time.sleep_for(seconds)


@contextmanager
def fake_server(*, timeout: float = 30.0, retry: CallRetry | None = None, token: str = "") -> Iterator[FakeServer]:
    """A fake server, and the client that talks to it."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield FakeServer(pool, timeout=timeout, retry=retry, token=token)


def _end(error: ApiError) -> tuple[tuple[tuple[str, bytes], ...], grpc.StatusCode, str]:
    status = status_from_error(error)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    return (("grpc-status-details-bin", status.SerializeToString()),), code, status.message
