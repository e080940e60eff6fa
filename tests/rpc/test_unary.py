"""Workers without a stream: ClaimTasks, ReportTasks and Heartbeat, and the end of a session that is not renewed."""

import asyncio
import io
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from jobhall.errors import Code
from jobhall.states import JobState
from jobhall.v1 import job_service_pb2 as jobs
from jobhall.v1 import worker_service_pb2 as pb
from tests.support.calls import RawWorker, get, refusal, register, submit
from tests.support.servers import Running, running_server
from tests.support.unary_calls import beat, claim, report, state
from tests.support.waiting import eventually_async

ACCEPT_SECONDS = 0.5


@pytest.fixture
async def server(tmp_path: Path, server_log: io.StringIO) -> AsyncIterator[Running]:
    """A server that gives a task little time to be named, and looks often."""
    often: dict[str, Any] = {"reaper_seconds": 0.05, "session_ttl_seconds": 0.5, "heartbeat_seconds": 0.1}
    async with running_server(tmp_path, accept_seconds=ACCEPT_SECONDS, **often) as running:
        await register(running)
        yield running
    assert "Traceback" not in server_log.getvalue(), server_log.getvalue()


async def _came(server: Running, name: str) -> bool:
    answer = await server.workers.ListWorkers(pb.ListWorkersRequest(filter=f"name = {name}"))
    return len(answer.workers) == 1


async def test_a_task_is_claimed_begun_by_its_first_report_and_completed(server: Running) -> None:
    job = await submit(server, json='{"n": 1}', labels={"team": "red"})

    given = await claim(server)
    [task] = given.tasks
    before = await state(server, job.id)
    progress = await report(
        server,
        given.session_id,
        {"lease_token": task.lease_token, "progress": {"items_total": 4, "items_processed": 1}},
    )
    running = await get(server, job.id)
    done = await report(
        server, given.session_id, {"lease_token": task.lease_token, "completed": {"result": {"json": "7"}}}
    )

    assert (task.job_id, task.parameters.json, dict(task.labels)) == (job.id, '{"n": 1}', {"team": "red"})
    assert before is JobState.CLAIMED
    assert not progress.rejections
    assert progress.expire_time.seconds > running.start_time.seconds
    assert (running.attempt, running.progress.items_processed) == (1, 1)
    assert not done.rejections
    finished = await get(server, job.id)
    assert (JobState(finished.state), finished.result.json, finished.attempt) == (JobState.COMPLETED, "7", 1)


async def test_accept_begins_the_tasks_at_once(server: Running) -> None:
    job = await submit(server)

    given = await claim(server, accept=True)

    assert [task.job_id for task in given.tasks] == [job.id]
    assert await state(server, job.id) is JobState.RUNNING


async def test_a_claim_waits_for_its_job_and_answers_empty_when_none_comes(server: Running) -> None:
    nothing = await claim(server, timeout={"nanos": 50_000_000})
    waiting = asyncio.create_task(claim(server, worker_name="patient", timeout={"seconds": 20}))
    await eventually_async(lambda: _came(server, "patient"), within=5, what="the claim waits")
    job = await submit(server)

    given = await waiting

    assert not nothing.tasks
    assert nothing.session_id
    assert [task.job_id for task in given.tasks] == [job.id]


async def test_a_claim_whose_caller_left_leaves_the_job_to_the_next_one(server: Running) -> None:
    waiting = asyncio.create_task(claim(server, worker_name="patient", timeout={"seconds": 20}))
    await eventually_async(lambda: _came(server, "patient"), within=5, what="the claim waits")

    waiting.cancel()
    job = await submit(server)
    given = await claim(server, timeout={"seconds": 5})

    assert [task.job_id for task in given.tasks] == [job.id]
    assert (await get(server, job.id)).attempt == 0


async def test_a_task_that_nobody_names_goes_back_at_no_cost(server: Running) -> None:
    job = await submit(server)
    first = await claim(server)

    second = await claim(server, timeout={"seconds": 10})

    assert [task.job_id for task in second.tasks] == [job.id]
    assert second.tasks[0].attempt == first.tasks[0].attempt == 1
    assert (await get(server, job.id)).worker_losses == 0


