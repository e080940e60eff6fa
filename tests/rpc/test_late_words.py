"""What is said of a task after its session was lost or its time was over: every row of what a spent token is worth."""

from typing import Any

import pytest

from jobhall.errors import Code
from jobhall.states import JobState
from jobhall.v1 import job_service_pb2 as jobs
from jobhall.v1 import task_pb2
from tests.support.calls import RawWorker, get, register, submit
from tests.support.returning import CANCEL, KEEP, LOST, Returning, begun, dispositions, lost, reaches, reasons, state
from tests.support.servers import Running
from tests.support.waiting import eventually_async


async def test_a_session_that_is_over_cannot_be_resumed(hasty: Running) -> None:
    program = Returning()
    await lost(hasty, program)

    worker = RawWorker(hasty)
    hello = {"worker_name": "w", "job_types": ["score"], "protocol_version": 1, **program.hello()}
    await worker.send(hello=hello)
    error = await worker.ended()

    assert error is not None
    assert (error.code, error.reason) == (Code.NOT_FOUND, "SESSION_EXPIRED")


async def test_a_new_session_takes_back_what_nobody_has_claimed_since(hasty: Running) -> None:
    program = Returning()
    job_id, token = await lost(hasty, program)

    worker, welcome = await program.renamed().come(hasty, {token: True})
    taken_back = await get(hasty, job_id)
    await worker.report(token, completed={})

    done = await get(hasty, job_id)
    assert dispositions(welcome) == {token: KEEP}
    assert (JobState(taken_back.state), taken_back.attempt, taken_back.worker_losses) == (JobState.RUNNING, 1, 0)
    assert taken_back.current_task.session_id == welcome.session_id
    assert (JobState(done.state), done.attempt) == (JobState.COMPLETED, 1)
    await worker.end()


async def test_what_was_not_begun_before_the_session_was_lost_is_not_taken_back(hasty: Running) -> None:
    program = Returning(tasks_max=1)
    first, _ = await program.come(hasty)
    job = await submit(hasty)
    (task,) = await first.tasks()
    first.cut()
    await reaches(hasty, job.id, JobState.PENDING)

    second, welcome = await program.renamed().come(hasty, {task.lease_token: False})
    (again,) = await second.tasks()

    assert dispositions(welcome) == {task.lease_token: LOST}
    assert (again.job_id, again.fence) == (job.id, task.fence + 1)
    await second.end()


async def test_what_another_worker_has_by_now_is_lost_and_its_late_end_refused(hasty: Running) -> None:
    program = Returning()
    job_id, token = await lost(hasty, program)
    other = RawWorker(hasty)
    await other.hello()
    (task,) = await other.tasks()
    await other.report(task.lease_token, accepted={})

    worker, welcome = await program.renamed().come(hasty, {token: True})
    late = await worker.report(token, completed={"result": {"json": '"stale"'}})
    await other.report(task.lease_token, completed={"result": {"json": '"good"'}})

    assert dispositions(welcome) == {token: LOST}
    assert reasons(late.rejections) == ["LEASE_LOST"]
    assert (await get(hasty, job_id)).result.json == '"good"'
    await worker.end()
    await other.end()


async def test_with_no_other_worker_a_late_completion_is_taken_and_the_job_ran_once(hasty: Running) -> None:
    program = Returning()
    job_id, token = await lost(hasty, program)

    worker = RawWorker(hasty, tasks_max=0)
    await worker.hello()
    ack = await worker.report(token, completed={"result": {"json": "1"}})
    again = await worker.report(token, completed={"result": {"json": "1"}})
    other = await worker.report(token, completed={"result": {"json": "2"}})

    done = await get(hasty, job_id)
    assert not ack.rejections
    assert not again.rejections
    assert reasons(other.rejections) == ["RESULT_CONFLICT"]
    assert (JobState(done.state), done.attempt, done.result.json) == (JobState.COMPLETED, 1, "1")
    await worker.end()


@pytest.mark.parametrize("update", [{"failed": {"code": "X", "message": "m", "retryable": False}}, {"released": {}}])
async def test_a_late_failure_or_release_is_acked_without_effect(hasty: Running, update: dict[str, Any]) -> None:
    program = Returning()
    job_id, token = await lost(hasty, program)

    worker = RawWorker(hasty, tasks_max=0)
    await worker.hello()
    ack = await worker.report(token, **update)

    assert not ack.rejections
    assert await state(hasty, job_id) is JobState.PENDING
    await worker.end()


