"""What `client.jobs` changes, one job or many, in the blocking client; `aio_job_changes` is its twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar, Unpack

from jobhall import calls
from jobhall.calls import BulkStep, Call
from jobhall.client_driver import Driver
from jobhall.filters import JobSelection
from jobhall.model import AccessControl, CancelledJob, Job
from jobhall.model_insight import BulkOutcome
from jobhall.procedures import Procedures
from jobhall.unchanged import UNCHANGED, Unchanged

T = TypeVar("T")


class JobChanges:
    """The part of `client.jobs` that changes, cancels, retries and deletes jobs."""

    def __init__(self, driver: Driver, procedures: Procedures) -> None:
        self._driver = driver
        self._procedures = procedures

    # --- changing one ---

    def update_job(
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

        None clears: a job without a schedule is due at once. `labels` replaces them all. With an `etag` the change is
        made only if the job still has it, else EtagMismatchError (a repeat whose first answer was lost may meet its own
        change). Raises JobRunningError and JobTerminalError.

            job = client.jobs.update_job(job.id, priority=10, schedule_time=None, etag=job.etag)
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
        return self._call(call)

    def cancel_job(
        self, job_id: str, *, reason: str = "", grace: float | timedelta | None = None, etag: str = ""
    ) -> CancelledJob:
        """Cancels a job: it is CANCELLED, or CANCELLING while its worker stops. Raises JobTerminalError.

        `grace` is how long the worker may take, in seconds or as a timedelta; None means what the server is set to.
        `worker_told` of the answer says whether there is one.

            client.jobs.cancel_job(job.id, reason="not needed any more").worker_told
        """
        return self._call(calls.cancel_job(job_id, reason=reason, grace=grace, etag=etag))

    def retry_job(self, job_id: str, *, etag: str = "") -> Job:
        """Makes a FAILED or CANCELLED job PENDING again: its attempts and worker losses start from zero.

        One that has not ended is left as it is; raises JobTerminalError where it is COMPLETED, UniqueKeyTakenError
        where another job has its unique key meanwhile.

            job = client.jobs.retry_job(job.id)
        """
        return self._call(calls.retry_job(job_id, etag=etag))

    def delete_job(self, job_id: str, *, etag: str = "") -> Job:
        """Deletes a job and returns it as it last was; raises JobRunningError while a worker holds it.

        client.jobs.delete_job(job.id)
        """
        return self._call(calls.delete_job(job_id, etag=etag))

    # --- changing many ---

    def cancel_jobs(
        self,
        *,
        reason: str = "",
        jobs_max: int | None = None,
        dry_run: bool = False,
        **selection: Unpack[JobSelection],
    ) -> BulkOutcome:
        """Cancels the jobs of a filter that have not ended, each as `cancel_job` does; all, or `jobs_max` of them.

        The keywords are those of `list_jobs`, for one namespace, and one of them is needed. It goes step by step, each
        a transaction of its own: what an error interrupts is done in part, and may be done again. What was done and not
        answered, for a connection that died, does not count towards `jobs_max`. A dry run counts up to a thousand.

            client.jobs.cancel_jobs(filter='labels.team = "red"', reason="not needed any more").count
        """
        return self._bulk(calls.cancel_jobs(selection, reason=reason, dry_run=dry_run), jobs_max, dry_run)

    def retry_jobs(
        self, *, jobs_max: int | None = None, dry_run: bool = False, **selection: Unpack[JobSelection]
    ) -> BulkOutcome:
        """Retries the FAILED and CANCELLED jobs of a filter, step by step as `cancel_jobs` goes.

        print(client.jobs.retry_jobs(error_code="RATE_LIMITED", jobs_max=100).count)
        """
        return self._bulk(calls.retry_jobs(selection, dry_run=dry_run), jobs_max, dry_run)

    def purge_jobs(
        self,
        *,
        min_age: float | timedelta,
        jobs_max: int | None = None,
        dry_run: bool = False,
        **selection: Unpack[JobSelection],
    ) -> BulkOutcome:
        """Deletes the jobs of a filter, or all, that ended at least `min_age` ago; steps as those of `cancel_jobs`.

        client.jobs.purge_jobs(min_age=timedelta(days=7), states=[JobState.COMPLETED])
        """
        return self._bulk(calls.purge_jobs(selection, min_age=min_age, dry_run=dry_run), jobs_max, dry_run)

    def _bulk(self, steps: Sequence[BulkStep], jobs_max: int | None, dry_run: bool) -> BulkOutcome:
        return self._driver.run(self._procedures.bulk(steps, jobs_max=jobs_max, dry_run=dry_run))

    def _call(self, call: Call[T]) -> T:
        return self._driver.run(self._procedures.call(call))
