"""The use cases on jobs: submit, read, wait, cancel, delete; each takes the caller and shows only what is theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from uuid_utils import uuid7

from jobhall.errors import ApiError, EtagMismatchError, JobNotFoundError, JobRunningError, JobTerminalError
from jobhall.limits import BATCH_GET_MAX, BATCH_SUBMIT_MAX, INCLUDED_ERRORS_MAX, PAGE_SIZE_DEFAULT, REASON_BYTES_MAX
from jobhall.states import JobState
from jobhall_server.domain import moves
from jobhall_server.domain.access import Principal, may_touch
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import ItemError, JobRecord, JobView, Lease, NewJob
from jobhall_server.domain.moves import Refusal
from jobhall_server.hall import checks
from jobhall_server.hall.frames import Cancel
from jobhall_server.hall.store import Group, Unit
from jobhall_server.hall.submits import Submission, SubmitJobs, Submitted, fresh_view
from jobhall_server.hall.tokens import page_place, page_token
from jobhall_server.hall.views import JobFilter, LogLine, Page

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall


class Jobs:
    """What clients do with jobs."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._reads = hall.store.reads

    async def submit(self, principal: Principal, submission: Submission) -> tuple[JobView, bool]:
        """Submit one job, durable when it returns; answers it FULL, and whether it was there before: a job_id sent
        again with the same content is that job.
        """
        (answer,) = await self.submit_many(principal, [submission])
        return answer

    async def submit_many(self, principal: Principal, submissions: Sequence[Submission]) -> list[tuple[JobView, bool]]:
        """Submit all or none; answers as `submit`, in the given order."""
        checks.check_count(len(submissions), BATCH_SUBMIT_MAX, "jobs")
        jobs = [await self._new_job(principal, submission) for submission in submissions]
        written = await self._submit(principal, jobs, atomic=True)
        return [await self._view(principal, job, answer) for job, answer in zip(jobs, written, strict=True)]

    async def _view(self, principal: Principal, job: NewJob, answer: Submitted | ApiError) -> tuple[JobView, bool]:
        if isinstance(answer, ApiError):
            raise answer
        if answer.existing:
            return await self.get(principal, answer.job_id), True
        return fresh_view(job, answer, self._hall.registry.queue(job.queue_key)), False

    async def submit_each(
        self, principal: Principal, submissions: Sequence[Submission | ApiError]
    ) -> list[Submitted | ApiError]:
        """Submit each for itself: an answer per submission, in order. One that could not be read comes as its error."""
        answers: list[Submitted | ApiError | None] = []
        jobs: list[NewJob] = []
        for submission in submissions:
            try:
                if isinstance(submission, ApiError):
                    raise submission
                jobs.append(await self._new_job(principal, submission))
                answers.append(None)
            except ApiError as error:
                answers.append(error)
        written = iter(await self._submit(principal, jobs, atomic=False) if jobs else ())
        return [next(written) if answer is None else answer for answer in answers]

    async def _new_job(self, principal: Principal, submission: Submission) -> NewJob:
        submission.check()
        queue = self._hall.registry.known_queue(submission.namespace, submission.job_type)
        if queue is None:
            namespace = checks.one_namespace(submission.namespace, f"{submission.field}.namespace")
            job_type = checks.check_job_type(submission.job_type, f"{submission.field}.job_type")
            queue = await self._hall.registry.queue_for(namespace, job_type)
        return submission.new_job(principal, queue, submission.job_id or str(uuid7()))

    async def _submit(
        self, principal: Principal, jobs: Sequence[NewJob], *, atomic: bool
    ) -> list[Submitted | ApiError]:
        written = self._hall.store.run(SubmitJobs(principal, jobs, atomic=atomic), refusable=True)
        # Queued right behind the submit, the claim finds these jobs in the same commit group.
        self._hall.dispatcher.nudge({job.queue_key for job in jobs})
        return await written

    async def get(self, principal: Principal, job_id: str, *, include_errors: bool = False) -> JobView:
        """One job, FULL; with `include_errors` its first 100 item errors. JobNotFoundError."""
        job = await self._reads.job(principal, checks.job_id(job_id))
        if job is None:
            raise JobNotFoundError(job_id)
        job = self._hall.with_live_progress(job)
        return await self._with_errors(job) if include_errors else job

    async def _with_errors(self, job: JobView) -> JobView:
        if not job.item_error_count:
            return job
        found = await self._reads.item_errors(job.key, after_number=0, limit=INCLUDED_ERRORS_MAX)
        return replace(job, item_errors=tuple(error for _, error in found))

    async def get_many(
        self, principal: Principal, job_ids: Sequence[str], *, full: bool, include_errors: bool = False
    ) -> list[JobView]:
        """Those of the jobs that exist for the caller, in the order asked, as `get` reads them."""
        checks.check_count(len(job_ids), BATCH_GET_MAX, "job_ids")
        ids = [checks.job_id(job_id, f"job_ids[{place}]") for place, job_id in enumerate(job_ids)]
        views = {job.job_id: job for job in await self._reads.jobs_by_id(principal, ids, full=full)}
        jobs = [self._hall.with_live_progress(views[job_id]) for job_id in dict.fromkeys(ids) if job_id in views]
        return [await self._with_errors(job) for job in jobs] if include_errors else jobs

    async def page(
        self, principal: Principal, where: JobFilter, *, page_size: int, page_token_text: str, skip: int
    ) -> tuple[list[JobView], str]:
        """A page of matching jobs, newest first, and the token of the next one (empty at the end)."""
        size = page_size or PAGE_SIZE_DEFAULT
        place = page_place(page_token_text, "jobs", where)
        jobs = await self._reads.jobs(principal, where, Page(size, place, skip if place is None else 0))
        token = page_token(jobs[-1].key, "jobs", where) if len(jobs) == size else ""
        return [self._hall.with_live_progress(job) for job in jobs], token

    async def wait(self, principal: Principal, job_id: str, *, timeout_seconds: float) -> JobView:
        """The job as soon as it is terminal, or as it is when the time is over."""
        job_id = checks.job_id(job_id)
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        with self._hall.feed.subscribe(principal, JobFilter(job_ids=frozenset({job_id}))) as changes:
            while True:
                changes.rows.clear()
                changes.wake.clear()
                job = await self.get(principal, job_id)
                left = deadline - asyncio.get_running_loop().time()
                if job.state.terminal or left <= 0 or self._hall.draining:
                    return job
                while not changes.rows and not changes.overflowed and not self._hall.draining:
                    changes.wake.clear()
                    left = deadline - asyncio.get_running_loop().time()
                    try:
                        await asyncio.wait_for(changes.wake.wait(), max(0.0, left))
                    except TimeoutError:
                        break
                changes.overflowed = False

    async def cancel(
        self, principal: Principal, job_id: str, *, reason: str, grace_seconds: float | None = None, etag: str = ""
    ) -> tuple[JobView, bool]:
        """Cancel; answers the job as it is then, and whether its worker was told. JobTerminalError.

        A worker that runs it has `grace_seconds` to stop (None: the server's `cancel_grace`).
        """
        checks.check_text(reason, REASON_BYTES_MAX, "reason")
        job_id = checks.job_id(job_id)
        grace = self._hall.settings.stream.cancel_grace_seconds if grace_seconds is None else grace_seconds
        unit = _CancelJob(principal, job_id, reason, round(grace * 1e6), etag)
        asked = await self._hall.store.run(unit, refusable=True)
        told = False
        if asked.lease is not None:
            cancel = Cancel(asked.lease.token(), reason, grace)
            told = self._hall.workers.cancel(asked.session_key, cancel, running=asked.running)
            self._hall.dispatcher.nudge()
        return await self.get(principal, job_id), told

    async def retry(self, principal: Principal, job_id: str, *, etag: str = "") -> JobView:
        """Make a FAILED or CANCELLED job PENDING again, as if new; one that is not terminal is left as it is.
        JobTerminalError: it is COMPLETED.
        """
        job_id = checks.job_id(job_id)
        queue_key = await self._hall.store.run(_RetryJob(principal, job_id, etag), refusable=True)
        if queue_key is not None:
            self._hall.dispatcher.nudge({queue_key})
        return await self.get(principal, job_id)

    async def delete(self, principal: Principal, job_id: str) -> JobView:
        """Delete; answers the job as it last was. JobRunningError while a worker holds it, JobNotFoundError."""
        while True:
            job = await self.get(principal, job_id)
            if await self._hall.store.run(_DeleteJob(principal, job.job_id, job.revision), refusable=True):
                return job

    async def item_errors(
        self, principal: Principal, job_id: str, *, page_size: int, page_token_text: str
    ) -> tuple[list[ItemError], str]:
        """A page of the latest attempt's item errors, in their order."""
        job = await self.get(principal, job_id)
        size = page_size or PAGE_SIZE_DEFAULT
        place = page_place(page_token_text, "item_errors", job.job_id) or 0
        found = await self._reads.item_errors(job.key, after_number=place, limit=size)
        token = page_token(found[-1][0], "item_errors", job.job_id) if len(found) == size else ""
        return [error for _, error in found], token

    async def log_lines(
        self, principal: Principal, job_id: str, *, page_size: int, page_token_text: str
    ) -> tuple[list[tuple[int, LogLine]], str]:
        """A page of the latest attempt's log lines with their numbers, in their order."""
        job = await self.get(principal, job_id)
        size = page_size or PAGE_SIZE_DEFAULT
        place = page_place(page_token_text, "logs", job.job_id) or 0
        found = await self._reads.log_lines(job.key, after_number=place, limit=size)
        token = page_token(found[-1][0], "logs", job.job_id) if len(found) == size else ""
        return found, token


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a cancel did: the lease to be told about where a worker holds the job, and whether it had started."""

    lease: Lease | None = None
    session_key: int | None = None
    running: bool = False


class _CancelJob(Unit[_Asked]):
    def __init__(self, principal: Principal, job_id: str, reason: str, grace_us: int, etag: str) -> None:
        self.job_ids = (job_id,)
        self._principal = principal
        self._reason = reason
        self._grace_us = grace_us
        self._etag = etag

    def decide(self, group: Group) -> _Asked:
        job = _theirs(group, self._principal, self.job_ids[0], self._etag)
        decision, values = moves.cancel(
            job, reason=self._reason, by=self._principal.display_name, stop_at=group.now + self._grace_us
        )
        if decision is Refusal.JOB_TERMINAL:
            raise JobTerminalError(job.job_id, job.state.name)
        if not isinstance(decision, Change):
            return _Asked()
        group.change(job, decision, values)
        if not job.state.held:
            return _Asked()
        running = job.state is not JobState.CLAIMED
        return _Asked(Lease(job.key, job.fence, job.nonce), job.session_key, running)


class _RetryJob(Unit[int | None]):
    """Answers the queue that has the job again, None where nothing was to be done."""

    def __init__(self, principal: Principal, job_id: str, etag: str) -> None:
        self.job_ids = (job_id,)
        self._principal = principal
        self._etag = etag

    def decide(self, group: Group) -> int | None:
        job = _theirs(group, self._principal, self.job_ids[0], self._etag)
        decision = moves.retry(job)
        if decision is Refusal.JOB_TERMINAL:
            raise JobTerminalError(job.job_id, job.state.name)
        if not isinstance(decision, Change):
            return None
        group.change(job, decision)
        return job.queue_key


class _DeleteJob(Unit[bool]):
    """False when the job has changed since it was read at `revision`."""

    def __init__(self, principal: Principal, job_id: str, revision: int) -> None:
        self.job_ids = (job_id,)
        self._principal = principal
        self._revision = revision

    def decide(self, group: Group) -> bool:
        job = _theirs(group, self._principal, self.job_ids[0])
        if moves.delete(job) is not None:
            raise JobRunningError(job.job_id, job.state.name)
        if job.revision != self._revision:
            return False
        group.delete_job(job)
        return True


def _theirs(group: Group, principal: Principal, job_id: str, etag: str = "") -> JobRecord:
    """The job, if it exists for the caller; EtagMismatchError when it has changed since that etag."""
    job = group.job_by_id(job_id)
    if job is None or not may_touch(principal, owner=job.owner, organization_id=job.organization_id):
        raise JobNotFoundError(job_id)
    if etag and etag != str(job.revision):
        raise EtagMismatchError(f"job {job_id} is at revision {job.revision}, not {etag}: read it again")
    return job
