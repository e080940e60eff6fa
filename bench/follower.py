"""A process that watches as a program would, with the SDK: one job in each watch, or all that happens in one."""

from __future__ import annotations

import argparse
import asyncio
import time
from array import array

from bench.processes import say
from jobhall.aio import AsyncClient
from jobhall.model_events import JobEvent
from jobhall.states import EventType


async def watch_each(client: AsyncClient, count: int) -> None:
    """A watch of every job there is; says how long each of so many changes took from its commit to its watcher."""
    taken = array("d")
    over = asyncio.Event()

    async def follow(job_id: str, opened: asyncio.Future[None]) -> None:
        async for update in client.jobs.watch(job_ids=[job_id]):
            now = time.time()
            if not opened.done():
                opened.set_result(None)
            taken.extend(now - _committed_at(event) for event in update.events)
            if len(taken) >= count:
                over.set()

    loop = asyncio.get_running_loop()
    opened = {job.id: loop.create_future() async for job in client.jobs.list_jobs(page_size=1000)}
    tasks = [asyncio.create_task(follow(job_id, future)) for job_id, future in opened.items()]
    await asyncio.gather(*opened.values())
    say(open=len(tasks))
    await over.wait()
    say(seconds=taken.tolist())
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def follow_all(client: AsyncClient, count: int) -> None:
    """One watch of the namespace until so many jobs have completed; says how far behind each message was."""
    behind = array("d")
    events = completed = 0
    opened = False
    async for update in client.jobs.watch():
        if not opened:
            opened = True
            say(open=1)
        if update.events:
            behind.append(time.time() - _committed_at(update.events[-1]))
            events += len(update.events)
            completed += sum(event.event_type is EventType.COMPLETED for event in update.events)
            if completed == count:
                break
    say(seconds=behind.tolist(), events=events)


def _committed_at(event: JobEvent) -> float:
    assert event.happened_at is not None
    return event.happened_at.timestamp()


WAYS = {"each": watch_each, "all": follow_all}


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("address")
    parser.add_argument("count", type=int)
    arguments = parser.parse_args()
    async with AsyncClient(arguments.address) as client:
        await WAYS[arguments.way](client, arguments.count)


if __name__ == "__main__":
    asyncio.run(main())
