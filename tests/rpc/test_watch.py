"""WatchJobs: the first answer at once, every event in order, snapshots, cursors, filters, and bad requests."""

from collections.abc import AsyncIterator
from itertools import accumulate
from typing import Any

import grpc
import pytest

from jobhall.errors import ApiError, Code
from jobhall.limits import MESSAGE_BYTES_MAX
from jobhall.v1 import event_pb2, job_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall.wire_errors import error_from_call
from jobhall_server.hall.tokens import cursor
from jobhall_server.hall.watch import WatchUpdate
from jobhall_server.rpc.watch import update_out
from tests.support.calls import RawWorker, refusal, register, submit
from tests.support.events import progress_event
from tests.support.servers import Running, running_server

SUBMITTED, CLAIMED, RUNNING, COMPLETED = (
    event_pb2.EVENT_TYPE_SUBMITTED,
    event_pb2.EVENT_TYPE_CLAIMED,
    event_pb2.EVENT_TYPE_RUNNING,
    event_pb2.EVENT_TYPE_COMPLETED,
)


def watch(server: Running, **request: Any) -> Any:
    return server.jobs.WatchJobs(pb.WatchJobsRequest(**request), timeout=20)


async def events(call: Any, count: int) -> list[Any]:
    found: list[Any] = []
    while len(found) < count:
        found.extend((await call.read()).events)
    return found


async def test_the_first_answer_comes_at_once_with_a_cursor(server: Running) -> None:
    call = watch(server)

    first = await call.read()

    assert first.cursor
    assert not first.events
    call.cancel()


async def test_every_event_of_a_job_comes_in_order(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()
    call = watch(server)
    await call.read()

    job = await submit(server, labels={"a": "b"})
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, accepted={})
    await worker.report(task.lease_token, completed={})
    seen = [event for event in await events(call, 4) if event.event_type != event_pb2.EVENT_TYPE_PROGRESS]

    assert [event.event_type for event in seen] == [SUBMITTED, CLAIMED, RUNNING, COMPLETED]
    assert [event.revision for event in seen] == [1, 2, 3, 4]
    assert {event.job_id for event in seen} == {job.id}
    assert seen[1].worker_name == "by-hand"
    assert dict(seen[0].attributes.labels) == {"a": "b"}
    assert seen[0].time.seconds > 0
    call.cancel()
    await worker.end()


async def test_progress_of_a_job_that_is_being_cancelled_does_not_say_that_it_runs(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()
    call = watch(server, event_types=[event_pb2.EVENT_TYPE_PROGRESS, event_pb2.EVENT_TYPE_LOG])
    await call.read()
    job = await submit(server)
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, accepted={})
    await server.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id))

    progress: Any = {"items_processed": 3, "number": 3}
    await worker.send(task_updates={"updates": [{"lease_token": task.lease_token, "progress": progress}]})
    await worker.log(task.lease_token, 1, "stopping")

    seen = await events(call, 2)
    assert {event.state for event in seen} == {job_pb2.JOB_STATE_CANCELLING}
    assert {event.revision for event in seen} == {0}
    call.cancel()
    await worker.end()


async def test_a_cursor_resumes_without_gap_or_repetition(server: Running) -> None:
    await register(server)
    call = watch(server)
    cursor = (await call.read()).cursor
    first = await submit(server)
    while not (answer := await call.read()).events:
        cursor = answer.cursor
    call.cancel()
    second = await submit(server)

    again = watch(server, cursor=cursor)
    after = watch(server, cursor=answer.cursor)

    assert [event.job_id for event in await events(again, 2)] == [first.id, second.id]
    assert [event.job_id for event in await events(after, 1)] == [second.id]
    again.cancel()
    after.cancel()


async def test_a_snapshot_holds_the_jobs_that_are_not_over(server: Running) -> None:
    await register(server)
    waiting = await submit(server)
    over = await submit(server)
    await server.jobs.CancelJob(pb.CancelJobRequest(job_id=over.id))

    everything = await snapshot(watch(server, include_snapshot=True))
    named = await snapshot(watch(server, include_snapshot=True, job_ids=[over.id]))

    assert [job.id for job in everything] == [waiting.id]
    assert [job.id for job in named] == [over.id]
    assert not everything[0].HasField("parameters")


async def snapshot(call: Any) -> list[Any]:
    jobs: list[Any] = []
    while not (answer := await call.read()).snapshot_complete:
        jobs.extend(answer.snapshot_jobs)
    jobs.extend(answer.snapshot_jobs)
    call.cancel()
    return jobs


async def test_a_watch_of_ended_jobs_ends_by_itself(server: Running) -> None:
    await register(server)
    job = await submit(server)
    call = watch(server, job_ids=[job.id], stop_when_terminal=True)
    await call.read()

    await server.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id))

    kinds = [event.event_type for answer in [a async for a in _rest(call)] for event in answer.events]
    assert kinds == [event_pb2.EVENT_TYPE_CANCELLED]


