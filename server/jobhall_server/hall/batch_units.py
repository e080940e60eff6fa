"""What callers change of batches: the units, and what each refuses."""

from __future__ import annotations

from jobhall.errors import (
    ApiError,
    BatchClosedError,
    BatchIdReusedError,
    BatchNotFoundError,
    BatchRunningError,
    EtagMismatchError,
    JobIdReusedError,
)
from jobhall_server.domain import batch as batches
from jobhall_server.domain.access import Principal, may_touch
from jobhall_server.domain.batch import BatchRecord, BatchRefusal, BatchUpdate, Sweep
from jobhall_server.hall.batch_submissions import BatchSubmission
from jobhall_server.hall.store import Group, Unit
from jobhall_server.hall.submits import Rehearsed, Submission, SubmitJobs, Submitted
from jobhall_server.hall.unique_keys import key_taken


def theirs(group: Group, principal: Principal, batch_id: str, etag: str = "") -> BatchRecord:
    """The batch, if it exists for the caller; EtagMismatchError when it has changed since that etag."""
    batch = group.batch_by_id(batch_id)
    if batch is None or batch.sweep is Sweep.DELETE or not _seen(principal, batch):
        raise BatchNotFoundError(batch_id)
    if etag and etag != str(batch.revision):
        raise EtagMismatchError(f"batch {batch_id} is at revision {batch.revision}, not {etag}: read it again")
    return batch


class CreateBatch(Unit[list[str]]):
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
                raise taken(asked, answer.job_id)
        return list(self.job_ids)

    def _known(self, batch: BatchRecord) -> list[str]:
        same = batch.request_digest == self._submission.digest and batch.sweep is not Sweep.DELETE
        if not (self._submission.digest and same and _seen(self._principal, batch)):
            raise BatchIdReusedError(self._batch_id)
        return list(self.job_ids)


class TryBatch(CreateBatch):
    """All of it but its jobs, and nothing stays: it raises Rehearsed, unless the batch is there already."""

    def decide(self, group: Group) -> list[str]:
        known = group.batch_by_id(self._batch_id)
        found = super().decide(group)
        if known is None:
            raise Rehearsed([])
        return found


class ChangeBatch(Unit[BatchRecord]):
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


class UpdateBatch(ChangeBatch):
    """BatchClosedError where it is too late for the change."""

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


class CancelBatch(ChangeBatch):
    """Closes it and begins to cancel its jobs."""

    def __init__(self, principal: Principal, batch_id: str, etag: str, reason: str) -> None:
        super().__init__(principal, batch_id, etag)
        self._reason = reason

    def change(self, batch: BatchRecord) -> BatchRecord:
        return batches.cancel(batch, reason=self._reason, by=self._principal.display_name)


class DeleteBatch(ChangeBatch):
    """Begins to delete it with its jobs; BatchRunningError while workers hold some."""

    def change(self, batch: BatchRecord) -> BatchRecord:
        changed = batches.delete(batch)
        if changed is None:
            held = batch.counts.held
            message = (
                f"workers hold {held} job{'s' if held > 1 else ''} of batch {batch.batch_id}: cancel it first, or wait"
            )
            raise BatchRunningError(message, metadata={"batch_id": batch.batch_id})
        return changed


def _seen(principal: Principal, batch: BatchRecord) -> bool:
    return may_touch(principal, owner=batch.owner, organization_id=batch.organization_id)


def taken(asked: Submission, job_id: str) -> ApiError:
    """A job that is there already is in another batch, or in none, and stays there."""
    return key_taken(asked.unique_key, job_id) if asked.unique_key else JobIdReusedError(job_id)
