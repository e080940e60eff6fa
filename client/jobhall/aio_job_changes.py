"""What `client.jobs` changes, one job or many, in the async client; `client_job_changes` is its twin, and says more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar, Unpack

from jobhall import calls
from jobhall.aio_driver import AsyncDriver
from jobhall.calls import BulkStep, Call
from jobhall.filters import JobSelection
from jobhall.model import AccessControl, CancelledJob, Job
from jobhall.model_insight import BulkOutcome
from jobhall.procedures import Procedures
from jobhall.unchanged import UNCHANGED, Unchanged

T = TypeVar("T")


class AsyncJobChanges:
    """The part of `client.jobs` that changes, cancels, retries and deletes jobs."""

    def __init__(self, driver: AsyncDriver, procedures: Procedures) -> None:
        self._driver = driver
        self._procedures = procedures

    # --- changing one ---

    async def update_job(
        self,
        job_id: str,
        *,
        priority: int | Unchanged = UNCHANGED,
        schedule_time: datetime | timedelta | Unchanged | None = UNCHANGED,
        start_deadline: datetime | timedelta | Unchanged | None = UNCHANGED,
        labels: Mapping[str, str] | Unchanged = UNCHANGED,
        access_control: AccessControl | Unchanged | None = UNCHANGED,
        etag: str = "",
    ) -> Job:
        """Changes what is given: priority and times while the job waits, labels and access at any time.

        job = await client.jobs.update_job(job.id, priority=10, schedule_time=None, etag=job.etag)
        """
        call = calls.update_job(
            job_id,
            priority=priority,
            schedule_time=schedule_time,
            start_deadline=start_deadline,
            labels=labels,
            access_control=access_control,
            etag=etag,
        )
        return await self._call(call)

    async def cancel_job(
        self, job_id: str, *, reason: str = "", grace: float | timedelta | None = None, etag: str = ""
    ) -> CancelledJob:
        """Cancels a job: it is CANCELLED, or CANCELLING while its worker stops. Raises JobTerminalError.

        (await client.jobs.cancel_job(job.id, reason="not needed any more")).worker_told
        """
        return await self._call(calls.cancel_job(job_id, reason=reason, grace=grace, etag=etag))

    async def retry_job(self, job_id: str, *, etag: str = "") -> Job:
        """Makes a FAILED or CANCELLED job PENDING again: its attempts and worker losses start from zero.

        job = await client.jobs.retry_job(job.id)
        """
        return await self._call(calls.retry_job(job_id, etag=etag))

    async def delete_job(self, job_id: str, *, etag: str = "") -> Job:
        """Deletes a job and returns it as it last was; raises JobRunningError while a worker holds it.

        await client.jobs.delete_job(job.id)
        """
        return await self._call(calls.delete_job(job_id, etag=etag))

    # --- changing many ---

    async def cancel_jobs(
        self,
        *,
        reason: str = "",
        jobs_max: int | None = None,
        dry_run: bool = False,
        **selection: Unpack[JobSelection],
    ) -> BulkOutcome:
        """Cancels the jobs of a filter that have not ended, each as `cancel_job` does; all, or `jobs_max` of them.

        await client.jobs.cancel_jobs(filter='labels.team = "red"', reason="not needed any more")
        """
        return await self._bulk(calls.cancel_jobs(selection, reason=reason, dry_run=dry_run), jobs_max, dry_run)

    async def retry_jobs(
        self, *, jobs_max: int | None = None, dry_run: bool = False, **selection: Unpack[JobSelection]
    ) -> BulkOutcome:
        """Retries the FAILED and CANCELLED jobs of a filter, step by step as `cancel_jobs` goes.

        print((await client.jobs.retry_jobs(error_code="RATE_LIMITED", jobs_max=100)).count)
        """
        return await self._bulk(calls.retry_jobs(selection, dry_run=dry_run), jobs_max, dry_run)

    async def purge_jobs(
        self,
        *,
        min_age: float | timedelta,
        jobs_max: int | None = None,
        dry_run: bool = False,
        **selection: Unpack[JobSelection],
    ) -> BulkOutcome:
        """Deletes the jobs of a filter, or all, that ended at least `min_age` ago; steps as those of `cancel_jobs`.

        await client.jobs.purge_jobs(min_age=timedelta(days=7), states=[JobState.COMPLETED])
        """
        return await self._bulk(calls.purge_jobs(selection, min_age=min_age, dry_run=dry_run), jobs_max, dry_run)

    async def _bulk(self, steps: Sequence[BulkStep], jobs_max: int | None, dry_run: bool) -> BulkOutcome:
        return await self._driver.run(self._procedures.bulk(steps, jobs_max=jobs_max, dry_run=dry_run))

    async def _call(self, call: Call[T]) -> T:
        return await self._driver.run(self._procedures.call(call))
