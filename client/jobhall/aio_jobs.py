"""`client.jobs` of the async client; `client_jobs` is its twin, and says more of each method."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar, Unpack

from jobhall import calls, calls_events, calls_insight
from jobhall.aio_driver import AsyncDriver
from jobhall.calls import BulkStep, Call, PageOptions, SubmitOptions
from jobhall.calls_events import EventOptions, EventPageOptions
from jobhall.calls_insight import LogOptions, LogPageOptions
from jobhall.errors import WatcherLimitError
from jobhall.filters import JobSelection, settled
from jobhall.limits import PAGE_SIZE_MAX
from jobhall.log_place import POLL_SECONDS, LogPlace
from jobhall.model import AccessControl, ItemError, Job, JobPage, Jobs, LogEntry, LogPage
from jobhall.model_events import EventPage, JobEvent, WatchUpdate
from jobhall.model_insight import BulkOutcome, JobAttempt, JobExplanation, JobStats
from jobhall.procedures import Procedure, Procedures
from jobhall.spans import seconds
from jobhall.submission import Submission
from jobhall.submit_stream import SubmitStream
from jobhall.unchanged import UNCHANGED, Unchanged
from jobhall.waiting import Waiting
from jobhall.watching import WatchOptions, WatchPlace

T = TypeVar("T")


class AsyncJobsApi:
    """`client.jobs`: submits, reads, waits for, watches, changes, cancels, retries and deletes jobs; see `JobsApi`."""

    def __init__(self, driver: AsyncDriver, procedures: Procedures, waiting: Waiting) -> None:
        self._driver = driver
        self._procedures = procedures
        self._waiting = waiting

    # --- submitting ---

    async def submit(self, job_type: str, parameters: Any = None, **options: Unpack[SubmitOptions]) -> Job:
        """Submits a job; when this returns the job is durable."""
        return await self._call(calls.submit_job(Submission(job_type, parameters, **options)))

    async def submit_many(self, submissions: Iterable[Submission]) -> list[Job]:
        """Submits up to 1000 jobs in one transaction: all or, with the first one's error, none."""
        return await self._call(calls.submit_jobs(submissions))

    def submit_stream(self) -> SubmitStream:
        """The fast path for many single submits at once: what waits together travels together.

        async with client.jobs.submit_stream() as stream:
            submitted = await asyncio.gather(*(stream.submit("resize", file) for file in files))
        """
        return SubmitStream(self._driver.channel(), self._driver.endpoint, self._procedures.policy)

    async def validate(self, job_type: str, parameters: Any = None, **options: Unpack[SubmitOptions]) -> Job:
        """Checks a submit and stores nothing: the job as it would be, without an id; raises what `submit` raises."""
        return await self._call(calls.validate_job(Submission(job_type, parameters, **options)))

    async def validate_many(self, submissions: Iterable[Submission]) -> list[Job]:
        """The same of `submit_many`."""
        return await self._call(calls.validate_jobs(submissions))

    # --- reading ---

    async def get_job(self, job_id: str, *, include_errors: bool = False, include_checkpoint: bool = False) -> Job:
        """Reads one job, with its first 100 item errors and its checkpoint if asked; raises JobNotFoundError."""
        return await self._call(
            calls.get_job(job_id, include_errors=include_errors, include_checkpoint=include_checkpoint)
        )

    async def get_jobs(self, job_ids: Sequence[str], *, include_errors: bool = False) -> Jobs:
        """Reads any number of jobs, in that order; `missing_ids` names those that are not to be found."""
        return await self._driver.run(self._procedures.get_jobs(job_ids, include_errors=include_errors))

    async def list_jobs(self, **options: Unpack[PageOptions]) -> AsyncIterator[Job]:
        """Goes through all matching jobs, the newest first, briefly; reads the pages as it goes."""
        options = settled(options)
        while True:
            page = await self.list_page(**options)
            for job in page.jobs:
                yield job
            if not page.next_page_token:
                return
            options["page_token"] = page.next_page_token
            options.pop("skip", None)

    async def list_page(self, **options: Unpack[PageOptions]) -> JobPage:
        """Reads one page of that list; a page may be short and yet not be the last."""
        return await self._call(calls.list_jobs(options))

    def attempts(self, job_id: str) -> AsyncIterator[JobAttempt]:
        """Goes through the attempts at a job, those before a retry included, the oldest first."""
        return self._driver.pages(self._procedures, partial(calls_insight.list_attempts, job_id))

    def item_errors(self, job_id: str, *, attempt: int = 0) -> AsyncIterator[ItemError]:
        """Goes through the item errors of an attempt (0: the latest) in their order, as many as the server kept."""
        return self._driver.pages(self._procedures, partial(calls_insight.list_item_errors, job_id, attempt=attempt))

    async def logs(
        self, job_id: str, *, follow: bool = False, **options: Unpack[LogOptions]
    ) -> AsyncGenerator[LogEntry, None]:
        """Goes through the log of an attempt, by default the latest, in its order, as many lines as the server kept."""
        place = LogPlace(job_id, options)
        ask = self._procedures.patiently if follow else self._procedures.call
        if follow:
            async with aclosing(self._turns(job_id, place)) as turns:
                async for _ in turns:
                    async for line in self._unread(place, ask):
                        yield line
        place.finish()
        async for line in self._unread(place, ask):
            yield line

    async def log_page(self, job_id: str, **options: Unpack[LogPageOptions]) -> LogPage:
        """Reads one page of the log of an attempt; it also says how many lines were not kept."""
        return await self._call(calls_insight.list_job_logs(job_id, options))

    async def stats(self, *, namespace: str = "", job_types: Iterable[str] = (), owner: str = "") -> JobStats:
        """Counts the jobs that you may see by queue and state; cheap at any size. A namespace of `-` means all."""
        return await self._call(calls_insight.get_job_stats(namespace=namespace, job_types=job_types, owner=owner))

    async def explain(self, job_id: str) -> JobExplanation:
        """Says why a job is not running, and what would help."""
        return await self._call(calls_insight.explain_job(job_id))

    # --- waiting and watching ---

    async def wait_for_job(
        self,
        job_id: str,
        *,
        timeout: float | timedelta | None = None,
        poll_interval: float | timedelta | None = None,
    ) -> Job:
        """Waits until the job has completed, and returns it with its result."""
        procedure = self._waiting.for_job(
            job_id,
            timeout_seconds=None if timeout is None else seconds(timeout, field="timeout"),
            poll_seconds=None if poll_interval is None else seconds(poll_interval, field="poll_interval"),
        )
        return await self._driver.run(procedure)

    async def wait_for_jobs(
        self,
        job_ids: Sequence[str],
        *,
        timeout: float | timedelta | None = None,
        poll_interval: float | timedelta | None = None,
    ) -> Jobs:
        """Waits until all have completed, and returns them with their results, in the order of the ids."""
        procedure = self._waiting.for_jobs(
            job_ids,
            timeout_seconds=None if timeout is None else seconds(timeout, field="timeout"),
            poll_seconds=None if poll_interval is None else seconds(poll_interval, field="poll_interval"),
        )
        return await self._driver.run(procedure)

    def watch(self, **options: Unpack[WatchOptions]) -> AsyncGenerator[WatchUpdate, None]:
        """Streams what happens to jobs: every change of state, gap-free and in order, and progress at its best."""
        return self._driver.watch(WatchPlace(options, self._procedures.policy))

    async def events(self, **options: Unpack[EventOptions]) -> AsyncIterator[JobEvent]:
        """Goes through the log of state changes, in the order of commits; reads the pages as it goes."""
        asked = EventPageOptions(page_size=PAGE_SIZE_MAX, **settled(options))
        while True:
            page = await self.events_page(**asked)
            for event in page.events:
                yield event
            if page.end_reached:
                return
            asked["cursor"] = page.cursor

    async def events_page(self, **options: Unpack[EventPageOptions]) -> EventPage:
        """Reads one page of that log."""
        return await self._call(calls_events.list_job_events(options))

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
        """Changes what is given: priority and times while the job waits, labels and access at any time."""
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
    ) -> Job:
        """Cancels a job: it is CANCELLED, or CANCELLING while its worker stops. Raises JobTerminalError."""
        return await self._call(calls.cancel_job(job_id, reason=reason, grace=grace, etag=etag))

    async def retry_job(self, job_id: str, *, etag: str = "") -> Job:
        """Makes a FAILED or CANCELLED job PENDING again: its attempts and worker losses start from zero."""
        return await self._call(calls.retry_job(job_id, etag=etag))

    async def delete_job(self, job_id: str, *, etag: str = "") -> Job:
        """Deletes a job and returns it as it last was; raises JobRunningError while a worker holds it."""
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
        """Cancels the jobs of a filter that have not ended, each as `cancel_job` does; all, or `jobs_max` of them."""
        return await self._bulk(calls.cancel_jobs(selection, reason=reason, dry_run=dry_run), jobs_max, dry_run)

    async def retry_jobs(
        self, *, jobs_max: int | None = None, dry_run: bool = False, **selection: Unpack[JobSelection]
    ) -> BulkOutcome:
        """Retries the FAILED and CANCELLED jobs of a filter, step by step as `cancel_jobs` goes."""
        return await self._bulk(calls.retry_jobs(selection, dry_run=dry_run), jobs_max, dry_run)

    async def purge_jobs(
        self,
        *,
        min_age: float | timedelta,
        jobs_max: int | None = None,
        dry_run: bool = False,
        **selection: Unpack[JobSelection],
    ) -> BulkOutcome:
        """Deletes the jobs of a filter, or all, that ended at least `min_age` ago; steps as those of `cancel_jobs`."""
        return await self._bulk(calls.purge_jobs(selection, min_age=min_age, dry_run=dry_run), jobs_max, dry_run)

    async def _bulk(self, step: BulkStep, jobs_max: int | None, dry_run: bool) -> BulkOutcome:
        return await self._driver.run(self._procedures.bulk(step, jobs_max=jobs_max, dry_run=dry_run))

    async def _turns(self, job_id: str, place: LogPlace) -> AsyncGenerator[None, None]:
        """Yields when there may be more to read, until there will be no more."""
        try:
            async with aclosing(self.watch(**place.watch)) as updates:
                async for update in updates:
                    place.see(update)
                    yield
                    if place.over:
                        return
        except WatcherLimitError:
            ask: Callable[[Call[Job]], Procedure[Job]] = self._procedures.call
            while True:
                place.see_job(await self._driver.run(ask(calls.get_job_briefly(job_id))))
                ask = self._procedures.patiently
                yield
                if place.over:
                    return
                await self._driver.pause(POLL_SECONDS)

    async def _unread(
        self, place: LogPlace, ask: Callable[[Call[LogPage]], Procedure[LogPage]]
    ) -> AsyncIterator[LogEntry]:
        while call := place.next_call():
            for line in place.take(await self._driver.run(ask(call))):
                yield line

    async def _call(self, call: Call[T]) -> T:
        return await self._driver.run(self._procedures.call(call))
