"""Attempts that take too long or fall silent, what is still taken of them, and what the next attempt starts from."""

import asyncio
from typing import Any

import pytest

from jobhall.errors import Code
from jobhall.states import FailureKind, JobState
from jobhall.v1 import task_pb2, worker_service_pb2
from tests.support.calls import RawWorker, get, submit
from tests.support.servers import Running
from tests.support.unary_calls import SOON, beat, claim, report, state
from tests.support.waiting import eventually_async

A_MOMENT: Any = {"nanos": 100_000_000}
LATER: Any = {"initial_delay": {"seconds": 60}, "jitter": 0.0}
"""A policy with which nobody runs the job again while the test looks."""
AT_ONCE: Any = {"initial_delay": {}, "jitter": 0.0}
WITHIN_SECONDS = 10.0


async def until(server: Running, job_id: str, *wanted: JobState) -> None:
    async def is_there() -> bool:
        return await state(server, job_id) in wanted

    await eventually_async(is_there, within=WITHIN_SECONDS, what=f"the job is {wanted}")


async def told_to_stop(worker: RawWorker, token: bytes) -> task_pb2.CancelTask:
    """The cancel that a worker hears of with its beats."""

    async def heard() -> list[Any]:
        reply: worker_service_pb2.HeartbeatReply = await worker.beat(token)
        return list(reply.cancels)

    cancels = await eventually_async(heard, within=WITHIN_SECONDS, what="the worker is told to stop")
    cancel: task_pb2.CancelTask = cancels[0]
    assert [each.lease_token for each in cancels] == [token]
    return cancel


# --- timeouts ---


async def test_a_task_that_runs_for_too_long_is_stopped_and_tried_again_and_a_late_completion_is_taken(
    brisk: Running,
) -> None:
    """Its worker may be just about to finish: until somebody else has the job, its result is good."""
    job = await submit(brisk, run_timeout=A_MOMENT, retry_policy=LATER)
    worker = RawWorker(brisk)
    await worker.hello()
    [task] = await worker.tasks()
    await worker.report(task.lease_token, accepted={})

    cancel = await told_to_stop(worker, task.lease_token)
    timed_out = await get(brisk, job.id)
    done = await worker.report(task.lease_token, completed={"result": {"json": "7"}})

    assert task.run_timeout.nanos == A_MOMENT["nanos"]
    assert cancel.cause == task_pb2.CANCEL_CAUSE_RUN_TIMEOUT
    assert (JobState(timed_out.state), timed_out.attempt) == (JobState.SCHEDULED, 1)
    assert (FailureKind(timed_out.error.kind), timed_out.error.code) == (FailureKind.TIMEOUT, "RUN_TIMEOUT")
    assert (timed_out.error.retryable, timed_out.error.attempt) == (True, 1)
    assert timed_out.error.message.endswith(" ran for longer than its run_timeout of 0.1s")
    assert not timed_out.HasField("current_task")
    assert not done.rejections
    completed = await get(brisk, job.id)
    assert (JobState(completed.state), completed.result.json, completed.attempt) == (JobState.COMPLETED, "7", 1)
    assert not completed.HasField("error")
    await worker.end()


async def test_a_task_that_is_silent_is_stopped_with_that_cause(brisk: Running) -> None:
    await submit(brisk, progress_timeout=A_MOMENT, retry_policy=LATER)
    worker = RawWorker(brisk)
    await worker.hello()
    [task] = await worker.tasks()
    await worker.report(task.lease_token, accepted={})

    cancel = await told_to_stop(worker, task.lease_token)
    gone = await worker.report(task.lease_token, cancelled={})

    assert cancel.cause == task_pb2.CANCEL_CAUSE_PROGRESS_TIMEOUT
    assert not gone.rejections
    error = (await get(brisk, task.job_id)).error
    assert error.code == "PROGRESS_TIMEOUT"
    assert error.message.endswith(" was silent for longer than its progress_timeout of 0.1s")
    await worker.end()


async def test_a_task_that_is_heard_of_is_not_silent(brisk: Running) -> None:
    job = await submit(brisk, progress_timeout={"seconds": 1}, retry_policy=LATER)
    given = await claim(brisk, accept=True)
    word = {"lease_token": given.tasks[0].lease_token, "progress": {"percent": 1}}
    began = (await get(brisk, job.id)).start_time.ToMicroseconds()

    while (await get(brisk, job.id)).progress.update_time.ToMicroseconds() < began + 2_500_000:
        await report(brisk, given.session_id, word)
        await asyncio.sleep(0.05)  # sleeps: the timeout has to pass twice
    heard = await state(brisk, job.id)
    await until(brisk, job.id, JobState.SCHEDULED)

    assert heard is JobState.RUNNING


