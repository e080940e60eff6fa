"""A batch: jobs grouped together, counted by state; its own state follows from those counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
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


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch as it is read for a caller, with the progress of its jobs summed up."""

    record: BatchRecord
    progress: Progress
    """Items of all its jobs; percent over them, one that ended counting whole."""
