"""Seed 003, a jobs package: its workers and their patterns in the order of its own examples, by both clients."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from jobhall import Client, JobState
from jobhall.errors import FieldInvalidError, WorkerDrainedError
from tests.support.processes import Processes, Server
from tests.support.queue_workers import AsyncBatchWorker, Gate, example, gated
from tests.support.queues import ASYNC, SOON, open_queue, reaches, working
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

_rooms = count(1)
QUICK: dict[str, Any] = {"poll_interval": 0.2, "error_backoff": 0.05}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests here, each of which has a namespace of its own; a session that is silent is over soon."""
    with Processes(tmp_path_factory.mktemp("seed_003")) as processes:
        yield processes.serve(session_ttl_seconds=1, heartbeat_seconds=0.3, reaper_seconds=0.1, accept_seconds=1)


@pytest.fixture
async def queue(kind: str, server: Server) -> AsyncIterator[Any]:
    room = f"room{next(_rooms)}"
    async with open_queue(kind, server.address, namespace=room, lease=timedelta(seconds=2)) as queue:
        yield queue


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


async def begun(gate: Gate, jobs: int = 1) -> None:
    await eventually_async(lambda: len(gate.begun) >= jobs, within=SOON, what=f"{jobs} jobs have begun")


# --- creating and running a worker ---


async def test_a_worker_executes_jobs_and_says_how_far_it_is(kind: str, queue: Any) -> None:
    """The type is not named anywhere but in `can_process_job`: the worker finds it."""
    job = await queue.create_job("my-job-type")

    async with working(queue, example(kind, "my"), poll_interval=1.0, error_backoff=5.0):
        complete = await reaches(queue, job.id, "complete")

    assert (complete.progress.percentage, complete.progress.message) == (99, "Processing item 99...")
    assert complete.retry_count == 0


async def test_a_type_that_is_registered_after_the_start_is_served_as_well(kind: str, queue: Any) -> None:
    """It was asked for the one that there was; within two seconds it asks for both."""
    await queue.create_job("other-type")
    async with working(queue, example(kind, "my"), **QUICK) as worker:
        await eventually_async(lambda: worker.running, within=SOON, what="the worker runs")
        job = await queue.create_job("my-job-type")
        await reaches(queue, job.id, "complete")


async def test_a_worker_is_seen_by_its_name(kind: str, queue: Any, gate: Gate, server: Server) -> None:
    job = await queue.create_job("scan", {"pages": 3}, user_id="user-123", resource_id="doc-456")

    async with working(queue, gated(kind, gate, name="scanner"), **QUICK) as worker:
        await begun(gate)
        with Client(server.address) as client:
            task = client.jobs.get_job(job.id).current_task
        seen, at_work = gate.begun[0], worker.current_job
        gate.open.set()

    assert task is not None
    assert (task.worker_name, task.fence) == ("scanner", seen.fence)
    assert (seen.id, seen.parameters, seen.user_id, seen.resource_id) == (job.id, {"pages": 3}, "user-123", "doc-456")
    assert at_work == seen
    assert (await queue.get_job(job.id)).result == "scanner"


async def test_a_job_that_a_worker_cannot_process_goes_to_one_that_can(kind: str, queue: Any, gate: Gate) -> None:
    """The refusal costs no attempt, and the worker that refused is not asked again."""
    asked = []

    def never(job: Any) -> bool:
        asked.append(job.id)
        return False

    job = await queue.create_job("scan")
    gate.open.set()
    async with working(queue, gated(kind, gate, name="refuses", takes=never), **QUICK):
        await eventually_async(lambda: asked, within=SOON, what="the worker was asked")
        other = await queue.create_job("scan")
        await eventually_async(lambda: other.id in asked, within=SOON, what="it goes on to the next one")
        async with working(queue, gated(kind, gate, name="takes"), **QUICK):
            complete = await reaches(queue, job.id, "complete")

    assert (complete.result, complete.retry_count) == ("takes", 0)
    assert sorted(asked) == sorted([job.id, other.id])


