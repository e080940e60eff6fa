"""The board of `jobhall top`: counts, jobs and workers, kept up by one watch; of a million jobs some thousand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import nsmallest
from itertools import chain, islice
from typing import Any, Literal, get_args

from jobhall.cli.board_jobs import BoardJob, JobRow, created_by_id
from jobhall.model import Job
from jobhall.model_events import JobEvent
from jobhall.model_insight import JobCounts
from jobhall.plain import Plain
from jobhall.states import HELD_STATES, TERMINAL_STATES, EventType, JobState
from jobhall.worker_info import WorkerInfo

Order = Literal["state", "age", "progress", "type"]
ORDERS: tuple[Order, ...] = get_args(Order)

HELD_MAX = 2000
WAITING_MAX = 1000
"""More of them are only counted."""
_WAITING_LOW = 100
_ENDED_MAX = 200
_GONE = frozenset({EventType.DELETED, EventType.LEFT})
_RANKS = {
    state: rank
    for rank, state in enumerate(
        [JobState.RUNNING, JobState.CANCELLING, JobState.CLAIMED, JobState.PENDING, JobState.SCHEDULED]
    )
}
_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures(Plain):
    """What the server counted; None where nobody counts it for such a choice of jobs."""

    counts: JobCounts
    oldest_pending_age: timedelta | None = None
    completed_per_second: float | None = None
    failed_per_second: float | None = None
    wider: bool = False
    """Whether these are counts of more than the jobs on the board: nobody counts by label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View(Plain):
    """The board at one moment: the rows that fit, and how many jobs that have not ended do not."""

    at: datetime
    figures: Figures
    jobs: tuple[JobRow, ...]
    more: int
    workers: tuple[WorkerInfo, ...]


