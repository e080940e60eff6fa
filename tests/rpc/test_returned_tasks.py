"""Tasks that come back: released, not for this worker, let lie, and lost so often that the job itself is to blame."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jobhall.states import FailureKind, JobState
from jobhall.v1 import job_pb2, task_pb2, worker_service_pb2
from tests.support.calls import RawWorker, get, register, submit
from tests.support.servers import Running, running_server
from tests.support.unary_calls import SOON, claim, report, state
from tests.support.waiting import eventually_async

WITHIN_SECONDS = 20.0
NOT_MINE: Any = {"reason": task_pb2.RELEASE_REASON_NOT_MINE}


async def released(server: Running, **released: Any) -> job_pb2.Job:
    """The next job's task is given back after it was begun; answers the job as it is then."""
    given = await claim(server, accept=True, timeout=SOON)
    [task] = given.tasks
    answer = await report(server, given.session_id, {"lease_token": task.lease_token, "released": released})
    assert not answer.rejections
    return await get(server, task.job_id)


# --- released ---


async def test_a_released_task_spends_no_attempt_and_is_available_at_once(brisk: Running) -> None:
    job = await submit(brisk)

    back = await released(brisk)
    again = await claim(brisk)

    assert (JobState(back.state), back.attempt) == (JobState.PENDING, 0)
    assert [(task.job_id, task.attempt) for task in again.tasks] == [(job.id, 1)]


async def test_a_task_released_for_a_while_waits_for_that_long(brisk: Running) -> None:
    job = await submit(brisk)

    back = await released(brisk, delay={"seconds": 2})
    too_early = await claim(brisk)
    again = await claim(brisk, timeout=SOON)

    assert (JobState(back.state), back.attempt) == (JobState.SCHEDULED, 0)
    assert back.schedule_time.ToMicroseconds() - back.update_time.ToMicroseconds() == 2_000_000
    assert not back.HasField("error")
    assert not too_early.tasks
    assert [(task.job_id, task.attempt) for task in again.tasks] == [(job.id, 1)]


async def test_from_the_third_release_on_a_job_backs_off(brisk: Running) -> None:
    """Workers that hand a job round and round would keep everybody busy with nothing."""
    policy: Any = {"initial_delay": {"nanos": 50_000_000}, "jitter": 0.0}
    await submit(brisk, retry_policy=policy)

    back = [await released(brisk) for _ in range(4)]

    assert [JobState(job.state) for job in back] == [JobState.PENDING] * 2 + [JobState.SCHEDULED] * 2
    delays = [job.schedule_time.ToMicroseconds() - job.update_time.ToMicroseconds() for job in back[2:]]
    assert delays == [50_000, 100_000]
    assert [job.attempt for job in back] == [0] * 4


async def test_a_task_that_is_not_for_this_session_goes_to_another_one(brisk: Running) -> None:
    job = await submit(brisk)
    first = await claim(brisk)
    await report(brisk, first.session_id, {"lease_token": first.tasks[0].lease_token, "released": NOT_MINE})
    other = await submit(brisk)

    mine = await claim(brisk, session_id=first.session_id, tasks_max=5)
    named = await claim(brisk, session_id=first.session_id, job_ids=[job.id])
    theirs = await claim(brisk, tasks_max=5)

    assert [task.job_id for task in mine.tasks] == [other.id]
    assert not named.tasks
    assert [task.job_id for task in theirs.tasks] == [job.id]


async def test_a_stream_is_not_given_again_what_was_not_for_it(brisk: Running) -> None:
    job = await submit(brisk)
    worker = RawWorker(brisk)
    await worker.hello()
    [task] = await worker.tasks()

    await worker.report(task.lease_token, released=NOT_MINE)
    await submit(brisk)
    [other] = await worker.tasks()

    assert other.job_id != job.id
    assert await state(brisk, job.id) is JobState.PENDING
    assert [task.job_id for task in (await claim(brisk)).tasks] == [job.id]
    await worker.report(other.lease_token, completed={})
    await worker.end()


# --- poison ---


A_LIFE: Any = {"seconds": 1}


async def killed(server: Running, **fields: Any) -> list[job_pb2.Job]:
    """A worker begins what it is given and is never heard of again; answers its jobs once they are taken from it."""
    given = await claim(server, accept=True, lease_duration=A_LIFE, timeout=SOON, **fields)
    await lost(server, given)
    return [await get(server, task.job_id) for task in given.tasks]


async def lost(server: Running, given: worker_service_pb2.ClaimTasksResponse) -> None:
    async def all_lost() -> bool:
        return not [task for task in given.tasks if await state(server, task.job_id) is JobState.RUNNING]

    await eventually_async(all_lost, within=WITHIN_SECONDS, what="the worker is lost")