async def test_a_worker_whose_choice_raises_gives_the_job_back(kind: str, queue: Any, gate: Gate) -> None:
    def broken(job: Any) -> bool:
        raise LookupError(job.id)

    job = await queue.create_job("scan")
    gate.open.set()
    async with working(queue, gated(kind, gate, takes=broken), **QUICK), working(queue, gated(kind, gate), **QUICK):
        complete = await reaches(queue, job.id, "complete")

    assert complete.retry_count == 0


async def test_to_stop_waits_for_the_job_at_work_and_takes_no_other(kind: str, queue: Any, gate: Gate) -> None:
    first, second = [await queue.create_job("scan") for _ in range(2)]

    async with working(queue, gated(kind, gate), **QUICK) as worker:
        await begun(gate)
        stopping = asyncio.create_task(worker.stop())
        await asyncio.wait({stopping}, timeout=0.3)
        assert not stopping.done()
        assert worker.running
        gate.open.set()
        await stopping

    assert gate.ended == [first.id]
    assert (await queue.get_job(first.id)).status == "complete"
    assert (await queue.get_job(second.id)).status == "pending"
    assert not worker.running


async def test_a_worker_is_started_once(kind: str, queue: Any, gate: Gate) -> None:
    async with working(queue, gated(kind, gate), **QUICK) as worker:
        with pytest.raises(RuntimeError, match="started before"):
            await worker.start()
        with pytest.raises(RuntimeError, match="no job is at work"):
            await worker.update_job_progress(percentage=1)


@pytest.mark.parametrize("settings", [{"poll_interval": 0}, {"poll_interval": 61}, {"error_backoff": -1}])
async def test_settings_without_sense_are_refused(
    kind: str, queue: Any, gate: Gate, settings: dict[str, float]
) -> None:
    with pytest.raises(FieldInvalidError, match=next(iter(settings))):
        async with working(queue, gated(kind, gate), **settings):
            pass


async def test_after_a_job_that_failed_the_worker_backs_off(kind: str, queue: Any) -> None:
    failing = await queue.create_job("my-job-type", {"says": ["NETWORK_ERROR"]}, max_retries=0)
    following = await queue.create_job("my-job-type", {"says": ["done"]})

    async with working(queue, example(kind, "retryable"), poll_interval=0.2, error_backoff=1.0):
        job = await reaches(queue, following.id, "complete")

    failed = await queue.get_job(failing.id)
    assert failed.status == "failed"
    assert job.started_at - failed.completed_at > timedelta(seconds=0.9)


async def test_a_job_that_takes_longer_than_its_lease_is_not_lost(
    kind: str, queue: Any, gate: Gate, server: Server
) -> None:
    job = await queue.create_job("scan")

    async with working(queue, gated(kind, gate), **QUICK):
        await begun(gate)
        with Client(server.address) as client:
            task = client.jobs.get_job(job.id).current_task
            assert task is not None

            def renewed() -> bool:
                session = client.workers.get(task.session_id)
                assert session.created_at is not None
                assert session.last_seen_at is not None
                return session.last_seen_at - session.created_at > timedelta(seconds=4)

            await eventually_async(renewed, within=15, what="the session is heard of for four seconds")
        gate.open.set()

    assert gate.ended == [job.id]
    assert (await queue.get_job(job.id)).retry_count == 0


async def test_a_cancelled_job_is_stopped_and_the_worker_goes_on(kind: str, queue: Any, gate: Gate) -> None:
    cancelled, next_one = [await queue.create_job("scan") for _ in range(2)]

    async with working(queue, gated(kind, gate), **QUICK):
        await begun(gate)
        await queue.cancel_job(cancelled.id, reason="not needed")
        await reaches(queue, cancelled.id, "cancelled")
        gate.open.set()
        await reaches(queue, next_one.id, "complete")

    assert (gate.stopped, gate.ended) == ([cancelled.id], [next_one.id])


async def test_a_worker_that_an_operator_drains_stops_and_says_why(
    kind: str, queue: Any, gate: Gate, server: Server
) -> None:
    job = await queue.create_job("scan")

    async with working(queue, gated(kind, gate), **QUICK) as worker:
        await begun(gate)
        with Client(server.address) as client:
            task = client.jobs.get_job(job.id).current_task
            assert task is not None
            client.workers.drain(task.session_id, timeout=30)
        gate.open.set()
        await worker.wait()

    assert isinstance(worker.error, WorkerDrainedError)
    assert (await queue.get_job(job.id)).status == "complete"


