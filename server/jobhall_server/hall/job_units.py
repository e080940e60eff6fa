"""What callers change of a job that is there: how each verb decides, for one job or for many, and the units for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from jobhall.errors import (
    EtagMismatchError,
    FieldInvalidError,
    JobNotFoundError,
    JobRunningError,
    JobTerminalError,
)
from jobhall.states import JobState
from jobhall_server.domain import moves
from jobhall_server.domain.access import Principal, may_touch
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import JobRecord, Lease
from jobhall_server.domain.moves import JobUpdate, Refusal
from jobhall_server.hall.store import Group, UniqueKey, Unit
from jobhall_server.hall.unique_keys import key_taken, taken_by


def theirs(group: Group, principal: Principal, job_id: str, etag: str = "") -> JobRecord:
    """The job, if it exists for the caller; EtagMismatchError when it has changed since that etag."""
    job = group.job_by_id(job_id)
    if job is None or not may_touch(principal, owner=job.owner, organization_id=job.organization_id):
        raise JobNotFoundError(job_id)
    if etag and etag != str(job.revision):
        raise EtagMismatchError(f"job {job_id} is at revision {job.revision}, not {etag}: read it again")
    return job


@dataclass(frozen=True, slots=True)
class Asked:
    """What a cancel did: the lease to be told about where a worker holds the job, and whether it had started."""

    lease: Lease | None = None
    session_key: int | None = None
    running: bool = False
    changed: bool = False


def cancel_job(group: Group, job: JobRecord, *, reason: str, by: str, grace_us: int) -> Asked:
    """Cancel it, or ask its worker to stop; JobTerminalError when it is COMPLETED or FAILED."""
    decision, values = moves.cancel(job, reason=reason, by=by, stop_at=group.now + grace_us)
    if isinstance(decision, Refusal):
        _refuse(job, decision)
    if decision is None:
        return Asked()
    group.change(job, decision, values)
    if not job.state.held:
        return Asked(changed=True)
    running = job.state is not JobState.CLAIMED
    return Asked(Lease(job.key, job.fence, job.nonce), job.session_key, running, changed=True)


def retry_job(group: Group, principal: Principal, job: JobRecord) -> int | None:
    """Make it PENDING again; answers its queue, None where it is not terminal. JobTerminalError when it is COMPLETED,
    UniqueKeyTakenError when another job has its key by now.
    """
    decision = moves.retry(job)
    if isinstance(decision, Refusal):
        _refuse(job, decision)
    if decision is None:
        return None
    if job.unique_key is not None:
        holder = taken_by(group, UniqueKey.of(job))
        if holder is not None and holder.key != job.key:
            seen = may_touch(principal, owner=holder.owner, organization_id=holder.organization_id)
            raise key_taken(job.unique_key, holder.job_id if seen else "")
        group.take_unique_key(job)
    group.change(job, decision)
    return job.queue_key


def delete_job(group: Group, job: JobRecord, *, purged: bool = False) -> None:
    """Remove it; JobRunningError while a worker holds it."""
    if moves.delete(job) is not None:
        raise JobRunningError(job.job_id, job.state.name)
    group.delete_job(job, purged=purged)


class CancelJob(Unit[Asked]):
    """Cancel one."""

    def __init__(self, principal: Principal, job_id: str, reason: str, grace_us: int, etag: str) -> None:
        self.job_ids = (job_id,)
        self._principal = principal
        self._reason = reason
        self._grace_us = grace_us
        self._etag = etag

    def decide(self, group: Group) -> Asked:
        job = theirs(group, self._principal, self.job_ids[0], self._etag)
        by = self._principal.display_name
        return cancel_job(group, job, reason=self._reason, by=by, grace_us=self._grace_us)


class RetryJob(Unit[int | None]):
    """Answers the queue that has the job again, None where nothing was to be done."""

    def __init__(self, principal: Principal, job_id: str, etag: str) -> None:
        self.job_ids = (job_id,)
        self._principal = principal
        self._etag = etag

    def decide(self, group: Group) -> int | None:
        return retry_job(group, self._principal, theirs(group, self._principal, self.job_ids[0], self._etag))


class UpdateJob(Unit[int]):
    """Answers the queue of the job, which may be ready now or have another turn."""

    def __init__(self, principal: Principal, job_id: str, update: JobUpdate, etag: str) -> None:
        self.job_ids = (job_id,)
        self._principal = principal
        self._update = update
        self._etag = etag

    def decide(self, group: Group) -> int:
        job = theirs(group, self._principal, self.job_ids[0], self._etag)
        decision, values = moves.update(job, self._update, group.now)
        if isinstance(decision, Refusal):
            _refuse(job, decision)
        _check_times(job, self._update, group.now)
        assert isinstance(decision, Change)
        group.change(job, decision, values)
        return job.queue_key


class DeleteJob(Unit[bool]):
    """False when the job has changed since it was read at `revision`."""

    def __init__(self, principal: Principal, job_id: str, revision: int, etag: str = "") -> None:
        self.job_ids = (job_id,)
        self._principal = principal
        self._revision = revision
        self._etag = etag

    def decide(self, group: Group) -> bool:
        job = theirs(group, self._principal, self.job_ids[0], self._etag)
        if job.revision != self._revision and job.state in moves.DELETABLE:
            return False
        delete_job(group, job)
        return True


def _refuse(job: JobRecord, refusal: Refusal) -> NoReturn:
    kind = JobTerminalError if refusal is Refusal.JOB_TERMINAL else JobRunningError
    raise kind(job.job_id, job.state.name)


def _check_times(job: JobRecord, update: JobUpdate, now: int) -> None:
    """FieldInvalidError when the job could not begin at all any more by its new times."""
    new_deadline = "start_deadline" in update.columns
    deadline = update.start_deadline if new_deadline else job.start_deadline
    if deadline is None or job.attempt:
        return
    if new_deadline and deadline <= now:
        raise FieldInvalidError("job.start_deadline", "is over already; the job could never begin")
    if "schedule_at" in update.columns:
        if update.schedule_at is not None and update.schedule_at >= deadline:
            field = "start_deadline" if new_deadline else "schedule_time"
            raise FieldInvalidError(f"job.{field}", "leaves no time between schedule_time and start_deadline")
    elif new_deadline and job.state is JobState.SCHEDULED and deadline <= (job.due_at or now) != job.start_deadline:
        raise FieldInvalidError("job.start_deadline", "is not after its schedule_time")
