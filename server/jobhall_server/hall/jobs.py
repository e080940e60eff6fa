"""The use cases on jobs: submit, read, wait, change; each takes the caller and shows only what is theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from uuid_utils import uuid7

from jobhall.errors import ApiError, FieldInvalidError, JobNotFoundError, JobTypeNotFoundError, SchemaMismatchError
from jobhall.limits import BATCH_GET_MAX, BATCH_SUBMIT_MAX, INCLUDED_ERRORS_MAX, PAGE_SIZE_DEFAULT, REASON_BYTES_MAX
from jobhall_server.domain.access import Principal
from jobhall_server.domain.job import JobView, NewJob
from jobhall_server.domain.moves import JobUpdate
from jobhall_server.hall import checks
from jobhall_server.hall.frames import Cancel
from jobhall_server.hall.job_units import Asked, CancelJob, DeleteJob, RetryJob, UpdateJob
from jobhall_server.hall.submits import Rehearsed, Special, Submission, SubmitJobs, Submitted, TrySubmits, fresh_view
from jobhall_server.hall.tokens import page_place, page_token
from jobhall_server.hall.type_rules import settled
from jobhall_server.hall.views import JobFilter, JobTypeView, ListOrder, Page, QueueView
from jobhall_server.hall.watch_filter import WatchFilter
from jobhall_server.hall.watch_queue import ENDS

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall


class Jobs:
    """What clients do with jobs."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._reads = hall.store.reads

    # --- submitting ---

    async def submit(self, principal: Principal, submission: Submission) -> tuple[JobView, bool]:
        """Submit one job, durable when it returns; answers it FULL, and whether it was there before: a job_id sent
        again with the same content is that job, and so is the one that has its unique_key, where the policy says so.
        """
        (answer,) = await self.submit_many(principal, [submission])
        return answer

    async def submit_many(self, principal: Principal, submissions: Sequence[Submission]) -> list[tuple[JobView, bool]]:
        """Submit all or none; answers as `submit`, in the given order; of several, those that were there BASIC."""
        checks.check_count(len(submissions), BATCH_SUBMIT_MAX, "jobs")
        jobs = await self._new_jobs(principal, submissions)
        written = await self._submit(principal, submissions, jobs, atomic=True)
        there = await self._there(principal, written)
        return [
            await self._view(principal, submission, job, answer, there)
            for submission, job, answer in zip(submissions, jobs, written, strict=True)
        ]

    async def _view(
        self,
        principal: Principal,
        submission: Submission,
        job: NewJob,
        answer: Submitted | ApiError,
        there: Mapping[str, JobView],
    ) -> tuple[JobView, bool]:
        if isinstance(answer, ApiError):
            raise answer
        if not answer.existing:
            return fresh_view(job, answer, self._hall.registry.queue(job.queue_key), submission.batch_id), False
        if answer.job_id in there:
            return there[answer.job_id], True
        # Deleted since: it is as if this submit had come after that.
        return await self.submit(principal, submission)

    async def _there(self, principal: Principal, answers: Sequence[Submitted | ApiError]) -> Mapping[str, JobView]:
        """Those of the jobs that were there before, FULL if it is one that was asked for."""
        ids = [answer.job_id for answer in answers if isinstance(answer, Submitted) and answer.existing]
        found = await self.get_many(principal, ids, full=len(answers) == 1) if ids else ()
        return {job.job_id: job for job in found}

    async def submit_each(
        self, principal: Principal, submissions: Sequence[Submission | ApiError]
    ) -> list[Submitted | ApiError]:
        """Submit each for itself: an answer per submission, in order. One that could not be read comes as its error."""
        answers: list[Submitted | ApiError | None] = []
        taken: list[Submission] = []
        jobs: list[NewJob] = []
        withdrawn = self._hall.registry.withdrawn
        for submission in submissions:
            try:
                if isinstance(submission, ApiError):
                    raise submission
                jobs.append(await self._new_job(principal, submission))
                taken.append(submission)
                answers.append(None)
            except ApiError as error:
                answers.append(error)
        if withdrawn != self._hall.registry.withdrawn:
            return await self.submit_each(principal, submissions)
        written = iter(await self._submit(principal, taken, jobs, atomic=False) if jobs else ())
        return [next(written) if answer is None else answer for answer in answers]

    async def try_many(self, principal: Principal, submissions: Sequence[Submission]) -> list[tuple[JobView, bool]]:
        """What `submit_many` would answer or refuse now; nothing of it is stored. A job that would be new has no id."""
        checks.check_count(len(submissions), BATCH_SUBMIT_MAX, "jobs")
        jobs: list[NewJob] = []
        queues: list[QueueView] = []
        special: dict[int, Special] = {}
        for place, submission in enumerate(submissions):
            checked, queue = await self._tried(submission)
            jobs.append(checked.new_job(principal, queue, submission.job_id or str(uuid7())))
            queues.append(queue)
            special[place] = _special(checked, queue if not queue.key else None)
        unit = TrySubmits(principal, jobs, atomic=True, special=special)
        try:
            written = await self._hall.store.run(unit, refusable=True)
        except Rehearsed as tried:
            written = tried.answers
        # What only another of these submits would make is not there to be shown.
        there = await self._there(principal, written)
        return [
            _tried_view(answer, there, fresh_view(job, answer, queue, submission.batch_id))
            for submission, job, queue, answer in zip(submissions, jobs, queues, written, strict=True)
            if isinstance(answer, Submitted)
        ]

    async def prepared(self, principal: Principal, submissions: Sequence[Submission]) -> SubmitJobs:
        """The checked unit that writes them all or none, for another unit to write them with what is its own."""
        jobs = await self._new_jobs(principal, submissions)
        return SubmitJobs(principal, jobs, atomic=True, special=_specials(submissions))

    async def _new_jobs(self, principal: Principal, submissions: Sequence[Submission]) -> list[NewJob]:
        """Checked, to be queued at once: a type that is being deleted meanwhile is looked up again."""
        while True:
            withdrawn = self._hall.registry.withdrawn
            jobs = [await self._new_job(principal, submission) for submission in submissions]
            if withdrawn == self._hall.registry.withdrawn:
                return jobs

    async def _new_job(self, principal: Principal, submission: Submission) -> NewJob:
        submission.check()
        queue = self._hall.registry.known_queue(submission.namespace, submission.job_type)
        if queue is None:
            _check_names(submission)
            queue = await self._queue(principal, submission)
        job_type = self._hall.registry.ruled.get(queue.key)
        if job_type is not None:
            submission = await self._settled(principal, submission, job_type)
        return submission.new_job(principal, queue, submission.job_id or str(uuid7()))

    async def _queue(self, principal: Principal, submission: Submission) -> QueueView:
        try:
            return await self._hall.registry.queue_for(submission.namespace, submission.job_type)
        except JobTypeNotFoundError:
            # One that is sent again after its type was deleted is the job that is there; its unit tells.
            ids = [submission.job_id] if submission.digest else []
            for job in await self._reads.jobs_by_id(principal, ids):
                if (queue := self._hall.registry.queue_of(job)) is not None:
                    return queue
            raise

    async def _settled(self, principal: Principal, submission: Submission, job_type: JobTypeView) -> Submission:
        began = self._hall.clock.monotonic()
        try:
            return settled(submission, job_type)
        except SchemaMismatchError:
            # The same after the schema was replaced.
            if submission.digest and await self._reads.jobs_by_id(principal, [submission.job_id]):
                return submission
            raise
        finally:
            await self._hall.pace.after(began)

    async def _tried(self, submission: Submission) -> tuple[Submission, QueueView]:
        """The submission with its type's defaults, and its queue; key 0 where that is not made yet."""
        submission.check()
        _check_names(submission)
        registry = self._hall.registry
        job_type = await registry.job_type(submission.namespace, submission.job_type)
        names = (submission.namespace, job_type.namespace, job_type.name)
        known = (
            queue for queue in registry.queues() if (queue.namespace, queue.type_namespace, queue.job_type) == names
        )
        queue = next(known, None) or QueueView(0, 0, *names)
        began = self._hall.clock.monotonic()
        try:
            return settled(submission, job_type), queue
        finally:
            await self._hall.pace.after(began)

    async def _submit(
        self, principal: Principal, submissions: Sequence[Submission], jobs: Sequence[NewJob], *, atomic: bool
    ) -> list[Submitted | ApiError]:
        unit = SubmitJobs(principal, jobs, atomic=atomic, special=_specials(submissions))
        written = self._hall.store.run(unit, refusable=True)
        # Queued right behind the submit, the claim finds these jobs in the same commit group.
        self._hall.dispatcher.nudge(unit.queue_keys)
        return await written

    # --- reading ---

    async def get(
        self,
        principal: Principal,
        job_id: str,
        *,
        full: bool = True,
        include_errors: bool = False,
        include_checkpoint: bool = False,
    ) -> JobView:
        """One job, FULL or BASIC; with `include_errors` its first 100 item errors. JobNotFoundError."""
        job = await self._reads.job(principal, checks.job_id(job_id), full=full)
        if job is None:
            raise JobNotFoundError(job_id)
        job = self._hall.shown(job)
        if include_checkpoint:
            job = job._replace(checkpoint=await self._reads.checkpoint(job.key))
        return await self._with_errors(job) if include_errors else job

    async def _with_errors(self, job: JobView) -> JobView:
        if not job.item_error_count:
            return job
        # Of the latest attempt: whoever was given the job since has begun none.
        fence = await self._reads.attempt_fence(job.key, 0)
        if fence is None:
            return job
        found = await self._reads.item_errors(job.key, fence=fence, after_number=0, limit=INCLUDED_ERRORS_MAX)
        return job._replace(item_errors=tuple(error for _, error in found))

    async def get_many(
        self, principal: Principal, job_ids: Sequence[str], *, full: bool, include_errors: bool = False
    ) -> list[JobView]:
        """Those of the jobs that exist for the caller, in the order asked, as `get` reads them."""
        checks.check_count(len(job_ids), BATCH_GET_MAX, "job_ids")
        ids = [checks.job_id(job_id, f"job_ids[{place}]") for place, job_id in enumerate(job_ids)]
        views = {job.job_id: job for job in await self._reads.jobs_by_id(principal, ids, full=full)}
        jobs = [self._hall.shown(views[job_id]) for job_id in dict.fromkeys(ids) if job_id in views]
        return [await self._with_errors(job) for job in jobs] if include_errors else jobs

    async def page(
        self,
        principal: Principal,
        where: JobFilter,
        *,
        page_size: int,
        page_token_text: str,
        skip: int,
        order: ListOrder = ListOrder.CREATED_DESC,
    ) -> tuple[list[JobView], str]:
        """A page of matching jobs in that order, and the token of the next one (empty at the end)."""
        size = page_size or PAGE_SIZE_DEFAULT
        listed = ("jobs", order.value, where)
        place = page_place(page_token_text, *listed)
        found = await self._reads.jobs(principal, where, Page(size, place, skip if place is None else 0, order))
        token = "" if found.next is None else page_token(found.next, *listed)
        return [self._hall.live(job) for job in found.jobs], token

    async def wait(self, principal: Principal, job_id: str, *, timeout_seconds: float) -> JobView:
        """The job as soon as it is terminal, or as it is when the time is over."""
        job_id = checks.job_id(job_id)
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        with self._hall.feed.subscribe(principal, WatchFilter(job_ids=frozenset({job_id})), wanted=ENDS) as changes:
            while True:
                changes.forget()
                job = await self.get(principal, job_id)
                self._hall.feed.know({job_id: job.key})
                left = deadline - asyncio.get_running_loop().time()
                if job.state.terminal or left <= 0 or self._hall.draining:
                    return job
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await changes.changed()

    # --- changing ---

    async def cancel(
        self, principal: Principal, job_id: str, *, reason: str, grace_seconds: float | None = None, etag: str = ""
    ) -> tuple[JobView, bool]:
        """Cancel; answers the job as it is then, and whether its worker was told. JobTerminalError.

        A worker that runs it has `grace_seconds` to stop (None: the server's `cancel_grace`).
        """
        checks.check_text(reason, REASON_BYTES_MAX, "reason")
        job_id = checks.job_id(job_id)
        grace = self._hall.settings.stream.cancel_grace_seconds if grace_seconds is None else grace_seconds
        unit = CancelJob(principal, job_id, reason, round(grace * 1e6), etag)
        asked = await self._hall.store.run(unit, refusable=True)
        told = self.tell(asked, reason=reason, grace_seconds=grace)
        return await self.get(principal, job_id), told

    def tell(self, asked: Asked, *, reason: str, grace_seconds: float) -> bool:
        """Tell the worker that holds a job which was cancelled; whether there is one."""
        if asked.lease is None:
            return False
        cancel = Cancel(asked.lease.token(), reason, grace_seconds)
        told = self._hall.workers.cancel(asked.session_key, cancel, running=asked.running)
        self._hall.dispatcher.nudge()
        return told

    async def retry(self, principal: Principal, job_id: str, *, etag: str = "") -> JobView:
        """Make a FAILED or CANCELLED job PENDING again, as if new; one that is not terminal is left as it is.
        JobTerminalError: it is COMPLETED. UniqueKeyTakenError: another one has its key by now.
        """
        job_id = checks.job_id(job_id)
        queue_key = await self._hall.store.run(RetryJob(principal, job_id, etag), refusable=True)
        if queue_key is not None:
            self._hall.dispatcher.nudge({queue_key})
        return await self.get(principal, job_id)

    async def update(self, principal: Principal, job_id: str, update: JobUpdate, *, etag: str = "") -> JobView:
        """Change what `update` names. JobTerminalError, JobRunningError: the state forbids it."""
        job_id = checks.job_id(job_id, "job.id")
        at, deadline = update.schedule_at, update.start_deadline
        if at is not None and deadline is not None and deadline <= at:
            raise FieldInvalidError("job.start_deadline", "is not after job.schedule_time")
        queue_key = await self._hall.store.run(UpdateJob(principal, job_id, update, etag), refusable=True)
        self._hall.dispatcher.nudge({queue_key})
        return await self.get(principal, job_id)

    async def delete(self, principal: Principal, job_id: str, *, etag: str = "") -> JobView:
        """Delete; answers the job as it last was. JobRunningError while a worker holds it, JobNotFoundError."""
        while True:
            job = await self.get(principal, job_id)
            if await self._hall.store.run(DeleteJob(principal, job.job_id, job.revision, etag), refusable=True):
                return job


def _tried_view(answer: Submitted, there: Mapping[str, JobView], fresh: JobView) -> tuple[JobView, bool]:
    if answer.existing and answer.job_id in there:
        return there[answer.job_id], True
    return fresh._replace(job_id=""), answer.existing


def _check_names(submission: Submission) -> None:
    checks.one_namespace(submission.namespace, f"{submission.field}.namespace")
    checks.check_job_type(submission.job_type, f"{submission.field}.job_type")


def _special(submission: Submission, queue: QueueView | None = None) -> Special:
    return Special(submission.field, submission.batch_id, submission.unique_policy, queue)


def _specials(submissions: Sequence[Submission]) -> dict[int, Special]:
    return {place: _special(submission) for place, submission in enumerate(submissions) if submission.special}
