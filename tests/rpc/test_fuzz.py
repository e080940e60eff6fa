"""Arbitrary messages to every RPC: never UNKNOWN or INTERNAL, never a hang, never a traceback in the server's log."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobhall.errors import Code
from jobhall.v1 import (
    admin_service_pb2,
    batch_service_pb2,
    job_service_pb2,
    job_type_service_pb2,
    worker_service_pb2,
)
from tests.support.calls import RawWorker, register, submit
from tests.support.messages import PLAUSIBLE_ID, messages
from tests.support.servers import Running, running_server

SECONDS = 5.0
NEVER = {Code.UNKNOWN, Code.INTERNAL, Code.DEADLINE_EXCEEDED}
FILES: list[Any] = [job_service_pb2, job_type_service_pb2, worker_service_pb2, batch_service_pb2, admin_service_pb2]
METHODS = [
    method for file in FILES for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods
]
UNARY = {method.full_name: method for method in METHODS if not method.server_streaming}
fuzzed = settings(max_examples=25, suppress_health_check=[*HealthCheck])


@pytest.fixture(scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    settings: dict[str, Any] = {"hello_seconds": 2.0, "heartbeat_seconds": 600, "session_ttl_seconds": 3600}
    async with running_server(tmp_path_factory.mktemp("fuzz"), **settings) as server:
        await register(server)
        # What the plausible id names is there, at least to begin with: a job, and a worker that lost its stream.
        await submit(server, job_id=PLAUSIBLE_ID, max_attempts=100)
        worker = RawWorker(server)
        await worker.hello(session_id=PLAUSIBLE_ID)
        worker.cut()
        yield server


def message_class(descriptor: Any) -> Any:
    return next(getattr(file, descriptor.name) for file in FILES if hasattr(file, descriptor.name))


async def code_of(call: Any) -> Code:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return judged(error.code(), error.details())
    return Code.OK


def judged(code: grpc.StatusCode, details: str | None) -> Code:
    """The server's code. A write after the server has ended the stream gets an INTERNAL of our own end's gRPC."""
    local = ("Internal error from Core", 'Failed "execute_batch"')
    return Code.CANCELLED if (details or "").startswith(local) else Code(code.value[0])


@pytest.mark.parametrize("name", sorted(UNARY))
@fuzzed
@given(data=st.data())
async def test_a_unary_call_with_any_message(
    target: Running, server_log: io.StringIO, name: str, data: st.DataObject
) -> None:
    method = UNARY[name]
    kind = message_class(method.input_type)
    request = data.draw(messages(kind))
    if hasattr(request, "timeout"):
        request.timeout.seconds = min(request.timeout.seconds, 1)
    call: Any = target.channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}", request_serializer=kind.SerializeToString
    )

    assert await code_of(call(request, timeout=SECONDS)) not in NEVER
    assert "Traceback" not in server_log.getvalue(), server_log.getvalue()


@fuzzed
@given(request=messages(job_service_pb2.WatchJobsRequest))
async def test_a_watch_with_any_request(target: Running, server_log: io.StringIO, request: Any) -> None:
    call = target.jobs.WatchJobs(request, timeout=SECONDS)

    assert await code_of(call.read()) not in NEVER
    call.cancel()
    assert "Traceback" not in server_log.getvalue(), server_log.getvalue()


@fuzzed
@given(requests=st.lists(messages(job_service_pb2.SubmitJobStreamRequest), max_size=4), begin=st.booleans())
async def test_a_submit_stream_of_any_messages(
    target: Running, server_log: io.StringIO, requests: list[Any], begin: bool
) -> None:
    if begin and requests:
        requests[0].first_seq = 1

    assert await sent(target.jobs.SubmitJobStream(timeout=SECONDS), requests) not in NEVER
    assert "Traceback" not in server_log.getvalue(), server_log.getvalue()


@fuzzed
@given(requests=st.lists(messages(worker_service_pb2.WorkRequest), max_size=6), begin=st.booleans())
async def test_a_work_stream_of_any_messages(
    target: Running, server_log: io.StringIO, requests: list[Any], begin: bool
) -> None:
    if begin:
        hello = worker_service_pb2.Hello(worker_name="w", job_types=["score"], protocol_version=1)
        hello.capacity.tasks_max = 3
        requests = [worker_service_pb2.WorkRequest(hello=hello), *requests]

    call = target.workers.Work(timeout=SECONDS)
    code = await sent(call, requests)
    assert code not in NEVER, f"{code} {await call.details()}"
    assert "Traceback" not in server_log.getvalue(), server_log.getvalue()


async def sent(call: Any, requests: list[Any]) -> Code:
    """What the stream ends with after these messages and a half-close."""

    async def talk() -> None:
        for request in requests:
            await call.write(request)
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:
            pass

    try:
        return await code_of(talk())
    except asyncio.InvalidStateError:
        # The server ended the stream while we still wrote.
        return judged(await call.code(), await call.details())


def test_every_rpc_is_fuzzed() -> None:
    streams = {"WatchJobs", "SubmitJobStream", "Work"}

    assert {method.name for method in METHODS} == {UNARY[name].name for name in UNARY} | streams
