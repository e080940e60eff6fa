"""The use cases on batches: create, read, change, delete; each takes the caller and shows only what is theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from uuid_utils import uuid7

from jobhall.errors import BatchNotFoundError, JobIdReusedError, JobTypeNotFoundError, SchemaMismatchError
from jobhall.limits import BATCH_NAME_BYTES_MAX, PAGE_SIZE_DEFAULT, REASON_BYTES_MAX
from jobhall_server.domain.access import Principal
from jobhall_server.domain.batch import COUNTED_STATES, BatchUpdate, BatchView, Counts
from jobhall_server.domain.job import JobView
from jobhall_server.domain.progress import Progress
from jobhall_server.hall import checks
from jobhall_server.hall.batch_loop import SWEEP_WAIT_SECONDS
from jobhall_server.hall.batch_submissions import BatchSubmission, check_completion
from jobhall_server.hall.batch_units import (
    CancelBatch,
    ChangeBatch,
    CreateBatch,
    DeleteBatch,
    TryBatch,
    UpdateBatch,
    taken,
)
from jobhall_server.hall.submits import Rehearsed, Submission
from jobhall_server.hall.tokens import named_place, page_place, page_token
from jobhall_server.hall.views import BatchFilter, BatchOrder

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall


class Batches:
    """What clients do with batches."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._reads = hall.store.reads

    async def create(self, principal: Principal, submission: BatchSubmission) -> tuple[BatchView, list[str]]:
        """Create it with its jobs, all or nothing; answers it and their ids. One sent before under its id, the same and
        the caller's, is that batch.
        """
        submission.check()
        batch_id = submission.batch_id or str(uuid7())
        try:
            if submission.completion is not None:
                await self._hall.jobs.prepared(principal, [submission.completion])
            submits = await self._hall.jobs.prepared(principal, submission.members(batch_id))
        except (JobTypeNotFoundError, SchemaMismatchError):
            job_ids = await self._sent_before(principal, submission)
            if job_ids is None:
                raise
        else:
            unit = CreateBatch(principal, submission, batch_id, submits)
            job_ids = await self._hall.store.run(unit, refusable=True)
            self._hall.dispatcher.nudge(submits.queue_keys)
        return await self.get(principal, batch_id), job_ids

    async def _sent_before(self, principal: Principal, submission: BatchSubmission) -> list[str] | None:
        """The ids of the jobs of a batch that is there already, whatever became of their types since; else None."""
        if not submission.batch_id:
            return None
        try:
            return await self._hall.store.run(TryBatch(principal, submission, submission.batch_id), refusable=True)
        except (Rehearsed, JobIdReusedError):
            return None

    async def rehearse(self, principal: Principal, submission: BatchSubmission) -> BatchView:
        """What `create` would answer or refuse now; nothing of it is stored."""
        submission.check()
        if submission.completion is not None:
            await self._hall.jobs.try_many(principal, [submission.completion])
        tried = await self._hall.jobs.try_many(principal, submission.jobs)
        for (job, existing), asked in zip(tried, submission.jobs, strict=True):
            if existing:
                raise taken(asked, job.job_id)
        unit = TryBatch(principal, submission, submission.batch_id or str(uuid7()))
        try:
            await self._hall.store.run(unit, refusable=True)
        except Rehearsed:
            return _as_it_would_be(principal, submission, [job for job, _ in tried])
        return await self.get(principal, submission.batch_id)

    async def get(self, principal: Principal, batch_id: str) -> BatchView:
        """One batch. BatchNotFoundError."""
        found = await self._reads.batch(principal, checks.job_id(batch_id, "batch_id"))
        if found is None:
            raise BatchNotFoundError(batch_id)
        return found

    async def page(
        self,
        principal: Principal,
        where: BatchFilter,
        order: BatchOrder,
        *,
        page_size: int,
        page_token_text: str,
        skip: int,
    ) -> tuple[list[BatchView], str]:
        """A page of matching batches, and the token of the next one (empty at the end)."""
        size, request = page_size or PAGE_SIZE_DEFAULT, ("batches", where, order.value)
        by_name = order is BatchOrder.NAME
        after: tuple[str, int] | None = None
        if by_name:
            after = named_place(page_token_text, *request)
        elif (place := page_place(page_token_text, *request)) is not None:
            after = ("", place.key)
        skip = 0 if after else skip
        found = await self._reads.batches(principal, where, order=order, after=after, limit=size, skip=skip)
        if len(found) < size:
            return found, ""
        last = found[-1].record
        return found, page_token((last.name if by_name else 0, last.key), *request)

    async def update(
        self,
        principal: Principal,
        batch_id: str,
        update: BatchUpdate,
        completion: Submission | None = None,
        *,
        etag: str = "",
        wait_seconds: float = SWEEP_WAIT_SECONDS,
    ) -> BatchView:
        """Change it; `completion` is what a new completion job says. Where it is held back or handed out from here on,
        that is done to all its jobs first, or as far as `wait_seconds` allow. BatchClosedError.
        """
        batch_id = checks.job_id(batch_id, "batch.id")
        checks.check_text(update.name, BATCH_NAME_BYTES_MAX, "batch.name")
        if completion is not None:
            check_completion(completion)
            namespace = (await self.get(principal, batch_id)).record.namespace
            await self._hall.jobs.prepared(principal, [completion._replace(namespace=namespace)])
        await self._changed(UpdateBatch(principal, batch_id, etag, update), wait_seconds)
        return await self.get(principal, batch_id)

    async def cancel(
        self,
        principal: Principal,
        batch_id: str,
        *,
        reason: str,
        etag: str = "",
        wait_seconds: float = SWEEP_WAIT_SECONDS,
    ) -> BatchView:
        """Close it and cancel its jobs; answers as `update`. Again it changes nothing."""
        checks.check_text(reason, REASON_BYTES_MAX, "reason")
        batch_id = checks.job_id(batch_id, "batch_id")
        await self._changed(CancelBatch(principal, batch_id, etag, reason), wait_seconds)
        return await self.get(principal, batch_id)

    async def delete(
        self, principal: Principal, batch_id: str, *, etag: str = "", wait_seconds: float = SWEEP_WAIT_SECONDS
    ) -> BatchView:
        """Delete it and its jobs; answers it as it last was. BatchRunningError while workers hold some of them."""
        batch_id = checks.job_id(batch_id, "batch_id")
        last = await self.get(principal, batch_id)
        await self._changed(DeleteBatch(principal, batch_id, etag), wait_seconds)
        return last

    async def _changed(self, unit: ChangeBatch, wait_seconds: float) -> None:
        batch = await self._hall.store.run(unit, refusable=True)
        if batch.sweep:
            await self._hall.batch_loop.swept(batch.key, within_seconds=wait_seconds)
        else:
            self._hall.batch_loop.look()


def _as_it_would_be(principal: Principal, submission: BatchSubmission, jobs: Sequence[JobView]) -> BatchView:
    states = [job.state for job in jobs]
    counts = Counts(*map(states.count, COUNTED_STATES))
    return BatchView(submission.new_batch(principal, submission.batch_id, 0).record(0, 0, counts), Progress())
