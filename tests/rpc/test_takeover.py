"""A worker that comes back: what it keeps, what it has lost, who is superseded, and what late words are worth."""

import io
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jobhall.errors import Code
from jobhall.states import JobState
from jobhall.v1 import job_service_pb2 as jobs
from jobhall.v1 import task_pb2
from jobhall.v1 import worker_service_pb2 as pb
from tests.support.calls import RawWorker, get, register, submit
from tests.support.returning import CANCEL, KEEP, LOST, Returning, dispositions, reasons
from tests.support.servers import Running, running_server
from tests.support.waiting import eventually_async

HASTY: dict[str, Any] = {"heartbeat_seconds": 0.5, "session_ttl_seconds": 1.0, "reaper_seconds": 0.05}


@pytest.fixture
async def hasty(tmp_path: Path, server_log: io.StringIO) -> AsyncIterator[Running]:
    """A server with which a session that is gone for a second is over."""
    async with running_server(tmp_path, **HASTY) as running:
        yield running
    assert "Traceback" not in server_log.getvalue(), server_log.getvalue()


async def state(server: Running, job_id: str) -> JobState:
    return JobState((await get(server, job_id)).state)


async def reaches(server: Running, job_id: str, wanted: JobState) -> None:
    async def there() -> bool:
        return await state(server, job_id) is wanted

    await eventually_async(there, within=10, what=f"the job is {wanted.name}")


async def begun(server: Running, program: Returning) -> tuple[RawWorker, str, bytes]:
    """The program's first stream with one task that it has started: the stream, the job's id and the token."""
    worker, _ = await program.come(server)
    job = await submit(server)
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, accepted={})
    return worker, job.id, task.lease_token


async def lost(server: Running, program: Returning) -> tuple[str, bytes]:
    """The same after the session is over: the job waits for anybody."""
    worker, job_id, token = await begun(server, program)
    worker.cut()
    await reaches(server, job_id, JobState.PENDING)
    return job_id, token


# --- the same session again ---


async def test_a_started_task_is_kept_across_streams_and_runs_once(server: Running) -> None:
    program = Returning()
    first, job_id, token = await begun(server, program)
    first.cut()

    second, welcome = await program.come(server, {token: True})
    await second.report(token, completed={"result": {"json": "7"}})

    job = await get(server, job_id)
    assert dispositions(welcome) == {token: KEEP}
    assert welcome.epoch > 1
    assert (job.state, job.attempt, job.worker_losses, job.result.json) == (JobState.COMPLETED, 1, 0, "7")
    assert await second.end() is None


async def test_a_restarted_server_re_executes_nothing(tmp_path: Path, server_log: io.StringIO) -> None:
    program = Returning()
    async with running_server(tmp_path) as before:
        _, job_id, token = await begun(before, program)

    async with running_server(tmp_path) as after:
        other = RawWorker(after)
        await other.hello()
        worker, welcome = await program.come(after, {token: True})
        await worker.report(token, completed={})
        job = await get(after, job_id)
        await other.end()
        await worker.end()

    assert dispositions(welcome) == {token: KEEP}
    assert (job.state, job.attempt, job.current_task.fence) == (JobState.COMPLETED, 1, 0)


async def test_a_task_that_was_not_begun_stays_with_the_worker_that_lists_it(server: Running) -> None:
    program = Returning()
    first, _ = await program.come(server)
    job = await submit(server)
    (task,) = await first.tasks()
    first.cut()

    second, welcome = await program.come(server, {task.lease_token: False})
    await second.report(task.lease_token, accepted={})

    assert dispositions(welcome) == {task.lease_token: KEEP}
    assert (await get(server, job.id)).attempt == 1
    await second.end()


async def test_a_delivery_that_never_arrived_goes_back_free(server: Running) -> None:
    program = Returning()
    first, _ = await program.come(server)
    job = await submit(server)
    (task,) = await first.tasks()
    first.cut()

    second, _ = await program.come(server)
    (again,) = await second.tasks()

    found = await get(server, job.id)
    assert (again.job_id, again.attempt, again.fence) == (job.id, 1, task.fence + 1)
    assert (found.attempt, found.worker_losses) == (0, 0)
    await second.end()


async def test_a_started_task_that_the_worker_does_not_bring_back_is_a_worker_loss(server: Running) -> None:
    program = Returning()
    first, job_id, _ = await begun(server, program)
    first.cut()

    second, _ = await program.come(server)
    (again,) = await second.tasks()

    found = await get(server, job_id)
    assert (again.job_id, again.attempt) == (job_id, 2)
    assert (found.attempt, found.worker_losses) == (1, 1)
    await second.end()


