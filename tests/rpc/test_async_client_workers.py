"""AsyncClient over the real server: the workers that are there, and sending one away."""

import os
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import jobhall
from jobhall import AsyncClient, JobState, Task, Worker, WorkerInfo, WorkerState
from jobhall.errors import FieldInvalidError, FilterUnsupportedError, WorkerNotFoundError
from jobhall.filters import WorkerSelection
from tests.support.servers import Running, running_server
from tests.support.waiting import eventually_async

NOBODY = "0190a0b0-0000-7000-8000-000000000000"
WAIT_SECONDS = 10.0


@dataclass
class Painter:
    """A worker whose tasks end when the gate opens."""

    worker: Worker
    gate: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    """No deadline fires before a server has served for a session's time to live, so that is short here."""
    async with running_server(tmp_path, session_ttl_seconds=2, heartbeat_seconds=0.7, reaper_seconds=0.1) as running:
        yield running


@pytest.fixture
async def painter(server: Running) -> AsyncIterator[Painter]:
    painter = Painter(Worker(server.address, name="painter", concurrency=3, labels={"zone": "a"}, drain_seconds=30))

    @painter.worker.handler("paint")
    def paint(task: Task) -> str:
        while not painter.gate.wait(0.02) and not task.cancelled:
            continue
        return "painted"

    async with painter.worker:
        await eventually_async(lambda: painter.worker.connected, within=WAIT_SECONDS, what="the worker is connected")
        yield painter


async def listed(client: AsyncClient, **selection: object) -> list[WorkerInfo]:
    return [worker async for worker in client.workers.list(**selection)]  # type: ignore[arg-type]


async def held_job(client: AsyncClient) -> str:
    """A job that the painter runs."""
    job = await client.jobs.submit("paint")

    async def running() -> bool:
        return (await client.jobs.get_job(job.id)).state is JobState.RUNNING

    await eventually_async(running, within=WAIT_SECONDS, what="the job is RUNNING")
    return job.id


# --- seeing ---


async def test_a_worker_that_is_there_is_told_with_all_that_it_said(client: AsyncClient, painter: Painter) -> None:
    job_id = await held_job(client)

    [listed_one] = await listed(client)
    worker = await client.workers.get(listed_one.id)

    task = (await client.jobs.get_job(job_id)).current_task
    assert task is not None
    assert (worker.id, worker.name) == (task.session_id, "painter")
    assert (worker.state, worker.held_count, worker.unary) == (WorkerState.ATTACHED, 1, False)
    assert (worker.namespaces, worker.job_types, worker.labels) == (("default",), ("paint",), {"zone": "a"})
    assert worker.capacity >= 3
    assert (worker.runtime.language, worker.runtime.process_id) == ("python", os.getpid())
    assert worker.runtime.sdk_version == jobhall.__version__
    assert worker.expires_at is None
    assert worker.replica_id == (await client.server_info()).replica_id
    assert worker.created_at is not None
    assert abs(datetime.now(UTC) - worker.created_at) < timedelta(minutes=1)
    painter.gate.set()


@pytest.mark.usefixtures("painter", "worker")
@pytest.mark.parametrize(
    ("selection", "names"),
    [
        ({}, ["tester", "painter"]),
        ({"namespace": "-"}, ["tester", "painter"]),
        ({"namespace": "elsewhere"}, []),
        ({"job_types": ["paint"]}, ["painter"]),
        ({"name": "tester"}, ["tester"]),
        ({"labels": {"zone": "a"}}, ["painter"]),
        ({"labels": {"zone": "b"}}, []),
        ({"states": [WorkerState.ATTACHED]}, ["tester", "painter"]),
        ({"states": [WorkerState.DETACHED, WorkerState.DRAINING]}, []),
        ({"filter": "name = painter AND state = ATTACHED"}, ["painter"]),
    ],
)
async def test_workers_are_listed_the_newest_first_by_what_they_are(
    client: AsyncClient, selection: WorkerSelection, names: list[str]
) -> None:
    assert [worker.name for worker in await listed(client, **selection)] == names


async def test_a_filter_that_names_something_else_is_refused(client: AsyncClient) -> None:
    with pytest.raises(FilterUnsupportedError):
        await listed(client, filter="colour = red")


async def test_a_worker_that_is_not_there_is_an_error_of_its_own_class(client: AsyncClient) -> None:
    for call in (client.workers.get(NOBODY), client.workers.drain(NOBODY)):
        with pytest.raises(WorkerNotFoundError, match=NOBODY):
            await call


# --- sending away ---


async def test_a_drained_worker_finishes_what_it_holds_and_leaves(client: AsyncClient, painter: Painter) -> None:
    held = await held_job(client)
    [worker] = await listed(client)

    leaving = await client.workers.drain(worker.id, reason="deploy")
    late = await client.jobs.submit("paint")
    painter.gate.set()
    done = await client.jobs.wait_for_job(held, timeout=WAIT_SECONDS)

    async def gone() -> bool:
        return not await listed(client)

    await eventually_async(gone, within=WAIT_SECONDS, what="the worker has left")
    assert (leaving.id, leaving.state) == (worker.id, WorkerState.DRAINING)
    assert (done.result, done.attempt) == ("painted", 1)
    assert (await client.jobs.get_job(late.id)).state is JobState.PENDING
    with pytest.raises(WorkerNotFoundError):
        await client.workers.get(worker.id)


async def test_what_a_drained_worker_holds_too_long_is_taken_from_it_free(
    client: AsyncClient, painter: Painter
) -> None:
    held = await held_job(client)
    [worker] = await listed(client)

    await client.workers.drain(worker.id, timeout=0.2)

    async def waiting() -> bool:
        return (await client.jobs.get_job(held)).state is JobState.PENDING

    await eventually_async(waiting, within=WAIT_SECONDS, what="the job waits for another worker")
    job = await client.jobs.get_job(held)
    assert (job.attempt, job.worker_losses, job.error) == (0, 0, None)


async def test_a_drain_says_nothing_about_a_worker_of_the_same_name(client: AsyncClient, painter: Painter) -> None:
    [worker] = await listed(client)
    await client.workers.drain(worker.id)

    async def gone() -> bool:
        return not await listed(client)

    await eventually_async(gone, within=WAIT_SECONDS, what="the worker has left")
    again = Worker(painter.worker.address, name="painter", drain_seconds=0)
    again.handler("paint")(lambda _task: "painted")
    async with again:
        job = await client.jobs.submit("paint")

        assert (await client.jobs.wait_for_job(job.id, timeout=WAIT_SECONDS)).result == "painted"


@pytest.mark.parametrize(
    ("options", "field_name"),
    [({"timeout": timedelta(days=366)}, "timeout"), ({"reason": "x" * 1025}, "reason")],
)
async def test_a_drain_that_cannot_be_is_refused_by_its_field(
    client: AsyncClient, painter: Painter, options: dict[str, str], field_name: str
) -> None:
    [worker] = await listed(client)

    with pytest.raises(FieldInvalidError) as caught:
        await client.workers.drain(worker.id, **options)  # type: ignore[arg-type]

    assert [violation.field for violation in caught.value.violations] == [field_name]
    assert (await client.workers.get(worker.id)).state is WorkerState.ATTACHED