async def test_a_session_that_is_not_heard_of_loses_what_it_began(server: Running) -> None:
    job = await submit(server)
    first = await claim(server, accept=True, lease_duration={"seconds": 1})

    second = await claim(server, accept=True, timeout={"seconds": 10})

    assert [task.job_id for task in second.tasks] == [job.id]
    assert second.tasks[0].attempt == 2
    over = await refusal(beat(server, first.session_id, first.tasks[0].lease_token))
    assert (over.code, over.reason) == (Code.NOT_FOUND, "SESSION_EXPIRED")


async def test_beats_keep_a_session_and_name_what_it_has_lost(server: Running) -> None:
    job = await submit(server)
    given = await claim(server, accept=True, lease_duration={"seconds": 1})
    token = given.tasks[0].lease_token
    born = (await get(server, job.id)).claim_time.ToMicroseconds()

    beaten = await beat(server, given.session_id, token, b"foreign")
    while beaten.expire_time.ToMicroseconds() < born + 2_500_000:
        beaten = await beat(server, given.session_id, token, b"foreign")
        await asyncio.sleep(0.1)  # sleeps: the session's lease has to pass twice

    assert list(beaten.lost_lease_tokens) == [b"foreign"]
    assert await state(server, job.id) is JobState.RUNNING


async def test_a_begun_task_that_a_beat_does_not_list_is_lost_by_its_worker(server: Running) -> None:
    job = await submit(server)
    given = await claim(server, accept=True)

    fresh = await beat(server, given.session_id)
    kept = await state(server, job.id)
    await eventually_async(lambda: _beaten_away(server, given.session_id, job.id), within=10, what="the task is lost")

    assert not fresh.lost_lease_tokens
    assert kept is JobState.RUNNING
    assert (await get(server, job.id)).worker_losses == 1


async def _beaten_away(server: Running, session_id: str, job_id: str) -> bool:
    await beat(server, session_id)
    return await state(server, job_id) is JobState.PENDING


async def test_a_cancel_reaches_a_unary_worker_with_its_next_call(server: Running) -> None:
    job = await submit(server)
    given = await claim(server, accept=True)
    token = given.tasks[0].lease_token

    await server.jobs.CancelJob(jobs.CancelJobRequest(job_id=job.id, reason="enough", grace=Duration(seconds=60)))
    told = await beat(server, given.session_id, token)
    again = await report(server, given.session_id, {"lease_token": token, "progress": {}})
    await report(server, given.session_id, {"lease_token": token, "cancelled": {}})

    [cancel] = told.cancels
    assert (cancel.lease_token, cancel.reason) == (token, "enough")
    assert 50 < cancel.grace.seconds <= 60
    assert [cancel.lease_token for cancel in again.cancels] == [token]
    assert await state(server, job.id) is JobState.CANCELLED


async def test_the_grace_of_a_unary_task_ends_by_itself(server: Running) -> None:
    job = await submit(server)
    await claim(server, accept=True)

    await server.jobs.CancelJob(jobs.CancelJobRequest(job_id=job.id, grace=Duration(nanos=100_000_000)))

    await eventually_async(lambda: _is(server, job.id, JobState.CANCELLED), within=10, what="the job is cancelled")


async def _is(server: Running, job_id: str, wanted: JobState) -> bool:
    return await state(server, job_id) is wanted


async def test_named_jobs_are_claimed_and_no_others(server: Running) -> None:
    await submit(server)
    wanted = await submit(server)

    given = await claim(server, job_ids=[wanted.id], accept=True)
    again = await claim(server, session_id=given.session_id, job_ids=[wanted.id])
    missing = await refusal(claim(server, job_ids=[str(uuid.uuid4())]))

    assert [task.job_id for task in given.tasks] == [wanted.id]
    assert again.session_id == given.session_id
    assert not again.tasks
    assert (missing.code, missing.reason) == (Code.NOT_FOUND, "JOB_NOT_FOUND")


async def test_a_claim_of_a_named_job_waits_until_it_is_free(server: Running) -> None:
    job = await submit(server)
    first = await claim(server, accept=True)
    waiting = asyncio.create_task(claim(server, job_ids=[job.id], timeout={"seconds": 20}))

    await report(server, first.session_id, {"lease_token": first.tasks[0].lease_token, "released": {}})

    assert [task.job_id for task in (await waiting).tasks] == [job.id]


async def test_reports_without_a_session_are_judged_by_their_tokens(server: Running) -> None:
    job = await submit(server)
    given = await claim(server, accept=True)
    token = given.tasks[0].lease_token

    answer = await report(
        server, "", {"lease_token": b"nonsense", "completed": {}}, {"lease_token": token, "completed": {}}
    )

    assert [(item.seq, item.lease_token) for item in answer.rejections] == [(1, b"nonsense")]
    assert not answer.HasField("expire_time")
    assert await state(server, job.id) is JobState.COMPLETED


