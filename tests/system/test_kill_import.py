"""A server that is killed in the midst of imports has each of them whole, or nothing of it."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

from jobhall import AsyncClient, AttemptOutcome, CallRetry, ImportedJob, Job, JobAttempt, JobState, LogEntry
from jobhall.errors import ApiError
from jobhall.ids import new_id
from tests.support.processes import Processes
from tests.support.waiting import eventually_async

JOBS = 200
AT_ONCE = 8
ONCE = CallRetry(attempts_max=1)


def jobs() -> list[ImportedJob]:
    """Each with an attempt that wrote a line."""
    return [
        ImportedJob(
            job=Job(id=new_id(), namespace="default", job_type="score", state=JobState.PENDING),
            attempts=(_attempt(),),
            log_entries=(LogEntry(message="hello", number=1, attempt=1),),
        )
        for _ in range(JOBS)
    ]


async def test_imports_in_the_midst_of_which_a_server_is_killed_are_whole_or_not_there(processes: Processes) -> None:
    server = processes.serve()
    sent: list[list[ImportedJob]] = []
    acked: list[list[ImportedJob]] = []
    async with AsyncClient(server.address, retry=ONCE) as client:
        await client.types.register("score")

        async def bring() -> None:
            while server.status is None:
                sent.append(some := jobs())
                with suppress(ApiError):
                    await client.admin.import_jobs(some)
                    acked.append(some)

        loads = [asyncio.create_task(bring()) for _ in range(AT_ONCE)]
        await eventually_async(lambda: len(acked) >= AT_ONCE, within=20, what="some imports are done")
        await asyncio.to_thread(server.kill)
        await asyncio.gather(*loads)

    again = processes.serve()
    async with AsyncClient(again.address) as client:
        found = [len(await client.jobs.get_jobs([one.job.id for one in some])) for some in sent]
        stats = await client.jobs.stats()
        whole = sent[found.index(JOBS)][0].job.id
        lines = [line.message async for line in client.jobs.logs(whole)]

    assert set(found) <= {0, JOBS}
    assert all(count == JOBS for count, some in zip(found, sent, strict=True) if some in acked)
    assert stats.total.total == sum(found)
    assert lines == ["hello"]


def _attempt() -> JobAttempt:
    moment = datetime.now(UTC)
    return JobAttempt(attempt=1, fence=1, started_at=moment, ended_at=moment, outcome=AttemptOutcome.RELEASED)
