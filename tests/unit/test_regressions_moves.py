"""Faults of moves, reports and claims that were found by hunting: each test opens with what went wrong before."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from jobhall.states import JobState
from jobhall_server.domain import moves
from jobhall_server.domain.job import Lease
from jobhall_server.hall.claims import Dispatcher
from jobhall_server.hall.frames import Assignments, Cancel, Capacity, Heartbeat, StreamSettings
from jobhall_server.hall.reaper import JOBS_PER_PASS, reap
from jobhall_server.hall.reports import JudgeReports
from jobhall_server.hall.session import SessionMachine
from jobhall_server.hall.store import Claimed, Group
from jobhall_server.hall.unary import Asked
from jobhall_server.hall.views import QueueView
from tests.support.halls import QUICK, HallWorker, Scene, greeting, open_hall
from tests.support.stores import Act, Floor, SetClock, open_store
from tests.support.task_steps import accept, leases_of, take
from tests.support.waiting import eventually_async
from tests.support.worker_frames import assignment, failed, hello, token


@pytest.fixture
async def floor(tmp_path: Path) -> AsyncIterator[Floor]:
    async with open_store("memory", tmp_path, clock=SetClock()) as store:
        yield await Floor.of(store, tmp_path)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_hall("memory", tmp_path) as opened:
        yield opened


async def test_jobs_that_fail_together_are_not_tried_again_together(floor: Floor) -> None:
    """One random number was drawn for all reports of a unit: a thousand jobs whose backend was down failed in one
    unit, and came back in the same microsecond, however much jitter their policy asked for.
    """
    await floor.submit(20)
    leases = await leases_of(floor, await floor.session(), 20)
    reports = [failed(place, lease.token(), retryable=True) for place, lease in enumerate(leases, 1)]

    await floor.store.run(JudgeReports(reports, chance=0.5))

    records = [await floor.record(lease.job_key) for lease in leases]
    assert len({record and record.due_at for record in records}) == 20


def test_a_task_that_is_out_of_time_takes_up_room_until_its_worker_has_stopped_it() -> None:
    """The worker was given the next one on top, which it could not begin: that lay until it went back, three times,
    and then the worker was given nothing of that type for a minute.
    """
    machine = SessionMachine(StreamSettings(), 0.0)
    machine.receive(hello(tasks_max=1), 0.0)
    machine.opened("s", "t", 1)
    machine.deliver([assignment(1)], 0.0)

    machine.time_out(Cancel(token(1), "its run_timeout is over", 30.0))
    still_there = machine.free()
    machine.receive(Heartbeat(1, [token(1)], 1), 1.0)
    listed = machine.free()
    machine.receive(Heartbeat(2, [], 1), 2.0)

    assert (still_there, listed, machine.free()) == (0, 0, 1)


def test_a_worker_that_stalls_once_with_many_tasks_is_spared_for_a_minute_and_not_for_ten() -> None:
    """Three tasks that it let lie close a type to a worker for a minute, three more for two, and so on. Of thirty that
    lay at once, since the worker stood still for a moment, each three doubled the time: it was idle for ten minutes.
    """
    machine = SessionMachine(StreamSettings(heartbeat_seconds=60.0, accept_seconds=10.0), 0.0)
    machine.receive(hello(tasks_max=30), 0.0)
    machine.opened("s", "t", 1)
    machine.deliver([assignment(key) for key in range(1, 31)], 0.0)

    overdue = machine.tick(11.0)

    assert len(overdue.unaccepted) == 30
    assert machine.unwanted.shut(70.0) == {1}
    assert machine.unwanted.shut(72.0) == frozenset()


async def test_what_comes_of_a_type_that_was_paused_meanwhile_goes_back(scene: Scene) -> None:
    """The credit in all was looked at as a claim came back, but not that of the type: a worker that had paused the
    type was given the tasks all the same.
    """
    worker = HallWorker(scene)
    await worker.hello(replace(greeting(), type_limits={"score": 5}))
    [key] = await scene.floor.submit()
    [claimed] = await scene.floor.claim(scene.floor.want(worker.connection.session, 1))  # type: ignore[arg-type]

    worker.connection.receive(Capacity(10, {"score": 0}))
    worker.connection.deliver(claimed)

    async def waits_again() -> bool:
        record = await scene.floor.record(key)
        return record is not None and record.state is JobState.PENDING

    await eventually_async(waits_again, within=10, what="the job is in the queue again")
    assert not [frame for frame in worker.frames if isinstance(frame, Assignments)]
    await worker.leave()


class Hungry:
    """A seat that is always hungry, and told of nothing."""

    def __init__(self, session_key: int, queue_key: int) -> None:
        self.session_key = session_key
        self.epoch = 1
        self.worker_name = "hungry"
        self.accept_us = None
        self.given: list[Lease] = []
        self._queue_key = queue_key

    def free(self) -> int:
        return 1

    def free_by_type(self) -> dict[str, int]:
        return {}

    def serves(self) -> dict[int, str]:
        return {self._queue_key: "score"}

    def deliver(self, claimed: Sequence[Claimed]) -> None:
        self.given += [job.lease for job in claimed]


async def test_who_waits_for_a_claim_does_not_wait_for_everybody_elses(floor: Floor) -> None:
    """Under load the next claim is in flight as soon as one is back. ClaimTasks waited for the moment in which none
    was: its tasks had come long ago, and went back unnamed.
    """
    await floor.submit(500)
    seat = Hungry((await floor.session()).key, floor.queue_key)
    dispatcher = Dispatcher(floor.store, lambda: [seat], lambda: [floor.queue_key])
    dispatcher.poll()

    await dispatcher.settle(rounds=2)

    assert 1 <= len(seat.given) <= 3
    await dispatcher.settle()
    assert len(seat.given) == 500


async def test_an_answer_that_tells_of_very_many_cancels_can_be_received(scene: Scene) -> None:
    """A unary worker was told of all of them at once, each with its reason of a kilobyte: of 5,000 tasks that was an
    answer of 5 MB, at every call, and it could not even say that it had stopped them.
    """
    keys = await scene.floor.submit(5000)
    session = await scene.floor.session(ttl_us=60_000_000)
    [claimed] = await scene.floor.claim(scene.floor.want(session, 5000))

    def cancel_all(group: Group) -> None:
        for job in claimed:
            accept(group, job.lease)
            record = group.job(job.lease.job_key)
            assert record is not None
            take(group, job.lease, moves.cancel(record, reason="r" * 1000, by="", stop_at=group.now + 60_000_000))

    await scene.store.run(Act(cancel_all, job_keys=keys))
    told = await scene.hall.unary.beat(session.session_id, [job.lease.token() for job in claimed])

    assert 0 < sum(len(cancel.reason) for cancel in told.cancels) < 2_000_000


async def test_a_task_does_not_wait_behind_thousands_of_idle_workers_that_are_gone(tmp_path: Path) -> None:
    """The reaper reads a thousand lost sessions at a time, and the next thousand a second later, unless that freed a
    thousand tasks: after a network was gone, the tasks of the last workers waited for as long as there were thousands.
    """
    async with open_hall("memory", tmp_path, replace(QUICK, reaper_seconds=3600.0)) as scene:
        await asyncio.gather(*(scene.floor.session(ttl_us=1_000_000) for _ in range(2 * JOBS_PER_PASS)))
        scene.clock.leap(0.5)
        [key] = await scene.floor.submit()
        session = await scene.floor.session(ttl_us=1_000_000)
        await scene.floor.claim(scene.floor.want(session, 1))
        scene.clock.leap(5.0)

        passes = [await reap(scene.hall)]
        while passes[-1] >= JOBS_PER_PASS:
            passes.append(await reap(scene.hall))

        record = await scene.floor.record(key)
        assert record is not None
        assert (len(passes), record.state) == (3, JobState.PENDING)


async def test_who_waits_looks_up_its_queues_once(scene: Scene) -> None:
    """Each waiting ClaimTasks went through all queues of the service at every submit: two hundred of them and a hundred
    queues took 14 ms of the server's one loop each time.
    """
    served = scene.hall.unary.served(Asked(namespaces=("default",), job_types=("score", "public:other")))

    before = served.names()
    [score] = before
    scene.hall.registry.add_queues([QueueView(score + 1, 1, "default", "@global", "other")])
    after = served.names()

    assert (list(before.values()), list(after.values())) == (["score"], ["score", "public:other"])
    assert served.names() is after
