"""A process that opens many watches, says when each has had its first answer, and keeps them until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal

from bench.processes import say
from bench.server import JOB_TYPE
from jobhall.aio import AsyncClient

WATCHES_PER_CONNECTION = 100


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("count", type=int)
    arguments = parser.parse_args()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        tasks = []
        for first in range(0, arguments.count, WATCHES_PER_CONNECTION):
            client = await stack.enter_async_context(AsyncClient(arguments.address))
            size = min(WATCHES_PER_CONNECTION, arguments.count - first)
            opened = [asyncio.get_running_loop().create_future() for _ in range(size)]
            tasks += [asyncio.create_task(_watch(client, future)) for future in opened]
            await asyncio.gather(*opened)
        say(open=len(tasks))
        await stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _watch(client: AsyncClient, opened: asyncio.Future[None]) -> None:
    async for _ in client.jobs.watch(job_types=[JOB_TYPE]):
        if not opened.done():
            opened.set_result(None)


if __name__ == "__main__":
    asyncio.run(main())
