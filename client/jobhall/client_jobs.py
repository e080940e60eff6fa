"""`client.jobs` of the blocking client; `aio_jobs` is its twin, and what both do stands in `procedures` and `calls`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, Unpack

from jobhall import calls, calls_events, calls_insight
from jobhall.calls import Call, PageOptions, SubmitOptions
from jobhall.calls_events import EventOptions, EventPageOptions
from jobhall.calls_insight import LogOptions, LogPageOptions
from jobhall.client_driver import Driver
from jobhall.client_job_changes import JobChanges
from jobhall.errors import FieldInvalidError, WatcherLimitError
from jobhall.filters import settled
from jobhall.limits import PAGE_SIZE_MAX
from jobhall.listing import ListPlace
from jobhall.log_place import POLL_SECONDS, LogPlace
from jobhall.model import ItemError, Job, JobPage, Jobs, LogEntry, LogPage
from jobhall.model_events import EventPage, JobEvent, WatchUpdate
from jobhall.model_insight import JobAttempt, JobExplanation, JobStats
from jobhall.procedures import Procedure, Procedures
from jobhall.spans import seconds
from jobhall.submission import Submission, SubmitAnswer
from jobhall.submit_stream import SubmitStream
from jobhall.waiting import Waiting
from jobhall.watching import WatchOptions, WatchPlace

T = TypeVar("T")


class JobsApi(JobChanges):
    """`client.jobs`: submits, reads, waits for, watches, changes, cancels, retries and deletes jobs."""

    def __init__(self, driver: Driver, procedures: Procedures, waiting: Waiting) -> None:
        super().__init__(driver, procedures)
        self._waiting = waiting

    # --- submitting ---

    def submit(
        self,
        job_type: str,
        parameters: Any = None,
        *,
        wait_for_completion: bool = False,
        timeout: float | timedelta | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Job:
        """Submits a job; when this returns the job is durable, and with `wait_for_completion` completed.

        `parameters` is anything that JSON can say, or bytes. Without a `job_id` of your own a fresh one is chosen
        here, so that the retries of this call make one job. Raises JobTypeNotFoundError, which names the nearest
        type, SchemaMismatchError, UniqueKeyTakenError, BatchClosedError, FieldInvalidError and PayloadTooLargeError.
        It waits for at most `timeout` seconds, and raises then what `wait_for_job` raises.

            client.jobs.submit("report", {"month": "2026-01"}, unique_key="2026-01", schedule_time=timedelta(hours=1))
        """
        if timeout is not None and not wait_for_completion:
            raise FieldInvalidError("timeout", "bounds the wait for the job's end; add wait_for_completion=True")
        job = self._call(calls.submit_job(Submission(job_type, parameters, **options)))
        return self.wait_for_job(job.id, timeout=timeout) if wait_for_completion else job

    def try_submit(self, job_type: str, parameters: Any = None, **options: Unpack[SubmitOptions]) -> SubmitAnswer:
        """Submits a job, and tells what became of that: a refusal is no exception here.

        For one who starts many and goes on with those that were taken. A server that does not answer is told so too.

            answers = [client.jobs.try_submit("resize", {"file": file}) for file in ("a.png", "b.png")]
            started = [answer.job_id for answer in answers if answer.job_id]
        """
        return self._driver.run(self._procedures.try_submit(Submission(job_type, parameters, **options)))

    def submit_many(self, submissions: Iterable[Submission]) -> list[Job]:
        """Submits up to 1000 jobs in one transaction: all or, with the first one's error, none.

        jobs = client.jobs.submit_many([Submission("resize", file) for file in ("a.png", "b.png")])
        """
        return self._call(calls.submit_jobs(submissions))

    def submit_stream(self) -> SubmitStream:
        """The fast path for many single submits at once: what waits together travels together.

        with client.jobs.submit_stream() as stream:
            futures = [stream.submit_soon(Submission("resize", file)) for file in ("a.png", "b.png")]
        print([future.result().job_id for future in futures])
        """
        return SubmitStream(self._driver.channel, self._driver.endpoint, self._procedures.policy)

    def validate(self, job_type: str, parameters: Any = None, **options: Unpack[SubmitOptions]) -> Job:
        """Checks a submit and stores nothing: the job as it would be, without an id; raises what `submit` raises.

        client.jobs.validate("resize", {"file": "a.png"})
        """
        return self._call(calls.validate_job(Submission(job_type, parameters, **options)))

    def validate_many(self, submissions: Iterable[Submission]) -> list[Job]:
        """The same of `submit_many`.

        client.jobs.validate_many([Submission("resize", file) for file in ("a.png", "b.png")])
        """
        return self._call(calls.validate_jobs(submissions))

    # --- reading ---

    def get_job(
        self, job_id: str, *, include_errors: bool = False, include_checkpoint: bool = False, brief: bool = False
    ) -> Job:
        """Reads one job, with its first 100 item errors and its checkpoint if asked; raises JobNotFoundError.

        Briefly it is few bytes, for one who asks often.

            print(client.jobs.get_job(job.id, include_errors=True).state.name)
        """
        call = calls.get_job(
            job_id, include_errors=include_errors, include_checkpoint=include_checkpoint, briefly=brief
        )
        return self._call(call)

    def get_jobs(self, job_ids: Sequence[str], *, include_errors: bool = False, brief: bool = False) -> Jobs:
        """Reads any number of jobs, in that order; `missing_ids` names those that are not to be found.

        print([job.state.name for job in client.jobs.get_jobs([job.id, other.id])])
        """
        return self._driver.run(self._procedures.get_jobs(job_ids, include_errors=include_errors, briefly=brief))

    def extract_results(self, jobs: Iterable[Job], key: str) -> list[Any]:
        """Picks a value out of each job's result; None where the job has no such result, or has not completed.

        dataset_ids = client.jobs.extract_results(jobs, "dataset_id")
        """
        return [job.result.get(key) if isinstance(job.result, Mapping) else None for job in jobs]

    def list_jobs(self, **options: Unpack[PageOptions]) -> Iterator[Job]:
        """Goes through all matching jobs, the newest first, briefly; reads the pages as it goes.

        All keywords must hold, `filter` among them, which is a text as ListJobs documents it; raises
        FilterUnsupportedError, which says where it is wrong.

            for job in client.jobs.list_jobs(states=[JobState.FAILED], filter='error_code = "RATE_LIMITED"'):
                print(job.id, job.ended_at)
        """
        place = ListPlace(options)
        while call := place.next_call():
            yield from place.take(self._call(call))

    def list_page(self, **options: Unpack[PageOptions]) -> JobPage:
        """Reads one page of that list; a page may be short and yet not be the last.

        page = client.jobs.list_page(page_size=10, order_by="update_time desc")
        """
        return self._call(calls.list_jobs(options))

    def attempts(self, job_id: str) -> Iterator[JobAttempt]:
        """Goes through the attempts at a job, those before a retry included, the oldest first.

        for attempt in client.jobs.attempts(job.id):
            print(attempt.attempt, attempt.outcome.name, attempt.worker_name)
        """
        return self._driver.pages(self._procedures, partial(calls_insight.list_attempts, job_id))

    def item_errors(self, job_id: str, *, attempt: int = 0) -> Iterator[ItemError]:
        """Goes through the item errors of an attempt (0: the latest) in their order, as many as the server kept.

        for error in client.jobs.item_errors(job.id):
            print(error.index, error.message)
        """
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
        """Reads one page of the log of an attempt; it also says how many lines were not kept.

        print(client.jobs.log_page(job.id, page_size=1000).dropped_count)
        """
        return self._call(calls_insight.list_job_logs(job_id, options))

    def stats(self, *, namespace: str = "", job_types: Iterable[str] = (), owner: str = "") -> JobStats:
        """Counts the jobs that you may see by queue and state; cheap at any size. A namespace of `-` means all.

        print(client.jobs.stats(job_types=["resize"]).total.pending)
        """
        return self._call(calls_insight.get_job_stats(namespace=namespace, job_types=job_types, owner=owner))

    def explain(self, job_id: str) -> JobExplanation:
        """Says why a job is not running, and what would help.

        print(client.jobs.explain(job.id).summary)
        """
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

            print(client.jobs.wait_for_job(job.id, timeout=60).result)
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

            for update in client.jobs.watch(job_ids=[job.id], stop_when_terminal=True):
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

            page = client.jobs.events_page(job_ids=[job.id], page_size=10)
        """
        return self._call(calls_events.list_job_events(options))

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
                place.see_job(self._driver.run(ask(calls.get_job(job_id, briefly=True))))
                ask = self._procedures.patiently
                yield
                if place.over:
                    return
                self._driver.pause(POLL_SECONDS)

    def _unread(self, place: LogPlace, ask: Callable[[Call[LogPage]], Procedure[LogPage]]) -> Iterator[LogEntry]:
        while call := place.next_call():
            yield from place.take(self._driver.run(ask(call)))
