"""The power fails below synchronous=FULL: what watchers saw and the disk had not is lost, and none is fooled by it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import grpc.aio
import pytest

from jobhall.channel import CHANNEL_OPTIONS
from jobhall.v1 import job_service_pb2, job_service_pb2_grpc
from jobhall_server.hall import tokens
from jobhall_server.hall.views import LogPlace
from tests.support.disk_image import images
from tests.support.disk_trace import Operation
from tests.support.processes import Processes
from tests.support.stored import Stored
from tests.support.waiting import eventually_async
from tests.system.test_power_cut import DATABASE, burst, read_trace, serve_traced, write

CUTS = 12
CURSORS = 12
"""So many of those that the watcher had are tried after the cut."""
NUMBERS_MAX = 2**62

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

Told = tuple[str, int]
"""An event: job and revision."""


@dataclass(slots=True)
class Seen:
    """What a watcher was told of every job, as long as its block lasts."""

    log_id: str
    cursors: list[tuple[int, str]] = field(default_factory=list)
    """Each with the time at which it had come."""
    events: dict[int, Told] = field(default_factory=dict)
    """The last event of each answer, by its number."""

    def number(self, cursor: str) -> int:
        return tokens.cursor_number(cursor, LogPlace(self.log_id, 1, NUMBERS_MAX))

    def take(self, response: job_service_pb2.WatchJobsResponse) -> None:
        self.cursors.append((time.time_ns(), response.cursor))
        if response.events:
            last = response.events[-1]
            self.events[self.number(response.cursor)] = (last.job_id, last.revision)


async def test_a_watcher_whose_events_the_power_took_is_told_so_and_every_other_one_goes_on(
    processes: Processes, tmp_path: Path
) -> None:
    """The server numbered on from where the disk was: a watcher that had seen the lost events came back with a place
    that was there again, passed over as many new events as it had seen lost ones, and nobody knew.

    One run waits for the disk, the next one does not and is killed, and what the disk has then is cut out of its trace.
    """
    chance = random.Random(random.getrandbits(32))
    operations, seen = await record(processes)
    busy = [at for at, _ in seen.cursors[len(seen.cursors) // 4 :]]

    fooled = 0
    for number, image in enumerate(images(operations, cuts=chance.choices(busy, k=CUTS), chance=chance)):
        database = write(image, tmp_path / f"image-{number}", chance)
        before = [cursor for at, cursor in seen.cursors if at < image.cut_at]
        last = numbers(Stored(database))[-1]
        lost = [cursor for cursor in before if seen.number(cursor) > last]
        if lost and fooled < 2:
            fooled += 1
            kept = [cursor for cursor in before if seen.number(cursor) <= last]
            tried = chance.sample(lost, min(CURSORS, len(lost))), chance.sample(kept, min(CURSORS, len(kept)))
            await goes_on(processes, database, seen, *tried)

    assert fooled, "no cut took anything that a watcher had seen: this shows nothing"


async def record(processes: Processes) -> tuple[list[Operation], Seen]:
    """What the two runs did to the disk, and what a watcher of the second one was told."""
    database = processes.folder / "disk" / DATABASE
    database.parent.mkdir()
    operations: list[Operation] = []
    seen = Seen("")
    for synchronous in ("FULL", "NORMAL"):
        trace = processes.folder / f"{synchronous}.trace"
        server, address = await asyncio.to_thread(serve_traced, processes, database, trace, synchronous)
        seen = Seen(*Stored(database).rows("SELECT log_id FROM jobhall_service")[0])  # type: ignore[arg-type]
        async with watching(address, seen):
            await burst(address)
        await asyncio.to_thread(server.kill)
        operations += await asyncio.to_thread(read_trace, trace, server.pid, database.parent)
    return operations, seen


async def goes_on(processes: Processes, database: Path, seen: Seen, lost: list[str], kept: list[str]) -> None:
    """A server starts on what the cut left, and logs more than was lost; then the watchers come back."""
    server = await asyncio.to_thread(processes.serve, str(database), synchronous="NORMAL", log_level="warning")
    for _ in range(2):
        await burst(server.address)

    stored = log(Stored(database))
    assert not {number for number, told in stored.items() if seen.events.get(number, told) != told}, "used twice"
    for cursor in lost:
        with pytest.raises(grpc.aio.AioRpcError, match="lost with the power"):
            await resumed(server.address, cursor, count=1)
    for cursor in kept:
        expected = [told for number, told in stored.items() if number > seen.number(cursor)]
        assert await resumed(server.address, cursor, count=len(expected)) == expected
    await asyncio.to_thread(server.stop)


def numbers(stored: Stored) -> list[int]:
    return list(log(stored)) or [0]


def log(stored: Stored) -> dict[int, Told]:
    """The events by number, in their order."""
    rows = stored.rows("SELECT number, job_id, revision FROM jobhall_events ORDER BY number")
    return {number: (str(UUID(bytes=job_id)), revision) for number, job_id, revision in rows}  # type: ignore[arg-type, misc]


@asynccontextmanager
async def watching(address: str, seen: Seen) -> AsyncIterator[None]:
    """A watch of everything, that takes what comes until the block ends."""

    async def watch() -> None:
        async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            stub = job_service_pb2_grpc.JobServiceStub(channel)
            async for response in stub.WatchJobs(job_service_pb2.WatchJobsRequest()):
                seen.take(response)

    task = asyncio.create_task(watch())
    try:
        await eventually_async(lambda: bool(seen.cursors), within=10, what="the watch is open")
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def resumed(address: str, cursor: str, *, count: int) -> list[Told]:
    """The first so many events that a watch with that cursor is told."""
    told: list[Told] = []
    async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        call = job_service_pb2_grpc.JobServiceStub(channel).WatchJobs(job_service_pb2.WatchJobsRequest(cursor=cursor))
        async for response in call:
            told += [(event.job_id, event.revision) for event in response.events]
            if len(told) >= count:
                return told
    return told
