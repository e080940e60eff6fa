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


async def test_scratch(processes: Processes) -> None:
    server = processes.serve(synchronous="NORMAL")
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(jobhall.AsyncClient(server.address))
        await client.types.register("score")
        busy = await stack.enter_async_context(stub_of(server.address))
        stubs = [await stack.enter_async_context(stub_of(server.address)) for _ in range(3)]
        calls: list[Any] = [stub.WatchJobs(pb.WatchJobsRequest()) for stub in stubs]
        for call in calls[1:]:
            await call.read()
        await flood(busy, 20000)
        import time
        t=time.time(); code = await asyncio.to_thread(server.stop); print("STOPPED IN", time.time()-t, code)
        for call in calls:
            try:
                while True:
                    r = await call.read()
                    if r is grpc.aio.EOF: print("EOF"); break
            except grpc.aio.AioRpcError as e: print("ENDS", e.code(), e.details())
        assert 0
