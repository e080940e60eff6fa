"""The producer process of a run: submits jobs in one of the ways that are measured, and says how long it took."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator

import jobhall
from bench.processes import say
from bench.server import JOB_TYPE
from jobhall.aio import AsyncClient

PARAMETERS = {"payload": "x" * 86}
"""100 bytes of JSON."""
BATCH_JOBS = 1000
IN_FLIGHT = 64
CALLS_IN_FLIGHT = 8
STEADY_JOBS_PER_SECOND = 100
EVEN_JOBS_PER_SECOND = 1_250
EVEN_JOBS_AT_ONCE = 25


async def submit_batches(client: AsyncClient, count: int) -> None:
    """BatchSubmitJobs, the next as soon as one is answered."""
    for first in range(0, count, BATCH_JOBS):
        size = min(BATCH_JOBS, count - first)
        await client.jobs.submit_many(jobhall.Submission(JOB_TYPE, PARAMETERS) for _ in range(size))


async def submit_unary(client: AsyncClient, count: int) -> None:
    """SubmitJob, one at a time."""
    for _ in range(count):
        await client.jobs.submit(JOB_TYPE, PARAMETERS)


async def submit_stream(client: AsyncClient, count: int) -> None:
    """SubmitJobStream, one at a time."""
    async with client.jobs.submit_stream() as stream:
        for _ in range(count):
            await stream.submit(JOB_TYPE, PARAMETERS)


async def submit_merged(client: AsyncClient, count: int) -> None:
    """SubmitJobStream, 64 tasks that each await their own submits."""
    async with client.jobs.submit_stream() as stream:
        await _in_flight(lambda: stream.submit(JOB_TYPE, PARAMETERS), IN_FLIGHT, iter(range(count)))


async def submit_piped(client: AsyncClient, count: int) -> None:
    """SubmitJobStream, a thousand queued at once and at most two thousand unanswered."""
    async with client.jobs.submit_stream() as stream:
        under_way: deque[asyncio.Future[jobhall.Submitted]] = deque()
        for first in range(0, count, BATCH_JOBS):
            size = min(BATCH_JOBS, count - first)
            batch = [stream.submit_soon(jobhall.Submission(JOB_TYPE, PARAMETERS)) for _ in range(size)]
            while len(under_way) > BATCH_JOBS:
                await under_way.popleft()
            under_way.extend(batch)
        await asyncio.gather(*under_way)


async def submit_steadily(client: AsyncClient, count: int) -> None:
    """SubmitJob at an even pace, whether the one before is answered or not; the parameters say when it was called."""

    async def submit(due: float) -> None:
        await asyncio.sleep(due - time.monotonic())
        await client.jobs.submit(JOB_TYPE, {"at": time.monotonic()})

    first = time.monotonic() + 0.2
    await asyncio.gather(*(submit(first + number / STEADY_JOBS_PER_SECOND) for number in range(count)))


async def submit_evenly(client: AsyncClient, count: int) -> None:
    """SubmitJobStream, as many each 20 ms as makes 1,250 a second: 5,000 events when a worker drains them."""
    async with client.jobs.submit_stream() as stream:
        under_way: deque[asyncio.Future[jobhall.Submitted]] = deque()
        began = time.monotonic()
        for number in range(count):
            if number % EVEN_JOBS_AT_ONCE == 0:
                await asyncio.sleep(began + number / EVEN_JOBS_PER_SECOND - time.monotonic())
                while under_way and under_way[0].done():
                    under_way.popleft().result()
            under_way.append(stream.submit_soon(jobhall.Submission(JOB_TYPE, PARAMETERS)))
        await asyncio.gather(*under_way)


async def change_steadily(client: AsyncClient, count: int) -> None:
    """100 changes a second of all the jobs there are, in turn: cancelled, retried, cancelled; each in its own call."""
    job_ids = [job.id async for job in client.jobs.list_jobs(page_size=1000)]

    async def change(number: int, due: float) -> None:
        await asyncio.sleep(due - time.monotonic())
        turn, place = divmod(number, len(job_ids))
        await (client.jobs.retry_job if turn % 2 else client.jobs.cancel_job)(job_ids[place])

    first = time.monotonic() + 0.2
    await asyncio.gather(*(change(number, first + number / STEADY_JOBS_PER_SECOND) for number in range(count)))


async def call_without_pause(client: AsyncClient, _count: int) -> None:
    """GetServerInfo, always eight in flight, until SIGTERM: neither this loop nor the server's is ever idle."""
    calls = itertools.count(1)
    say(calling=True)
    began = time.monotonic()
    task = asyncio.ensure_future(_in_flight(client.server_info, CALLS_IN_FLIGHT, calls))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    say(calls_per_second=(next(calls) - 1) / (time.monotonic() - began))


async def _in_flight(call: Callable[[], Awaitable[object]], width: int, numbers: Iterator[int]) -> None:
    async def repeat() -> None:
        for _ in numbers:
            await call()

    await asyncio.gather(*(repeat() for _ in range(width)))


WAYS = {
    "batches": submit_batches,
    "unary": submit_unary,
    "stream": submit_stream,
    "merged": submit_merged,
    "piped": submit_piped,
    "steady": submit_steadily,
    "even": submit_evenly,
    "changes": change_steadily,
    "calls": call_without_pause,
}


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("address")
    parser.add_argument("count", type=int)
    arguments = parser.parse_args()
    async with AsyncClient(arguments.address) as client:
        await client.server_info()  # The connection is not what is measured.
        began_at, began = time.time(), time.monotonic()
        await WAYS[arguments.way](client, arguments.count)
        say(began_at=began_at, seconds=time.monotonic() - began)


if __name__ == "__main__":
    asyncio.run(main())
