"""Workers that read slowly, let tasks lie, change their mind, or hold very much: bounded, and nobody else's loss."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobhall.states import JobState
from jobhall_server.domain.job import Payload
from jobhall_server.hall.frames import Assignments, Capacity, Heartbeat, HeartbeatReply
from jobhall_server.hall.session import UNSENT_BYTES_MAX
from tests.support.halls import QUICK, SOON, HallWorker, Scene, counted, greeting, open_hall, reaches
from tests.support.held_back import held_back
from tests.support.stores import ENGINES
from tests.support.waiting import eventually_async


@pytest.fixture(params=ENGINES)
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_hall(request.param, tmp_path) as scene:
        yield scene


async def test_a_claim_whose_worker_changed_its_mind_meanwhile_goes_back_free(tmp_path: Path) -> None:
    """The claim waited behind a busy writer; when it was served, its worker wanted nothing any more."""
    # Without the poll of every second, whose claim could be the one that waits and finds nothing.
    async with open_hall("sqlite", tmp_path, replace(QUICK, reaper_seconds=60.0)) as scene:
        worker, dispatcher = HallWorker(scene), scene.hall.dispatcher
        await worker.hello(greeting(tasks_max=1))
        submitting: list[asyncio.Future[list[int]]] = []
        while not submitting:
            await dispatcher.settle()
            async with held_back(scene.store):
                late = dispatcher.claiming
                if late:
                    continue  # For the start's own poll.
                submitting.append(asyncio.ensure_future(scene.floor.submit()))
                await asyncio.sleep(0)
                dispatcher.poll()
                assert dispatcher.claiming
                worker.connection.receive(Capacity(0, {}))
        (job_key,) = await submitting[0]

        async def back() -> bool:
            record = await scene.floor.record(job_key)
            return record is not None and (record.state, record.fence) == (JobState.PENDING, 1)

        await eventually_async(back, within=SOON, what="the job was claimed and given back")
        record = await scene.floor.record(job_key)
        assert record is not None
        assert record.attempt == 0
        assert not [frame for frame in worker.frames if isinstance(frame, Assignments)]
        await worker.leave()


@pytest.mark.parametrize("engine", ENGINES)
async def test_every_confirmed_delivery_of_a_lost_worker_counts_as_a_loss_however_many_there_are(
    engine: str, tmp_path: Path
) -> None:
    """What a worker had confirmed was forgotten with the first thousand of its jobs: the others went back as if they
    had never arrived, and a job that kills its worker on arrival would never have been found out.
    """
    count = 1500
    settings = replace(QUICK, stream=replace(QUICK.stream, session_ttl_seconds=0.3))
    async with open_hall(engine, tmp_path, settings) as scene:
        keys = await scene.floor.submit(count)
        worker = HallWorker(scene)
        await worker.hello(greeting(tasks_max=count))
        tasks = await worker.tasks(count)
        await worker.beat(*[task.token for task in tasks])

        await worker.leave()
        for key in keys:
            await reaches(scene, key, JobState.PENDING)

        losses = [record.worker_losses for key in keys if (record := await scene.floor.record(key)) is not None]
        assert losses == [1] * count


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_worker_that_lets_its_tasks_lie_is_given_no_more_of_them(engine: str, tmp_path: Path) -> None:
    settings = replace(QUICK, stream=replace(QUICK.stream, accept_seconds=0.05))
    async with open_hall(engine, tmp_path, settings) as scene:
        idle = HallWorker(scene)
        await idle.hello(greeting(tasks_max=1))
        (job_key,) = await scene.floor.submit()
        await idle.tasks(3)
        await reaches(scene, job_key, JobState.PENDING)

        other = HallWorker(scene)
        await other.hello(greeting(tasks_max=1))
        (task,) = await other.tasks()

        record = await scene.floor.record(job_key)
        assert len(await idle.tasks(3)) == 3
        assert (task.claimed.attempt, task.claimed.lease.fence) == (1, 4)
        assert record is not None
        assert record.worker_losses == 0
        await counted(scene, "repairs.never_accepted=3")
        await idle.leave()
        await other.leave()


async def test_a_worker_that_reads_nothing_is_given_no_more_and_holds_up_nobody(scene: Scene) -> None:
    large = Payload('"' + "x" * 100_000 + '"')
    await scene.floor.submit(200, parameters=large)
    deaf = HallWorker(scene, reading=False)
    deaf.connection.receive(greeting(tasks_max=1000))
    await eventually_async(
        lambda: deaf.connection.machine.unsent_bytes > UNSENT_BYTES_MAX, within=SOON, what="it was given much"
    )
    given = len(deaf.connection.machine.holdings.tasks)
    quick = HallWorker(scene)
    await quick.hello(greeting(tasks_max=1000))
    others = await quick.tasks(200 - given)

    assert given < 100, "more than one claim"
    assert len(deaf.connection.machine.holdings.tasks) == given
    assert len(others) == 200 - given
    deaf.read_on()
    assert len(await deaf.tasks(given)) == given
    await deaf.leave()
    await quick.leave()


async def test_a_beats_reply_overtakes_the_tasks_that_wait(scene: Scene) -> None:
    await scene.floor.submit(20, parameters=Payload('"' + "x" * 200_000 + '"'))
    worker = HallWorker(scene, reading=False)
    worker.connection.receive(greeting(tasks_max=20))
    await eventually_async(lambda: worker.connection.machine.holdings.tasks, within=SOON, what="it was given tasks")
    first = await worker.connection.outgoing()
    worker.connection.receive(Heartbeat(1, [], 0))
    second = await worker.connection.outgoing()

    assert [type(frame) for frame in first][-1] is Assignments
    assert [type(frame) for frame in second] == [HeartbeatReply, Assignments]
    assert [len(frame.tasks) for frame in second if isinstance(frame, Assignments)] == [1]
    await worker.leave()
