"""ImportJobs: a job from elsewhere is what it was, with all that belongs to it; what a worker held comes given back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from jobhall.ids import new_id
from jobhall.states import AttemptOutcome, BatchState, EventType, JobState
from jobhall.v1 import admin_service_pb2 as admin_pb
from jobhall.v1 import batch_service_pb2, job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.calls import get, register, submit
from tests.support.imports import BEGAN_US, LATER_US, bring, imported_jobs, stamp, told, without_what_changes
from tests.support.servers import Running, running_server
from tests.support.unary_calls import SOON, claim, report, state
from tests.support.waiting import eventually_async

OF_NOBODY = (JobState.SCHEDULED, JobState.PENDING, JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


@pytest.fixture(scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A server with the type `score`, for all examples of a property."""
    async with running_server(tmp_path_factory.mktemp("imports")) as server:
        await register(server)
        yield server


def job(state: JobState = JobState.PENDING, **fields: Any) -> admin_pb.ImportedJob:
    """One without a past, unless the fields tell of it."""
    made = job_pb2.Job(
        id=new_id(), job_type="score", state=job_pb2.JobState.ValueType(int(state)), create_time=stamp(BEGAN_US)
    )
    made.MergeFrom(job_pb2.Job(**fields))
    return admin_pb.ImportedJob(job=made)


def begun(state: JobState, **fields: Any) -> admin_pb.ImportedJob:
    """One whose second attempt has begun, after a first one that failed."""
    error = job_pb2.JobError(kind=job_pb2.FAILURE_KIND_APPLICATION, code="BROKEN", message="no", attempt=1)
    started: Any = {"claim_time": stamp(BEGAN_US + 30), "start_time": stamp(BEGAN_US + 40)}
    given = {"attempt": 2, "max_attempts": 4, "fence": 3, "revision": 9, "error": error, **started, **fields}
    made = job(state, **given)
    first = made.attempts.add(attempt=1, fence=1, worker_name="one", outcome=job_pb2.ATTEMPT_OUTCOME_FAILED)
    first.start_time.CopyFrom(stamp(BEGAN_US + 10))
    first.end_time.CopyFrom(stamp(BEGAN_US + 20))
    first.error.CopyFrom(error)
    made.attempts.add(attempt=2, fence=3, worker_name="two", **started)
    return made


def completed(**fields: Any) -> admin_pb.ImportedJob:
    """One that took one attempt, of which it alone tells."""
    times = {"start_time": stamp(BEGAN_US + 10), "end_time": stamp(BEGAN_US + 20)}
    return job(JobState.COMPLETED, **{"attempt": 1, **times, **fields})


# --- what stays ---


@settings(max_examples=150, suppress_health_check=[*HealthCheck])
@given(imported=imported_jobs(OF_NOBODY))
async def test_what_nobody_held_is_here_what_it_was(target: Running, imported: admin_pb.ImportedJob) -> None:
    [brief] = await bring(target, imported)

    here = await told(target, imported.job.id)
    assert without_what_changes(here) == without_what_changes(imported)
    assert here.job.revision == brief.revision == imported.job.revision + 1
    assert here.job.etag == str(here.job.revision)
    assert (brief.id, brief.state, brief.attempt) == (here.job.id, here.job.state, here.job.attempt)


@settings(max_examples=50, suppress_health_check=[*HealthCheck])
@given(imported=imported_jobs((JobState.CLAIMED,)))
async def test_what_was_delivered_and_not_begun_is_pending(target: Running, imported: admin_pb.ImportedJob) -> None:
    await bring(target, imported)

    here = without_what_changes(await told(target, imported.job.id))
    imported.job.state = job_pb2.JOB_STATE_PENDING
    assert here == without_what_changes(imported)


async def test_what_a_worker_ran_is_pending_and_its_attempt_was_given_back(brisk: Running) -> None:
    running = begun(JobState.RUNNING, worker_losses=1, progress={"items_total": 9, "items_processed": 4})
    running.job.start_deadline.CopyFrom(stamp(BEGAN_US + 500))

    [brief] = await bring(brisk, running)

    here = await told(brisk, running.job.id)
    assert (here.job.state, here.job.attempt, here.job.fence) == (job_pb2.JOB_STATE_PENDING, 1, 3)
    assert (here.job.worker_losses, here.job.HasField("start_deadline")) == (0, False)
    assert (here.job.error.code, here.job.progress.items_processed) == ("BROKEN", 4)
    first, second = here.attempts
    assert (first.outcome, first.error.code) == (job_pb2.ATTEMPT_OUTCOME_FAILED, "BROKEN")
    assert (second.attempt, int(second.outcome), second.worker_name) == (2, AttemptOutcome.RELEASED, "two")
    assert second.end_time == here.job.update_time == brief.update_time
    assert second.progress.items_processed == 4


