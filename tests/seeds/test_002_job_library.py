"""Seed 002, a job library inside a web application: what it documents, in its order; its routes are an example's."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pytest

from jobhall import (
    AttemptOutcome,
    Client,
    FailureKind,
    Job,
    JobManager,
    JobState,
    TaskStatus,
    reports,
)
from jobhall.errors import JobTypeNotFoundError, WorkerNotFoundError
from tests.support.library_scene import SOON, Rotate, Scene, library_program, reaches, worker_of
from tests.support.processes import Processes, Server
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


# --- its REST endpoints ---


def test_a_job_is_registered_for_its_room_or_for_all_rooms(client: Client, room: str) -> None:
    own = client.types.register("modifiers:Rotate", namespace=room, parameters_schema={"type": "object"})
    shared = client.types.register(f"modifiers:Scale-{room}", namespace="@global")

    assert (own.namespace, own.name, own.parameters_schema) == (room, "modifiers:Rotate", {"type": "object"})
    assert (shared.namespace, shared.name, shared.parameters_schema) == ("@global", f"modifiers:Scale-{room}", None)


def test_a_list_of_a_rooms_jobs_has_those_of_all_rooms_as_well(client: Client, room: str) -> None:
    own = client.types.register("modifiers:Rotate", namespace=room)
    shared = client.types.register(f"modifiers:Scale-{room}", namespace="@global")

    of_room = {(known.namespace, known.name) for known in client.types.list(namespace=room)}
    of_all = {(known.namespace, known.name) for known in client.types.list(namespace="@global")}

    assert {(own.namespace, own.name), (shared.namespace, shared.name)} <= of_room
    assert (shared.namespace, shared.name) in of_all
    assert (own.namespace, own.name) not in of_all


def test_details_of_a_job_are_found_in_the_room_and_then_in_all_rooms(client: Client, room: str) -> None:
    client.types.register("modifiers:Rotate", namespace=room)
    client.types.register(f"modifiers:Scale-{room}", namespace="@global")

    assert client.types.get("modifiers:Rotate", namespace=room).namespace == room
    assert client.types.get(f"modifiers:Scale-{room}", namespace=room).namespace == "@global"
    assert client.types.get(f"modifiers:Scale-{room}", namespace="@global").namespace == "@global"
    with pytest.raises(JobTypeNotFoundError):
        client.types.get(f"private:modifiers:Scale-{room}", namespace=room)


def test_a_task_is_pushed_by_prefix_category_and_name(client: Client, room: str) -> None:
    for home in (room, "@global"):
        client.types.register(f"modifiers:Turn-{room}", namespace=home)

    private = client.jobs.submit(f"private:modifiers:Turn-{room}", {"angle": 90}, namespace=room)
    public = client.jobs.submit(f"public:modifiers:Turn-{room}", {"angle": 45}, namespace=room)

    own = client.workers.claim_tasks([f"private:modifiers:Turn-{room}"], namespaces=[room], tasks_max=10)
    everybodys = client.workers.claim_tasks([f"public:modifiers:Turn-{room}"], namespaces=[room], tasks_max=10)
    assert [task.job_id for task in own.tasks] == [private.id]
    assert [task.job_id for task in everybodys.tasks] == [public.id]
    assert (private.job_type, private.namespace, private.parameters) == (
        f"modifiers:Turn-{room}",
        room,
        {"angle": 90},
    )


def test_a_worker_claims_says_that_it_lives_and_updates_the_status(client: Client, room: str) -> None:
    """Claim, heartbeat and update without a stream, as the document's routes do it; the token fences the update."""
    client.types.register("Rotate", namespace=room)
    first, second = [client.jobs.submit("Rotate", {"n": n}, namespace=room) for n in (1, 2)]

    claim = client.workers.claim_tasks(["Rotate"], namespaces=[room], tasks_max=2, worker_name="by hand")
    assert [task.job_id for task in claim.tasks] == [first.id, second.id]
    assert TaskStatus.of(client.jobs.get_job(first.id)) is TaskStatus.CLAIMED

    one, two = [task.lease_token for task in claim.tasks]
    client.workers.report_tasks(claim.session_id, [reports.Accepted(one), reports.Accepted(two)])
    assert TaskStatus.of(client.jobs.get_job(first.id)) is TaskStatus.RUNNING
    before = client.workers.get(claim.session_id)
    assert client.workers.heartbeat(claim.session_id, [one, two]).lost == ()
    after = client.workers.get(claim.session_id)
    assert before.last_seen_at is not None
    assert after.last_seen_at is not None
    assert after.last_seen_at >= before.last_seen_at
    client.workers.report_tasks(claim.session_id, [reports.Completed(one, "turned"), reports.Failed(two, "stuck")])

    assert TaskStatus.of(client.jobs.get_job(first.id)) is TaskStatus.COMPLETED
    assert client.jobs.get_job(second.id).attempt == 1


