"""Seed 002, a job library: the second half of its client, a stream of tasks, after the order of its own example."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from time import monotonic
from typing import Any, ClassVar

import pytest

from jobhall import AttemptOutcome, Client, JobManager, JobState, StopCause, StreamTask, TaskReleased, TaskStream
from jobhall.errors import FieldInvalidError
from tests.support.library_scene import (
    ACCEPT_SECONDS,
    SOON,
    Extension,
    Rotate,
    Scene,
    library_program,
    library_server,
    reaches,
    worker_of,
)
from tests.support.processes import Processes, Server
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

_rooms = count(1)


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("seed_002")) as processes:
        yield processes


@pytest.fixture(scope="module")
def server(processes: Processes) -> Server:
    """One for all tests here, each of which has a room of its own."""
    return library_server(processes)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


@pytest.fixture
def room() -> str:
    return f"room_{next(_rooms)}"


@pytest.fixture
def vis(client: Client, room: str) -> Iterator[Scene]:
    with JobManager(client, namespace=room) as jobs:
        jobs.context = vis = Scene(jobs)
        yield vis


@dataclass
class Told:
    """Does what its parameter names, which the test knows how to do."""

    what: str
    doing: ClassVar[dict[str, Callable[[StreamTask], Any]]] = {}

    def run(self, vis: Scene, task: StreamTask) -> Any:
        return self.doing[self.what](task)


def in_a_thread(function: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


# --- 2. consuming, an iterator ---


def test_tasks_are_consumed_in_a_loop_and_run_on_the_program(vis: Scene) -> None:
    """`for task in vis.jobs.listen(): task.run(vis)`, in order, and on past one that fails."""
    vis.jobs.register(Rotate)
    vis.jobs.register(Told)
    Told.doing["fail"] = lambda task: 1 / 0
    first, failing, last = [vis.jobs.submit(it) for it in (Rotate(1), Told("fail"), Rotate(2))]

    ends = []
    tasks = vis.jobs.listen()
    for task in tasks:
        ends.append((task.job_id, task.job_class, task.run(vis)))
        if len(ends) == 3:
            tasks.stop()

    assert isinstance(tasks, Iterator)
    assert sorted(ends, key=str) == sorted(
        [
            (first.id, Rotate, AttemptOutcome.COMPLETED),
            (failing.id, Told, AttemptOutcome.FAILED),
            (last.id, Rotate, AttemptOutcome.COMPLETED),
        ],
        key=str,
    )
    assert vis.turned == [1, 2]
    assert vis.jobs.get_task(last.id).result == "2.0 around z"
    assert vis.jobs.get_task(failing.id).attempt == 1


def test_an_async_run_is_run_to_its_end_and_may_report(client: Client, vis: Scene) -> None:
    import asyncio

    @vis.jobs.register
    @dataclass
    class Slowly:
        steps: int

        async def run(self, vis: Scene, task: StreamTask) -> int:
            for step in range(self.steps):
                await asyncio.sleep(0)
                task.progress(processed=step + 1, total=self.steps)
            task.log("done", level="debug")
            return self.steps

    job = vis.jobs.submit(Slowly(3))
    with vis.jobs.listen() as tasks:
        task = next(tasks)
        with pytest.raises(RuntimeError, match="has not begun"):
            task.log("too early")
        assert task.run() is AttemptOutcome.COMPLETED
        with pytest.raises(RuntimeError, match="was run before"):
            task.run()

    done = vis.jobs.get_task(job.id, wait=SOON)
    assert (done.result, done.progress.items_processed, done.progress.items_total) == (3, 3, 3)
    assert [line.message for line in client.jobs.logs(job.id)] == ["done"]


def test_parameters_that_make_no_instance_fail_the_task_and_the_loop_goes_on(client: Client, vis: Scene) -> None:
    """Submitted under an older schema: no other attempt would have other parameters."""
    vis.jobs["Rotate"] = Extension
    client.types.register("Rotate", namespace=vis.jobs.namespace, parameters_schema=True, replace=True)
    old = vis.jobs.submit("Rotate", {"angel": 90, "axis": 1})
    vis.jobs.register(replace=True)(Rotate)
    good = vis.jobs.submit(Rotate(1))

    with vis.jobs.listen() as tasks:
        assert [next(tasks).run(), next(tasks).run()] == [AttemptOutcome.FAILED, AttemptOutcome.COMPLETED]

    failed = vis.jobs.get_task(old.id, wait=SOON)
    assert failed.error is not None
    assert (failed.state, failed.error.code, failed.error.retryable) == (JobState.FAILED, "SCHEMA_MISMATCH", False)
    assert "angel is no field of Rotate; angle is missing; axis is no text" in failed.error.message
    assert vis.jobs.get_task(good.id).state is JobState.COMPLETED


def test_a_task_that_was_cancelled_stops_with_its_next_report(client: Client, vis: Scene) -> None:
    vis.jobs.register(Told)
    job = vis.jobs.submit(Told("until cancelled"))

    def until_cancelled(task: StreamTask) -> None:
        client.jobs.cancel_job(reaches(client, job.id, JobState.RUNNING).id, reason="enough")
        eventually(lambda: task.cancelled, within=SOON, what="the task hears of it")
        assert task.stop_cause is StopCause.CANCELLED
        task.progress(processed=1)

    Told.doing["until cancelled"] = until_cancelled
    with vis.jobs.listen() as tasks:
        assert next(tasks).run() is AttemptOutcome.CANCELLED

    assert client.jobs.get_job(job.id).state is JobState.CANCELLED


def test_an_async_task_that_was_cancelled_is_interrupted(client: Client, vis: Scene) -> None:
    import asyncio

    begun = threading.Event()

    @vis.jobs.register
    class Waits:
        async def run(self, vis: Scene) -> None:
            begun.set()
            await asyncio.Event().wait()

    job = vis.jobs.submit(Waits)
    with vis.jobs.listen() as tasks:
        task = next(tasks)
        canceller = in_a_thread(lambda: (begun.wait(), client.jobs.cancel_job(job.id)))
        assert task.run() is AttemptOutcome.CANCELLED
        canceller.join()

    assert client.jobs.get_job(job.id).state is JobState.CANCELLED


async def test_an_async_run_has_its_own_loop_where_one_runs_already(vis: Scene) -> None:
    """As in a notebook, whose cells run in a loop."""

    @vis.jobs.register
    class Quick:
        async def run(self, vis: Scene) -> str:
            return threading.current_thread().name

    job = vis.jobs.submit(Quick)
    with vis.jobs.listen() as tasks:
        assert next(tasks).run() is AttemptOutcome.COMPLETED

    assert vis.jobs.get_task(job.id, wait=SOON).result != threading.current_thread().name


def test_a_task_may_release_itself(vis: Scene) -> None:
    vis.jobs.register(Told)
    vis.jobs.submit(Told("release"), job_id=(job_id := "01920000-0000-7000-8000-000000000002"))
    times = count(1)

    def release(task: StreamTask) -> int:
        if (time := next(times)) == 1:
            raise TaskReleased("not now")
        return time

    Told.doing["release"] = release
    with vis.jobs.listen() as tasks:
        assert [next(tasks).run(), next(tasks).run()] == [AttemptOutcome.RELEASED, AttemptOutcome.COMPLETED]

    assert vis.jobs.get_task(job_id).attempt == 1


def test_a_task_that_was_not_run_goes_back_with_the_next_one(client: Client, vis: Scene) -> None:
    vis.jobs.register(Rotate)
    job = vis.jobs.submit(Rotate(1), max_attempts=1)

    with vis.jobs.listen() as tasks:
        left, again = next(tasks), next(tasks)
        assert (left.job_id, again.job_id, again.fence) == (job.id, job.id, left.fence + 1)
        assert (left.run(), again.run()) == (AttemptOutcome.RELEASED, AttemptOutcome.COMPLETED)

    assert (vis.jobs.get_task(job.id).attempt, vis.turned) == (1, [1])


def test_a_task_that_is_not_run_in_time_goes_back(client: Client, vis: Scene) -> None:
    """Half of `accept_seconds` after its delivery it is given back; nobody else would hear of it before."""
    vis.jobs.register(Rotate)
    job = vis.jobs.submit(Rotate(1))

    with vis.jobs.listen() as tasks:
        task, began = next(tasks), monotonic()
        assert client.jobs.get_job(job.id).state is JobState.CLAIMED
        reaches(client, job.id, JobState.PENDING)
        assert monotonic() - began < 2 * ACCEPT_SECONDS
        assert task.run(vis) is AttemptOutcome.RELEASED
        assert next(tasks).run(vis) is AttemptOutcome.COMPLETED

    assert vis.turned == [1]


def test_a_slow_loop_keeps_no_task_from_others(vis: Scene) -> None:
    vis.jobs.register(Rotate)
    for angle in (1, 2, 3):
        vis.jobs.submit(Rotate(angle))

    with vis.jobs.listen() as slow, vis.jobs.listen() as quick:
        held = next(slow)
        assert [next(quick).run(vis), next(quick).run(vis)] == [AttemptOutcome.COMPLETED] * 2
        assert held.run(vis) is AttemptOutcome.COMPLETED

    assert vis.turned == [2, 3, 1]


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
    client: Client, processes: Processes, server: Server, room: str
) -> None:
    program = library_program(processes, server, room, "exit")
    job = client.jobs.submit("Slow", {}, namespace=room, max_attempts=1)

    assert program.wait() == 0

    assert f"given {job.id}" in program.output
    assert client.jobs.get_job(job.id).state is JobState.PENDING


def test_a_signal_stops_a_loop_that_waits(processes: Processes, server: Server, room: str) -> None:
    program = library_program(processes, server, room, "run")

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
