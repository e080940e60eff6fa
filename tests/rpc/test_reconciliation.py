"""What a stream and the store do not agree on is repaired: by beats, by a look each second, and after a pause."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from jobhall.errors import Code
from jobhall.states import JobState
from jobhall_server.domain import moves
from jobhall_server.domain.change import Change
from jobhall_server.hall.frames import Ack, Cancels, ListedTask
from jobhall_server.hall.leases import LoseTasks
from jobhall_server.hall.store import Group, Want
from jobhall_server.hall.takeover import OpenSession, resume_digest
from tests.support.calls import RawWorker, get, submit
from tests.support.halls import (
    SOON,
    HallWorker,
    Scene,
    begun,
    counted,
    greeting,
    open_hall,
    reaches,
    state,
)
from tests.support.servers import Running
from tests.support.stores import ENGINES, FILE_NAME, Act, claim_unit
from tests.support.waiting import eventually_async
from tests.support.worker_frames import completed


@pytest.fixture(params=ENGINES)
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_hall(request.param, tmp_path) as scene:
        yield scene


# --- beats, over the wire ---


async def test_a_beat_is_told_which_of_its_tasks_are_not_its_own(server: Running) -> None:
    worker, other = RawWorker(server, tasks_max=1), RawWorker(server, tasks_max=1)
    await worker.hello()
    await submit(server)
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, accepted={})
    await other.hello()
    theirs = await submit(server)
    (their_task,) = await other.tasks()

    reply = await worker.beat(task.lease_token, their_task.lease_token, b"made up")
    await other.report(their_task.lease_token, completed={})

    assert set(reply.lost_lease_tokens) == {their_task.lease_token, b"made up"}
    assert (await get(server, theirs.id)).attempt == 1
    await worker.end()
    await other.end()


async def test_a_task_is_never_named_lost_before_its_end_is_acked(scene: Scene) -> None:
    """The beat was sent before the worker read the ack of its outcome, so it lists the task. On the stream the ack goes
    out first: what the reply says of it is then of no interest.
    """
    worker = HallWorker(scene)
    await worker.hello()
    _, token = await begun(scene, worker)

    worker.say(completed(0, token))
    reply = await worker.beat(token)
    acks = [frame for frame in await worker.heard(Ack) if frame.through_seq == 2]

    assert not reply.lost or worker.frames.index(acks[0]) < worker.frames.index(reply)
    await worker.leave()


async def test_a_task_that_a_beat_does_not_list_is_run_again(server: Running) -> None:
    worker = RawWorker(server, tasks_max=2)
    await worker.hello()
    started, fresh = await submit(server), await submit(server)
    tasks = [*await worker.tasks()]
    while len(tasks) < 2:
        tasks += await worker.tasks()
    await worker.report(tasks[0].lease_token, accepted={})

    await worker.beat()
    again = [*await worker.tasks()]
    while len(again) < 2:
        again += await worker.tasks()

    lost, returned = await get(server, started.id), await get(server, fresh.id)
    assert {task.job_id: task.attempt for task in again} == {started.id: 2, fresh.id: 1}
    assert (lost.attempt, lost.worker_losses) == (1, 1)
    assert (returned.attempt, returned.worker_losses) == (0, 0)
    await worker.end()


# --- what another process did ---


async def test_a_task_that_was_moved_on_elsewhere_is_taken_off_its_worker(scene: Scene) -> None:
    worker = HallWorker(scene)
    await worker.hello(greeting(tasks_max=1))
    job_key, token = await begun(scene, worker)

    await scene.store.run(LoseTasks({job_key: worker.connection.session_key}, confirmed={job_key}))

    await eventually_async(lambda: token in worker.lost(), within=SOON, what="the worker is told")
    await counted(scene, "repairs.moved_on_elsewhere=1")
    await worker.leave()


async def test_a_cancel_elsewhere_reaches_the_worker(scene: Scene) -> None:
    worker = HallWorker(scene)
    await worker.hello()
    job_key, token = await begun(scene, worker)

    def cancel(group: Group) -> None:
        job = group.job(job_key)
        assert job is not None
        decision, values = moves.cancel(job, reason="too dear", by="", stop_at=group.now + 20_000_000)
        assert isinstance(decision, Change)
        group.change(job, decision, values)

    await scene.store.run(Act(cancel, job_keys=[job_key]))

    (frame,) = await worker.heard(Cancels)
    (told,) = frame.tasks
    assert (told.token, told.reason) == (token, "too dear")
    assert 15 < told.grace_seconds <= 20, "what is left of it"
    await counted(scene, "repairs.cancelled_elsewhere=1")
    await worker.leave()


async def test_a_stream_whose_session_was_taken_over_elsewhere_ends_as_superseded(scene: Scene) -> None:
    first = greeting()
    worker = HallWorker(scene)
    await worker.hello(first)
    job_key, token = await begun(scene, worker)
    elsewhere = scene.floor.hello(
        session_id=first.session_id, resume_digest=resume_digest(first.resume_token), connection=2
    )

    await scene.store.run(OpenSession(elsewhere, auto_register=False, held=(ListedTask(token, started=True),)))
    error = await worker.over()

    session = await scene.store.reads.session(first.session_id)
    assert error is not None
    assert (error.code, error.reason) == (Code.ABORTED, "SESSION_SUPERSEDED")
    assert await state(scene, job_key) is JobState.RUNNING
    assert session is not None
    assert session.record.connection == 2


async def test_a_stream_whose_session_was_only_detached_elsewhere_comes_back_with_its_tasks(scene: Scene) -> None:
    """Another replica took this one for dead and detached its sessions. Had the stream ended as superseded, its worker
    would have dropped what it holds, though nobody else has it.
    """
    first = greeting()
    worker = HallWorker(scene)
    await worker.hello(first)
    job_key, token = await begun(scene, worker)
    key = worker.connection.session_key

    def detach(group: Group) -> None:
        session = group.session(key)
        assert session is not None
        group.save_session(session.detached(group.now))

    await scene.store.run(Act(detach, session_keys=[key]))
    error = await worker.over()
    again = HallWorker(scene)
    welcome = await again.hello(replace(first, connection=2), [token])

    assert error is not None
    assert error.code is Code.UNAVAILABLE
    assert [decision.disposition.name for decision in welcome.held] == ["KEEP"]
    assert await state(scene, job_key) is JobState.RUNNING
    await again.leave()


async def test_a_claim_whose_answer_was_lost_goes_back_and_out_again(scene: Scene) -> None:
    """The transaction was committed and nobody heard of it: the job would be CLAIMED for as long as the session lives,
    which lists nothing and is asked for nothing.
    """
    worker = HallWorker(scene)
    await worker.hello(greeting(tasks_max=0))
    (job_key,) = await scene.floor.submit()
    connection = worker.connection
    queues = ((scene.floor.queue_key, 1),)

    await scene.store.run(claim_unit(Want(connection.session_key, connection.epoch, 1, 7, "w", queues)))

    await reaches(scene, job_key, JobState.PENDING)
    await counted(scene, "repairs.never_delivered=1")
    await worker.leave()


async def test_of_two_streams_of_a_session_the_newer_stays_whichever_is_ready_first(scene: Scene) -> None:
    """Two Hellos were committed one after the other; the older stream was the last to read what it holds. Had it taken
    its place then, the newer one would have been without timers and without work, and nobody would have ended it.
    """
    first = greeting()
    older, newer = HallWorker(scene), HallWorker(scene)
    await older.hello(first)
    await newer.hello(replace(first, connection=2))
    await older.over()
    assert older.connection.session is not None

    scene.hall.workers.attach(older.connection, older.connection.session)

    assert list(scene.hall.workers.seats()) == [newer.connection]
    await newer.leave()


# --- this process stood still ---


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_process_that_stood_still_ends_its_streams_and_its_workers_lose_nothing(
    engine: str, tmp_path: Path
) -> None:
    """SIGSTOP for a minute: others may have taken this process for dead and given its sessions away. It says so to its
    workers, goes on as a new replica, and they come back with what they hold. Nothing expires on the way, though by the
    clock a detached session was away for twenty times its time to live.
    """
    async with open_hall(engine, tmp_path) as scene:
        away = HallWorker(scene)
        session_id = (await away.hello(greeting(tasks_max=1))).session_id
        away_key, _ = await begun(scene, away)
        await away.leave()
        first = greeting()
        worker = HallWorker(scene)
        await worker.hello(first)
        job_key, token = await begun(scene, worker)
        before = scene.store.replica_key

        scene.clock.leap(60)
        error = await worker.over()
        back = HallWorker(scene)
        welcome = await back.hello(replace(first, connection=2), [token])
        back.say(completed(0, token))
        await reaches(scene, job_key, JobState.COMPLETED)

        assert error is not None
        assert (error.code, error.reason) == (Code.UNAVAILABLE, "DRAINING")
        assert [decision.disposition.name for decision in welcome.held] == ["KEEP"]
        assert scene.store.replica_key != before
        assert await state(scene, away_key) is JobState.RUNNING
        assert (await scene.store.reads.session(session_id)) is not None
        await back.leave()


async def test_what_was_away_during_a_short_outage_is_not_given_all_its_time_again(tmp_path: Path) -> None:
    """A disk was full for five seconds, just when the served time was to be written. It was written two seconds after
    that was over, and by then the outage looked like one of over seven seconds, after which whatever was detached has
    its whole time to live once more. Now each pass of the reaper tries again (seed 2318797538 of the simulation).
    """
    served = "SELECT resumed_at, last_at FROM jobhall_service"
    async with open_hall("sqlite", tmp_path) as scene:
        await scene.hall._renew()
        await scene.hall.settled()  # The loop's own first turn was behind that.
        ((resumed_at, last_at),) = scene.floor.rows(served)

        scene.clock.leap(6.2)
        await eventually_async(lambda: scene.floor.rows(served) != [(resumed_at, last_at)], within=3, what="it serves")

        assert scene.floor.rows(served)[0][0] == resumed_at


async def test_a_hello_that_comes_while_its_server_becomes_a_new_replica_is_attached_to_the_new_one(
    tmp_path: Path,
) -> None:
    """It was attached to the replica that its server was just giving up; the reaper took that for a dead process's and
    detached the session under the worker that had only just come back.
    """
    async with open_hall("sqlite", tmp_path) as scene:
        worker = HallWorker(scene)
        async with scene.hall._renewing:
            joining = asyncio.ensure_future(worker.hello(greeting()))
            await scene.store.reads.log_place()
            await scene.store.register_anew()
        welcome = await joining

        session = await scene.store.reads.session(welcome.session_id)
        assert session is not None
        assert session.record.replica_key == scene.store.replica_key
        await worker.leave()


async def test_a_process_that_cannot_write_for_ten_seconds_ends_its_streams(tmp_path: Path) -> None:
    """Others may have taken it for dead by then. The workers come back with what they hold, here or elsewhere."""
    async with open_hall("sqlite", tmp_path) as scene:
        first = greeting()
        worker = HallWorker(scene)
        await worker.hello(first)
        job_key, token = await begun(scene, worker)
        before = scene.store.replica_key
        with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            scene.clock.leap(9)
            error = await worker.ended()
            other.execute("ROLLBACK")
        await eventually_async(
            lambda: scene.store.replica_key != before, within=SOON, what="it goes on as a new replica"
        )
        back = HallWorker(scene)
        welcome = await back.hello(replace(first, connection=2), [token])

        assert error is not None
        assert error.code is Code.UNAVAILABLE
        assert "database" in error.message
        assert [decision.disposition.name for decision in welcome.held] == ["KEEP"]
        assert await state(scene, job_key) is JobState.RUNNING
        await back.leave()