def test_the_status_is_waited_for_by_a_long_poll(vis: Scene) -> None:
    """`Prefer: wait=N`: the answer comes at the task's end, or after N seconds as it is then."""
    vis.jobs.register(Rotate)
    task = vis.jobs.submit(Rotate(90))

    began = monotonic()
    assert vis.jobs.get_task(task.id, wait=0.3).state is JobState.PENDING
    assert monotonic() - began >= 0.3
    assert vis.jobs.get_task(task.id).state is JobState.PENDING
    with vis.jobs.listen() as tasks:
        runner = threading.Thread(target=lambda: next(tasks).run())
        runner.start()
        done = vis.jobs.get_task(task.id, wait=timedelta(seconds=SOON))
        runner.join()

    assert (done.state, done.result) == (JobState.COMPLETED, "90.0 around z")


# --- its entities ---


def test_a_task_shows_all_fields_of_its_model(client: Client, vis: Scene, room: str) -> None:
    vis.jobs.register(Rotate)
    task = vis.jobs.submit(Rotate(90, axis="x"))
    pending = client.jobs.get_job(task.id)
    seen: list[Job] = []

    class Look(Rotate):
        def run(self, vis: Scene) -> Any:
            seen.append(reaches(client, task.id, JobState.RUNNING))
            return super().run(vis)

    vis.jobs["Rotate"] = Look
    tasks = vis.jobs.listen()
    next(tasks).run()
    worker = client.workers.get(held.session_id) if (held := seen[0].current_task) else None
    tasks.close()

    assert (pending.namespace, pending.job_type, pending.owner) == (room, "Rotate", "anonymous")
    assert pending.parameters == {"angle": 90, "axis": "x"}
    assert (pending.started_at, pending.ended_at, pending.error) == (None, None, None)
    assert TaskStatus.of(pending) is TaskStatus.PENDING
    assert TaskStatus.of(seen[0]) is TaskStatus.RUNNING
    assert held is not None
    assert worker is not None
    assert (worker.id, worker.name) == (held.session_id, vis.jobs.name)
    done = vis.jobs.get_task(task.id, wait=SOON)
    assert done.created_at is not None
    assert done.started_at is not None
    assert done.ended_at is not None
    assert done.created_at <= done.started_at <= done.ended_at


def test_every_status_of_a_task_has_its_word(client: Client, vis: Scene) -> None:
    """The other three are above."""

    @dataclass
    class Fails:
        def run(self, vis: Scene) -> None:
            raise ValueError("no such axis")

    vis.jobs.register(Fails)
    failing = vis.jobs.submit(Fails, max_attempts=1)
    with vis.jobs.listen() as tasks:
        assert next(tasks).run() is AttemptOutcome.FAILED
    cancelled = vis.jobs.submit(Fails)
    client.jobs.cancel_job(cancelled.id)

    failed = vis.jobs.get_task(failing.id, wait=SOON)
    assert TaskStatus.of(failed) is TaskStatus.FAILED
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == ("ValueError", "no such axis")
    assert TaskStatus.of(client.jobs.get_job(cancelled.id)) is TaskStatus.CANCELLED
    assert [status.value for status in TaskStatus] == [
        "pending",
        "claimed",
        "running",
        "completed",
        "failed",
        "cancelled",
    ]


