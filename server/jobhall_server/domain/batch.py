"""A batch: jobs grouped together, counted by state; its own state follows from those counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from typing import NamedTuple

from jobhall.states import BatchState, CompletionPolicy, JobState
from jobhall_server.domain.progress import Progress


class Counts(NamedTuple):
    """Jobs by state."""

    scheduled: int = 0
    pending: int = 0
    claimed: int = 0
    running: int = 0
    cancelling: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)

    @property
    def ended(self) -> int:
        """Those that are terminal."""
        return self.completed + self.failed + self.cancelled

    @property
    def held(self) -> int:
        """Those that workers hold."""
        return self.claimed + self.running + self.cancelling

    def of(self, state: JobState) -> int:
        """How many are in that state."""
        return self[state - 1]


COUNTED_STATES = tuple(JobState[name.upper()] for name in Counts._fields)
"""The states in the order of `Counts`."""


class Sweep(IntEnum):
    """What is being done to all jobs of a batch, in small steps; it goes on after a restart."""

    NONE = 0
    HOLD_BACK = 1
    """They are taken out of the claims' sight."""
    HAND_OUT = 2
    """They are put back into it."""
    CANCEL = 3
    DELETE = 4
    """And then the batch itself goes; from the start it exists for nobody any more."""


class Completion(IntEnum):
    """Where the completion job of a batch is."""

    NONE = 0
    """There is none."""
    WANTED = 1
    SUBMITTED = 2


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch to be written; the store gives it its key and its times."""

    batch_id: str
    namespace_key: int
    namespace: str
    name: str = ""
    closed: bool = False
    active: bool = True
    completion_policy: CompletionPolicy = CompletionPolicy.ALL_COMPLETED
    completion_job: str | None = None
    """The submission as JSON text of its message, checked."""
    owner: str = ""
    organization_id: str = ""
    created_by: str = ""
    access: str | None = None
    request_digest: int = 0
    """Of the whole request as first sent; 0 where the server chose the id."""

    def record(self, key: int, now: int, counts: Counts = Counts()) -> BatchRecord:  # noqa: B008 - immutable
        """The batch as the next group will find it."""
        return BatchRecord(
            key=key,
            batch_id=self.batch_id,
            namespace_key=self.namespace_key,
            namespace=self.namespace,
            name=self.name,
            closed=self.closed,
            active=self.active,
            completion_policy=self.completion_policy,
            completion=Completion.NONE if self.completion_job is None else Completion.WANTED,
            completion_job=self.completion_job,
            completion_job_id="",
            owner=self.owner,
            organization_id=self.organization_id,
            created_by=self.created_by,
            access=self.access,
            request_digest=self.request_digest,
            counts=counts,
            created_at=now,
            updated_at=now,
        )


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch as decisions and readers see it; times microseconds UTC. Moves answer with a changed copy.

    Within a commit group `counts`, `started_at` and `ended_at` are as the group found them.
    """

    key: int
    batch_id: str
    namespace_key: int
    namespace: str
    name: str
    closed: bool
    active: bool
    completion_policy: CompletionPolicy
    completion: Completion
    completion_job: str | None
    completion_job_id: str
    owner: str
    organization_id: str
    created_by: str
    access: str | None
    request_digest: int
    counts: Counts
    created_at: int
    updated_at: int
    started_at: int | None = None
    """When a job of it was started first."""
    ended_at: int | None = None
    """When it was closed and its last job ended; None while that is not so."""
    revision: int = 1
    """Counts what callers changed of it, and its completion job."""
    sweep: Sweep = Sweep.NONE
    sweep_reason: str = ""
    """Of a CANCEL: what callers said, and who."""
    sweep_by: str = ""
    sweep_after: int = 0
    """The job key up to which it is done, so that no restart does it twice to a job."""

    @property
    def state(self) -> BatchState:
        """Derived: over first, then not begun, else under way."""
        counts = self.counts
        if self.closed and counts.ended == counts.total:
            return BatchState.FAILED if counts.failed or counts.cancelled else BatchState.COMPLETED
        return BatchState.PENDING if self.started_at is None else BatchState.PROCESSING

    @property
    def completion_due(self) -> bool:
        """Whether its completion job is to be submitted now."""
        if self.completion is not Completion.WANTED or self.sweep is Sweep.DELETE:
            return False
        state = self.state
        return state is BatchState.COMPLETED or (
            state is BatchState.FAILED and self.completion_policy is CompletionPolicy.ALL_TERMINAL
        )

    def changed(self, **values: object) -> BatchRecord:
        """A copy with those values, one revision on."""
        return replace(self, revision=self.revision + 1, **values)  # type: ignore[arg-type]  # its own fields