async def test_what_was_to_stop_is_cancelled(brisk: Running) -> None:
    stopping = begun(JobState.CANCELLING, cancel_reason="too late", cancelled_by="ann")

    await bring(brisk, stopping)

    here = await told(brisk, stopping.job.id)
    assert (here.job.state, here.job.cancel_reason) == (job_pb2.JOB_STATE_CANCELLED, "too late")
    assert (here.job.attempt, here.job.HasField("error")) == (2, False)
    assert here.job.end_time == here.job.update_time == here.attempts[1].end_time
    assert int(here.attempts[1].outcome) == AttemptOutcome.CANCELLED


async def test_an_attempt_under_way_that_only_the_job_tells_of_is_kept_too(brisk: Running) -> None:
    running = begun(JobState.RUNNING, current_task={"attempt": 2, "fence": 7, "worker_name": "gpu-7"}, fence=0)
    del running.attempts[1]

    await bring(brisk, running)

    here = await told(brisk, running.job.id)
    attempt = here.attempts[1]
    assert (attempt.attempt, attempt.fence, attempt.worker_name, here.job.fence) == (2, 7, "gpu-7", 7)
    assert (int(attempt.outcome), attempt.start_time) == (AttemptOutcome.RELEASED, running.job.start_time)


async def test_item_errors_that_came_while_the_job_was_read_count(brisk: Running) -> None:
    running = begun(JobState.RUNNING, item_error_count=1)
    running.item_errors.extend(job_pb2.ItemError(index=place, code="ODD") for place in range(3))

    await bring(brisk, running)

    here = await told(brisk, running.job.id)
    assert (here.job.item_error_count, here.attempts[1].item_error_count) == (3, 3)
    assert list(here.item_errors) == list(running.item_errors)


async def test_what_says_of_nobody_whose_it_is_belongs_to_the_caller(brisk: Running) -> None:
    mine, theirs = job(), job(owner="ann", created_by="Ann")
    mine.job.ClearField("create_time")

    await bring(brisk, mine, theirs)

    here = await get(brisk, mine.job.id)
    assert (here.owner, here.created_by) == ("anonymous", "anonymous")
    assert here.create_time.ToMicroseconds() > BEGAN_US
    assert (await get(brisk, theirs.job.id)).owner == "ann"


# --- what goes on ---


async def test_what_comes_pending_is_done_by_a_worker_with_greater_fences(brisk: Running) -> None:
    running = begun(JobState.RUNNING, checkpoint={"json": '{"row": 4}'}, progress={"items_processed": 4})
    waiting = asyncio.ensure_future(claim(brisk, accept=True, timeout=SOON))

    await bring(brisk, running)

    [task] = (given := await waiting).tasks
    assert (task.job_id, task.attempt, task.fence) == (running.job.id, 2, 4)
    assert (task.checkpoint.json, task.progress.items_processed) == ('{"row": 4}', 4)
    await report(brisk, given.session_id, {"lease_token": task.lease_token, "completed": {"result": {"json": "1"}}})
    here = await told(brisk, running.job.id)
    assert (here.job.state, here.job.result.json, here.job.HasField("error")) == (
        job_pb2.JOB_STATE_COMPLETED,
        "1",
        False,
    )
    assert [attempt.fence for attempt in here.attempts] == [1, 3, 4]


async def test_what_waits_comes_behind_what_waits_here_in_the_order_of_the_request(brisk: Running) -> None:
    known = await submit(brisk)
    brought = [job(), job(), job(priority=5)]

    await bring(brisk, *brought)

    given = await claim(brisk, tasks_max=4)
    first, second, urgent = (one.job.id for one in brought)
    assert [task.job_id for task in given.tasks] == [urgent, known.id, first, second]


async def test_a_time_that_came_meanwhile_is_a_time_to_begin(brisk: Running) -> None:
    due = job(JobState.SCHEDULED, schedule_time=stamp(BEGAN_US + 10))
    too_late = job(start_deadline=stamp(BEGAN_US + 10))

    await bring(brisk, due, too_late)

    await eventually_async(lambda: _is(brisk, due, JobState.PENDING), within=10, what="it is due")
    await eventually_async(lambda: _is(brisk, too_late, JobState.FAILED), within=10, what="it could not begin in time")
    assert (await get(brisk, too_late.job.id)).error.kind == job_pb2.FAILURE_KIND_EXPIRED


