"""`client.jobs` of the blocking client; `aio_jobs` is its twin, and what both do stands in `procedures` and `calls`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar, Unpack

from jobhall import calls, calls_events, calls_insight
from jobhall.calls import BulkStep, Call, PageOptions, SubmitOptions
from jobhall.calls_events import EventOptions, EventPageOptions
from jobhall.calls_insight import LogOptions, LogPageOptions
from jobhall.client_driver import Driver
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
from jobhall.unchanged import UNCHANGED, Unchanged
from jobhall.waiting import Waiting
from jobhall.watching import WatchOptions, WatchPlace

T = TypeVar("T")


class JobsApi:
    """`client.jobs`: submits, reads, waits for, watches, changes, cancels, retries and deletes jobs."""

    def __init__(self, driver: Driver, procedures: Procedures, waiting: Waiting) -> None:
        self._driver = driver
        self._procedures = procedures
        self._waiting = waiting

    # --- submitting ---

    def submit(self, job_type: str, parameters: Any = None, **options: Unpack[SubmitOptions]) -> Job:
        """Submits a job; when this returns the job is durable.

        `parameters` is anything that JSON can say, or bytes. Without a `job_id` of your own a fresh one is chosen
        here, so that the retries of this call make one job. Raises JobTypeNotFoundError, which names the nearest
        type, SchemaMismatchError, UniqueKeyTakenError, BatchClosedError, FieldInvalidError and PayloadTooLargeError.

            client.jobs.submit("report", {"month": "2026-01"}, unique_key="2026-01", schedule_time=timedelta(hours=1))
        """
        return self._call(calls.submit_job(Submission(job_type, parameters, **options)))

    def submit_many(self, submissions: Iterable[Submission]) -> list[Job]:
        """Submits up to 1000 jobs in one transaction: all or, with the first one's error, none."""
        return self._call(calls.submit_jobs(submissions))

    def validate(self, job_type: str, parameters: Any = None, **options: Unpack[SubmitOptions]) -> Job:
        """Checks a submit and stores nothing: the job as it would be, without an id; raises what `submit` raises."""
        return self._call(calls.validate_job(Submission(job_type, parameters, **options)))

    def validate_many(self, submissions: Iterable[Submission]) -> list[Job]:
        """The same of `submit_many`."""
        return self._call(calls.validate_jobs(submissions))

    # --- reading ---

    def get_job(self, job_id: str, *, include_errors: bool = False, include_checkpoint: bool = False) -> Job:
        """Reads one job, with its first 100 item errors and its checkpoint if asked; raises JobNotFoundError."""
        return self._call(calls.get_job(job_id, include_errors=include_errors, include_checkpoint=include_checkpoint))

    def get_jobs(self, job_ids: Sequence[str], *, include_errors: bool = False) -> Jobs:
        """Reads any number of jobs, in that order; `missing_ids` names those that are not to be found."""
        return self._driver.run(self._procedures.get_jobs(job_ids, include_errors=include_errors))

    def list_jobs(self, **options: Unpack[PageOptions]) -> Iterator[Job]:
        """Goes through all matching jobs, the newest first, briefly; reads the pages as it goes.

        All keywords must hold, `filter` among them, which is a text as ListJobs documents it; raises
        FilterUnsupportedError, which says where it is wrong.

            client.jobs.list_jobs(states=[JobState.FAILED], filter='error_code = "RATE_LIMITED"')
        """
        options = settled(options)
        while True:
            page = self.list_page(**options)
            yield from page.jobs
            if not page.next_page_token:
                return
            options["page_token"] = page.next_page_token
            options.pop("skip", None)

    def list_page(self, **options: Unpack[PageOptions]) -> JobPage:
        """Reads one page of that list; a page may be short and yet not be the last."""
        return self._call(calls.list_jobs(options))

    def attempts(self, job_id: str) -> Iterator[JobAttempt]:
        """Goes through the attempts at a job, those before a retry included, the oldest first."""
        return self._driver.pages(self._procedures, partial(calls_insight.list_attempts, job_id))

    def item_errors(self, job_id: str, *, attempt: int = 0) -> Iterator[ItemError]:
        """Goes through the item errors of an attempt (0: the latest) in their order, as many as the server kept."""
        return self._driver.pages(self._procedures, partial(calls_insight.list_item_errors, job_id, attempt=attempt))

    def logs(
        self, job_id: str, *, follow: bool = False, **options: Unpack[LogOptions]
    ) -> Generator[LogEntry, None, None]:
        """Goes through the log of an attempt, by default the latest, in its order, as many lines as the server kept.

        With `follow` it waits for more, and for the attempts that follow, until the job has ended and its log is read;
        where an attempt is named, until that one is over. A retry that makes the job anew is not followed. Outages are
        waited out, once the server has answered; close the iterator to end it before.

            for line in client.jobs.logs(job.id, follow=True, min_level=LogLevel.WARNING):
                print(line.number, line.message)
        """
        place = LogPlace(job_id, options)
        ask = self._procedures.patiently if follow else self._procedures.call
        if follow:
            with closing(self._turns(job_id, place)) as turns:
                for _ in turns:
                    yield from self._unread(place, ask)
        place.finish()
        yield from self._unread(place, ask)

    def log_page(self, job_id: str, **options: Unpack[LogPageOptions]) -> LogPage:
        """Reads one page of the log of an attempt; it also says how many lines were not kept."""
        return self._call(calls_insight.list_job_logs(job_id, options))

    def stats(self, *, namespace: str = "", job_types: Iterable[str] = (), owner: str = "") -> JobStats:
        """Counts the jobs that you may see by queue and state; cheap at any size. A namespace of `-` means all."""
        return self._call(calls_insight.get_job_stats(namespace=namespace, job_types=job_types, owner=owner))

    def explain(self, job_id: str) -> JobExplanation:
        """Says why a job is not running, and what would help."""
        return self._call(calls_insight.explain_job(job_id))

    # --- waiting and watching ---

    def wait_for_job(
        self,
        job_id: str,
        *,
        timeout: float | timedelta | None = None,
        poll_interval: float | timedelta | None = None,
    ) -> Job:
        """Waits until the job has completed, and returns it with its result.

        Raises JobFailedError when it failed or was cancelled, JobTimeoutError after `timeout` seconds (None: never).
        The server answers at the job's end; `poll_interval` is the longest to rely on that before asking again.
        Waits of one client that are under way together share a watch.
        """
        procedure = self._waiting.for_job(
            job_id,
            timeout_seconds=None if timeout is None else seconds(timeout, field="timeout"),
            poll_seconds=None if poll_interval is None else seconds(poll_interval, field="poll_interval"),
        )
        return self._driver.run(procedure)

    def wait_for_jobs(
        self,
        job_ids: Sequence[str],
        *,
        timeout: float | timedelta | None = None,
        poll_interval: float | timedelta | None = None,
    ) -> Jobs:
        """Waits until all have completed, and returns them with their results, in the order of the ids.

        Raises JobFailedError for the first that failed or was cancelled, and JobTimeoutError after `timeout` seconds,
        whose details name the `pending_ids` and hold the `finished_jobs`; the rest as `wait_for_job`. However many they
        are, they share a watch or two, and are read whole as they end.

            jobs = client.jobs.wait_for_jobs([job.id for job in submitted], timeout=600)
            print([job.result for job in jobs])
        """
        procedure = self._waiting.for_jobs(
            job_ids,
            timeout_seconds=None if timeout is None else seconds(timeout, field="timeout"),
            poll_seconds=None if poll_interval is None else seconds(poll_interval, field="poll_interval"),
        )
        return self._driver.run(procedure)

    def watch(self, **options: Unpack[WatchOptions]) -> Generator[WatchUpdate, None, None]:
        """Streams what happens to jobs: every change of state, gap-free and in order, and progress at its best.

        After a disconnect it goes on from its cursor, for ever once it was answered; what is silent for half a minute
        counts as disconnected. The first update comes at once, then at least one each 10 seconds, empty but for its
        cursor. Keep the cursor of the last update that was worked off, and another watch goes on after it; raises
        CursorExpiredError and CursorMismatchError where the log does not reach back to it, unless
        `reset_when_expired`. Close the iterator to end the watch.

            for update in client.jobs.watch(batch_id=batch.id, include_snapshot=True):
                for event in update.events:
                    print(event.job_id, event.event_type.name, event.state.name)
        """
        return self._driver.watch(WatchPlace(options, self._procedures.policy))

    def events(self, **options: Unpack[EventOptions]) -> Iterator[JobEvent]:
        """Goes through the log of state changes, in the order of commits; reads the pages as it goes.

        It begins at the log's old end, a day back where the server is not told otherwise, or after `cursor`, and ends
        where the log ends now; PROGRESS and LOG are not in it. Raises CursorExpiredError and CursorMismatchError.

            for event in client.jobs.events(job_ids=[job.id]):
                print(event.happened_at, event.event_type.name)
        """
        asked = EventPageOptions(page_size=PAGE_SIZE_MAX, **settled(options))
        while True:
            page = self.events_page(**asked)
            yield from page.events
            if page.end_reached:
                return
            asked["cursor"] = page.cursor

    def events_page(self, **options: Unpack[EventPageOptions]) -> EventPage:
        """Reads one page of that log. Its cursor leads on, to the next page or to a watch; a page may be short,
        or empty, and yet not be the last.
        """
        return self._call(calls_events.list_job_events(options))

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
    ) -> Job:
        """Cancels a job: it is CANCELLED, or CANCELLING while its worker stops. Raises JobTerminalError.

        `grace` is how long the worker may take, in seconds or as a timedelta; None means what the server is set to.
        """
        return self._call(calls.cancel_job(job_id, reason=reason, grace=grace, etag=etag))

    def retry_job(self, job_id: str, *, etag: str = "") -> Job:
        """Makes a FAILED or CANCELLED job PENDING again: its attempts and worker losses start from zero.

        One that has not ended is left as it is; raises JobTerminalError where it is COMPLETED, UniqueKeyTakenError
        where another job has its unique key meanwhile.
        """
        return self._call(calls.retry_job(job_id, etag=etag))

    def delete_job(self, job_id: str, *, etag: str = "") -> Job:
        """Deletes a job and returns it as it last was; raises JobRunningError while a worker holds it."""
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
        """Retries the FAILED and CANCELLED jobs of a filter, step by step as `cancel_jobs` goes."""
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

    def _bulk(self, step: BulkStep, jobs_max: int | None, dry_run: bool) -> BulkOutcome:
        return self._driver.run(self._procedures.bulk(step, jobs_max=jobs_max, dry_run=dry_run))

    def _turns(self, job_id: str, place: LogPlace) -> Generator[None, None, None]:
        """Yields when there may be more to read, until there will be no more."""
        try:
            with closing(self.watch(**place.watch)) as updates:
                for update in updates:
                    place.see(update)
                    yield
                    if place.over:
                        return
        except WatcherLimitError:
            ask: Callable[[Call[Job]], Procedure[Job]] = self._procedures.call
            while True:
                place.see_job(self._driver.run(ask(calls.get_job_briefly(job_id))))
                ask = self._procedures.patiently
                yield
                if place.over:
                    return
                self._driver.pause(POLL_SECONDS)

    def _unread(self, place: LogPlace, ask: Callable[[Call[LogPage]], Procedure[LogPage]]) -> Iterator[LogEntry]:
        while call := place.next_call():
            yield from place.take(self._driver.run(ask(call)))

    def _call(self, call: Call[T]) -> T:
        return self._driver.run(self._procedures.call(call))