async def test_a_welcome_that_was_lost_costs_nothing(server: Running) -> None:
    """The first Hello was taken and its answer never arrived: the worker, which chose id and secret itself, says it
    again under the next number.
    """
    program = Returning()
    first = RawWorker(server)
    await first.send(hello={"worker_name": "w", "job_types": ["score"], "protocol_version": 1, **program.hello()})
    await first.next("welcome")  # The server has sent it; the worker acts as if it had not come.

    second, welcome = await program.come(server)
    error = await first.ended()

    assert (welcome.session_id, welcome.epoch) == (program.session_id, 2)
    assert error is not None
    assert (error.code, error.reason) == (Code.ABORTED, "SESSION_SUPERSEDED")
    assert (await second.beat()).number == 1
    await second.end()


async def test_a_newer_stream_supersedes_the_older_and_its_late_close_detaches_nobody(server: Running) -> None:
    """The old stream's handler ends after the new one is attached. Had its close detached the session, the newer stream
    would be given nothing, and its tasks would be lost 15 s later.
    """
    program = Returning()
    first, job_id, token = await begun(server, program)

    second, welcome = await program.come(server, {token: True})
    error = await first.ended()
    more = await submit(server)
    (task,) = await second.tasks()
    answer = await server.workers.ListWorkers(pb.ListWorkersRequest())

    assert error is not None
    assert error.reason == "SESSION_SUPERSEDED"
    assert dispositions(welcome) == {token: KEEP}
    assert task.job_id == more.id
    assert [(worker.id, worker.epoch, worker.detach_time.seconds) for worker in answer.workers] == [
        (program.session_id, welcome.epoch, 0)
    ]
    assert await state(server, job_id) is JobState.RUNNING
    await second.end()


async def test_a_black_holed_old_hello_does_not_throw_out_the_newer_stream(server: Running) -> None:
    """A Hello that was stuck in the network for a while arrives when the worker is long back on another stream."""
    program = Returning()
    late_hello = program.hello()
    newer, job_id, token = await begun(server, program)

    older = RawWorker(server)
    await older.send(hello={"worker_name": "w", "job_types": ["score"], "protocol_version": 1, **late_hello})
    error = await older.ended()
    await newer.report(token, completed={})

    assert error is not None
    assert (error.code, error.reason) == (Code.ABORTED, "SESSION_SUPERSEDED")
    assert await state(server, job_id) is JobState.COMPLETED
    assert await newer.end() is None


async def test_nobody_takes_a_session_over_without_its_secret(server: Running) -> None:
    program = Returning()
    worker, job_id, token = await begun(server, program)

    thief = RawWorker(server)
    hello = program.hello({token: True}) | {"resume_token": "something else"}
    await thief.send(hello={"worker_name": "w", "job_types": ["score"], "protocol_version": 1, **hello})
    error = await thief.ended()
    await worker.report(token, completed={})

    assert error is not None
    assert (error.code, error.reason) == (Code.NOT_FOUND, "SESSION_EXPIRED")
    assert await state(server, job_id) is JobState.COMPLETED
    await worker.end()


