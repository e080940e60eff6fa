"""One job on the board of `jobhall top`: what watch and events told of it, and how fast it goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from jobhall.model import Job, Progress
from jobhall.model_events import JobEvent
from jobhall.plain import Plain
from jobhall.states import EventType, JobState

_WINDOW_SECONDS = 5.0
"""A pace is that of the last 5 to 10 seconds."""
_CENTURY = timedelta(days=36525)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow(Plain):
    """A job as the board shows it."""

    id: str
    namespace: str
    job_type: str
    state: JobState
    progress: Progress
    items_per_second: float | None
    remaining: timedelta | None
    worker_name: str
    failure: str
    age: timedelta | None
    """Since its submit, where that is known."""


@dataclass(slots=True, kw_only=True)
class Pace:
    """How fast an amount grows, told it from time to time; one that shrank begins again."""

    per_second: float | None = None
    _older: tuple[datetime, float] | None = None
    _newer: tuple[datetime, float] | None = None
    _last: float = 0.0

    def add(self, at: datetime, amount: float) -> None:
        """So much it was then."""
        if self._older is None or self._newer is None or amount < self._last:
            self._older = self._newer = (at, amount)
            self.per_second = None
        if (at - self._newer[0]).total_seconds() >= _WINDOW_SECONDS:
            self._older, self._newer = self._newer, (at, amount)
        span = (at - self._older[0]).total_seconds()
        if span > 0:
            self.per_second = (amount - self._older[1]) / span
        self._last = amount


@dataclass(slots=True, kw_only=True, eq=False)
class BoardJob:
    """A job while it is on the board."""

    id: str
    namespace: str
    job_type: str
    state: JobState
    created_at: datetime | None
    revision: int = 0
    attempt: int = 0
    worker_name: str = ""
    failure: str = ""
    whole: bool = False
    """Whether all that a row shows was told; a snapshot is brief."""
    progress: Progress = field(default_factory=Progress)
    _pace: Pace | None = None

    def tell(self, event: JobEvent) -> None:
        """What happened; the event is newer than what is known."""
        if event.attempt != self.attempt or event.event_type is EventType.RUNNING:
            self._begin(event.attempt)
        self.state, self.revision = event.state, event.revision
        self.worker_name = event.worker_name if event.state.held else self.worker_name
        self.failure = event.failure_code or (event.failure_kind.name if event.failure_kind else "")
        self.whole = self.whole or event.event_type is EventType.RUNNING

    def advance(self, progress: Progress, *, now: datetime) -> None:
        """How far it came."""
        if _counted(progress) != _counted(self.progress):
            self._pace = None  # A snapshot knows the percentage alone: the two cannot be compared.
        self.progress = progress
        if (amount := _amount(progress)) is not None:
            self._pace = self._pace or Pace()
            self._pace.add(progress.updated_at or now, amount)

    def read(self, job: Job, *, now: datetime) -> None:
        """The job as it is, briefly or whole; not older than what is known."""
        self.state, self.revision, self.attempt = job.state, job.revision, job.attempt
        self.created_at = job.created_at or self.created_at
        if job.current_task is not None:
            self.worker_name = job.current_task.worker_name
        if job.error is not None and job.done:
            self.failure = job.error.code or job.error.kind.name
        if job.state.held:
            self.advance(job.progress, now=now)
            if self._pace is not None and self._pace.per_second is None and _counted(job.progress):
                self._pace.per_second = job.timing.recent_items_per_second or job.timing.items_per_second

    def row(self, *, now: datetime) -> JobRow:
        """The job as the board shows it now."""
        pace = self._pace.per_second if self._pace is not None and self.state.held else None
        return JobRow(
            id=self.id,
            namespace=self.namespace,
            job_type=self.job_type,
            state=self.state,
            progress=self.progress,
            items_per_second=pace if _counted(self.progress) else None,
            remaining=_remaining(self.progress, pace),
            worker_name=self.worker_name,
            failure=self.failure,
            age=max(now - self.created_at, timedelta()) if self.created_at is not None else None,
        )

    def _begin(self, attempt: int) -> None:
        self.attempt, self.progress, self._pace = attempt, Progress(), None


def created_by_id(job_id: str) -> datetime | None:
    """When a UUIDv7 was made, which is about when its job was submitted; None of any other id."""
    try:
        number = UUID(job_id)
        # Whoever chose it may have written a year that there is not.
        return datetime.fromtimestamp((number.int >> 80) / 1000, UTC) if number.version == 7 else None
    except (ValueError, OverflowError):
        return None


def _counted(progress: Progress) -> bool:
    return progress.items_total is not None or progress.items_processed > 0


def _amount(progress: Progress) -> float | None:
    return progress.items_processed if _counted(progress) else progress.percent


def _remaining(progress: Progress, pace: float | None) -> timedelta | None:
    whole = progress.items_total if _counted(progress) else 100.0
    amount = _amount(progress)
    if not pace or whole is None or amount is None:
        return None
    return min(timedelta(seconds=min((whole - amount) / pace, _CENTURY.total_seconds())), _CENTURY)
