"""The columns of every list: what a terminal lays out and a pipe separates by tabs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Generic, TypeVar

from jobhall.cli.phrases import duration_text, error_text, event_text, moment, progress_text, tasks_text
from jobhall.model import ItemError, Job, Progress
from jobhall.model_batches import Batch
from jobhall.model_events import JobEvent
from jobhall.model_insight import JobAttempt, QueueStats
from jobhall.model_types import JobType
from jobhall.plain import Plain
from jobhall.states import JobState
from jobhall.worker_info import WorkerInfo

T = TypeVar("T")

Cell = str | int | float | datetime | timedelta | IntEnum | None
"""A time is shown to people as how long ago it was, to programs as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Generic[T]):
    """One column: its title on a terminal, and what it says of an entry."""

    title: str
    cell: Callable[[T], Cell]
    right: bool = False
    elastic: bool = False
    """On a terminal it is cut where there is no room for it."""
    fold: bool = False
    """It goes on below itself instead; goes with `elastic`."""
    piped_only: bool = False
    """Left out on a terminal."""
    clock: bool = False
    """A time is shown to people as the time of the day, to the second."""
    distinct_min: int = 0
    """Left out on a terminal where it says fewer different things than this; nothing and 0 are none."""


@dataclass(frozen=True, slots=True)
class Table(Generic[T]):
    """The columns of one kind of list."""

    noun: str
    columns: tuple[Column[T], ...]


@dataclass(frozen=True, slots=True)
class LoggedEvent(Plain):
    """An entry of the log of what happened, with the place to go on from."""

    event: JobEvent
    cursor: str


def cell_text(value: Cell) -> str:
    """The cell as text; times in UTC."""
    if value is None:
        return ""
    if isinstance(value, IntEnum):
        return value.name
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, float):
        return f"{value:.1f}"
    return str(value)


JOBS: Table[Job] = Table(
    "jobs match",
    (
        Column(title="id", cell=lambda job: job.id),
        Column(title="type", cell=lambda job: job.job_type, elastic=True),
        Column(title="state", cell=lambda job: job.state),
        Column(title="progress", cell=lambda job: progress_text(job.progress), elastic=True, distinct_min=1),
        Column(title="attempt", cell=lambda job: job.attempt or "", right=True),
        Column(title="age", cell=lambda job: job.created_at, right=True),
    ),
)

EVENTS: Table[LoggedEvent] = Table(
    "events match",
    (
        Column(title="time", cell=lambda it: it.event.happened_at, clock=True),
        Column(title="event", cell=lambda it: it.event.event_type),
        Column(title="id", cell=lambda it: it.event.job_id),
        Column(title="type", cell=lambda it: it.event.job_type, elastic=True, distinct_min=2),
        Column(title="state", cell=lambda it: it.event.state, piped_only=True),
        Column(title="what", cell=lambda it: event_text(it.event), elastic=True, fold=True, distinct_min=1),
    ),
)

ITEM_ERRORS: Table[ItemError] = Table(
    "item errors",
    (
        Column(title="item", cell=lambda error: error.index, right=True),
        Column(title="key", cell=lambda error: error.key, elastic=True, fold=True),
        Column(title="code", cell=lambda error: error.code, elastic=True, fold=True),
        Column(title="message", cell=lambda error: error.message, elastic=True, fold=True),
    ),
)

WORKERS: Table[WorkerInfo] = Table(
    "workers match",
    (
        Column(title="id", cell=lambda worker: worker.id),
        Column(title="name", cell=lambda worker: worker.name, elastic=True),
        Column(title="state", cell=lambda worker: worker.state),
        Column(title="tasks", cell=tasks_text, right=True),
        Column(title="types", cell=lambda worker: " ".join(worker.job_types), elastic=True, fold=True),
        Column(title="last seen", cell=lambda worker: worker.last_seen_at, right=True),
    ),
)

ATTEMPTS: Table[JobAttempt] = Table(
    "attempts: no worker has begun it",
    (
        Column(title="attempt", cell=lambda it: it.attempt, right=True),
        Column(title="worker", cell=lambda it: it.worker_name, elastic=True),
        Column(title="outcome", cell=lambda it: it.outcome or ""),
        Column(title="started", cell=lambda it: it.started_at, right=True),
        Column(title="ran for", cell=lambda it: it.ended_at - it.started_at if it.ended_at and it.started_at else None),
        Column(title="item errors", cell=lambda it: it.item_error_count, right=True, distinct_min=1),
        Column(
            title="error",
            cell=lambda it: error_text(it.error) if it.error else "",
            elastic=True,
            fold=True,
            distinct_min=1,
        ),
    ),
)

JOB_TYPES: Table[JobType] = Table(
    "job types match",
    (
        Column(title="name", cell=lambda it: it.name, elastic=True, fold=True),
        Column(title="namespace", cell=lambda it: it.namespace, elastic=True, fold=True),
        Column(title="version", cell=lambda it: it.version, right=True),
        Column(title="workers", cell=lambda it: it.worker_count, right=True),
        Column(title="waiting", cell=lambda it: it.counts.scheduled + it.counts.pending, right=True),
        Column(
            title="running", cell=lambda it: it.counts.claimed + it.counts.running + it.counts.cancelling, right=True
        ),
        Column(title="failed", cell=lambda it: it.counts.failed, right=True),
        Column(title="paused", cell=lambda it: "paused" if it.paused else "", distinct_min=1),
    ),
)

BATCHES: Table[Batch] = Table(
    "batches match",
    (
        Column(title="id", cell=lambda batch: batch.id),
        Column(title="name", cell=lambda batch: batch.name, elastic=True),
        Column(title="state", cell=lambda batch: batch.state),
        Column(title="jobs", cell=lambda batch: batch.counts.total, right=True),
        Column(title="done", cell=lambda batch: _percent(batch.progress), right=True),
        Column(title="failed", cell=lambda batch: batch.counts.failed, right=True, distinct_min=1),
        Column(title="age", cell=lambda batch: batch.created_at, right=True),
    ),
)


def _percent(progress: Progress) -> str:
    return "" if progress.percent is None else f"{progress.percent:.0f} %"


def _in_state(state: JobState) -> Column[QueueStats]:
    always = state in (JobState.PENDING, JobState.RUNNING)
    return Column(
        title=state.name.lower(), cell=lambda it: it.counts.of(state), right=True, distinct_min=0 if always else 1
    )


QUEUES: Table[QueueStats] = Table(
    "jobs",
    (
        Column(title="namespace", cell=lambda it: it.namespace, elastic=True, fold=True, distinct_min=2),
        Column(title="type", cell=lambda it: it.job_type, elastic=True, fold=True),
        *(_in_state(state) for state in JobState if state),
        Column(title="oldest", cell=lambda it: it.oldest_pending_age, right=True, distinct_min=1),
        Column(title="per\nsecond", cell=lambda it: it.completed_per_second, right=True, distinct_min=1),
        Column(title="failed per second", cell=lambda it: it.failed_per_second, right=True, piped_only=True),
        Column(title="removed", cell=lambda it: it.removed.total, right=True, piped_only=True),
    ),
)
