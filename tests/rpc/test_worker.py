"""The SDK's worker over the real server: what its handlers do, and what the job is told of it."""

import asyncio
import contextlib
import contextvars
import logging
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobhall.aio import AsyncClient
from jobhall.errors import FieldInvalidError, JobFailedError
from jobhall.model import Job
from jobhall.states import JobState, LogLevel
from jobhall.task import Task, TaskFailed
from jobhall.v1.job_service_pb2 import ListJobLogsRequest
from jobhall.worker import Worker
from tests.support.ports import free_port
from tests.support.servers import Running, running_server
from tests.support.waiting import eventually_async


@pytest.fixture
async def client(server: Running) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.address) as client:
        yield client


def worker_for(server: Running, *, concurrency: int = 4, drain_seconds: float = 10) -> Worker:
    return Worker(server.address, name="tester", concurrency=concurrency, drain_seconds=drain_seconds)


async def connected(worker: Worker) -> None:
    await eventually_async(lambda: worker.connected, within=10, what="the worker is connected")


async def running(client: AsyncClient, job_id: str) -> None:
    async with asyncio.timeout(10):
        while (await client.jobs.get_job(job_id)).state is not JobState.RUNNING:
            pass


async def ended(client: AsyncClient, job_id: str) -> Job:
    with contextlib.suppress(JobFailedError):
        await client.jobs.wait_for_job(job_id, timeout=15)
    return await client.jobs.get_job(job_id, include_errors=True)


async def test_a_result_comes_back_with_all_that_the_handler_said_on_the_way(
    server: Running, client: AsyncClient
) -> None:
    worker = worker_for(server)

    @worker.handler("count")
    def count(task: Task) -> dict[str, int]:
        for number in range(1, 4):
            task.log(f"item {number}", level="debug", number=number)
            task.progress(processed=number, total=3, unit="items")
        task.item_error(index=2, key="b", code="ODD", message="not even")
        return {"sum": sum(task.parameters)}

    async with worker:
        await connected(worker)
        submitted = await client.jobs.submit("count", [1, 2, 3], labels={"a": "b"})
        job = await ended(client, submitted.id)

    assert (job.state, job.result, job.attempt) == (JobState.COMPLETED, {"sum": 6}, 1)
    assert (job.progress.items_processed, job.progress.items_total, job.progress.unit) == (3, 3, "items")
    assert job.progress.updated_at is not None
    assert job.created_at is not None
    assert job.progress.updated_at > job.created_at
    assert [(error.index, error.key, error.code) for error in job.item_errors] == [(2, "b", "ODD")]
    logs = (await server.jobs.ListJobLogs(ListJobLogsRequest(job_id=job.id))).log_entries
    assert [(line.message, int(line.level)) for line in logs] == [(f"item {n}", LogLevel.DEBUG) for n in (1, 2, 3)]


async def test_a_traceback_reaches_the_jobs_error_and_the_handlers_own_word_too(
    server: Running, client: AsyncClient
) -> None:
    worker = worker_for(server)

    @worker.handler("broken")
    def broken(task: Task) -> None:
        raise ZeroDivisionError("by zero")

    @worker.handler("declined")
    async def declined(task: Task) -> None:
        raise TaskFailed("no", code="DECLINED", retryable=False, details={"limit": 5})

    async with worker:
        await connected(worker)
        jobs = [await client.jobs.submit(name, max_attempts=1) for name in ("broken", "declined")]
        first, second = [await ended(client, job.id) for job in jobs]

    assert first.error is not None
    assert (first.error.code, first.error.message) == ("ZeroDivisionError", "by zero")
    assert "in broken" in first.error.stack
    assert second.error is not None
    assert (second.error.code, second.error.retryable, second.error.details) == ("DECLINED", False, {"limit": 5})


