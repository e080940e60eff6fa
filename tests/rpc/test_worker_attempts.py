"""More than one attempt at a job: what handlers say of the next one, and what the next one finds."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from jobhall.aio import AsyncClient
from jobhall.errors import JobFailedError
from jobhall.model import RetryPolicy
from jobhall.states import JobState
from jobhall.task import StopCause, Task, TaskFailed, TaskReleased
from jobhall.worker import Worker
from tests.support.proxy import Proxy, Way
from tests.support.servers import Running, running_server
from tests.support.waiting import eventually_async

LATER = RetryPolicy(initial_delay=timedelta(minutes=5))
AT_ONCE = RetryPolicy(initial_delay=timedelta(milliseconds=10), jitter=0)


@pytest.fixture
async def client(server: Running) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.address) as client:
        yield client


async def connected(worker: Worker) -> None:
    await eventually_async(lambda: worker.connected, within=10, what="the worker is connected")


async def test_the_next_attempt_starts_from_the_checkpoint_of_the_one_before(
    server: Running, client: AsyncClient
) -> None:
    worker = Worker(server.address)
    starts: list[object] = []

    @worker.handler("import")
    def import_rows(task: Task) -> int:
        starts.append(task.checkpoint_state)
        first: int = (task.checkpoint_state or {"row": 0})["row"]
        for row in range(first, 10):
            if row == 6 and task.attempt == 1:
                raise TaskFailed("the line broke")
            if row % 2 == 0:
                task.checkpoint({"row": row}, processed=row, total=10)
        task.progress(processed=10)
        return 10 - first

    async with worker:
        await connected(worker)
        submitted = await client.jobs.submit("import", retry_policy=AT_ONCE)
        job = await client.jobs.wait_for_job(submitted.id, timeout=15)

    assert starts == [None, {"row": 4}]
    assert (job.result, job.attempt) == (6, 2)
    assert (job.progress.items_processed, job.progress.items_total, job.progress.percent) == (10, 10, 100.0)


async def test_the_handlers_own_word_on_the_next_attempt_goes_before_the_policy(
    server: Running, client: AsyncClient
) -> None:
    worker = Worker(server.address)

    @worker.handler("soon")
    def soon(task: Task) -> int:
        if task.attempt == 1:
            raise TaskFailed("once more", retry_delay=timedelta(0))
        return task.attempt

    @worker.handler("never")
    def never(task: Task) -> None:
        raise TaskFailed("no use", retryable=False)

    async with worker:
        await connected(worker)
        again = await client.jobs.submit("soon", retry_policy=LATER)
        once = await client.jobs.submit("never", retry_policy=AT_ONCE)
        assert (await client.jobs.wait_for_job(again.id, timeout=15)).result == 2
        with pytest.raises(JobFailedError, match="no use"):
            await client.jobs.wait_for_job(once.id, timeout=15)

    assert (await client.jobs.get_job(once.id)).attempt == 1


async def test_a_task_that_is_given_back_spends_no_attempt_and_waits_as_long_as_it_says(
    server: Running, client: AsyncClient
) -> None:
    worker = Worker(server.address)
    attempts: list[int] = []

    @worker.handler("busy")
    def busy(task: Task) -> None:
        attempts.append(task.attempt)
        if len(attempts) == 1:
            raise TaskReleased("the disk is full", delay=timedelta(milliseconds=300))
        raise TaskReleased("still full", delay=timedelta(minutes=5))

    async with worker:
        await connected(worker)
        submitted = await client.jobs.submit("busy", max_attempts=1)
        await eventually_async(lambda: len(attempts) == 2, within=10, what="it came a second time")

        async def waits() -> bool:
            return (await client.jobs.get_job(submitted.id)).state is JobState.SCHEDULED

        await eventually_async(waits, within=10, what="it waits again")

    job = await client.jobs.get_job(submitted.id)
    assert (attempts, job.attempt) == ([1, 1], 0)


async def test_a_task_that_one_worker_does_not_want_goes_to_another_one(server: Running, client: AsyncClient) -> None:
    picky, willing = Worker(server.address, name="picky"), Worker(server.address, name="willing")

    @picky.handler("heavy")
    def refuse(task: Task) -> None:
        raise TaskReleased("no GPU here", not_mine=True)

    @willing.handler("heavy")
    def run(task: Task) -> str:
        return "run"

    async with picky:
        await connected(picky)
        submitted = await client.jobs.submit("heavy", max_attempts=1)
        async with willing:
            job = await client.jobs.wait_for_job(submitted.id, timeout=15)

    assert (job.result, job.attempt) == ("run", 1)


@pytest.mark.parametrize("kind", ["plain", "awaited"])
async def test_a_handler_whose_time_is_over_is_told_and_may_finish_all_the_same(tmp_path: Path, kind: str) -> None:
    """No deadline fires before the server has served for one session_ttl: that one is short here."""
    async with (
        running_server(tmp_path, heartbeat_seconds=0.1, session_ttl_seconds=0.3, reaper_seconds=0.1) as server,
        AsyncClient(server.address) as client,
    ):
        worker = Worker(server.address)
        causes: list[StopCause | None] = []

        @worker.handler("plain")
        def plain(task: Task) -> str:
            while not task.cancelled:
                threading.Event().wait(0.01)
            causes.append(task.stop_cause)
            return "late"

        @worker.handler("awaited")
        async def awaited(task: Task) -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                causes.append(task.stop_cause)
            return "late"

        async with worker:
            await connected(worker)
            limit = timedelta(milliseconds=200)
            submitted = await client.jobs.submit(kind, run_timeout=limit, retry_policy=LATER)
            job = await client.jobs.wait_for_job(submitted.id, timeout=15)

    assert (job.result, job.attempt, causes) == ("late", 1, [StopCause.RUN_TIMEOUT])


async def test_a_worker_that_lost_its_connection_comes_back_to_its_session_and_runs_nothing_twice(
    tmp_path: Path,
) -> None:
    """Two handlers run, one ends while there is no connection, and one after it was made anew."""
    async with (
        running_server(tmp_path, heartbeat_seconds=0.2, session_ttl_seconds=5) as server,
        AsyncClient(server.address) as client,
    ):
        with Proxy(server.address) as proxy:
            worker = Worker(proxy.address)
            entered: list[str] = []
            release = {"away": threading.Event(), "back": threading.Event()}

            @worker.handler("gated")
            def gated(task: Task) -> None:
                entered.append(task.job_id)
                assert release[task.parameters].wait(15)

            async with worker:
                await connected(worker)
                jobs = [await client.jobs.submit("gated", which, max_attempts=1) for which in ("away", "back")]
                await eventually_async(lambda: len(entered) == 2, within=10, what="both run")
                assert worker._io is not None
                session = worker._io._stream.session_id
                proxy.cut()
                await eventually_async(lambda: not worker.connected, within=10, what="the connection is gone")
                release["away"].set()
                proxy.heal()
                await connected(worker)
                assert worker._io._stream.session_id == session
                release["back"].set()
                done = [await client.jobs.wait_for_job(job.id, timeout=15) for job in jobs]

    assert [(job.state, job.attempt, job.worker_losses) for job in done] == [(JobState.COMPLETED, 1, 0)] * 2
    assert sorted(entered) == sorted(job.id for job in jobs)


async def test_an_outcome_whose_ack_was_lost_is_said_again_and_taken_as_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The result is committed, and its ack lost with the connection: said again on the next stream it is known by its
    digest, while the job has long ended.
    """
    caplog.set_level(logging.DEBUG, "jobhall.worker")
    async with (
        running_server(tmp_path, heartbeat_seconds=0.2, session_ttl_seconds=5) as server,
        AsyncClient(server.address) as client,
    ):
        with Proxy(server.address) as proxy:
            worker = Worker(proxy.address)
            entered: list[str] = []
            release = threading.Event()

            @worker.handler("gated")
            def gated(task: Task) -> str:
                entered.append(task.job_id)
                assert release.wait(15)
                return "done"

            async with worker:
                await connected(worker)
                submitted = await client.jobs.submit("gated", max_attempts=1)
                await eventually_async(lambda: entered, within=10, what="it runs")
                proxy.swallow(frozenset({Way.TO_CLIENT}), new=False)
                release.set()
                job = await client.jobs.wait_for_job(submitted.id, timeout=15)
                assert worker._io is not None
                stream = worker._io._stream
                assert stream.unacked_count == 1
                await eventually_async(lambda: not stream.unacked_count, within=10, what="it was said again")

    assert (job.result, len(entered)) == ("done", 1)
    assert "not taken" not in caplog.text
    assert "lease" not in caplog.text


async def test_a_worker_that_an_operator_drains_ends_what_it_runs_and_stops_without_an_error(
    server: Running, client: AsyncClient
) -> None:
    worker = Worker(server.address, concurrency=1)
    entered, release = threading.Event(), threading.Event()

    @worker.handler("gated")
    def gated(task: Task) -> str:
        entered.set()
        assert release.wait(15)
        return "done"

    async with worker:
        await connected(worker)
        running = await client.jobs.submit("gated", priority=1)
        waiting = await client.jobs.submit("gated")
        await eventually_async(entered.is_set, within=10, what="the handler runs")
        assert worker._io is not None
        await client.workers.drain(worker._io._stream.session_id, reason="new kernel")
        await eventually_async(lambda: worker.health == "draining", within=10, what="the worker hears of it")
        release.set()
        await eventually_async(lambda: worker.health == "stopped", within=10, what="it stops by itself")

    assert worker.error is None
    assert (await client.jobs.get_job(running.id)).result == "done"
    assert (await client.jobs.get_job(waiting.id)).state is JobState.PENDING
