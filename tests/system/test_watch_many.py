"""Watchers that do not read, and very many watchers: bounded memory, nobody else's loss, and everybody is served."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import psutil
import pytest

import jobhall
from jobhall.ids import new_id
from jobhall.states import EventType
from jobhall.v1 import job_service_pb2 as pb
from jobhall.v1 import job_service_pb2_grpc
from tests.support.processes import Processes, Server
from tests.support.stored import Stored

FLOOD_EVENTS = 50_000
STOPPED_GROWTH_MAX = 84 * 2**20
"""Bytes that the server may grow by while nobody reads: 56 MB were measured, 115 without a bound on the queues."""
LARGE = {f"label-{number}": "x" * 60 for number in range(8)}
"""So that the flood is far more than what is buffered on the way to a reader."""
LATENCY_CHANGES = 60
MANY, MANY_LONG = 2000, 5000
CHANNELS = 10
MANY_SECONDS = 60.0
ALONE = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)]
"""A connection of its own for each channel."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]


@asynccontextmanager
async def stub_of(address: str) -> AsyncIterator[Any]:
    """With a connection of its own: who does not read must not hold up the others' bytes."""
    async with grpc.aio.insecure_channel(address, options=ALONE) as channel:
        yield job_service_pb2_grpc.JobServiceStub(channel)


