"""Regressions of batches over the real server: how soon workers hear of their jobs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobhall import AsyncClient, Job, Submission, Worker
from tests.support.servers import Running, running_server
from tests.support.waiting import eventually_async

SOON = 10.0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    """A server whose dispatcher looks at all queues but once a minute: what it is not told of waits so long."""
    async with running_server(tmp_path, reaper_seconds=60.0) as running:
        yield running


async def test_an_idle_worker_is_given_a_batchs_jobs_and_its_completion_job_at_once(server: Running) -> None:
    """The dispatcher was nudged and not told of which queue. A plain submit was begun in milliseconds; jobs that came
    with their batch, those of a batch made active, and each completion job lay there until the look of every second.
    """
    worker = Worker(server.address)
    worker.handler("part")(lambda _: None)
    worker.handler("whole")(lambda _: None)
    async with worker, AsyncClient(server.address) as client:
        await eventually_async(lambda: worker.connected, within=SOON, what="the worker is welcomed")
        for active in (True, False):
            batch = await client.batches.create(
                jobs=[Submission("part")], active=active, closed=True, completion_job=Submission("whole")
            )
            if not active:
                await client.batches.update(batch.id, active=True)

            await client.jobs.wait_for_job(batch.job_ids[0], timeout=SOON)
            assert (await completion_job(client, batch.id)).succeeded


async def completion_job(client: AsyncClient, batch_id: str) -> Job:
    async def submitted() -> str:
        return (await client.batches.get(batch_id)).completion_job_id

    job_id = await eventually_async(submitted, within=SOON, what="the completion job is submitted")
    return await client.jobs.wait_for_job(job_id, timeout=SOON)