def test_a_name_is_there_once_in_a_room(client: Client, vis: Scene, room: str) -> None:
    first = client.types.register("Rotate", namespace=room)
    again = client.types.register("Rotate", namespace=room)

    assert (first.version, again.version, first.created_at) == (1, 1, again.created_at)
    assert [known.name for known in client.types.list(namespace=room)].count("Rotate") == 1


def test_workers_and_jobs_know_each_other(client: Client, vis: Scene, room: str) -> None:
    vis.jobs.register(Rotate)

    with vis.jobs.listen() as tasks:
        worker = worker_of(client, room, tasks)
        rotate = client.types.get("Rotate", namespace=room)

        assert worker.job_types == ("private:Rotate",)
        assert (rotate.worker_count, rotate.worker_names) == (1, (vis.jobs.name,))
        assert worker.is_alive(timedelta(seconds=5))


def test_a_worker_is_alive_while_its_last_heartbeat_is_within_the_threshold(client: Client, room: str) -> None:
    """One that says nothing is alive for as long as it is asked for, and at the end of its lease it is gone."""
    client.types.register("Rotate", namespace=room)
    claim = client.workers.claim_tasks(["Rotate"], namespaces=[room], lease=1)
    worker = client.workers.get(claim.session_id)
    assert worker.last_seen_at is not None
    later = worker.last_seen_at + timedelta(seconds=10)

    assert worker.is_alive(timedelta(seconds=30))
    assert worker.is_alive(30)
    assert worker.is_alive(timedelta(seconds=11), now=later)
    assert not worker.is_alive(timedelta(seconds=10), now=later)
    assert not worker.is_alive(timedelta(0), now=datetime.now(UTC))

    def gone() -> bool:
        try:
            client.workers.get(claim.session_id)
        except WorkerNotFoundError:
            return True
        return False

    eventually(gone, within=SOON, what="its session is over")


# --- its background task ---


def test_a_running_job_whose_worker_is_dead_is_marked(
    client: Client, processes: Processes, library: Server, room: str
) -> None:
    """The threshold is `session_ttl_seconds`, a setting. A job that may be tried again goes to another worker."""
    program = library_program(processes, library, room, "run")
    once = client.jobs.submit("Slow", {}, namespace=room, max_attempts=1)
    reaches(client, once.id, JobState.RUNNING)
    program.kill()

    failed = reaches(client, once.id, JobState.FAILED)

    assert failed.error is not None
    assert failed.error.kind is FailureKind.WORKER_LOST


def test_a_job_without_workers_and_tasks_is_removed(client: Client, room: str) -> None:
    """The type of a worker that said what it serves, and went; one that somebody registered stays."""
    client.types.register("Rotate", namespace=room)
    task = client.jobs.submit("Rotate", {}, namespace=room)

    class Left:
        def run(self, context: object) -> None:
            pass

    with JobManager(client, namespace=room) as jobs:
        jobs.register(Left)
        client.types.delete("Left", namespace=room)
        with jobs.listen() as tasks:
            # Its Hello registered the type anew.
            worker_of(client, room, tasks)
            assert {known.name for known in client.types.list(namespace=room)} >= {"Left", "Rotate"}

    def swept() -> bool:
        return "Left" not in {known.name for known in client.types.list(namespace=room)}

    eventually(swept, within=SOON, what="the job that nobody serves is removed")
    assert client.types.get("Rotate", namespace=room).counts.pending == 1
    assert client.jobs.get_job(task.id).state is JobState.PENDING
