"""A worker that an operator drains: it finishes what it holds, or it is taken from it, and it leaves for good."""

import uuid

from jobhall.errors import Code
from jobhall.states import JobState
from jobhall.v1 import worker_service_pb2 as pb
from tests.support.calls import RawWorker, get, refusal, submit
from tests.support.returning import KEEP, Returning, begun, dispositions, state
from tests.support.servers import Running


async def drain(server: Running, worker_id: str, *, seconds: int | None = None) -> pb.DrainWorkerResponse:
    request = pb.DrainWorkerRequest(worker_id=worker_id, reason="deploy")
    if seconds is not None:
        request.timeout.seconds = seconds
    answer: pb.DrainWorkerResponse = await server.workers.DrainWorker(request)
    return answer


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


async def test_what_a_drained_worker_still_holds_in_the_end_is_released(hasty: Running) -> None:
    program = Returning()
    worker, job_id, token = await begun(hasty, program)

    await drain(hasty, program.session_id, seconds=0)
    lost_then = await worker.next("heartbeat_reply")

    job = await get(hasty, job_id)
    assert list(lost_then.heartbeat_reply.lost_lease_tokens) == [token]
    assert await worker.ended() is None
    assert (JobState(job.state), job.attempt, job.worker_losses) == (JobState.PENDING, 0, 0)


async def test_a_drained_worker_that_comes_back_with_nothing_is_told_to_stop(server: Running) -> None:
    program = Returning()
    first, job_id, _ = await begun(server, program)
    await drain(server, program.session_id)
    first.cut()

    second = RawWorker(server)
    await second.send(hello={"worker_name": "w", "job_types": ["score"], "protocol_version": 1, **program.hello()})
    error = await second.ended()

    job = await get(server, job_id)
    assert error is not None
    assert error.reason == "WORKER_DRAINED"
    assert (JobState(job.state), job.worker_losses) == (JobState.PENDING, 1)


async def test_the_end_of_a_drain_does_not_wait_for_a_word_that_never_comes(hasty: Running) -> None:
    """The worker lists a task whose outcome is on record, and never says it again."""
    program = Returning()
    first, _, token = await begun(hasty, program)
    await first.report(token, completed={})
    first.cut()
    second, _ = await program.come(hasty, {token: True})

    await drain(hasty, program.session_id, seconds=0)

    assert await second.ended() is None


async def test_a_drain_of_nobody_is_not_found(server: Running) -> None:
    error = await refusal(drain(server, str(uuid.uuid4())))

    assert (error.code, error.reason) == (Code.NOT_FOUND, "WORKER_NOT_FOUND")
