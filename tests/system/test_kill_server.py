"""The server dies under load, again and again: what was acknowledged is there, all of it ends, no event is missing."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

import jobhall
from jobhall.states import EventType, JobState
from tests.support import journal
from tests.support.load import Load
from tests.support.processes import Processes, Server
from tests.support.stored import Stored
from tests.support.waiting import eventually_async

ROUNDS = 5
DRAIN_SECONDS = 5
PATIENT = jobhall.CallRetry(attempts_max=1000, delay_max=timedelta(seconds=0.3))
"""The servers here live so shortly that who pauses for long never meets one."""
LOST = {EventType.PROGRESS, EventType.LOG, EventType.ENTERED, EventType.LEFT}
"""What the log does not keep."""
LOGGED = [kind for kind in EventType if kind and kind not in LOST]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed_under_load(
    processes: Processes, tmp_path: Path
) -> None:
    """The SDK's own retries carry every submit, the worker and a watch through the deaths.

    A submit may be acknowledged before the server's death or, sent again under its id, after it. What the dead server
    left on the disk is looked at as it is; only then another one recovers it.
    """
    server = await asyncio.to_thread(serve, processes)
    _ = processes.work("worker", server.address, concurrency=8)
    async with jobhall.AsyncClient(server.address, retry=PATIENT) as client:
        await client.types.register("note")
        async with watching(client) as seen:
            async with Load(client, "note") as load:
                for number in range(ROUNDS):
                    await under_way(load, tmp_path, random.randint(20, 150))
                    await asyncio.to_thread(server.kill)
                    check_image(server, load, tmp_path / f"image-{number}")
                    server = await asyncio.to_thread(serve, processes, listen=server.address)
                await under_way(load, tmp_path, 20)
            await check_all(server, load, seen, tmp_path)


async def test_a_server_that_is_told_to_stop_under_load_leaves_in_time_and_loses_nothing(
    processes: Processes, tmp_path: Path
) -> None:
    server = await asyncio.to_thread(serve, processes)
    _ = processes.work("worker", server.address, concurrency=8)
    async with jobhall.AsyncClient(server.address, retry=PATIENT) as client:
        await client.types.register("note")
        async with watching(client) as seen:
            async with Load(client, "note") as load:
                await under_way(load, tmp_path, 100)
                status = await asyncio.to_thread(server.stop, within=DRAIN_SECONDS + 2)
                assert status == 0
                check_image(server, load, tmp_path / "image")
                server = await asyncio.to_thread(serve, processes, listen=server.address)
                await under_way(load, tmp_path, 20)
            await check_all(server, load, seen, tmp_path)


def serve(processes: Processes, *, listen: str = "127.0.0.1:0") -> Server:
    """A server, the next ones on the same file and port."""
    return processes.serve(
        listen=listen, session_ttl_seconds=1, heartbeat_seconds=0.3, drain_seconds=DRAIN_SECONDS, log_level="warning"
    )


async def under_way(load: Load, folder: Path, count: int) -> None:
    """Waits until so many more submits were acknowledged, and the worker has begun to run more jobs."""
    acknowledged, executed = len(load.acknowledged), len(journal.read(folder))

    def enough() -> bool:
        load.check()
        return len(load.acknowledged) - acknowledged >= count and len(journal.read(folder)) > executed

    await eventually_async(enough, within=30, what=f"{count} more submits are acknowledged, and more jobs run")


def check_image(server: Server, load: Load, folder: Path) -> None:
    """The files of a server that is gone hold all that was acknowledged so far."""
    acknowledged = set(load.acknowledged)
    image = Stored(server.database).copy(folder)
    assert acknowledged <= image.states().keys()
    image.check()


async def check_all(server: Server, load: Load, seen: list[tuple[str, int, EventType]], folder: Path) -> None:
    """Every acknowledged job is there and completes once, however often it ran; the watch has missed nothing."""
    stored = Stored(server.database)
    await eventually_async(
        lambda: set(stored.states().values()) == {JobState.COMPLETED}, within=30, what="every job is COMPLETED"
    )
    events = stored.events()
    await eventually_async(lambda: len(seen) >= len(events), within=15, what="the watch has seen it all")

    stored.check()
    jobs = stored.states().keys()
    assert set(load.acknowledged) <= jobs
    assert sorted(job for job, _, kind in events if kind is EventType.COMPLETED) == sorted(jobs)
    assert seen == events
    executed = [entry.job_id for entry in journal.read(folder) if entry.what == "start"]
    assert set(executed) == jobs
    again_count = len(executed) - len(jobs)
    sys.stdout.write(f"{len(load.acknowledged)} acknowledged, {len(jobs)} jobs, {again_count} executions more\n")


@asynccontextmanager
async def watching(client: jobhall.AsyncClient) -> AsyncIterator[list[tuple[str, int, EventType]]]:
    """What a watch from the very first event on has seen, as the log has it."""
    seen: list[tuple[str, int, EventType]] = []
    opened = asyncio.Event()

    async def watch() -> None:
        async for update in client.jobs.watch(namespace="-", event_types=LOGGED):
            opened.set()
            seen.extend((event.job_id, event.revision, event.event_type) for event in update.events)

    watcher = asyncio.create_task(watch())
    try:
        await asyncio.wait_for(opened.wait(), 10)
        yield seen
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])