async def test_a_job_that_was_taken_from_its_worker_is_stopped_there(
    kind: str, queue: Any, gate: Gate, server: Server
) -> None:
    job = await queue.create_job("scan")

    async with working(queue, gated(kind, gate), **QUICK) as worker:
        await begun(gate)
        with Client(server.address) as client:
            task = client.jobs.get_job(job.id).current_task
            assert task is not None
            client.workers.drain(task.session_id, timeout=0)
        await worker.wait()

    assert gate.stopped == [job.id]
    assert (await queue.get_job(job.id)).state is JobState.PENDING


async def test_a_job_outlasts_a_restart_of_the_server_under_its_worker(
    kind: str, processes: Processes, gate: Gate
) -> None:
    """It runs once: the worker holds it while nobody answers, and reports its end to the next server."""
    server = processes.serve(session_ttl_seconds=1, heartbeat_seconds=0.3, reaper_seconds=0.1)
    async with open_queue(kind, server.address, lease=timedelta(seconds=2)) as queue:
        job = await queue.create_job("scan")
        async with working(queue, gated(kind, gate), **QUICK):
            await begun(gate)
            server.kill()
            gate.open.set()
            await eventually_async(lambda: gate.ended, within=SOON, what="the job has ended")
            await asyncio.to_thread(
                processes.serve,
                listen=server.address,
                session_ttl_seconds=1,
                heartbeat_seconds=0.3,
                reaper_seconds=0.1,
            )
            complete = await reaches(queue, job.id, "complete", within=20)

    assert complete.retry_count == 0
    assert len(gate.begun) == 1


def test_ctrl_c_waits_for_the_job_at_work(processes: Processes) -> None:
    """A join of the worker's thread that Ctrl-C interrupted took the thread for ended (bpo-45274): the program closed
    its connection at once, and the job's end was never reported.
    """
    server = processes.serve()
    program = processes.start("worker", [sys.executable, "-m", "tests.support.queue_program", server.address])
    program.says("begun")

    assert program.stop(signal.SIGINT) == 0

    job_id = program.output.split()[0]
    with Client(server.address) as client:
        assert client.jobs.get_job(job_id).state is JobState.COMPLETED


# --- patterns ---


@pytest.mark.parametrize("name", ["retryable", "choosy"])
async def test_a_retryable_error_is_followed_by_another_attempt(kind: str, queue: Any, name: str) -> None:
    job = await queue.create_job("my-job-type", {"says": ["NETWORK_ERROR", "done"]})

    async with working(queue, example(kind, name), **QUICK):
        complete = await reaches(queue, job.id, "complete")

    assert (complete.result, complete.retry_count) == ("done", 1)


@pytest.mark.parametrize("name", ["retryable", "choosy"])
async def test_another_error_fails_the_job_for_good(kind: str, queue: Any, name: str) -> None:
    job = await queue.create_job("my-job-type", {"says": ["INVALID", "done"]}, max_retries=3)

    async with working(queue, example(kind, name), **QUICK):
        failed = await reaches(queue, job.id, "failed")

    assert (failed.error, failed.result, failed.retry_count) == ("not a document", None, 0)


async def test_progress_is_tracked_item_by_item(kind: str, queue: Any) -> None:
    job = await queue.create_job("my-job-type", {"items": [1, 2, 3]})

    async with working(queue, example(kind, "progressive"), **QUICK):
        complete = await reaches(queue, job.id, "complete")

    progress = complete.progress
    assert complete.result == [2, 4, 6]
    assert (progress.percentage, progress.message) == (100, "Processing item 3 of 3")
    assert (progress.current_item, progress.total_items) == (3, 3)


async def test_items_are_processed_in_batches(server: Server) -> None:
    async with open_queue(ASYNC, server.address, namespace="batches") as queue:
        job = await queue.create_job("my-job-type", {"items": list(range(25))})

        async with working(queue, AsyncBatchWorker, **QUICK):
            complete = await reaches(queue, job.id, "complete")

    assert complete.result == list(range(0, 50, 2))
    assert complete.progress.percentage == 100
