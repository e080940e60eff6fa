"""Job queues and job workers of both kinds, spoken to in the same way: what blocks runs in a thread."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from jobhall.queue import AsyncJobQueue, AsyncJobWorker, JobQueue, JobWorker, QueueJob
from tests.support.waiting import eventually_async

BLOCKING, ASYNC = "blocking", "async"
SOON = 10.0


class Awaited:
    """An object whose methods block; here they are awaited."""

    def __init__(self, blocking: Any) -> None:
        self.blocking = blocking

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.blocking, name)
        if not callable(found):
            return found

        def called(*args: Any, **options: Any) -> Awaitable[Any]:
            return asyncio.to_thread(found, *args, **options)

        return called


@asynccontextmanager
async def open_queue(kind: str, address: str, **settings: Any) -> AsyncIterator[Any]:
    """A queue of that kind, which is closed in the end."""
    queue: Any = Awaited(JobQueue(address, **settings)) if kind == BLOCKING else AsyncJobQueue(address, **settings)
    await queue.initialize()
    try:
        yield queue
    finally:
        await queue.close()


@asynccontextmanager
async def working(queue: Any, worker_of: Callable[..., Any], **settings: Any) -> AsyncIterator[Any]:
    """A worker of the queue, of a class as `made` makes them; it is stopped in the end."""
    worker = worker_of(queue.blocking if isinstance(queue, Awaited) else queue, **settings)
    worker = worker if isinstance(worker, AsyncJobWorker) else Awaited(worker)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


async def reaches(queue: Any, job_id: str, status: str, *, within: float = SOON) -> QueueJob:
    """The job, as soon as it has the status."""

    async def there() -> QueueJob | None:
        job: QueueJob = await queue.get_job(job_id)
        return job if job.status == status else None

    job = await eventually_async(there, within=within, what=f"job {job_id} is {status}")
    assert job is not None
    return job


def worker_class(kind: str) -> type[JobWorker] | type[AsyncJobWorker]:
    return JobWorker if kind == BLOCKING else AsyncJobWorker
