"""The edge of every RPC: errors cross the wire unchanged, bugs stay inside, callers are told apart, calls logged."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it has no stubs

from jobhall.errors import REASONS, ApiError, Code, FieldViolation
from jobhall.v1 import admin_service_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall_server.domain.access import ANYBODY, Principal
from jobhall_server.rpc.policy import POLICY, PolicyMissingError, Role, check_complete
from tests.support.authenticators import ByToken, Raising
from tests.support.calls import RawWorker, get, refusal, register, submit
from tests.support.servers import Running, running_server
from tests.support.waiting import eventually_async

INFO = admin_service_pb2.GetServerInfoRequest()


@pytest.fixture
async def raising(tmp_path: Path, server_log: io.StringIO) -> AsyncIterator[tuple[Running, Raising]]:
    async def nobody() -> Principal:
        return ANYBODY

    authenticator = Raising(nobody)
    async with running_server(tmp_path, authenticator=authenticator) as server:
        yield server, authenticator


def example(kind: type[ApiError]) -> ApiError:
    error = kind.__new__(kind)
    ApiError.__init__(
        error,
        f"what was wrong: {kind.reason}, ü",
        metadata={"job_id": "j1", "state": "RUNNING"},
        violations=[FieldViolation("job.labels['a']", "is wrong"), FieldViolation("job.path", "too")],
        retry_after=timedelta(seconds=1.5),
    )
    return error


def told(error: ApiError) -> tuple[object, ...]:
    facts = (error.message, error.code, error.reason, error.metadata, error.violations, error.retry_after)
    return (type(error), *facts)


async def test_every_error_crosses_the_wire_unchanged_from_unary_calls_and_from_streams(
    raising: tuple[Running, Raising],
) -> None:
    server, authenticator = raising

    for kind in REASONS.values():
        error = example(kind)

        async def fail(error: ApiError = error) -> Principal:
            raise error

        authenticator.act = fail
        unary = await refusal(server.admin.GetServerInfo(INFO))
        watched = await refusal(server.jobs.WatchJobs(pb.WatchJobsRequest()).read())
        streamed = await RawWorker(server).ended()

        assert streamed is not None
        assert told(unary) == told(watched) == told(streamed) == told(error)


async def test_an_error_as_large_as_can_be_still_has_its_code_and_reason(raising: tuple[Running, Raising]) -> None:
    """Trailers over 8 KiB turn any status into RESOURCE_EXHAUSTED on the way."""
    server, authenticator = raising
    violations = [FieldViolation("ü" * 5000, "ü" * 5000) for _ in range(100)]
    huge = ApiError("ü" * 100_000, metadata={"ü" * 99 + str(n): "ü" * 9999 for n in range(99)}, violations=violations)
    huge.code, huge.reason = Code.NOT_FOUND, "JOB_NOT_FOUND"

    async def fail() -> Principal:
        raise huge

    authenticator.act = fail
    error = await refusal(server.admin.GetServerInfo(INFO))

    assert (error.code, error.reason) == (Code.NOT_FOUND, "JOB_NOT_FOUND")
    assert error.violations


@pytest.mark.parametrize("bug", [RuntimeError("the secret"), asyncio.CancelledError("the secret"), KeyError("secret")])
async def test_a_bug_leaves_the_server_as_nothing_but_a_request_id(
    raising: tuple[Running, Raising], server_log: io.StringIO, bug: BaseException
) -> None:
    """An inner CancelledError among them: let out, it would leave the caller waiting until its deadline."""
    server, authenticator = raising

    async def fail() -> Principal:
        raise bug

    authenticator.act = fail
    unary = await refusal(server.admin.GetServerInfo(INFO, timeout=5))
    watched = await refusal(server.jobs.WatchJobs(pb.WatchJobsRequest(), timeout=5).read())

    assert (unary.code, unary.reason) == (watched.code, watched.reason) == (Code.INTERNAL, "INTERNAL")
    assert "secret" not in unary.message + watched.message
    lines = [json.loads(line) for line in server_log.getvalue().splitlines()]
    bugs = {line["request_id"]: line["exception"] for line in lines if line["event"] == "bug"}
    assert set(bugs) == {unary.metadata["request_id"], watched.metadata["request_id"]}
    assert all("Traceback" in trace for trace in bugs.values())


async def test_a_stream_that_is_read_as_grpc_stops_is_no_bug(
    raising: tuple[Running, Raising], server_log: io.StringIO
) -> None:
    """At the very end of a drain a read did not end as cancelled: it raised what gRPC has no public name for, and each
    rolling restart could leave a stack trace in the log.
    """
    server, authenticator = raising

    async def stopped() -> Principal:
        raise cygrpc._ServerStoppedError("Server already stopped.")

    authenticator.act = stopped
    call: Any = server.jobs.WatchJobs(pb.WatchJobsRequest())
    await eventually_async(lambda: '"event": "rpc"' in server_log.getvalue(), within=5, what="the call is logged")
    # Nobody answers any more.
    call.cancel()

    lines = [json.loads(line) for line in server_log.getvalue().splitlines()]
    assert [line["code"] for line in lines if line["event"] == "rpc"] == ["CANCELLED"]
    assert not [line for line in lines if line["event"] == "bug"]


@pytest.fixture
async def guarded(tmp_path: Path, server_log: io.StringIO) -> AsyncIterator[Running]:
    authenticator = ByToken(
        ann=Principal("ann", name="Ann", roles=frozenset({"user"})),
        bob=Principal("bob", roles=frozenset({"user"})),
        worker=Principal("w", roles=frozenset({"worker"})),
        root=Principal("root", roles=frozenset({"admin"})),
    )
    async with running_server(tmp_path, authenticator=authenticator) as server:
        yield server


def as_caller(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def test_a_caller_that_nobody_knows_is_refused_and_health_is_open_to_all(guarded: Running) -> None:
    error = await refusal(guarded.jobs.ListJobs(pb.ListJobsRequest()))
    health: Any = guarded.channel.unary_unary("/grpc.health.v1.Health/Check")

    assert (error.code, error.reason) == (Code.UNAUTHENTICATED, "TOKEN_INVALID")
    assert await health(b"") == b"\x08\x01"


async def test_a_role_opens_its_own_calls_only(guarded: Running) -> None:
    listing = await refusal(guarded.jobs.ListJobs(pb.ListJobsRequest(), metadata=as_caller("worker")))
    work = await refusal(guarded.workers.Work(metadata=as_caller("ann")).read())

    assert (listing.code, listing.reason, listing.metadata) == (
        Code.PERMISSION_DENIED,
        "ROLE_REQUIRED",
        {"role": "user"},
    )
    assert (work.reason, work.metadata) == ("ROLE_REQUIRED", {"role": "worker"})
    await guarded.jobs.ListJobs(pb.ListJobsRequest(), metadata=as_caller("root"))


async def test_what_a_caller_may_not_see_does_not_exist_for_that_caller(guarded: Running) -> None:
    jobs = guarded.jobs
    types: Any = guarded.channel.unary_unary("/jobhall.v1.JobTypeService/RegisterJobType")
    await types(b"\x0a\x07\x0a\x05score", metadata=as_caller("root"))
    request = pb.SubmitJobRequest(job={"job_type": "score"})  # type: ignore[arg-type]

    job = (await jobs.SubmitJob(request, metadata=as_caller("ann"))).job

    assert (job.owner, job.created_by) == ("ann", "Ann")
    for call in (
        jobs.GetJob(pb.GetJobRequest(job_id=job.id), metadata=as_caller("bob")),
        jobs.CancelJob(pb.CancelJobRequest(job_id=job.id), metadata=as_caller("bob")),
        jobs.DeleteJob(pb.DeleteJobRequest(job_id=job.id), metadata=as_caller("bob")),
        jobs.WaitJob(pb.WaitJobRequest(job_id=job.id), metadata=as_caller("bob")),
        jobs.ListItemErrors(pb.ListItemErrorsRequest(job_id=job.id), metadata=as_caller("bob")),
    ):
        assert (await refusal(call)).reason == "JOB_NOT_FOUND"
    seen = {
        token: len((await jobs.ListJobs(pb.ListJobsRequest(), metadata=as_caller(token))).jobs)
        for token in ("ann", "bob", "root")
    }
    assert seen == {"ann": 1, "bob": 0, "root": 1}


def test_a_method_that_nobody_decided_about_keeps_the_server_from_starting() -> None:
    with pytest.raises(PolicyMissingError, match=r"/jobhall\.v1\.JobService/Abolish"):
        check_complete([*POLICY, "/jobhall.v1.JobService/Abolish"])


def test_only_health_and_reflection_are_public() -> None:
    public = {method.split("/")[1] for method, rule in POLICY.items() if rule.role is Role.PUBLIC}

    assert public == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_a_method_that_does_not_exist_is_unimplemented(server: Running) -> None:
    call: Any = server.channel.unary_unary("/jobhall.v1.JobService/Abolish")

    assert (await refusal(call(b""))).code is Code.UNIMPLEMENTED


async def test_bytes_that_are_no_message_are_the_callers_fault(server: Running) -> None:
    for method in ("SubmitJob", "GetJob", "ListJobs"):
        call: Any = server.channel.unary_unary(f"/jobhall.v1.JobService/{method}")

        error = await refusal(call(b"\xff\xff\xff\xff"))

        assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID")


async def test_each_call_writes_one_line_without_its_payload(server: Running, server_log: io.StringIO) -> None:
    await register(server)
    job = await submit(server, json='"the-payload"')
    await server.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id))
    await refusal(get(server, "0190a0b0-0000-7000-8000-000000000000"))

    lines = [json.loads(line) for line in server_log.getvalue().splitlines()]
    calls = [line for line in lines if line["event"] == "rpc"]
    assert [(line["method"], line["code"], line["level"]) for line in calls] == [
        ("JobTypeService/RegisterJobType", "OK", "info"),
        ("JobService/SubmitJob", "OK", "debug"),
        ("JobService/CancelJob", "OK", "info"),
        ("JobService/GetJob", "NOT_FOUND", "info"),
    ]
    assert calls[3]["reason"] == "JOB_NOT_FOUND"
    assert all(line["principal"] == "anonymous" and line["ms"] > 0 and line["request_id"] for line in calls)
    assert len({line["request_id"] for line in calls}) == 4
    assert "the-payload" not in server_log.getvalue()


async def test_thousands_of_calls_at_once_are_all_answered(server: Running) -> None:
    """With gRPC's default options more than about a thousand pending calls are cancelled at random."""
    answers = await asyncio.gather(*(server.admin.GetServerInfo(INFO, timeout=30) for _ in range(2000)))

    assert len(answers) == 2000


async def test_a_client_that_pings_often_is_not_turned_away(server: Running) -> None:
    options: list[Any] = [("grpc.keepalive_time_ms", 5000), ("grpc.keepalive_permit_without_calls", 1)]
    async with grpc.aio.insecure_channel(server.address, options=options) as channel:
        info: Any = channel.unary_unary("/jobhall.v1.AdminService/GetServerInfo")

        assert await info(b"")