class Board:
    """Told what a watch says and what the server counts, it knows what to show; not for two threads at once."""

    def __init__(self) -> None:
        self._held: dict[str, BoardJob] = {}
        self._waiting: dict[str, BoardJob] = {}
        self._ended: dict[str, BoardJob] = {}
        self._groups = (self._held, self._waiting, self._ended)
        self._figures = Figures(counts=JobCounts())
        self._workers: tuple[WorkerInfo, ...] = ()

    def begin(self, jobs: Iterable[Job], *, now: datetime) -> None:
        """The jobs as they are when, or after, the watch begins; what was known before does not hold any more."""
        for group in self._groups:
            group.clear()
        self.add(jobs, now=now)

    def add(self, jobs: Iterable[Job], *, now: datetime) -> None:
        """Further jobs, as they are not earlier than what the watch has said so far."""
        for job in jobs:
            self._read(job, now=now)

    @property
    def short(self) -> bool:
        """Whether many more jobs wait than it knows, and it knows so few that they might soon be missed."""
        counts = self._figures.counts
        return len(self._waiting) < _WAITING_LOW and counts.pending + counts.scheduled > 2 * _WAITING_LOW

    def take(self, events: Iterable[JobEvent], *, now: datetime) -> None:
        """What happened since; of what was known already, nothing."""
        for event in events:
            if event.event_type is EventType.PROGRESS:
                self._advance(event, now=now)
            else:
                self._tell(event)

    def learn(self, jobs: Iterable[Job], *, missing_ids: Iterable[str], now: datetime) -> None:
        """Jobs that were looked at whole, and those that are not there any more.

        One that left the board meanwhile has ended: the look may be older than that.
        """
        for job in jobs:
            if self._find(job.id) is not None:
                self._read(job, now=now, whole=True)
        for job_id in missing_ids:
            self._remove(job_id)

    def count(self, figures: Figures, workers: Sequence[WorkerInfo]) -> None:
        """What the server counted, and the workers that are there."""
        self._figures, self._workers = figures, tuple(workers)

    def view(self, order: Order = "state", *, jobs_max: int, now: datetime) -> View:
        """The board as it is now: first the jobs that have not ended, in that order, then the last that ended."""
        opened = nsmallest(jobs_max, chain(self._held.values(), self._waiting.values()), key=_KEYS[order])
        ended = islice(reversed(self._ended.values()), jobs_max - len(opened))
        known, counts = len(self._held) + len(self._waiting), self._figures.counts
        if not self._figures.wider:
            known = max(known, counts.total - counts.ended)
        return View(
            at=now,
            figures=self._figures,
            jobs=tuple(job.row(now=now) for job in chain(opened, ended)),
            more=known - len(opened),
            workers=tuple(sorted(self._workers, key=lambda it: (it.name, it.id))),
        )

    def brief(self, view: View) -> list[str]:
        """Which of the jobs in view a worker holds, though it was not said which worker: to be looked at whole."""
        held = (self._held.get(row.id) for row in view.jobs)
        return [job.id for job in held if job is not None and not job.whole]

    def _read(self, job: Job, *, now: datetime, whole: bool = False) -> None:
        known = self._find(job.id)
        if known is not None and (job.revision < known.revision or (job.revision == known.revision and not whole)):
            known.whole = known.whole or whole
            return
        if known is None:
            known = _made(job, created_at=job.created_at)
        self._remove(job.id)
        known.read(job, now=now)
        known.whole = known.whole or whole
        self._place(known)

    def _tell(self, event: JobEvent) -> None:
        known = self._find(event.job_id)
        if known is not None and event.revision <= known.revision:
            return
        self._remove(event.job_id)
        if event.event_type in _GONE:
            return
        if known is None:
            new = event.event_type is EventType.SUBMITTED
            known = _made(event, created_at=event.happened_at if new else created_by_id(event.job_id))
        known.tell(event)
        self._place(known)

    def _advance(self, event: JobEvent, *, now: datetime) -> None:
        known = self._find(event.job_id)
        if known is None:
            known = _made(event, created_at=created_by_id(event.job_id))
            known.attempt = event.attempt
            self._place(known)
        # What a task said last may come after its end.
        if event.progress is not None and known.state in HELD_STATES and event.attempt == known.attempt:
            known.advance(event.progress, now=now)

    def _place(self, job: BoardJob) -> None:
        """Into its group, where there is room for it: the oldest that wait stay, and the last that ended."""
        if job.state in TERMINAL_STATES:
            self._ended[job.id] = job
            if len(self._ended) > _ENDED_MAX:
                del self._ended[next(iter(self._ended))]
        elif job.state in HELD_STATES:
            if len(self._held) < HELD_MAX:
                self._held[job.id] = job
        elif len(self._waiting) < WAITING_MAX:
            self._waiting[job.id] = job

    def _find(self, job_id: str) -> BoardJob | None:
        return self._held.get(job_id) or self._waiting.get(job_id) or self._ended.get(job_id)

    def _remove(self, job_id: str) -> None:
        for group in self._groups:
            if group.pop(job_id, None) is not None:
                return


def _made(it: Job | JobEvent, *, created_at: datetime | None) -> BoardJob:
    return BoardJob(
        id=it.id if isinstance(it, Job) else it.job_id,
        namespace=it.namespace,
        job_type=it.job_type,
        state=it.state,
        created_at=created_at,
    )


def _by_state(job: BoardJob) -> tuple[Any, ...]:
    # Jobs of one call are as old as each other: by their ids, rows stay where they are, and a look finds those in view.
    return _RANKS.get(job.state, len(_RANKS)), job.created_at or _LAST, job.id


def _by_progress(job: BoardJob) -> tuple[Any, ...]:
    percent = job.progress.percent if job.state in HELD_STATES else None
    return -1 if percent is None else -percent, *_by_state(job)


_KEYS = {
    "state": _by_state,
    "age": lambda job: (job.created_at or _LAST, job.id),
    "progress": _by_progress,
    "type": lambda job: (job.job_type, *_by_state(job)),
}
