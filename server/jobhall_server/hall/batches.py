"""The use cases on batches: create, read, change, delete; each takes the caller and shows only what is theirs."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uuid_utils import uuid7

from jobhall.errors import (
    ApiError,
    BatchClosedError,
    BatchIdReusedError,
    BatchNotFoundError,
    BatchRunningError,
    EtagMismatchError,
    FieldInvalidError,
    JobIdReusedError,
)
from jobhall.limits import BATCH_NAME_BYTES_MAX, BATCH_SUBMIT_MAX, PAGE_SIZE_DEFAULT, REASON_BYTES_MAX
from jobhall.states import CompletionPolicy
from jobhall_server.domain import batch as batches
from jobhall_server.domain.access import Principal, may_touch
from jobhall_server.domain.batch import (
    COUNTED_STATES,
    BatchRecord,
    BatchRefusal,
    BatchUpdate,
    BatchView,
    Counts,
    NewBatch,
    Sweep,
)
from jobhall_server.domain.job import JobView
from jobhall_server.domain.progress import Progress
from jobhall_server.hall import checks
from jobhall_server.hall.batch_loop import SWEEP_WAIT_SECONDS
from jobhall_server.hall.store import Group, Unit
from jobhall_server.hall.submits import Rehearsed, Submission, SubmitJobs, Submitted
from jobhall_server.hall.tokens import named_place, page_place, page_token
from jobhall_server.hall.unique_keys import key_taken
from jobhall_server.hall.views import BatchFilter, BatchOrder

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall


@dataclass(frozen=True, slots=True)
class BatchSubmission:
    """A batch as a client asks for it. `digest` tells the request from others; 0 with no `batch_id`, where the server
    chooses one. `completion` is what the text `completion_job` says.
    """

    namespace: str
    jobs: Sequence[Submission] = ()
    batch_id: str = ""
    name: str = ""
    closed: bool = False
    active: bool = True
    completion: Submission | None = None
    completion_job: str | None = None
    completion_policy: CompletionPolicy = CompletionPolicy.ALL_COMPLETED
    access: str | None = None
    digest: int = 0

    def check(self) -> None:
        """FieldInvalidError names the first field that is out of bounds; those of its jobs aside."""
        checks.check_text(self.name, BATCH_NAME_BYTES_MAX, "name")
        checks.check_count(len(self.jobs), BATCH_SUBMIT_MAX, "jobs")
        for submission in (*self.jobs, *((self.completion,) if self.completion else ())):
            if submission.batch_id:
                raise FieldInvalidError(f"{submission.field}.batch_id", "is given by the batch; leave it empty")
        if self.completion is not None:
            check_completion(self.completion)

    def members(self, batch_id: str) -> list[Submission]:
        """Its jobs, each with an id. With an id that the client chose they have the same ids whenever it is sent."""
        within = uuid.UUID(batch_id)
        return [
            submission if submission.job_id else submission._replace(job_id=str(uuid.uuid5(within, str(place))))
            for place, submission in enumerate(self.jobs)
        ]

    def new_batch(self, principal: Principal, batch_id: str, namespace_key: int) -> NewBatch:
        """The batch to be written for it."""
        return NewBatch(
            batch_id=batch_id,
            namespace_key=namespace_key,
            namespace=self.namespace,
            name=self.name,
            closed=self.closed,
            active=self.active,
            completion_policy=self.completion_policy,
            completion_job=self.completion_job,
            owner=principal.subject,
            organization_id=principal.organization_id,
            created_by=principal.display_name,
            access=self.access,
            request_digest=self.digest,
        )


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
        members = submission.members(batch_id)
        if submission.completion is not None:
            await self._hall.jobs.prepared(principal, [submission.completion])
        unit = _CreateBatch(principal, submission, batch_id, await self._hall.jobs.prepared(principal, members))
        job_ids = await self._hall.store.run(unit, refusable=True)
        self._hall.dispatcher.nudge()
        return await self.get(principal, batch_id), job_ids

    async def rehearse(self, principal: Principal, submission: BatchSubmission) -> BatchView:
        """What `create` would answer or refuse now; nothing of it is stored."""
        submission.check()
        if submission.completion is not None:
            await self._hall.jobs.try_many(principal, [submission.completion])
        tried = await self._hall.jobs.try_many(principal, submission.jobs)
        for (job, existing), asked in zip(tried, submission.jobs, strict=True):
            if existing:
                raise _taken(asked, job.job_id)
        unit = _TryBatch(principal, submission, submission.batch_id or str(uuid7()))
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
        await self._changed(_UpdateBatch(principal, batch_id, etag, update), wait_seconds)
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
        await self._changed(_CancelBatch(principal, batch_id, etag, reason), wait_seconds)
        return await self.get(principal, batch_id)

    async def delete(
        self, principal: Principal, batch_id: str, *, etag: str = "", wait_seconds: float = SWEEP_WAIT_SECONDS
    ) -> BatchView:
        """Delete it and its jobs; answers it as it last was. BatchRunningError while workers hold some of them."""
        batch_id = checks.job_id(batch_id, "batch_id")
        last = await self.get(principal, batch_id)
        await self._changed(_DeleteBatch(principal, batch_id, etag), wait_seconds)
        return last

    async def _changed(self, unit: _ChangeBatch, wait_seconds: float) -> None:
        batch = await self._hall.store.run(unit, refusable=True)
        if batch.sweep:
            await self._hall.batch_loop.swept(batch.key, within_seconds=wait_seconds)
        else:
            self._hall.batch_loop.look()


def check_completion(completion: Submission) -> None:
    """FieldInvalidError for what no job can have that is submitted nobody knows when."""
    if completion.batch_id:
        raise FieldInvalidError(f"{completion.field}.batch_id", "is left empty: a completion job is in no batch")
    if completion.start_deadline is not None:
        fault = "is left empty: nobody knows when the batch will be done"
        raise FieldInvalidError(f"{completion.field}.start_deadline", fault)


def theirs(group: Group, principal: Principal, batch_id: str, etag: str = "") -> BatchRecord:
    """The batch, if it exists for the caller; EtagMismatchError when it has changed since that etag."""
    batch = group.batch_by_id(batch_id)
    if batch is None or batch.sweep is Sweep.DELETE or not _seen(principal, batch):
        raise BatchNotFoundError(batch_id)
    if etag and etag != str(batch.revision):
        raise EtagMismatchError(f"batch {batch_id} is at revision {batch.revision}, not {etag}: read it again")
    return batch


class _CreateBatch(Unit[list[str]]):
    """Answers the ids of its jobs, in order."""

    def __init__(
        self, principal: Principal, submission: BatchSubmission, batch_id: str, submits: SubmitJobs | None = None
    ) -> None:
        self._principal = principal
        self._submission = submission
        self._submits = submits
        self._batch_id = batch_id
        self.job_ids = tuple(job.job_id for job in submission.members(batch_id))
        self.batch_ids = (batch_id,)

    def decide(self, group: Group) -> list[str]:
        known = group.batch_by_id(self._batch_id)
        if known is not None:
            return self._known(known)
        for job_id in self.job_ids:
            if group.job_by_id(job_id) is not None:
                raise JobIdReusedError(job_id)
        namespace_key = group.namespace_key(self._submission.namespace)
        batch = group.open_batch(self._submission.new_batch(self._principal, self._batch_id, namespace_key))
        written = [] if self._submits is None else self._submits.write(group, batch)
        for answer, asked in zip(written, self._submission.jobs, strict=False):
            if isinstance(answer, Submitted) and answer.existing:
                raise _taken(asked, answer.job_id)
        return list(self.job_ids)

    def _known(self, batch: BatchRecord) -> list[str]:
        same = batch.request_digest == self._submission.digest and batch.sweep is not Sweep.DELETE
        if not (self._submission.digest and same and _seen(self._principal, batch)):
            raise BatchIdReusedError(self._batch_id)
        return list(self.job_ids)


class _TryBatch(_CreateBatch):
    """All of it but its jobs, and nothing stays: it raises Rehearsed, unless the batch is there already."""

    def decide(self, group: Group) -> list[str]:
        known = group.batch_by_id(self._batch_id)
        found = super().decide(group)
        if known is None:
            raise Rehearsed([])
        return found


class _ChangeBatch(Unit[BatchRecord]):
    """Answers the batch as it is then."""

    def __init__(self, principal: Principal, batch_id: str, etag: str) -> None:
        self._principal = principal
        self._etag = etag
        self.batch_ids = (batch_id,)

    def decide(self, group: Group) -> BatchRecord:
        batch = theirs(group, self._principal, self.batch_ids[0], self._etag)
        changed = self.change(batch)
        if changed is not batch:
            group.save_batch(changed)
        return changed

    def change(self, batch: BatchRecord) -> BatchRecord:
        """The batch as it is to be; the same one where nothing is to be done."""
        raise NotImplementedError


class _UpdateBatch(_ChangeBatch):
    def __init__(self, principal: Principal, batch_id: str, etag: str, update: BatchUpdate) -> None:
        super().__init__(principal, batch_id, etag)
        self._update = update

    def change(self, batch: BatchRecord) -> BatchRecord:
        changed = batches.update(batch, self._update)
        if changed is BatchRefusal.REOPENED:
            raise BatchClosedError(f"batch {batch.batch_id} is closed; it cannot be opened again")
        if changed is BatchRefusal.COMPLETION_SUBMITTED:
            job = batch.completion_job_id
            raise BatchClosedError(f"batch {batch.batch_id} is done: its completion job was submitted as {job}")
        assert isinstance(changed, BatchRecord)
        return changed


class _CancelBatch(_ChangeBatch):
    def __init__(self, principal: Principal, batch_id: str, etag: str, reason: str) -> None:
        super().__init__(principal, batch_id, etag)
        self._reason = reason

    def change(self, batch: BatchRecord) -> BatchRecord:
        return batches.cancel(batch, reason=self._reason, by=self._principal.display_name)


class _DeleteBatch(_ChangeBatch):
    def change(self, batch: BatchRecord) -> BatchRecord:
        changed = batches.delete(batch)
        if changed is None:
            held = f"workers hold {batch.counts.held} jobs of batch {batch.batch_id}: cancel it first, or wait"
            raise BatchRunningError(held, metadata={"batch_id": batch.batch_id})
        return changed


def _seen(principal: Principal, batch: BatchRecord) -> bool:
    return may_touch(principal, owner=batch.owner, organization_id=batch.organization_id)


def _taken(asked: Submission, job_id: str) -> ApiError:
    """A job that is there already is in another batch, or in none, and stays there."""
    return key_taken(asked.unique_key, job_id) if asked.unique_key else JobIdReusedError(job_id)


def _as_it_would_be(principal: Principal, submission: BatchSubmission, jobs: Sequence[JobView]) -> BatchView:
    states = [job.state for job in jobs]
    counts = Counts(*map(states.count, COUNTED_STATES))
    return BatchView(submission.new_batch(principal, submission.batch_id, 0).record(0, 0, counts), Progress())
