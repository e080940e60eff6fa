"""AsyncJobQueue; `job_queue` is its twin and says more of each method, what both do stands in `verbs` and `leases`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, Unpack

from jobhall import calls_workers
from jobhall.aio_driver import AsyncDriver
from jobhall.channel import resolve_endpoint
from jobhall.limits import LEASE_DURATION
from jobhall.procedures import Procedures
from jobhall.queue.aio_keeper import AsyncLeaseKeeper
from jobhall.queue.job_queue import LIST_LIMIT, MAX_RETRIES, QUEUE_NAME, RETENTION_PERIOD
from jobhall.queue.leases import Leases
from jobhall.queue.verbs import Verbs, registered_types
from jobhall.queue.views import ProgressFields, QueueJob, StatusCounts
from jobhall.retry import CallRetry
from jobhall.spans import seconds
from jobhall.statuses import QueueStatus


class AsyncJobQueue:
    """A job queue by single calls, for the tasks of one event loop; arguments and errors as those of `JobQueue`.

    async with AsyncJobQueue() as queue:
        while job := await queue.poll_next_pending_job("detection"):
            await queue.update_job_status(job.id, "running")
            await queue.complete_job(job.id, {"total_processed": 100})
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        namespace: str = "",
        name: str = QUEUE_NAME,
        max_retries: int = MAX_RETRIES,
        retention_period: timedelta = RETENTION_PERIOD,
        lease: timedelta = LEASE_DURATION,
        timeout: float | timedelta = 30.0,
        retry: CallRetry | None = None,
    ) -> None:
        endpoint = resolve_endpoint(address, token)
        self.namespace = namespace
        self.lease = lease
        self._driver = AsyncDriver(endpoint, None, asyncio.sleep)
        self._procedures = Procedures(retry or CallRetry(), seconds(timeout, field="timeout"), time.monotonic)
        self._keeper = self.keeper(name)
        self._verbs = Verbs(
            self._procedures,
            self._keeper.leases,
            namespace=namespace,
            max_retries=max_retries,
            retention=retention_period,
        )
        self._claiming = asyncio.Lock()
        """Two first claims at once would open two sessions."""
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    async def initialize(self) -> None:
        """Makes sure that the server is there; raises ServerUnreachableError. Nothing else needs it."""
        await self._driver.run(self._procedures.call(calls_workers.server_info()))

    async def close(self) -> None:
        """Gives back the jobs that it holds, their attempts not counted, and closes the connection."""
        if self._closed:
            return
        self._closed = True
        await self._keeper.close()
        await self._driver.run(self._keeper.leases.give_back())
        await self._driver.close()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- any job ---

    async def create_job(
        self,
        job_type: str,
        parameters: Any = None,
        *,
        user_id: str = "",
        resource_id: str = "",
        max_retries: int | None = None,
        job_id: str = "",
    ) -> QueueJob:
        """Creates a job; when this returns it is durable, and `pending`."""
        return await self._driver.run(
            self._verbs.create_job(
                job_type,
                parameters,
                user_id=user_id,
                resource_id=resource_id,
                max_retries=max_retries,
                job_id=job_id,
            )
        )

    async def get_job(self, job_id: str) -> QueueJob:
        """Reads a job; raises JobNotFoundError."""
        return await self._driver.run(self._verbs.get_job(job_id))

    async def list_jobs(
        self,
        *,
        status: QueueStatus | str | None = None,
        job_type: str = "",
        user_id: str = "",
        limit: int = LIST_LIMIT,
        offset: int = 0,
    ) -> list[QueueJob]:
        """Reads at most `limit` jobs, the newest first, after passing over `offset` (at most 10,000)."""
        return await self._driver.run(
            self._verbs.list_jobs(status=status, job_type=job_type, user_id=user_id, limit=limit, offset=offset)
        )

    async def get_stats(self, *, job_types: Iterable[str] = ()) -> StatusCounts:
        """Counts the jobs of each status; cheap at any size."""
        return await self._driver.run(self._verbs.get_stats(job_types))

    async def cleanup_old_jobs(self, *, age: float | timedelta | None = None) -> int:
        """Deletes the jobs that ended longer ago than `age`, by default the retention period; how many there were."""
        return await self._driver.run(self._verbs.cleanup_old_jobs(age))

    async def cancel_job(self, job_id: str, *, reason: str = "") -> None:
        """Cancels a job: its worker is asked to stop; where this queue holds it, this says that it has stopped."""
        await self._driver.run(self._verbs.cancel_job(job_id, reason))

    # --- jobs in this queue's hands ---

    async def poll_next_pending_job(self, job_type: str) -> QueueJob | None:
        """The pending job of the type that has waited longest, within the highest priority; None where none waits."""
        async with self._claiming:
            return await self._keeper.run(self._verbs.poll_next(job_type))

    async def update_job_status(self, job_id: str, status: QueueStatus | str) -> None:
        """Moves a job to the status, atomically, if it may go there; its present one changes nothing."""
        async with self._claiming:
            await self._keeper.run(self._verbs.update_status(job_id, status))

    async def update_job_progress(self, job_id: str, **progress: Unpack[ProgressFields]) -> None:
        """Says how far a held job has come; what is left out stays as it was."""
        await self._keeper.run(self._verbs.update_progress(job_id, progress))

    async def complete_job(self, job_id: str, result: Any = None) -> None:
        """Ends a held job with its result: anything that JSON can say, or bytes."""
        await self._keeper.run(self._verbs.complete(job_id, result))

    async def fail_job(self, job_id: str, error: BaseException | str, *, retryable: bool | None = None) -> None:
        """Ends the attempt at a held job with an error: it is tried again while `max_retries` allows, else `failed`."""
        await self._keeper.run(self._verbs.fail(job_id, error, retryable=retryable))

    # --- for JobWorker ---

    def keeper(self, name: str) -> AsyncLeaseKeeper:
        """A session of its own over this queue's connection, by which a worker holds its jobs."""
        leases = Leases(self._procedures, worker_name=name, namespace=self.namespace, lease=self.lease)
        return AsyncLeaseKeeper(self._driver, leases)

    async def registered_types(self) -> list[str]:
        """The types that jobs here may have; the first 256 of them."""
        return await self._driver.run(registered_types(self._procedures, self.namespace))
