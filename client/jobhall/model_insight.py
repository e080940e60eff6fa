"""What a server tells about jobs beside the jobs themselves: attempts, counts, and why one waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from datetime import datetime, timedelta

from jobhall.model import JobError, Progress
from jobhall.plain import Plain
from jobhall.states import AttemptOutcome, JobState, WaitReasonKind


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAttempt(Plain):
    """One accepted start of a job, kept as history."""

    attempt: int
    """From 1; RetryJob counts anew."""
    fence: int
    """Unlike that, no two attempts of a job share it."""
    worker_name: str = ""
    session_id: str = ""
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    """None while it runs."""
    outcome: AttemptOutcome = AttemptOutcome.UNSPECIFIED
    """UNSPECIFIED while it runs."""
    error: JobError | None = None
    progress: Progress = field(default_factory=Progress)
    """The last that it reported."""
    item_error_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCounts(Plain):
    """Counts of jobs by state."""

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
        return sum(astuple(self))

    @property
    def ended(self) -> int:
        """Those that have ended, well or badly."""
        return self.completed + self.failed + self.cancelled

    def of(self, state: JobState) -> int:
        """Those in that state."""
        count: int = getattr(self, state.name.lower())
        return count


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStats(Plain):
    """Counts and ages of one queue, that is, of one type in one namespace."""

    namespace: str
    job_type: str
    counts: JobCounts
    oldest_pending_age: timedelta | None = None
    """How long its oldest PENDING job has waited; None where none waits."""
    completed_per_second: float = 0.0
    """Over about the last minute."""
    failed_per_second: float = 0.0
    removed: JobCounts = field(default_factory=JobCounts)
    """What retention and purging removed, by the state in which it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStats(Plain):
    """Counts over everything asked for, and the same for each queue."""

    total: JobCounts
    queues: tuple[QueueStats, ...] = ()
    removed: JobCounts = field(default_factory=JobCounts)
    """What retention and purging ever removed: with `total`, all that was not deleted by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitReason(Plain):
    """One reason why a job waits, for programs and for people."""

    kind: WaitReasonKind
    message: str = ""
    suggestion: str = ""
    """What would help; empty where nothing is to be done."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    until: datetime | None = None
    """When it will pass by itself, where that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobExplanation(Plain):
    """Why a job is not running."""

    job_id: str
    state: JobState
    summary: str
    """One sentence for people."""
    reasons: tuple[WaitReason, ...] = ()
    """The weightiest first; none if nothing keeps it."""
    jobs_ahead: int = 0
    """How many jobs of its queue come before it; counted up to 10,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOutcome(Plain):
    """How many jobs of a filter were cancelled, retried or purged; in a dry run, how many would be."""

    count: int
    skipped: int = 0
    """Left as they are, since another job has their unique key meanwhile; only of a retry."""
    more: bool = False
    """Whether there are more: `jobs_max` was reached, or a dry run, which counts up to a thousand, was cut short."""
