"""The process of a crowd of streams: what is sent to all of them at once, what they cost, how they come back."""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from statistics import median

import grpc.aio

from bench import push, raw_streams, stub_streams
from bench.crowd import Crowd, Wire, bare_crowd, watchers
from bench.processes import BenchmarkError, say
from bench.server import JOB_TYPE
from jobhall.aio import AsyncClient
from jobhall.states import JobState
from jobhall.v1 import job_service_pb2 as jobs_pb2
from jobhall.v1 import worker_service_pb2 as workers_pb2
from jobhall.v1.worker_service_pb2_grpc import WorkerServiceStub

LONE_VALUES = 30
IN_FLIGHT = 2
"""Values of a flood that are about to be published: with one the server waits for its client, with more it merges."""
PROGRESS_PER_SECOND = 50
_VALUE_BYTES = 160
"""About what one event takes on the wire."""

Publish = Callable[[int], Awaitable[tuple[int, float]]]
"""Makes the next value: what the streams will be told, and when it was committed, in seconds since 1970."""


async def fan_out_bare(address: str, size: int, count: int, *, wire: Wire) -> None:
    """Values to all streams of the bare server."""
    async with bare_crowd(address, size, wire) as crowd, grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(push.PUBLISH)

        async def publish(number: int) -> tuple[int, float]:
            value = number.to_bytes(push.NUMBER_BYTES).ljust(_VALUE_BYTES, b"x")
            return number, int.from_bytes(await call(value)) / 1e6

        await _fan_out(crowd, publish, count)


async def fan_out(address: str, size: int, count: int, *, wire: Wire) -> None:
    """Changes of one job to all its watchers."""
    async with AsyncClient(address) as client:
        job = await client.jobs.submit(JOB_TYPE)
        async with watchers(address, [jobs_pb2.WatchJobsRequest(job_ids=[job.id])] * size, wire) as crowd:

            async def publish(number: int) -> tuple[int, float]:
                changed = await client.jobs.update_job(job.id, labels={"step": str(number)})
                assert changed.updated_at is not None
                return changed.revision, changed.updated_at.timestamp()

            await _fan_out(crowd, publish, count)


async def progress(address: str, size: int, count: int) -> None:
    """Progress of one running job, 50 reports a second, to all its watchers."""
    async with AsyncClient(address) as client, grpc.aio.insecure_channel(address) as channel:
        job = await client.jobs.submit(JOB_TYPE)
        stub = WorkerServiceStub(channel)
        claimed = await stub.ClaimTasks(workers_pb2.ClaimTasksRequest(job_ids=[job.id], accept=True))
        [task] = claimed.tasks
        async with watchers(address, [jobs_pb2.WatchJobsRequest(job_ids=[job.id])] * size) as crowd:
            say(open=size)
            began = time.monotonic()
            for number in range(1, count + 1):
                await asyncio.sleep(began + number / PROGRESS_PER_SECOND - time.monotonic())
                request = workers_pb2.ReportTasksRequest(session_id=claimed.session_id)
                update = request.updates.add(seq=number, lease_token=task.lease_token)
                update.progress.items_processed = number
                await stub.ReportTasks(request)
            reported_at = time.time()
            reached_at = await crowd.until_all_have(-count)
            say(
                last_ms=1000 * (reached_at - reported_at),
                told=crowd.values / size,
                seconds=time.monotonic() - began,
            )


async def hold_bare(address: str, size: int, _count: int) -> None:
    """Streams of the bare server, until SIGTERM."""
    began = time.monotonic()
    async with bare_crowd(address, size) as crowd:
        await _hold(crowd, time.monotonic() - began)


async def hold(address: str, size: int, _count: int) -> None:
    """Watches, each of a job of its own, until SIGTERM."""
    requests = [jobs_pb2.WatchJobsRequest(job_ids=[job_id]) for job_id in await _some_jobs(address, size)]
    began = time.monotonic()
    async with watchers(address, requests) as crowd:
        await _hold(crowd, time.monotonic() - began)


async def reconnect(address: str, size: int, _count: int) -> None:
    """All connections are cut, each job is cancelled, and everybody watches again at once, at their own cursor."""
    job_ids = await _some_jobs(address, size)
    async with watchers(address, [jobs_pb2.WatchJobsRequest(job_ids=[job_id]) for job_id in job_ids]) as before:
        pass
    async with AsyncClient(address) as client:
        cancelled = await client.jobs.cancel_jobs(states=[JobState.PENDING])
    if cancelled.count != size:
        raise BenchmarkError(f"{cancelled.count} of {size} jobs were cancelled")
    requests = [
        jobs_pb2.WatchJobsRequest(job_ids=[job_id], cursor=before.cursors[number])
        for number, job_id in enumerate(job_ids)
    ]
    began_at = time.time()
    async with watchers(address, requests) as crowd:
        first_seconds = time.time() - began_at
        await crowd.until(lambda: crowd.values >= size)
        say(first_seconds=first_seconds, missed_seconds=time.time() - began_at)
        if crowd.values != size or len(crowd.told) != size:
            raise BenchmarkError(f"{len(crowd.told)} of {size} watchers were told of {crowd.values} cancelled jobs")


async def _fan_out(crowd: Crowd, publish: Publish, count: int) -> None:
    """One value after another, each when all have the one before; then as fast as they are taken."""
    lone = []
    for number in range(1, LONE_VALUES + 1):
        value, at = await publish(number)
        lone.append(await crowd.until_all_have(value) - at)
    before = crowd.values, crowd.messages
    say(lone=True)
    began_at = time.time()
    numbers = iter(range(LONE_VALUES + 1, LONE_VALUES + 1 + count))
    last = max(await asyncio.gather(*(_publish_each(publish, numbers) for _ in range(IN_FLIGHT))))
    seconds = await crowd.until_all_have(last) - began_at
    values = crowd.values - before[0]
    if values != count * crowd.size:
        raise BenchmarkError(f"{values} values came, and not {count} for each of {crowd.size} streams")
    say(
        reach_ms=1000 * median(lone),
        deliveries_per_second=values / seconds,
        messages_per_second=(crowd.messages - before[1]) / seconds,
    )


async def _publish_each(publish: Publish, numbers: Iterator[int]) -> int:
    return max([(await publish(number))[0] for number in numbers], default=0)


async def _hold(crowd: Crowd, seconds: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    say(open_seconds=seconds)
    await stop.wait()
    crowd.check()
    say(messages=crowd.messages - crowd.size)


async def _some_jobs(address: str, size: int) -> Sequence[str]:
    async with AsyncClient(address) as client:
        found: list[str] = []
        async for job in client.jobs.list_jobs(page_size=1000):
            found.append(job.id)
            if len(found) == size:
                return found
    raise BenchmarkError(f"there are but {len(found)} jobs")


WAYS: dict[str, Callable[[str, int, int], Awaitable[None]]] = {
    "fan-out-bare": partial(fan_out_bare, wire=stub_streams.open_streams),
    "fan-out": partial(fan_out, wire=stub_streams.open_streams),
    "fan-out-bare-raw": partial(fan_out_bare, wire=raw_streams.open_streams),
    "fan-out-raw": partial(fan_out, wire=raw_streams.open_streams),
    "progress": progress,
    "hold-bare": hold_bare,
    "hold": hold,
    "reconnect": reconnect,
}


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("address")
    parser.add_argument("size", type=int)
    parser.add_argument("count", nargs="?", type=int, default=0)
    arguments = parser.parse_args()
    await WAYS[arguments.way](arguments.address, arguments.size, arguments.count)


if __name__ == "__main__":
    asyncio.run(main())
