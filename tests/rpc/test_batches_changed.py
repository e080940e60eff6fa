"""UpdateBatch, CancelBatch and DeleteBatch over the real server: masks, etags, sweeps, what workers hold meanwhile."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from jobhall.errors import Code
from jobhall.states import BatchState, CompletionPolicy, JobState
from jobhall.v1 import job_service_pb2 as jobs_pb
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.batch import Sweep
from jobhall_server.hall.batch_submissions import BatchSubmission
from jobhall_server.hall.submits import Submission
from tests.support.batch_calls import COMPLETED, cancel, change, create, delete, policy, read, state, work
from tests.support.calls import RawWorker, get, refusal, register, submission, submit
from tests.support.halls import open_hall
from tests.support.servers import Running, running_server
from tests.support.unary_calls import claim, report
from tests.support.waiting import eventually_async

NOBODY = "0190a0b0-0000-7000-8000-000000000000"
SOON = 10.0


async def test_a_mask_names_what_changes_and_the_rest_stays(brisk: Running) -> None:
    await register(brisk, "report")
    batch = (await create(brisk, name="old", completion_job={"job_type": "report"})).batch

    renamed = await change(brisk, batch.id, name="new")
    shared = await change(brisk, batch.id, access_control={"visibility": 2, "write_access": ["bob"]})
    terminal = await change(brisk, batch.id, completion_policy=CompletionPolicy.ALL_TERMINAL)
    without = await change(brisk, batch.id, "completion_job")
    same = await change(brisk, batch.id, name="new")

    assert (renamed.name, renamed.completion_job.job_type, renamed.closed) == ("new", "report", False)
    assert list(shared.access_control.write_access) == ["bob"]
    assert policy(terminal) is CompletionPolicy.ALL_TERMINAL
    assert not without.HasField("completion_job")
    assert [one.etag for one in (batch, renamed, shared, terminal, without, same)] == ["1", "2", "3", "4", "5", "5"]


async def test_an_etag_of_before_refuses_every_change(brisk: Running) -> None:
    batch = (await create(brisk, name="old")).batch
    await change(brisk, batch.id, name="new", etag=batch.etag)

    refusals = [
        await refusal(change(brisk, batch.id, name="newer", etag=batch.etag)),
        await refusal(cancel(brisk, batch.id, etag=batch.etag)),
        await refusal(delete(brisk, batch.id, etag=batch.etag)),
    ]

    assert {(error.code, error.reason) for error in refusals} == {(Code.ABORTED, "ETAG_MISMATCH")}
    assert (await read(brisk, batch.id)).name == "new"


async def test_a_closed_batch_cannot_be_opened_again(brisk: Running) -> None:
    batch = (await create(brisk, closed=True)).batch

    refused = await refusal(change(brisk, batch.id, closed=False))
    again = await change(brisk, batch.id, closed=True)

    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "BATCH_CLOSED")
    assert (again.closed, again.etag) == (True, batch.etag)


async def test_a_cancel_closes_it_and_cancels_all_its_jobs_with_the_reason(brisk: Running) -> None:
    answer = await create(brisk, jobs=3)
    await work(brisk, COMPLETED)

    cancelled = await cancel(brisk, answer.batch.id, reason="wrong data")
    again = await cancel(brisk, answer.batch.id, reason="once more")
    jobs = [await get(brisk, job_id) for job_id in answer.job_ids]

    assert (cancelled.closed, state(cancelled), cancelled.counts.cancelled) == (True, BatchState.FAILED, 2)
    assert again == cancelled
    assert [(JobState(job.state), job.cancel_reason) for job in jobs] == [
        (JobState.COMPLETED, ""),
        (JobState.CANCELLED, "wrong data"),
        (JobState.CANCELLED, "wrong data"),
    ]
    assert jobs[1].cancelled_by == "anonymous"


async def test_a_cancel_goes_through_more_jobs_than_one_step_holds(brisk: Running) -> None:
    answer = await create(brisk, jobs=1000)
    more = [submission(batch_id=answer.batch.id)] * 300
    await brisk.jobs.BatchSubmitJobs(jobs_pb.BatchSubmitJobsRequest(jobs=more))

    cancelled = await cancel(brisk, answer.batch.id)

    assert (cancelled.counts.cancelled, cancelled.counts.pending) == (1300, 0)


async def test_an_answer_does_not_wait_longer_than_its_caller_does(tmp_path: Path) -> None:
    async with open_hall("sqlite", tmp_path) as scene:
        batches = scene.hall.batches
        jobs = [Submission("score")] * 1000
        made, _ = await batches.create(ANYBODY, BatchSubmission("default", jobs))

        answer = await batches.cancel(ANYBODY, made.record.batch_id, reason="", wait_seconds=0)

        async def cancelled() -> bool:
            return (await batches.get(ANYBODY, made.record.batch_id)).record.counts.cancelled == 1000

        assert answer.record.sweep is Sweep.CANCEL
        await eventually_async(cancelled, within=SOON, what="the rest is cancelled behind the answer")


async def test_workers_that_run_its_jobs_are_told_to_stop(brisk: Running) -> None:
    worker = RawWorker(brisk, tasks_max=2)
    await worker.hello()
    batch = (await create(brisk, jobs=2)).batch
    running, claimed = await worker.tasks()
    await worker.report(running.lease_token, accepted={})

    cancelled = await cancel(brisk, batch.id, reason="enough")
    told: list[Any] = []
    while len(told) < 2:
        told += (await worker.next("cancel_tasks")).cancel_tasks.cancels
    await worker.report(running.lease_token, cancelled={})
    over = await read(brisk, batch.id)

    assert (cancelled.counts.cancelling, cancelled.counts.cancelled) == (1, 1)
    assert {one.lease_token for one in told} == {running.lease_token, claimed.lease_token}
    assert {one.reason for one in told} == {"enough"}
    assert (state(over), over.counts.cancelled) == (BatchState.FAILED, 2)
    worker.cut()


async def test_what_is_retried_after_a_cancel_is_not_cancelled_again(brisk: Running) -> None:
    answer = await create(brisk, jobs=2)
    await cancel(brisk, answer.batch.id)

    await brisk.jobs.RetryJob(jobs_pb.RetryJobRequest(job_id=answer.job_ids[0]))
    await work(brisk, COMPLETED)
    batch = await read(brisk, answer.batch.id)

    assert (batch.counts.completed, batch.counts.cancelled, batch.closed) == (1, 1, True)


async def test_an_inactive_batch_that_was_cancelled_holds_back_what_is_retried(brisk: Running) -> None:
    answer = await create(brisk, jobs=2)
    await cancel(brisk, answer.batch.id)
    await change(brisk, answer.batch.id, active=False)

    await brisk.jobs.RetryJob(jobs_pb.RetryJobRequest(job_id=answer.job_ids[0]))
    nothing = await claim(brisk)
    await change(brisk, answer.batch.id, active=True)
    given = await claim(brisk)

    assert list(nothing.tasks) == []
    assert [task.job_id for task in given.tasks] == [answer.job_ids[0]]


async def test_active_turned_off_and_on_at_once_ends_as_the_last_word_has_it(brisk: Running) -> None:
    """Two updates race: the second changes the sweep while the first one's walk is under way. A step that was read for
    the first must not hold back what the second hands out.
    """
    batch = (await create(brisk, jobs=1000)).batch

    async def flip(times: int) -> None:
        for time in range(times):
            await change(brisk, batch.id, active=bool(time % 2))

    await asyncio.gather(flip(6), flip(6))
    await change(brisk, batch.id, active=False)
    nothing = await claim(brisk, tasks_max=1000)
    await change(brisk, batch.id, active=True)
    given = await claim(brisk, tasks_max=1000)

    assert (len(nothing.tasks), len(given.tasks)) == (0, 1000)


async def test_a_batch_is_deleted_with_all_its_jobs_and_answered_as_it_last_was(brisk: Running) -> None:
    answer = await create(brisk, jobs=600, name="gone")
    other = await submit(brisk)
    await work(brisk, COMPLETED)

    last = await delete(brisk, answer.batch.id)
    refusals = [
        await refusal(read(brisk, answer.batch.id)),
        await refusal(delete(brisk, answer.batch.id)),
        await refusal(submit(brisk, batch_id=answer.batch.id)),
    ]
    left = await brisk.jobs.ListJobs(jobs_pb.ListJobsRequest())

    assert (last.name, last.counts.pending, last.counts.completed) == ("gone", 599, 1)
    assert {error.reason for error in refusals} == {"BATCH_NOT_FOUND"}
    assert [job.id for job in left.jobs] == [other.id]
    assert (await create(brisk, batch_id=answer.batch.id)).batch.id == answer.batch.id


async def test_one_whose_jobs_workers_hold_is_not_deleted(brisk: Running) -> None:
    answer = await create(brisk, jobs=2)
    given = await claim(brisk, accept=True)

    refused = await refusal(delete(brisk, answer.batch.id))
    await cancel(brisk, answer.batch.id)
    still = await refusal(delete(brisk, answer.batch.id))
    await report(brisk, given.session_id, {"lease_token": given.tasks[0].lease_token, "cancelled": {}})
    await delete(brisk, answer.batch.id)

    assert {(error.code, error.reason) for error in (refused, still)} == {(Code.FAILED_PRECONDITION, "BATCH_RUNNING")}
    assert (await refusal(read(brisk, answer.batch.id))).reason == "BATCH_NOT_FOUND"


async def test_a_member_that_is_claimed_while_its_batch_is_deleted_is_stopped_first(tmp_path: Path) -> None:
    """A claim wins a job in the very group that marks its batch as deleted, or later: the sweep cannot delete what a
    worker holds, asks for its end, and comes again.
    """
    async with running_server(tmp_path) as server:
        await register(server)
        answer = await create(server, jobs=1)
        given = await claim(server, accept=True)
        with closing(sqlite3.connect(tmp_path / "jobhall.db", isolation_level=None, timeout=SOON)) as beside:
            beside.execute(f"UPDATE jobhall_batches SET closed = 1, sweep = {Sweep.DELETE:d}")

        async def asked() -> bool:
            return JobState((await get(server, answer.job_ids[0])).state) is JobState.CANCELLING

        await eventually_async(asked, within=SOON, what="the job is asked to stop")
        await report(server, given.session_id, {"lease_token": given.tasks[0].lease_token, "cancelled": {}})

        async def gone() -> bool:
            return not (await server.jobs.ListJobs(jobs_pb.ListJobsRequest())).jobs

        await eventually_async(gone, within=SOON, what="the job is deleted")
