"""Seed 002, a job library: the second half of its client, a stream of tasks, after the order of its own example."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from time import monotonic
from typing import Any, ClassVar

import pytest

from jobhall import AttemptOutcome, Client, JobState, StopCause, StreamTask, TaskReleased
from tests.support.library_scene import (
    ACCEPT_SECONDS,
    SOON,
    Extension,
    Rotate,
    Scene,
    reaches,
)
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


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


def test_the_stack_of_an_async_run_begins_with_its_own_fault(client: Client, vis: Scene) -> None:
    """Once it was told as something that had happened while another error, one of the SDK's inside, was handled."""

    @vis.jobs.register
    class Broken:
        async def run(self, vis: Scene) -> None:
            raise LookupError("no axis")

    job = vis.jobs.submit(Broken, max_attempts=1)
    with vis.jobs.listen() as tasks:
        assert next(tasks).run() is AttemptOutcome.FAILED

    error = vis.jobs.get_task(job.id, wait=SOON).error
    assert error is not None
    assert (error.code, error.message) == ("LookupError", "no axis")
    assert "During handling" not in error.stack


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

    given_back, _ = client.jobs.attempts(job.id)
    assert given_back.outcome is AttemptOutcome.RELEASED
    assert given_back.claimed_at is not None
    assert given_back.ended_at is not None
    # At once, and not since it was not run in time.
    assert given_back.ended_at - given_back.claimed_at < timedelta(seconds=ACCEPT_SECONDS / 2)
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
    """It asks for a task only while it waits for one: not while it has one, and not while it does other things."""
    vis.jobs.register(Rotate)
    for angle in (1, 2, 3):
        vis.jobs.submit(Rotate(angle))

    with vis.jobs.listen() as slow, vis.jobs.listen() as quick:
        held = next(slow)
        assert [next(quick).run(vis), next(quick).run(vis)] == [AttemptOutcome.COMPLETED] * 2
        assert held.run(vis) is AttemptOutcome.COMPLETED
        for angle in (4, 5, 6):
            vis.jobs.submit(Rotate(angle))
        assert [next(quick).run(vis) for _ in range(3)] == [AttemptOutcome.COMPLETED] * 3

    assert vis.turned == [2, 3, 1, 4, 5, 6]
