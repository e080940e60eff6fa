"""A real server for each test of the edges, and what it wrote to its log meanwhile."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from jobhall import AsyncClient, Task, TaskFailed, Worker
from jobhall_server.domain.access import ANYBODY
from jobhall_server.hall.clock import SystemClock
from jobhall_server.hall.hall import Hall, HallSettings
from jobhall_server.hall.job_type_units import Registration
from jobhall_server.logs import configure_logs
from jobhall_server.storage.store import Store
from tests.support.calls import register
from tests.support.servers import Running, running_server
from tests.support.waiting import eventually_async


@pytest.fixture
def server_log() -> Iterator[io.StringIO]:
    """Everything that the server logs during the test, as JSON lines."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs(form="json", level="debug", stream=stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
async def hall(tmp_path: Path) -> AsyncIterator[Hall]:
    """A hall without gRPC over a file, with the type `score`."""
    async with (
        Store.open(f"sqlite:///{tmp_path / 'jobhall.db'}") as store,
        Hall.open(store, HallSettings(), SystemClock()) as opened,
    ):
        await opened.job_types.register(ANYBODY, Registration("default", "score"), replace=False)
        yield opened


@pytest.fixture
async def server(tmp_path: Path, server_log: io.StringIO) -> AsyncIterator[Running]:
    async with running_server(tmp_path) as running:
        yield running
    assert "Traceback" not in server_log.getvalue(), server_log.getvalue()


@pytest.fixture
async def hasty(tmp_path: Path, server_log: io.StringIO) -> AsyncIterator[Running]:
    """A server with which a session that is gone for a second is over."""
    async with running_server(tmp_path, heartbeat_seconds=0.5, session_ttl_seconds=1.0, reaper_seconds=0.05) as running:
        yield running
    assert "Traceback" not in server_log.getvalue(), server_log.getvalue()


@pytest.fixture
async def brisk(hasty: Running) -> Running:
    """The same, with the type `score`, which no worker serves."""
    await register(hasty)
    return hasty


@pytest.fixture
async def client(server: Running) -> AsyncIterator[AsyncClient]:
    """A client, and the type `score`, which no worker serves."""
    async with AsyncClient(server.address) as client:
        await client.types.register("score")
        yield client


@pytest.fixture
async def worker(server: Running) -> AsyncIterator[Worker]:
    """A worker whose handlers succeed, fail, never end, and complain a lot."""
    worker = Worker(server.address, name="tester", concurrency=4, drain_seconds=0)

    @worker.handler("double")
    async def double(task: Task) -> int:
        result: int = 2 * task.parameters
        return result

    @worker.handler("decline")
    async def decline(task: Task) -> None:
        raise TaskFailed("card declined", code="DECLINED", retryable=False, details={"limit": 5})

    @worker.handler("hold")
    async def hold(task: Task) -> None:
        await asyncio.Event().wait()

    @worker.handler("grumble")
    async def grumble(task: Task) -> None:
        for number in range(task.parameters):
            task.item_error(index=number, key=f"row {number}", code="ODD", message="not even")
            task.log(f"line {number}", level="warning", number=number)

    async with worker:
        await eventually_async(lambda: worker.connected, within=10, what="the worker is connected")
        yield worker