async def test_bad_reports_are_rejected_alone_and_bad_progress_is_named(server: Running) -> None:
    job = await submit(server)
    given = await claim(server, accept=True)
    token = given.tasks[0].lease_token

    answer = await report(
        server,
        given.session_id,
        {"lease_token": token, "progress": {"items_total": 1, "items_processed": 5}},
        {"lease_token": token, "checkpoint": {}},
        {"lease_token": token, "completed": {"result": {"json": "{"}}},
        {"lease_token": token, "completed": {"result": {"json": "{}"}}},
    )

    assert list(answer.dropped_progress_lease_tokens) == [token]
    assert [item.seq for item in answer.rejections] == [2, 3]
    assert await state(server, job.id) is JobState.COMPLETED


async def test_logs_and_item_errors_of_a_unary_task_are_kept(server: Running) -> None:
    job = await submit(server)
    given = await claim(server, accept=True)
    token = given.tasks[0].lease_token

    await report(
        server,
        given.session_id,
        {"lease_token": token, "item_errors": {"first_number": 1, "item_errors": [{"key": "row 3", "code": "ODD"}]}},
        {"lease_token": token, "completed": {}},
        logs=[{"lease_token": token, "first_number": 1, "log_entries": [{"message": "begun"}]}],
    )

    lines = await server.jobs.ListJobLogs(jobs.ListJobLogsRequest(job_id=job.id))
    assert [line.message for line in lines.log_entries] == ["begun"]
    assert (await get(server, job.id)).item_error_count == 1


async def test_a_stream_worker_flushes_what_is_unacked_by_the_unary_twin(server: Running) -> None:
    """Its stream cannot be had: the session is detached, the report renews it and is taken."""
    job = await submit(server)
    worker = RawWorker(server)
    welcome = await worker.hello()
    [task] = await worker.tasks()
    await worker.report(task.lease_token, accepted={})
    worker.cut()

    answer = await report(server, welcome.session_id, {"lease_token": task.lease_token, "completed": {}})

    assert not answer.rejections
    assert await state(server, job.id) is JobState.COMPLETED


async def test_what_is_more_than_a_message_holds_goes_back_at_once(server: Running) -> None:
    large = '"' + "x" * 1_000_000 + '"'
    for _ in range(5):
        await submit(server, json=large)

    given = await claim(server, tasks_max=5)
    rest = await claim(server, tasks_max=5)

    assert given.ByteSize() < 4 * 1024 * 1024
    assert len(given.tasks) + len(rest.tasks) == 5
    assert {task.attempt for task in [*given.tasks, *rest.tasks]} == {1}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"job_types": []}, "job_types"),
        ({"tasks_max": -1}, "tasks_max"),
        ({"tasks_max": 1001}, "tasks_max"),
        ({"timeout": {"seconds": 61}}, "timeout"),
        ({"timeout": {"seconds": -1}}, "timeout"),
        ({"lease_duration": {"seconds": 0}}, "lease_duration"),
        ({"lease_duration": {"seconds": 100_000}}, "lease_duration"),
        ({"session_id": "x"}, "session_id"),
        ({"job_types": ["a b"]}, "job_types[0]"),
        ({"namespaces": ["UPPER"]}, "namespaces[0]"),
        ({"job_ids": ["x"]}, "job_ids[0]"),
        ({"worker_name": "w" * 200}, "worker_name"),
        ({"labels": {"": "x"}}, "labels['']"),
    ],
)
async def test_a_claim_that_cannot_be_meant_names_its_field(
    server: Running, fields: dict[str, Any], field: str
) -> None:
    error = await refusal(claim(server, **fields))

    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
    assert [violation.field for violation in error.violations] == [field]


async def test_a_session_that_is_not_there_or_is_a_streams_cannot_claim(server: Running) -> None:
    welcome = await RawWorker(server).hello()

    nobody = await refusal(claim(server, session_id=str(uuid.uuid4())))
    of_a_stream = await refusal(claim(server, session_id=welcome.session_id))

    assert nobody.reason == "SESSION_EXPIRED"
    assert (of_a_stream.reason, [item.field for item in of_a_stream.violations]) == ("FIELD_INVALID", ["session_id"])
