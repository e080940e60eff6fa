"""Seed 002, a job library: its stream of tasks from its begin to its end, and what happens to it meanwhile."""

import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from jobhall import AttemptOutcome, Client, JobManager, JobState, StreamTask, TaskStream
from jobhall.errors import FieldInvalidError
from tests.support.library_scene import (
    SOON,
    Extension,
    Rotate,
    Scene,
    library_program,
    reaches,
    worker_of,
)
from tests.support.processes import Processes, Server
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


def in_a_thread(function: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def test_a_stop_wakes_the_loop_that_waits(client: Client, vis: Scene, room: str) -> None:
    """From another thread, long before the interval is over; then the worker is gone, and the loop stays ended."""
    vis.jobs.register(Rotate)
    tasks = vis.jobs.listen(interval=timedelta(seconds=60))
    got: list[list[StreamTask]] = []

    loop = in_a_thread(lambda: got.append(list(tasks)))
    worker_of(client, room, tasks)
    tasks.stop()
    loop.join(SOON)

    assert got == [[]]
    assert list(client.workers.list(namespace=room)) == []
    with pytest.raises(StopIteration):
        next(tasks)
    never = vis.jobs.listen()
    never.stop()
    assert list(never) == []


def test_a_stop_gives_back_what_was_not_run(vis: Scene) -> None:
    vis.jobs.register(Rotate)
    job = vis.jobs.submit(Rotate(1))

    for task in (tasks := vis.jobs.listen()):
        tasks.stop()
        assert task.run() is AttemptOutcome.RELEASED

    assert (vis.jobs.get_task(job.id).state, vis.turned) == (JobState.PENDING, [])


def test_a_stream_that_nobody_has_any_more_leaves(client: Client, vis: Scene, room: str) -> None:
    vis.jobs.register(Rotate)
    job = vis.jobs.submit(Rotate(1))

    for _task in vis.jobs.listen():
        break

    assert list(client.workers.list(namespace=room)) == []
    assert (vis.jobs.get_task(job.id).state, vis.jobs.get_task(job.id).attempt) == (JobState.PENDING, 0)


def test_a_program_that_ends_with_a_task_in_hand_gives_it_back(
    client: Client, processes: Processes, library: Server, room: str
) -> None:
    program = library_program(processes, library, room, "exit")
    job = client.jobs.submit("Slow", {}, namespace=room, max_attempts=1)

    assert program.wait() == 0

    assert f"given {job.id}" in program.output
    assert client.jobs.get_job(job.id).state is JobState.PENDING


def test_ctrl_c_in_the_midst_of_a_task_gives_it_back(
    client: Client, processes: Processes, library: Server, room: str
) -> None:
    """It ends the program, as it would anywhere else; the attempt is not spent."""
    program = library_program(processes, library, room, "run")
    job = client.jobs.submit("Slow", {}, namespace=room, max_attempts=1)
    program.says("begun")
    reaches(client, job.id, JobState.RUNNING)

    assert program.stop(signal.SIGINT) == 0

    assert "interrupted" in program.output
    given_back = client.jobs.get_job(job.id)
    assert (given_back.state, given_back.attempt) == (JobState.PENDING, 0)


def test_a_signal_stops_a_loop_that_waits(processes: Processes, library: Server, room: str) -> None:
    program = library_program(processes, library, room, "run")

    assert program.stop() == 0

    assert "ended" in program.output


def test_what_is_registered_or_taken_out_meanwhile_holds_for_open_streams(
    client: Client, vis: Scene, room: str
) -> None:
    vis.jobs.register(Rotate)
    with vis.jobs.listen() as tasks:
        assert worker_of(client, room, tasks).job_types == ("private:Rotate",)

        @vis.jobs.register
        class Later(Extension):
            def run(self, vis: Scene) -> str:
                return "later"

        del vis.jobs["Rotate"]
        left = vis.jobs.submit("Rotate", {"angle": 1})
        later = vis.jobs.submit(Later)
        task = next(tasks)
        task.run()

        assert task.job_id == later.id
        eventually(
            lambda: [it.job_types for it in client.workers.list(namespace=room)] == [("private:Later",)],
            within=SOON,
            what="the worker serves what is registered now",
        )
    assert vis.jobs.get_task(later.id).result == "later"
    assert vis.jobs.get_task(left.id).state is JobState.PENDING


def test_a_stream_whose_last_class_was_taken_out_waits_for_the_next(client: Client, vis: Scene, room: str) -> None:
    """Meanwhile it is no worker of anything; the task that it had and did not run is another's."""
    vis.jobs.register(Rotate)
    job = vis.jobs.submit(Rotate(1))
    with vis.jobs.listen() as tasks:
        left = next(tasks)
        del vis.jobs["Rotate"]
        eventually(lambda: not list(client.workers.list(namespace=room)), within=SOON, what="the worker is gone")
        assert (client.jobs.get_job(job.id).state, left.run()) == (JobState.PENDING, AttemptOutcome.RELEASED)
        got: list[StreamTask] = []
        loop = in_a_thread(lambda: got.append(next(tasks)))
        vis.jobs.register(Rotate)
        loop.join(SOON)
        assert [task.job_id for task in got] == [job.id]
        assert got[0].run() is AttemptOutcome.COMPLETED


def test_jobs_of_all_rooms_come_to_who_serves_a_public_class(vis: Scene, room: str) -> None:
    """And those of its own classes from its own room alone, in the same loop."""
    vis.jobs.register(public=True, name=f"Scale-{room}")(Rotate)
    vis.jobs.register(Rotate)
    elsewhere = vis.jobs.submit(f"public:Scale-{room}", {"angle": 1}, namespace=f"{room}-other")
    here = vis.jobs.submit("private:Rotate", {"angle": 2})
    vis.jobs.client.types.register("Rotate", namespace=f"{room}-other")
    not_ours = vis.jobs.submit("private:Rotate", {"angle": 3}, namespace=f"{room}-other")

    with vis.jobs.listen() as tasks:
        done: set[str] = set()
        while len(done) < 2:
            task = next(tasks)
            task.run()
            done.add(task.job_id)

    assert done == {elsewhere.id, here.id}
    assert sorted(vis.turned) == [1, 2]
    assert vis.jobs.get_task(not_ours.id).state is JobState.PENDING


def test_a_loop_goes_on_when_the_server_was_away(processes: Processes, vis: Scene) -> None:
    server = processes.serve("away.db", session_ttl_seconds=5, heartbeat_seconds=0.3)
    with JobManager(server.address, context=vis) as jobs:
        jobs.register(Rotate)
        with jobs.listen() as tasks:
            jobs.submit(Rotate(1))
            assert next(tasks).run() is AttemptOutcome.COMPLETED
            loop = in_a_thread(lambda: next(tasks).run())
            server.kill()
            again = processes.serve("away.db", listen=server.address, session_ttl_seconds=5, heartbeat_seconds=0.3)
            jobs.submit(Rotate(2))
            loop.join(SOON)
            assert vis.turned == [1, 2]
            assert again.status is None


def test_a_manager_needs_something_to_listen_for(vis: Scene) -> None:
    with pytest.raises(ValueError, match="nothing is registered"):
        vis.jobs.listen()
    vis.jobs.register(Rotate)
    with pytest.raises(FieldInvalidError, match="interval"):
        vis.jobs.listen(interval=0)
    assert isinstance(vis.jobs.listen(), TaskStream)