async def _rest(call: Any) -> AsyncIterator[Any]:
    while (answer := await call.read()) is not grpc.aio.EOF:
        yield answer


@pytest.mark.parametrize(
    ("request_fields", "matching"),
    [
        ({"job_types": ["score"]}, True),
        ({"job_types": ["other"]}, False),
        ({"labels": {"team": "red"}}, True),
        ({"labels": {"team": "blue"}}, False),
        ({"owner": "anonymous"}, True),
        ({"owner": "somebody"}, False),
        ({"namespace": "-"}, True),
        ({"namespace": "elsewhere"}, False),
        ({"event_types": [COMPLETED]}, False),
    ],
)
async def test_a_watch_tells_only_of_what_it_names(
    server: Running, request_fields: dict[str, Any], matching: bool
) -> None:
    await register(server)
    narrow, wide = watch(server, **request_fields), watch(server)
    await narrow.read()
    await wide.read()

    job = await submit(server, labels={"team": "red"})
    await events(wide, 1)
    later = watch(server, cursor="", include_snapshot=False, **request_fields)
    await later.read()
    narrow_events = (await narrow.read()).events if matching else []

    assert [event.job_id for event in narrow_events] == ([job.id] if matching else [])
    for call in (narrow, wide, later):
        call.cancel()


BAD_WATCHES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a cursor from elsewhere": ({"cursor": "Yzk5LmVsc2V3aGVyZQ"}, "CURSOR_MISMATCH", "cursor"),
    "garbage for a cursor": ({"cursor": "%%%"}, "CURSOR_MISMATCH", "cursor"),
    "a batch's id that is none": ({"batch_id": "b"}, "FIELD_INVALID", "batch_id"),
    "an end without anything that ends": ({"stop_when_terminal": True}, "FIELD_NOT_SUPPORTED", "stop_when_terminal"),
    "a type that cannot be": ({"job_types": ["a b"]}, "FIELD_INVALID", "job_types[0]"),
    "too many types": ({"job_types": ["x"] * 1001}, "FIELD_INVALID", "job_types"),
    "an unknown event type": ({"event_types": [99]}, "FIELD_INVALID", "event_types[0]"),
    "an unknown action": ({"expired_cursor_action": 9}, "FIELD_INVALID", "expired_cursor_action"),
    "an id that is none": ({"job_ids": ["x"]}, "FIELD_INVALID", "job_ids[0]"),
    "too many ids": ({"job_ids": ["x"] * 1001}, "FIELD_INVALID", "job_ids"),
    "a namespace that cannot be": ({"namespace": "A B"}, "FIELD_INVALID", "namespace"),
}


@pytest.mark.parametrize("name", BAD_WATCHES)
async def test_a_bad_watch_is_refused_with_its_field(server: Running, name: str) -> None:
    fields, reason, field = BAD_WATCHES[name]

    error = await ends_with(watch(server, **fields))

    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, reason)
    assert [violation.field for violation in error.violations] == [field]


async def ends_with(call: Any) -> ApiError:
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        return error_from_call(error, address="the server")
    raise AssertionError("the watch ended OK")


async def test_a_watch_above_the_limit_is_refused(tmp_path: Any, server_log: Any) -> None:
    async with running_server(tmp_path, watchers_max=1) as server:
        first = watch(server)
        await first.read()

        error = await ends_with(watch(server))

        assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "WATCHER_LIMIT")
        first.cancel()


async def test_a_wait_is_no_unary_way_around_an_unknown_job(server: Running) -> None:
    nobody = "0190a0b0-0000-7000-8000-000000000000"

    error = await refusal(server.jobs.WaitJob(pb.WaitJobRequest(job_id=nobody)))

    assert error.reason == "JOB_NOT_FOUND"


def test_an_update_that_is_too_large_is_cut_into_parts_with_a_cursor_each() -> None:
    events = [progress_event("x" * 4000, number=number) for number in range(7, 1507)]

    parts = [pb.WatchJobsResponse.FromString(part) for part in update_out("log", WatchUpdate(6, 1509, events))]

    assert len(parts) > 1
    assert all(part.ByteSize() <= MESSAGE_BYTES_MAX for part in parts)
    assert sum(len(part.events) for part in parts) == 1500
    told = list(accumulate(len(part.events) for part in parts[:-1]))
    assert [part.cursor for part in parts] == [cursor("log", 6 + count) for count in told] + [cursor("log", 1509)]


def test_a_reset_is_told_with_the_first_word() -> None:
    (part,) = update_out("log", WatchUpdate(6, 6, reset=True))

    assert pb.WatchJobsResponse.FromString(part) == pb.WatchJobsResponse(cursor=cursor("log", 6), cursor_reset=True)