async def test_of_a_task_that_timed_out_nothing_but_a_completion_is_taken(brisk: Running) -> None:
    job = await submit(brisk, run_timeout=A_MOMENT, retry_policy=LATER)
    given = await claim(brisk, accept=True)
    token = given.tasks[0].lease_token
    await until(brisk, job.id, JobState.SCHEDULED)
    before = await get(brisk, job.id)

    told = await beat(brisk, given.session_id, token)
    late = await report(
        brisk,
        given.session_id,
        {"lease_token": token, "accepted": {}},
        {"lease_token": token, "checkpoint": {"state": {"json": "1"}}},
        {"lease_token": token, "item_errors": {"first_number": 1, "item_errors": [{"key": "a"}]}},
        {"lease_token": token, "failed": {"message": "no"}},
        {"lease_token": token, "released": {}},
    )
    after = await get(brisk, job.id)
    done = await report(brisk, given.session_id, {"lease_token": token, "completed": {}})

    assert list(told.lost_lease_tokens) == [token]
    assert [(item.seq, item.status.code) for item in late.rejections] == [
        (seq, Code.FAILED_PRECONDITION) for seq in (1, 2, 3)
    ]
    assert all(b"LEASE_LOST" in item.status.SerializeToString() for item in late.rejections)
    assert (after.revision, after.error.code, after.item_error_count) == (before.revision, "RUN_TIMEOUT", 0)
    assert not done.rejections
    assert await state(brisk, job.id) is JobState.COMPLETED


@pytest.mark.parametrize(
    "fields",
    [
        {"max_attempts": 1},
        {"retry_policy": {**AT_ONCE, "non_retryable_codes": ["RUN_TIMEOUT"]}},
    ],
    ids=["its last attempt", "a policy that names the code"],
)
async def test_a_timeout_may_be_the_end(brisk: Running, fields: dict[str, Any]) -> None:
    job = await submit(brisk, run_timeout=A_MOMENT, **fields)
    given = await claim(brisk, accept=True)
    await until(brisk, job.id, JobState.FAILED)

    late = await report(brisk, given.session_id, {"lease_token": given.tasks[0].lease_token, "completed": {}})

    failed = await get(brisk, job.id)
    assert (FailureKind(failed.error.kind), failed.error.code) == (FailureKind.TIMEOUT, "RUN_TIMEOUT")
    assert not failed.error.retryable
    assert [item.status.code for item in late.rejections] == [Code.FAILED_PRECONDITION]


async def test_the_next_attempt_spends_the_token_of_the_one_that_timed_out(brisk: Running) -> None:
    job = await submit(brisk, run_timeout={"nanos": 500_000_000}, retry_policy=AT_ONCE)
    first = await claim(brisk, accept=True)

    second = await claim(brisk, accept=True, timeout=SOON)
    late = await report(brisk, first.session_id, {"lease_token": first.tasks[0].lease_token, "completed": {}})
    done = await report(brisk, second.session_id, {"lease_token": second.tasks[0].lease_token, "completed": {}})

    assert [task.attempt for task in second.tasks] == [2]
    assert [item.status.code for item in late.rejections] == [Code.FAILED_PRECONDITION]
    assert not done.rejections
    assert (await get(brisk, job.id)).attempt == 2


# --- checkpoints ---


CHECKPOINT: Any = {"state": {"json": '{"row": 40}'}, "progress": {"items_total": 100, "items_processed": 40}}


async def test_the_next_attempt_starts_from_the_last_checkpoint(brisk: Running) -> None:
    job = await submit(brisk, retry_policy=AT_ONCE)
    given = await claim(brisk, accept=True)
    token = given.tasks[0].lease_token
    await report(
        brisk,
        given.session_id,
        {"lease_token": token, "checkpoint": {"state": {"json": "1"}}},
        {"lease_token": token, "checkpoint": CHECKPOINT},
        {"lease_token": token, "progress": {"items_total": 100, "items_processed": 60}},
        {"lease_token": token, "failed": {"message": "no"}},
    )

    worker = RawWorker(brisk)
    await worker.hello()
    [task] = await worker.tasks()
    begun = await worker.report(task.lease_token, accepted={})

    assert not given.tasks[0].HasField("checkpoint")
    assert task.checkpoint.json == '{"row": 40}'
    assert (task.progress.items_total, task.progress.items_processed) == (100, 40)
    assert not begun.rejections
    # What the first attempt did after its checkpoint is done again.
    assert (await get(brisk, job.id)).progress.items_processed == 40
    await worker.report(task.lease_token, completed={})
    await worker.end()


async def test_an_attempt_without_a_checkpoint_counts_from_zero(brisk: Running) -> None:
    job = await submit(brisk, retry_policy=AT_ONCE)
    given = await claim(brisk, accept=True)
    token = given.tasks[0].lease_token
    await report(
        brisk,
        given.session_id,
        {"lease_token": token, "progress": {"items_total": 100, "items_processed": 60}},
        {"lease_token": token, "failed": {"message": "no"}},
    )

    again = await claim(brisk, accept=True, timeout=SOON)

    assert not again.tasks[0].HasField("checkpoint")
    assert not again.tasks[0].HasField("progress")
    assert (await get(brisk, job.id)).progress.items_processed == 0


async def test_a_checkpoint_outlives_its_worker_and_a_release(brisk: Running) -> None:
    await submit(brisk)
    worker = RawWorker(brisk)
    await worker.hello()
    [task] = await worker.tasks()
    await worker.report(task.lease_token, checkpoint={"state": {"data": b"\x00\xff"}})
    worker.cut()

    after_the_loss = await claim(brisk, accept=True, timeout=SOON)
    [again] = after_the_loss.tasks
    await report(brisk, after_the_loss.session_id, {"lease_token": again.lease_token, "released": {}})
    after_the_release = await claim(brisk, timeout=SOON)

    assert (again.checkpoint.data, again.attempt) == (b"\x00\xff", 2)
    assert [(task.checkpoint.data, task.attempt) for task in after_the_release.tasks] == [(b"\x00\xff", 2)]