async def test_what_a_handler_sets_in_its_context_stays_while_it_waits_and_is_gone_for_the_next_job(
    server: Running, client: AsyncClient
) -> None:
    user = contextvars.ContextVar("user", default="nobody")
    worker = worker_for(server, concurrency=1)

    @worker.handler("plain")
    def plain(task: Task) -> str:
        before = user.get()
        user.set(task.job_id)
        return before

    @worker.handler("swift")
    async def swift(task: Task) -> str:
        return plain(task)

    @worker.handler("waiting")
    async def waiting(task: Task) -> str:
        before = plain(task)
        seen_by_a_child = await asyncio.to_thread(user.get)
        assert seen_by_a_child == user.get() == task.job_id
        return before

    async with worker:
        await connected(worker)
        jobs = [await client.jobs.submit(name) for name in ("plain", "swift", "waiting", "swift", "waiting", "plain")]
        results = [(await client.jobs.wait_for_job(job.id, timeout=10)).result for job in jobs]

    assert results == ["nobody"] * len(jobs)


@pytest.mark.parametrize("temper", ["sleeps", "loops"])
async def test_a_handler_that_sleeps_or_loops_does_not_cost_its_lease(tmp_path: Path, temper: str) -> None:
    """The beats come from a thread that runs no user code; a loop in pure Python only delays them."""
    entered: list[int] = []
    async with (
        running_server(tmp_path, heartbeat_seconds=0.2, session_ttl_seconds=0.5, reaper_seconds=0.1) as server,
        AsyncClient(server.address) as client,
    ):
        worker = worker_for(server)

        @worker.handler("sleeps")
        def sleeps(task: Task) -> None:
            entered.append(task.attempt)
            time.sleep(2)  # sleeps: the handler under test blocks its thread

        @worker.handler("loops")
        def loops(task: Task) -> None:
            entered.append(task.attempt)
            until = time.monotonic() + 2
            while time.monotonic() < until:
                pass

        async with worker:
            await connected(worker)
            job = await ended(client, (await client.jobs.submit(temper)).id)

    assert (job.state, job.attempt, job.worker_losses, entered) == (JobState.COMPLETED, 1, 0, [1])


@pytest.mark.parametrize("kind", ["plain", "awaited"])
async def test_a_cancel_reaches_the_handler(server: Running, client: AsyncClient, kind: str) -> None:
    worker = worker_for(server)
    reasons: list[str] = []

    @worker.handler("plain")
    def plain(task: Task) -> None:
        try:
            while True:
                task.progress(message="still at it")
                time.sleep(0.01)  # sleeps: a plain handler at work
        finally:
            reasons.append(task.cancel_reason)

    @worker.handler("awaited")
    async def awaited(task: Task) -> None:
        task.progress(message="at it")
        try:
            await asyncio.Event().wait()
        finally:
            reasons.append(task.cancel_reason)

    async with worker:
        await connected(worker)
        submitted = await client.jobs.submit(kind)
        await running(client, submitted.id)
        await client.jobs.cancel_job(submitted.id, reason="not needed")
        job = await ended(client, submitted.id)

    assert (job.state, job.cancel_reason, reasons) == (JobState.CANCELLED, "not needed", ["not needed"])


async def test_a_stopping_worker_ends_what_it_runs_and_gives_back_what_it_has_not_begun(
    server: Running, client: AsyncClient
) -> None:
    worker = worker_for(server, concurrency=1)
    entered, release = threading.Event(), threading.Event()

    @worker.handler("gated")
    def gated(task: Task) -> str:
        entered.set()
        assert release.wait(10)
        return "done"

    async with worker:
        await connected(worker)
        begun = await client.jobs.submit("gated", priority=1)
        waiting = await client.jobs.submit("gated")
        await eventually_async(entered.is_set, within=10, what="the handler runs")
        stopping = asyncio.create_task(asyncio.to_thread(worker.stop))
        release.set()
        await stopping

    assert (await client.jobs.get_job(begun.id)).result == "done"
    left = await client.jobs.get_job(waiting.id)
    assert (left.state, left.attempt) == (JobState.PENDING, 0)