class BatchUpdate(NamedTuple):
    """New values of what `fields` names."""

    fields: frozenset[str]
    name: str = ""
    closed: bool = False
    active: bool = True
    completion_job: str | None = None
    completion_policy: CompletionPolicy = CompletionPolicy.ALL_COMPLETED
    access: str | None = None


class BatchRefusal(Enum):
    """Why a batch is not changed."""

    REOPENED = "REOPENED"
    """It was closed before, which cannot be undone."""
    COMPLETION_SUBMITTED = "COMPLETION_SUBMITTED"
    """So it is too late for another completion job."""


def update(batch: BatchRecord, update: BatchUpdate) -> BatchRecord | BatchRefusal:
    """The batch with the new values; the same one where they are the old ones."""
    given = {name: getattr(update, name) for name in update.fields}
    new = {name: value for name, value in given.items() if value != getattr(batch, name)}
    if new.get("closed") is False:
        return BatchRefusal.REOPENED
    if new.keys() & {"completion_job", "completion_policy"} and batch.completion is Completion.SUBMITTED:
        return BatchRefusal.COMPLETION_SUBMITTED
    if "completion_job" in new:
        new["completion"] = Completion.NONE if update.completion_job is None else Completion.WANTED
    # What is being cancelled is held back or handed out after that.
    if "active" in new and batch.sweep is not Sweep.CANCEL:
        new |= {"sweep": Sweep.HAND_OUT if update.active else Sweep.HOLD_BACK, "sweep_after": 0}
    return batch.changed(**new) if new else batch


def cancel(batch: BatchRecord, *, reason: str, by: str) -> BatchRecord:
    """The batch closed, and its jobs to be cancelled; the same one where that is done or under way."""
    new: dict[str, object] = {}
    if batch.completion is Completion.WANTED and batch.completion_policy is CompletionPolicy.ALL_COMPLETED:
        new["completion"] = Completion.NONE
    # What is CANCELLING was asked for already.
    left = batch.counts.total - batch.counts.ended - batch.counts.cancelling
    if not batch.closed or (left and batch.sweep is not Sweep.CANCEL):
        sweep = {"sweep": Sweep.CANCEL, "sweep_after": 0, "sweep_reason": reason, "sweep_by": by}
        new |= {"closed": True, **sweep}
    return batch.changed(**new) if new else batch


def delete(batch: BatchRecord) -> BatchRecord | None:
    """The batch on its way out, for nobody to see any more; None while workers hold jobs of it."""
    return None if batch.counts.held else batch.changed(closed=True, sweep=Sweep.DELETE, sweep_after=0)


def next_sweep(batch: BatchRecord) -> Sweep:
    """What follows when a sweep is at its end: a cancel may have taken the place of one that had not come so far, and a
    delete goes round until no job is left.
    """
    if batch.sweep is Sweep.DELETE:
        return Sweep.DELETE
    if batch.sweep is not Sweep.CANCEL:
        return Sweep.NONE
    return Sweep.HAND_OUT if batch.active else Sweep.HOLD_BACK


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch as it is read for a caller, with the progress of its jobs summed up."""

    record: BatchRecord
    progress: Progress
    """Items of all its jobs; percent over them, one that ended counting whole."""
