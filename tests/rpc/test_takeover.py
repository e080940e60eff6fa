"""A worker that comes back with its session: what it keeps, what it is told, and who is superseded."""

import io
from pathlib import Path

from jobhall.errors import Code
from jobhall.states import JobState
from jobhall.v1 import job_service_pb2 as jobs
from jobhall.v1 import task_pb2, worker_pb2
from jobhall.v1 import worker_service_pb2 as pb
from tests.support.calls import RawWorker, get, register, submit
from tests.support.returning import CANCEL, KEEP, Returning, begun, dispositions, state
from tests.support.servers import Running, running_server
from tests.support.waiting import eventually_async


async def test_a_started_task_is_kept_across_streams_and_runs_once(server: Running) -> None:
    program = Returning()
    first, job_id, token = await begun(server, program)
    first.cut()

    second, welcome = await program.come(server, {token: True})
    await second.report(token, completed={"result": {"json": "7"}})

    job = await get(server, job_id)
    assert dispositions(welcome) == {token: KEEP}
    assert welcome.epoch > 1
    assert (JobState(job.state), job.attempt, job.worker_losses, job.result.json) == (JobState.COMPLETED, 1, 0, "7")
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
    assert (JobState(job.state), job.attempt, job.current_task.fence) == (JobState.COMPLETED, 1, 0)


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
    await first.tasks()
    first.cut()

    program.tasks_max = 0
    second, _ = await program.come(server)

    found = await get(server, job.id)
    assert (JobState(found.state), found.attempt, found.worker_losses) == (JobState.PENDING, 0, 0)
    await second.end()


async def test_a_started_task_that_the_worker_does_not_bring_back_is_a_worker_loss(server: Running) -> None:
    program = Returning()
    first, job_id, _ = await begun(server, program)
    first.cut()

    program.tasks_max = 0
    second, _ = await program.come(server)

    found = await get(server, job_id)
    assert (JobState(found.state), found.attempt, found.worker_losses) == (JobState.PENDING, 1, 1)
    await second.send(capacity={"tasks_max": 1})
    (again,) = await second.tasks()
    assert (again.job_id, again.attempt) == (job_id, 2)
    await second.end()


async def test_an_outcome_whose_ack_was_lost_is_said_again_and_acked(server: Running) -> None:
    program = Returning()
    first, job_id, token = await begun(server, program)
    await first.report(token, completed={"result": {"json": "1"}})
    first.cut()  # As if the ack had not come.

    second, welcome = await program.come(server, {token: True})
    before = await second.beat(token)
    ack = await second.report(token, completed={"result": {"json": "1"}})

    job = await get(server, job_id)
    assert dispositions(welcome) == {token: KEEP}
    assert not before.lost_lease_tokens
    assert not ack.rejections
    assert (JobState(job.state), job.attempt) == (JobState.COMPLETED, 1)
    await second.end()


async def test_a_new_session_is_given_what_the_worker_brings_from_one_that_still_lives(hasty: Running) -> None:
    """The worker began anew with its tasks in hand, while the old session lived; its end is none of theirs."""
    program = Returning()
    first, job_id, token = await begun(hasty, program)
    first.cut()

    second, welcome = await program.renamed().come(hasty, {token: True})
    held = await get(hasty, job_id)

    async def gone() -> bool:
        await second.beat(token)
        answer = await hasty.workers.ListWorkers(pb.ListWorkersRequest())
        return [worker.id for worker in answer.workers] == [welcome.session_id]

    await eventually_async(gone, within=10, what="the old session is over")
    await second.report(token, completed={})

    job = await get(hasty, job_id)
    assert dispositions(welcome) == {token: KEEP}
    assert held.current_task.session_id == welcome.session_id
    assert (JobState(job.state), job.attempt, job.worker_losses) == (JobState.COMPLETED, 1, 0)
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
    assert [(worker.id, worker.epoch, worker.state) for worker in answer.workers] == [
        (program.session_id, welcome.epoch, worker_pb2.WORKER_STATE_ATTACHED)
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