@pytest.mark.parametrize(
    "update", [{"accepted": {}}, {"checkpoint": {"state": {"json": "1"}}}, {"item_errors": {"first_number": 1}}]
)
async def test_other_late_words_are_refused(hasty: Running, update: dict[str, Any]) -> None:
    program = Returning()
    _, token = await lost(hasty, program)

    worker = RawWorker(hasty, tasks_max=0)
    await worker.hello()
    ack = await worker.report(token, **update)

    assert reasons(ack.rejections) == ["LEASE_LOST"]
    await worker.end()


async def test_a_failure_sent_again_after_retry_changes_nothing(server: Running) -> None:
    program = Returning()
    worker, job_id, token = await begun(server, program)
    await worker.send(capacity={"tasks_max": 0})
    failure = {"code": "X", "message": "m", "retryable": False}
    await worker.report(token, failed=failure)
    await server.jobs.RetryJob(jobs.RetryJobRequest(job_id=job_id))

    await worker.report(token, failed=failure)

    job = await get(server, job_id)
    assert (JobState(job.state), job.attempt) == (JobState.PENDING, 0)
    assert not job.HasField("error")
    await worker.end()


async def test_reports_for_a_job_that_was_deleted_are_refused(hasty: Running) -> None:
    program = Returning()
    job_id, token = await lost(hasty, program)
    await hasty.jobs.DeleteJob(jobs.DeleteJobRequest(job_id=job_id))

    worker, welcome = await program.renamed().come(hasty, {token: True})
    ack = await worker.report(token, completed={})

    assert dispositions(welcome) == {token: LOST}
    assert reasons(ack.rejections) == ["LEASE_LOST"]
    await worker.end()


async def test_tokens_that_nobody_gave_out_are_lost(server: Running) -> None:
    _, welcome = await Returning().come(server, {b"": True, bytes(20): False, b"x" * 20: True})

    assert set(dispositions(welcome).values()) == {LOST}


# --- after a timeout ---


async def timed_out(server: Running, program: Returning) -> tuple[RawWorker, str, bytes]:
    """A task that ran for too long: the worker was told so, and the job waits to be tried again."""
    worker, _ = await program.come(server)
    await register(server)
    job = await submit(server, run_timeout={"nanos": 200_000_000}, retry_policy={"initial_delay": {"seconds": 600}})
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, accepted={})

    async def told() -> list[Any]:
        return list((await worker.beat(task.lease_token)).cancels)

    (cancel,) = await eventually_async(told, within=10, what="the worker is told to stop")
    assert (cancel.lease_token, cancel.cause) == (task.lease_token, task_pb2.CANCEL_CAUSE_RUN_TIMEOUT)
    return worker, job.id, task.lease_token


async def test_a_task_that_runs_for_too_long_is_cancelled_until_its_worker_says_so(hasty: Running) -> None:
    worker, job_id, token = await timed_out(hasty, Returning())

    first, second = await worker.beat(token), await worker.beat(token)

    job = await get(hasty, job_id)
    assert [cancel.lease_token for reply in (first, second) for cancel in reply.cancels] == [token, token]
    assert not first.lost_lease_tokens
    assert (JobState(job.state), job.attempt, job.error.code) == (JobState.SCHEDULED, 1, "RUN_TIMEOUT")
    await worker.end()


async def test_after_a_timeout_a_hello_is_answered_cancel_and_a_late_completion_is_taken(hasty: Running) -> None:
    program = Returning()
    first, job_id, token = await timed_out(hasty, program)
    first.cut()

    second, welcome = await program.come(hasty, {token: True})
    refused = await second.report(token, accepted={})
    taken = await second.report(token, completed={})

    (decision,) = welcome.held_tasks
    assert (decision.disposition, decision.cancel.cause) == (CANCEL, task_pb2.CANCEL_CAUSE_RUN_TIMEOUT)
    assert reasons(refused.rejections) == ["LEASE_LOST"]
    assert not taken.rejections
    assert await state(hasty, job_id) is JobState.COMPLETED
    await second.end()


# --- after a cancel ---


async def test_a_cancelled_task_whose_grace_is_over_is_taken_off_its_worker(hasty: Running) -> None:
    program = Returning()
    worker, job_id, token = await begun(hasty, program)
    request = jobs.CancelJobRequest(job_id=job_id, reason="too dear")
    request.grace.nanos = 1_000_000
    await hasty.jobs.CancelJob(request)

    async def told() -> bool:
        return token in (await worker.beat(token)).lost_lease_tokens

    await eventually_async(told, within=10, what="the worker is told that it has lost the task")
    late = await worker.report(token, completed={})

    job = await get(hasty, job_id)
    assert reasons(late.rejections) == ["LEASE_LOST"]
    assert (JobState(job.state), job.cancel_reason) == (JobState.CANCELLED, "too dear")
    await worker.end()