async def test_three_losses_in_a_row_fail_the_job(brisk: Running) -> None:
    job = await submit(brisk, max_attempts=10)

    deaths = [(await killed(brisk))[0] for _ in range(3)]

    failed = await get(brisk, job.id)
    assert [(JobState(job.state), job.worker_losses, job.attempt) for job in deaths] == [
        (JobState.PENDING, 1, 1),
        (JobState.PENDING, 2, 2),
        (JobState.FAILED, 3, 3),
    ]
    assert (FailureKind(failed.error.kind), failed.error.code) == (FailureKind.WORKER_LOST, "WORKER_LOSSES_EXHAUSTED")
    assert failed.error.message == "its worker was lost in attempt 3 of 10; 3 in a row"
    assert not failed.error.retryable


async def test_a_job_that_kills_its_workers_before_they_say_that_they_began_says_so(brisk: Running) -> None:
    job_id = (await submit(brisk)).id
    for losses in (1, 2, 3):
        worker = RawWorker(brisk)
        await worker.hello()
        [task] = await worker.tasks()
        await worker.beat(task.lease_token)
        worker.cut()

        async def counted(count: int = losses) -> bool:
            return (await get(brisk, job_id)).worker_losses == count

        await eventually_async(counted, within=WITHIN_SECONDS, what="the worker is lost")

    error = (await get(brisk, job_id)).error
    assert error.message == "its worker was lost before it said that it began attempt 1 of 4; 3 in a row"


async def test_losses_count_only_in_a_row(brisk: Running) -> None:
    """Two workers were lost with it for reasons of their own; a third one lived to say that it failed."""
    await submit(brisk, max_attempts=10, retry_policy={"initial_delay": {}})
    for _ in range(2):
        await killed(brisk)

    alive = await claim(brisk, accept=True)
    await report(brisk, alive.session_id, {"lease_token": alive.tasks[0].lease_token, "failed": {}})
    [job] = await killed(brisk)

    assert (JobState(job.state), job.worker_losses, job.attempt) == (JobState.PENDING, 1, 4)


async def test_the_last_attempt_that_is_lost_fails_the_job(brisk: Running) -> None:
    await submit(brisk, max_attempts=1)

    [failed] = await killed(brisk)

    assert (JobState(failed.state), failed.attempt, failed.worker_losses) == (JobState.FAILED, 1, 1)
    assert (FailureKind(failed.error.kind), failed.error.code) == (FailureKind.WORKER_LOST, "ATTEMPTS_EXHAUSTED")


async def test_one_poison_job_among_good_ones_takes_none_of_them_with_it(brisk: Running) -> None:
    """Every worker that begins the poison job dies of it, with all that it holds. From the first death on the jobs that
    were in it are handed out one to a worker, so that only the guilty one is counted again.
    """
    good = [await submit(brisk) for _ in range(3)]
    poison = await submit(brisk)
    good += [await submit(brisk) for _ in range(3)]
    deaths = 0

    while (given := await claim(brisk, accept=True, tasks_max=10, lease_duration=A_LIFE)).tasks:
        if poison.id in {task.job_id for task in given.tasks}:
            deaths += 1
            await lost(brisk, given)
        else:
            updates = [{"lease_token": task.lease_token, "completed": {}} for task in given.tasks]
            await report(brisk, given.session_id, *updates)

    ended = [await get(brisk, job.id) for job in good]
    assert {JobState(job.state) for job in ended} == {JobState.COMPLETED}
    assert {job.worker_losses for job in ended} == {1}
    assert await state(brisk, poison.id) is JobState.FAILED
    assert (await get(brisk, poison.id)).worker_losses == deaths == 3


# --- let lie ---


@pytest.fixture
async def impatient(tmp_path: Path, server_log: io.StringIO) -> AsyncIterator[Running]:
    """A server that takes back soon what is not begun."""
    # The stream itself takes back what lies; the reaper, which may come first on a slow machine, counts nothing of it.
    async with running_server(tmp_path, accept_seconds=0.1, reaper_seconds=10.0) as running:
        for name in ("score", "zip"):
            await register(running, name)
        yield running
    assert "Traceback" not in server_log.getvalue(), server_log.getvalue()


async def test_a_session_that_lets_three_deliveries_lie_is_given_no_more_of_that_type(impatient: Running) -> None:
    """Its worker is deaf, or serves the type in name only: the job would go to and fro with nobody else in its way."""
    job = await submit(impatient)
    worker = RawWorker(impatient, "score", "zip")
    await worker.hello()

    delivered = [(await worker.tasks())[0] for _ in range(3)]
    await eventually_async(
        lambda: _is(impatient, job.id, JobState.PENDING), within=WITHIN_SECONDS, what="the third one is back"
    )
    await submit(impatient, "zip")
    [other] = await worker.tasks()
    begun = await worker.report(other.lease_token, accepted={})

    assert {(task.job_id, task.attempt) for task in delivered} == {(job.id, 1)}
    assert [task.fence for task in delivered] == [1, 2, 3]
    assert other.job_type == "zip"
    assert not begun.rejections
    assert await state(impatient, job.id) is JobState.PENDING
    assert (await get(impatient, job.id)).worker_losses == 0
    assert [task.job_id for task in (await claim(impatient)).tasks] == [job.id]
    await worker.report(other.lease_token, completed={})
    await worker.end()


async def _is(server: Running, job_id: str, wanted: JobState) -> bool:
    return await state(server, job_id) is wanted