async def flood(stub: Any, count: int) -> None:
    for _ in range(count // 1000):
        jobs = [{"job_type": "score", "job_id": new_id(), "labels": LARGE} for _ in range(1000)]
        await stub.BatchSubmitJobs(pb.BatchSubmitJobsRequest(jobs=jobs))  # type: ignore[arg-type]


def rss(server: Server) -> int:
    memory: int = psutil.Process(server.pid).memory_info().rss
    return memory


async def heard(call: Any, count: int) -> list[str]:
    """The jobs of the next so many events."""
    job_ids: list[str] = []
    while len(job_ids) < count:
        job_ids += [event.job_id for event in (await call.read()).events]
    return job_ids


async def test_readers_that_stop_cost_little_memory_and_then_get_everything_from_the_log(
    processes: Processes, figures: Callable[..., None]
) -> None:
    """One never reads, one has read the first answer only, and one stops in the midst of it all."""
    server = processes.serve(synchronous="NORMAL")
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(jobhall.AsyncClient(server.address))
        await client.types.register("score")
        busy = await stack.enter_async_context(stub_of(server.address))
        await flood(busy, 3000)
        stubs = [await stack.enter_async_context(stub_of(server.address)) for _ in range(3)]
        request = pb.WatchJobsRequest(event_types=[int(EventType.SUBMITTED)])  # type: ignore[list-item]
        calls: list[Any] = [stub.WatchJobs(request) for stub in stubs]
        for call in calls[1:]:
            await call.read()
        before = rss(server)

        await flood(busy, FLOOD_EVENTS // 2)
        midway = await heard(calls[2], FLOOD_EVENTS // 4)
        await flood(busy, FLOOD_EVENTS // 2)
        grown = rss(server) - before

        figures(grown_by=f"{grown / 2**20:.1f} MB", events=FLOOD_EVENTS, stopped=len(calls))
        assert grown < STOPPED_GROWTH_MAX
        submitted = [job_id for job_id, _, _ in Stored(server.database).events()][3000:]
        assert [*midway, *await heard(calls[2], FLOOD_EVENTS - len(midway))] == submitted
        for call in calls[:2]:
            assert await heard(call, FLOOD_EVENTS) == submitted
            call.cancel()


async def test_a_reader_that_stops_adds_nothing_to_what_others_wait(
    processes: Processes, figures: Callable[..., None]
) -> None:
    """By order of magnitude; the figure is the benchmark's."""
    server = processes.serve(synchronous="NORMAL")
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(jobhall.AsyncClient(server.address))
        await client.types.register("score")
        stub = await stack.enter_async_context(stub_of(server.address))
        idle = await stack.enter_async_context(stub_of(server.address))
        alone = await latency(stub)

        stopped: list[Any] = [idle.WatchJobs(pb.WatchJobsRequest()) for _ in range(5)]
        await flood(stub, 10_000)
        beside = await latency(stub)

        figures(alone=f"{alone * 1000:.1f} ms", beside_five_that_do_not_read=f"{beside * 1000:.1f} ms")
        assert beside < 10 * alone + 0.02
        for call in stopped:
            call.cancel()


async def latency(stub: Any) -> float:
    """Seconds from the submit's answer to the watcher, the median: under nothing when the watcher was first."""
    call = stub.WatchJobs(pb.WatchJobsRequest())
    await call.read()
    told: dict[str, asyncio.Future[float]] = {}

    async def listen() -> None:
        while True:
            for event in (await call.read()).events:
                if event.job_id in told and not told[event.job_id].done():
                    told[event.job_id].set_result(time.perf_counter())

    listening = asyncio.create_task(listen())
    waits = []
    for _ in range(LATENCY_CHANGES):
        job_id = new_id()
        told[job_id] = asyncio.get_running_loop().create_future()
        began_at = time.perf_counter()
        await stub.SubmitJob(pb.SubmitJobRequest(job={"job_type": "score", "job_id": job_id}))  # type: ignore[arg-type]
        waits.append(await asyncio.wait_for(told[job_id], 10) - began_at)
    listening.cancel()
    await asyncio.wait([listening])
    call.cancel()
    return statistics.median(waits)


async def test_thousands_of_watchers_come_back_to_a_server_that_was_killed(
    processes: Processes, long: bool, figures: Callable[..., None]
) -> None:
    """All at once and at their own cursors: half of them have missed how their job ended, the others hear it live."""
    server = processes.serve(synchronous="NORMAL")
    job_ids = [new_id() for _ in range(MANY_LONG if long else MANY)]
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(jobhall.AsyncClient(server.address))
        await client.types.register("score")
        stubs = [await stack.enter_async_context(stub_of(server.address)) for _ in range(CHANNELS)]
        for first in range(0, len(job_ids), 1000):
            jobs = [
                {"job_type": "score", "job_id": job_id, "labels": {"half": str(place % 2)}}
                for place, job_id in enumerate(job_ids[first : first + 1000])
            ]
            await stubs[0].BatchSubmitJobs(pb.BatchSubmitJobsRequest(jobs=jobs))  # type: ignore[arg-type]
        watchers = [Watcher(stubs[place % CHANNELS], job_id) for place, job_id in enumerate(job_ids)]
        opening = await timed(watchers, lambda watcher: watcher.open())
        for watcher in watchers:
            watcher.call.cancel()

        await client.jobs.cancel_jobs(labels={"half": "0"})
        server.kill()
        returning = asyncio.create_task(timed(watchers, lambda watcher: watcher.open()))
        server = await asyncio.to_thread(processes.serve, listen=server.address, synchronous="NORMAL")
        coming_back = await returning
        missed = await timed(watchers[::2], lambda watcher: watcher.ended())
        cancelling = asyncio.create_task(client.jobs.cancel_jobs(labels={"half": "1"}))
        live = await timed(watchers[1::2], lambda watcher: watcher.ended())
        await cancelling

        figures(
            watchers=len(watchers),
            opened_in=f"{opening:.1f} s",
            back_in=f"{coming_back:.1f} s (the server's start in it)",
            told_what_they_missed_in=f"{missed:.1f} s",
            told_live_in=f"{live:.1f} s",
        )
        for watcher in watchers:
            assert watcher.told == [EventType.CANCELLED]
            watcher.call.cancel()


class Watcher:
    """Of one job, message by message."""

    def __init__(self, stub: Any, job_id: str) -> None:
        self.told: list[int] = []
        self._stub = stub
        self._job_id = job_id
        self._cursor = ""

    async def open(self) -> None:
        """Until the first answer."""
        request = pb.WatchJobsRequest(job_ids=[self._job_id], cursor=self._cursor)
        self.call = self._stub.WatchJobs(request, wait_for_ready=True)
        await self._read()

    async def ended(self) -> None:
        while not self.told:
            await self._read()

    async def _read(self) -> None:
        response = await self.call.read()
        self._cursor = response.cursor
        self.told += [event.event_type for event in response.events]


async def timed(watchers: Sequence[Watcher], what: Callable[[Watcher], Any]) -> float:
    """The seconds in which all of them have done it."""
    began_at = time.perf_counter()
    async with asyncio.timeout(MANY_SECONDS):
        await asyncio.gather(*map(what, watchers))
    return time.perf_counter() - began_at