async def test_a_session_keeps_ten_thousand_tasks(server: Running, long: bool) -> None:
    count = 10_000 if long else 3_000
    await register(server)
    for _ in range(count // 1000):
        request = jobs.BatchSubmitJobsRequest()
        for _ in range(1000):
            request.jobs.add(job_type="score")
        await server.jobs.BatchSubmitJobs(request)
    program = Returning(tasks_max=count)
    first, _ = await program.come(server)
    tokens: list[bytes] = []
    while len(tokens) < count:
        tokens += [task.lease_token for task in await first.tasks()]
    first.cut()

    second, welcome = await program.come(server, dict.fromkeys(tokens, True))
    reply = await second.beat(*tokens)

    assert dispositions(welcome) == dict.fromkeys(tokens, KEEP)
    assert not reply.lost_lease_tokens
    await second.end()


async def test_a_cancel_that_came_while_the_worker_was_away_is_told_in_the_welcome(server: Running) -> None:
    program = Returning()
    first, job_id, token = await begun(server, program)
    first.cut()
    request = jobs.CancelJobRequest(job_id=job_id, reason="too dear")
    request.grace.seconds = 20
    await server.jobs.CancelJob(request)

    second, welcome = await program.come(server, {token: True})
    (decision,) = welcome.held_tasks
    await second.report(token, cancelled={})

    assert decision.disposition == CANCEL
    assert (decision.cancel.reason, decision.cancel.cause) == ("too dear", task_pb2.CANCEL_CAUSE_REQUESTED)
    assert 15 <= decision.cancel.grace.seconds <= 20
    assert await state(server, job_id) is JobState.CANCELLED
    await second.end()


# --- the session is over ---


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
    assert (taken_back.state, taken_back.attempt, taken_back.worker_losses) == (JobState.RUNNING, 1, 0)
    assert taken_back.current_task.session_id == welcome.session_id
    assert (done.state, done.attempt) == (JobState.COMPLETED, 1)
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
    assert (done.state, done.attempt, done.result.json) == (JobState.COMPLETED, 1, "1")
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
    assert (job.state, job.attempt) == (JobState.PENDING, 0)
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
    (cancel,) = (await worker.next("cancel_tasks")).cancel_tasks.cancels
    assert (cancel.lease_token, cancel.cause) == (task.lease_token, task_pb2.CANCEL_CAUSE_RUN_TIMEOUT)
    return worker, job.id, task.lease_token


@pytest.fixture
async def quick(tmp_path: Path, server_log: io.StringIO) -> AsyncIterator[Running]:
    """A server that serves long enough for deadlines to fire soon."""
    settings = {"heartbeat_seconds": 2.5, "session_ttl_seconds": 5.0, "reaper_seconds": 0.05}
    async with running_server(tmp_path, **settings | HASTY) as running:
        yield running
    assert "Traceback" not in server_log.getvalue(), server_log.getvalue()


async def test_a_task_that_runs_for_too_long_is_cancelled_until_its_worker_says_so(quick: Running) -> None:
    worker, job_id, token = await timed_out(quick, Returning())

    first, second = await worker.beat(token), await worker.beat(token)

    job = await get(quick, job_id)
    assert [cancel.lease_token for reply in (first, second) for cancel in reply.cancels] == [token, token]
    assert not first.lost_lease_tokens
    assert (job.state, job.attempt, job.error.code) == (JobState.SCHEDULED, 1, "RUN_TIMEOUT")
    await worker.end()


async def test_after_a_timeout_a_hello_is_answered_cancel_and_a_late_completion_is_taken(quick: Running) -> None:
    program = Returning()
    first, job_id, token = await timed_out(quick, program)
    first.cut()

    second, welcome = await program.come(quick, {token: True})
    refused = await second.report(token, accepted={})
    taken = await second.report(token, completed={})

    (decision,) = welcome.held_tasks
    assert (decision.disposition, decision.cancel.cause) == (CANCEL, task_pb2.CANCEL_CAUSE_RUN_TIMEOUT)
    assert reasons(refused.rejections) == ["LEASE_LOST"]
    assert not taken.rejections
    assert await state(quick, job_id) is JobState.COMPLETED
    await second.end()


# --- drained ---


async def drain(server: Running, worker_id: str, **timeout: int) -> Any:
    request = pb.DrainWorkerRequest(worker_id=worker_id, reason="deploy")
    if timeout:
        request.timeout.CopyFrom(pb.WorkSettings(drain_timeout=timeout).drain_timeout)
    return await server.workers.DrainWorker(request)


async def test_a_drained_worker_finishes_what_it_holds_and_is_let_go(server: Running) -> None:
    program = Returning()
    worker, job_id, token = await begun(server, program)

    await drain(server, program.session_id)
    told = (await worker.next("drain")).drain
    more = await submit(server)
    await worker.report(token, completed={})

    assert (told.reason, told.message) == (pb.DRAIN_REASON_WORKER_DRAIN, "deploy")
    assert await worker.ended() is None
    assert await state(server, job_id) is JobState.COMPLETED
    assert await state(server, more.id) is JobState.PENDING
    again, _ = await program.renamed().come(server)
    assert [task.job_id for task in await again.tasks()] == [more.id]
    await again.end()


async def test_a_drained_worker_that_comes_back_goes_on_with_its_drain(server: Running) -> None:
    program = Returning()
    first, _, token = await begun(server, program)
    await drain(server, program.session_id)
    first.cut()

    second, welcome = await program.come(server, {token: True})
    told = (await second.next("drain")).drain
    await second.report(token, completed={})
    end = await second.ended()
    third = RawWorker(server)
    hello = {"worker_name": "w", "job_types": ["score"], "protocol_version": 1, **program.hello()}
    await third.send(hello=hello)
    error = await third.ended()

    assert dispositions(welcome) == {token: KEEP}
    assert told.reason == pb.DRAIN_REASON_WORKER_DRAIN
    assert end is None
    assert error is not None
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "WORKER_DRAINED")


async def test_what_a_drained_worker_still_holds_in_the_end_is_released(quick: Running) -> None:
    program = Returning()
    worker, job_id, token = await begun(quick, program)

    await drain(quick, program.session_id, seconds=0)
    lost_then = await worker.next("heartbeat_reply")

    job = await get(quick, job_id)
    assert list(lost_then.heartbeat_reply.lost_lease_tokens) == [token]
    assert await worker.ended() is None
    assert (job.state, job.attempt, job.worker_losses) == (JobState.PENDING, 0, 0)


async def test_a_drain_of_nobody_is_not_found(server: Running) -> None:
    with pytest.raises(Exception, match="no worker"):
        await drain(server, str(uuid.uuid4()))