async def test_what_does_not_end_in_the_time_of_the_drain_is_given_back_at_no_cost(
    server: Running, client: AsyncClient
) -> None:
    worker = worker_for(server, drain_seconds=0)

    @worker.handler("endless")
    async def endless(task: Task) -> None:
        await asyncio.Event().wait()

    async with worker:
        await connected(worker)
        submitted = await client.jobs.submit("endless")
        await running(client, submitted.id)

    job = await client.jobs.get_job(submitted.id)
    assert (job.state, job.attempt, job.worker_losses) == (JobState.PENDING, 0, 0)


async def test_a_worker_outlives_its_server_and_delivers_what_it_did_meanwhile(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server goes away while a handler runs, and another process of it comes back on the same database: the
    result is taken by the task's token, and nothing runs twice.
    """
    caplog.set_level(logging.DEBUG, "jobhall.worker")
    address = f"127.0.0.1:{free_port()}"
    release = threading.Event()
    entered: list[int] = []
    worker = Worker(address, concurrency=1, drain_seconds=10)

    @worker.handler("long")
    async def long(task: Task) -> str:
        entered.append(task.attempt)
        await asyncio.to_thread(release.wait, 20)
        return "done"

    # Before there is a server: what is left over of a server is looked for in the threads that came after it.
    worker.start()
    await eventually_async(lambda: address in caplog.text, within=10, what="it says that nobody is there")
    async with running_server(tmp_path, listen=address) as server, AsyncClient(server.address) as client:
        await connected(worker)
        submitted = await client.jobs.submit("long")
        await running(client, submitted.id)
    await eventually_async(lambda: not worker.connected, within=10, what="the worker has lost its server")
    release.set()
    async with running_server(tmp_path, listen=address) as server, AsyncClient(server.address) as client:
        job = await ended(client, submitted.id)
        await asyncio.to_thread(worker.stop)

    assert (job.state, job.result, job.attempt, entered) == (JobState.COMPLETED, "done", 1, [1])
    assert "lost its stream" in caplog.text or "moves, as the server asks" in caplog.text


async def test_a_worker_waits_for_a_server_that_is_not_there_yet_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"127.0.0.1:{free_port()}"
    worker = Worker(address)
    worker.handler("noop")(lambda _: None)

    async with worker:
        await eventually_async(lambda: address in caplog.text, within=10, what="it says that nobody is there")
        async with running_server(tmp_path, listen=address):
            await connected(worker)
            await asyncio.to_thread(worker.stop)

    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "jobhall-server serve" in caplog.text


async def test_a_worker_that_the_server_will_not_have_stops_and_says_why(server: Running) -> None:
    worker = Worker(server.address, namespace="Not A Name")
    worker.handler("noop")(lambda _: None)

    with pytest.raises(FieldInvalidError, match="namespace"):
        await asyncio.to_thread(worker.run)


async def test_a_thousand_short_jobs_each_run_once(server: Running, client: AsyncClient) -> None:
    worker = worker_for(server, concurrency=50)
    seen: list[str] = []

    @worker.handler("short")
    async def short(task: Task) -> None:
        seen.append(task.job_id)

    async with worker:
        await connected(worker)
        async with client.jobs.submit_stream() as stream:
            submitted = await asyncio.gather(*(stream.submit("short", number) for number in range(1000)))
        await eventually_async(lambda: len(seen) >= 1000, within=20, what="every job has run")

    jobs = await client.jobs.get_jobs([job.job_id for job in submitted])
    assert {job.state for job in jobs} == {JobState.COMPLETED}
    assert sorted(seen) == sorted(job.job_id for job in submitted)
    assert {job.attempt for job in jobs} == {1}


def test_mistakes_in_setting_up_a_worker_are_named_at_once() -> None:
    worker = Worker(concurrency=2)
    worker.handler("public:resize")(lambda _: None)

    with pytest.raises(ValueError, match="'resize' has a handler already"):
        worker.handler("resize")
    with pytest.raises(ValueError, match="concurrency of 'paint' is 3"):
        worker.handler("paint", concurrency=3)
    with pytest.raises(ValueError, match="concurrency is 0"):
        Worker(concurrency=0)
    with pytest.raises(ValueError, match="no handler"):
        Worker().start()
