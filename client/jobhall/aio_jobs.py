"""`client.jobs` of the async client; `client_jobs` is its twin, and says more of each method."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, Unpack

from jobhall import calls, calls_events, calls_insight
from jobhall.aio_driver import AsyncDriver
from jobhall.aio_job_changes import AsyncJobChanges
from jobhall.aio_submit_stream import AsyncSubmitStream
from jobhall.calls import Call, PageOptions, SubmitOptions
from jobhall.calls_events import EventOptions, EventPageOptions
from jobhall.calls_insight import LogOptions, LogPageOptions
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
from jobhall.waiting import Waiting
from jobhall.watching import WatchOptions, WatchPlace

T = TypeVar("T")


class AsyncJobsApi(AsyncJobChanges):
    """`client.jobs`: submits, reads, waits for, watches, changes, cancels, retries and deletes jobs; see `JobsApi`."""

    def __init__(self, driver: AsyncDriver, procedures: Procedures, waiting: Waiting) -> None:
        super().__init__(driver, procedures)
        self._waiting = waiting

    # --- submitting ---

    async def submit(
        self,
        job_type: str,
        parameters: Any = None,
        *,
        wait_for_completion: bool = False,
        timeout: float | timedelta | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Job:
        """Submits a job; when this returns the job is durable, and with `wait_for_completion` completed.

        job = await client.jobs.submit("report", {"month": "2026-01"}, unique_key="2026-01")
        """
        if timeout is not None and not wait_for_completion:
            raise FieldInvalidError("timeout", "bounds the wait for the job's end; add wait_for_completion=True")
        job = await self._call(calls.submit_job(Submission(job_type, parameters, **options)))
        return await self.wait_for_job(job.id, timeout=timeout) if wait_for_completion else job

    async def try_submit(self, job_type: str, parameters: Any = None, **options: Unpack[SubmitOptions]) -> SubmitAnswer:
        """Submits a job, and tells what became of that: a refusal is no exception here.

        answer = await client.jobs.try_submit("resize", {"file": "cat.png"})
        """
        return await self._driver.run(self._procedures.try_submit(Submission(job_type, parameters, **options)))

    async def submit_many(self, submissions: Iterable[Submission]) -> list[Job]:
        """Submits up to 1000 jobs in one transaction: all or, with the first one's error, none.

        jobs = await client.jobs.submit_many([Submission("resize", file) for file in ("a.png", "b.png")])
        """
        return await self._call(calls.submit_jobs(submissions))

    def submit_stream(self) -> AsyncSubmitStream:
        """The fast path for many single submits at once: what waits together travels together.

        async with client.jobs.submit_stream() as stream:
            submitted = await asyncio.gather(*(stream.submit("resize", file) for file in ("a.png", "b.png")))
        """
        return AsyncSubmitStream(self._driver.channel(), self._driver.endpoint, self._procedures.policy)

    async def validate(self, job_type: str, parameters: Any = None, **options: Unpack[SubmitOptions]) -> Job:
        """Checks a submit and stores nothing: the job as it would be, without an id; raises what `submit` raises.

        await client.jobs.validate("resize", {"file": "a.png"})
        """
        return await self._call(calls.validate_job(Submission(job_type, parameters, **options)))

    async def validate_many(self, submissions: Iterable[Submission]) -> list[Job]:
        """The same of `submit_many`.

        await client.jobs.validate_many([Submission("resize", file) for file in ("a.png", "b.png")])
        """
        return await self._call(calls.validate_jobs(submissions))

    # --- reading ---

    async def get_job(
        self, job_id: str, *, include_errors: bool = False, include_checkpoint: bool = False, brief: bool = False
    ) -> Job:
        """Reads one job, with its first 100 item errors and its checkpoint if asked; raises JobNotFoundError.

        Briefly it is few bytes, for one who asks often.

            print((await client.jobs.get_job(job.id, include_errors=True)).state.name)
        """
        call = calls.get_job(
            job_id, include_errors=include_errors, include_checkpoint=include_checkpoint, briefly=brief
        )
        return await self._call(call)

    async def get_jobs(self, job_ids: Sequence[str], *, include_errors: bool = False, brief: bool = False) -> Jobs:
        """Reads any number of jobs, in that order; `missing_ids` names those that are not to be found.

        print([job.state.name for job in await client.jobs.get_jobs([job.id, other.id])])
        """
        return await self._driver.run(self._procedures.get_jobs(job_ids, include_errors=include_errors, briefly=brief))

    def extract_results(self, jobs: Iterable[Job], key: str) -> list[Any]:
        """Picks a value out of each job's result; None where the job has no such result, or has not completed.

        dataset_ids = client.jobs.extract_results(jobs, "dataset_id")
        """
        return [job.result.get(key) if isinstance(job.result, Mapping) else None for job in jobs]

    async def list_jobs(self, **options: Unpack[PageOptions]) -> AsyncIterator[Job]:
        """Goes through all matching jobs, the newest first, briefly; reads the pages as it goes.

        async for job in client.jobs.list_jobs(states=[JobState.FAILED], job_types=["resize"]):
            print(job.id, job.ended_at)
        """
        place = ListPlace(options)
        while call := place.next_call():
            for job in place.take(await self._call(call)):
                yield job

    async def list_page(self, **options: Unpack[PageOptions]) -> JobPage:
        """Reads one page of that list; a page may be short and yet not be the last.

        page = await client.jobs.list_page(page_size=10, order_by="update_time desc")
        """
        return await self._call(calls.list_jobs(options))

    def attempts(self, job_id: str) -> AsyncIterator[JobAttempt]:
        """Goes through the attempts at a job, those before a retry included, the oldest first.

        async for attempt in client.jobs.attempts(job.id):
            print(attempt.attempt, attempt.outcome.name, attempt.worker_name)
        """
        return self._driver.pages(self._procedures, partial(calls_insight.list_attempts, job_id))

    def item_errors(self, job_id: str, *, attempt: int = 0) -> AsyncIterator[ItemError]:
        """Goes through the item errors of an attempt (0: the latest) in their order, as many as the server kept.

        async for error in client.jobs.item_errors(job.id):
            print(error.index, error.message)
        """
        return self._driver.pages(self._procedures, partial(calls_insight.list_item_errors, job_id, attempt=attempt))

    async def logs(
        self, job_id: str, *, follow: bool = False, **options: Unpack[LogOptions]
    ) -> AsyncGenerator[LogEntry, None]:
        """Goes through the log of an attempt, by default the latest, in its order, as many lines as the server kept.

        async for line in client.jobs.logs(job.id, follow=True, min_level=LogLevel.WARNING):
            print(line.number, line.message)
        """
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
        """Reads one page of the log of an attempt; it also says how many lines were not kept.

        print((await client.jobs.log_page(job.id, page_size=1000)).dropped_count)
        """
        return await self._call(calls_insight.list_job_logs(job_id, options))

    async def stats(self, *, namespace: str = "", job_types: Iterable[str] = (), owner: str = "") -> JobStats:
        """Counts the jobs that you may see by queue and state; cheap at any size. A namespace of `-` means all.

        print((await client.jobs.stats(job_types=["resize"])).total.pending)
        """
        return await self._call(calls_insight.get_job_stats(namespace=namespace, job_types=job_types, owner=owner))

    async def explain(self, job_id: str) -> JobExplanation:
        """Says why a job is not running, and what would help.

        print((await client.jobs.explain(job.id)).summary)
        """
        return await self._call(calls_insight.explain_job(job_id))

    # --- waiting and watching ---

    async def wait_for_job(
        self,
        job_id: str,
        *,
        timeout: float | timedelta | None = None,
        poll_interval: float | timedelta | None = None,
    ) -> Job:
        """Waits until the job has completed, and returns it with its result.

        print((await client.jobs.wait_for_job(job.id, timeout=60)).result)
        """
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
        """Waits until all have completed, and returns them with their results, in the order of the ids.

        jobs = await client.jobs.wait_for_jobs([job.id, other.id], timeout=600)
        print([job.result for job in jobs])
        """
        procedure = self._waiting.for_jobs(
            job_ids,
            timeout_seconds=None if timeout is None else seconds(timeout, field="timeout"),
            poll_seconds=None if poll_interval is None else seconds(poll_interval, field="poll_interval"),
        )
        return await self._driver.run(procedure)

    def watch(self, **options: Unpack[WatchOptions]) -> AsyncGenerator[WatchUpdate, None]:
        """Streams what happens to jobs: every change of state, gap-free and in order, and progress at its best.

        async for update in client.jobs.watch(job_ids=[job.id], stop_when_terminal=True):
            for event in update.events:
                print(event.job_id, event.event_type.name, event.state.name)
        """
        return self._driver.watch(WatchPlace(options, self._procedures.policy))

    async def events(self, **options: Unpack[EventOptions]) -> AsyncIterator[JobEvent]:
        """Goes through the log of state changes, in the order of commits; reads the pages as it goes.

        async for event in client.jobs.events(job_ids=[job.id]):
            print(event.happened_at, event.event_type.name)
        """
        asked = EventPageOptions(page_size=PAGE_SIZE_MAX, **settled(options))
        while True:
            page = await self.events_page(**asked)
            for event in page.events:
                yield event
            if page.end_reached:
                return
            asked["cursor"] = page.cursor

    async def events_page(self, **options: Unpack[EventPageOptions]) -> EventPage:
        """Reads one page of that log.

        page = await client.jobs.events_page(job_ids=[job.id], page_size=10)
        """
        return await self._call(calls_events.list_job_events(options))

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
                place.see_job(await self._driver.run(ask(calls.get_job(job_id, briefly=True))))
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