async def test_what_failed_can_be_retried_and_its_history_stays(brisk: Running) -> None:
    failed = begun(JobState.FAILED, end_time=stamp(BEGAN_US + 50), attempt=2)
    failed.attempts[1].outcome = job_pb2.ATTEMPT_OUTCOME_FAILED
    failed.attempts[1].end_time.CopyFrom(failed.job.end_time)
    failed.attempts[1].error.CopyFrom(failed.job.error)
    await bring(brisk, failed)

    await brisk.jobs.RetryJob(pb.RetryJobRequest(job_id=failed.job.id))

    here = await told(brisk, failed.job.id)
    assert (here.job.state, here.job.attempt) == (job_pb2.JOB_STATE_PENDING, 0)
    assert [attempt.error.code for attempt in here.attempts] == ["BROKEN", "BROKEN"]


async def test_what_ended_long_ago_is_kept_for_its_retention_from_now_on(brisk: Running) -> None:
    silent, said = completed(), completed(retention={"seconds": 3600})
    _, brief = await bring(brisk, silent, said)

    purge_us = (await get(brisk, said.job.id)).purge_time.ToMicroseconds()
    assert purge_us == brief.update_time.ToMicroseconds() + 3600 * 1_000_000
    assert (await get(brisk, silent.job.id)).purge_time.ToMicroseconds() > purge_us


# --- what belongs together ---


async def test_members_count_in_their_batch_even_if_it_is_closed(brisk: Running) -> None:
    created = await brisk.batches.CreateBatch(batch_service_pb2.CreateBatchRequest(name="old", closed=True))
    batch_id = created.batch.id
    done = completed(batch_id=batch_id, progress={"items_total": 5, "items_processed": 3})
    await bring(brisk, done)
    after_one = await _batch(brisk, batch_id)
    await bring(brisk, job(batch_id=batch_id))

    after_two = await _batch(brisk, batch_id)
    assert (int(after_one.state), after_one.counts.completed) == (BatchState.COMPLETED, 1)
    assert (after_one.progress.items_total, after_one.progress.items_processed) == (5, 3)
    assert (int(after_two.state), after_two.counts.pending) == (BatchState.PROCESSING, 1)


async def test_members_of_a_batch_that_is_held_back_are_held_back(brisk: Running) -> None:
    created = await brisk.batches.CreateBatch(batch_service_pb2.CreateBatchRequest(active=False))
    await bring(brisk, job(batch_id=created.batch.id), free := job())

    assert [task.job_id for task in (await claim(brisk, tasks_max=5)).tasks] == [free.job.id]


async def test_a_key_is_held_until_the_end_and_by_nothing_that_has_ended(brisk: Running) -> None:
    ended, live = completed(unique_key="nightly"), job(unique_key="nightly")

    await bring(brisk, ended)
    await bring(brisk, live)

    assert (await submit(brisk, unique_key="nightly")).id == live.job.id


# --- who is told ---


async def test_a_watcher_is_told_of_each_in_the_state_that_it_has(brisk: Running) -> None:
    watch = brisk.jobs.WatchJobs(pb.WatchJobsRequest(), timeout=20)
    await watch.read()
    failed = job(JobState.FAILED, end_time=stamp(BEGAN_US + 9), error={"kind": 4, "code": "START_DEADLINE"}, revision=3)
    brought = [job(), job(JobState.SCHEDULED, schedule_time=stamp(LATER_US)), completed(), failed]

    await bring(brisk, *brought)

    events: list[Any] = []
    while len(events) < len(brought):
        response: Any = await watch.read()
        events += response.events
    watch.cancel()
    assert [event.job_id for event in events] == [one.job.id for one in brought]
    assert {int(event.event_type) for event in events} == {EventType.IMPORTED}
    assert [event.state for event in events] == [one.job.state for one in brought]
    assert (events[3].failure_kind, events[3].failure_code, events[3].revision) == (4, "START_DEADLINE", 4)


async def test_the_counters_know_them(brisk: Running) -> None:
    await bring(brisk, job(), completed(), begun(JobState.RUNNING))

    stats = await brisk.jobs.GetJobStats(pb.GetJobStatsRequest())

    assert (stats.total.pending, stats.total.completed, stats.total.running) == (2, 1, 0)
    assert [queue.completed_per_second for queue in stats.queues] == [0]


async def _is(server: Running, imported: admin_pb.ImportedJob, wanted: JobState) -> bool:
    return await state(server, imported.job.id) is wanted


async def _batch(server: Running, batch_id: str) -> Any:
    return (await server.batches.GetBatch(batch_service_pb2.GetBatchRequest(batch_id=batch_id))).batch
