"""The columns of every list: what a terminal lays out and a pipe separates by tabs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Generic, TypeVar

from jobhall.cli.phrases import duration_text, progress_text, tasks_text
from jobhall.cli.plain_values import moment
from jobhall.model import ItemError, Job
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
    fold: bool = False
    """On a terminal it goes on below itself where it is too long; else it is cut."""
    width: int | None = None
    """Never narrower on a terminal."""
    optional: bool = False
    """Left out on a terminal where it has nothing to say of any entry."""


@dataclass(frozen=True, slots=True)
class Table(Generic[T]):
    """The columns of one kind of list."""

    noun: str
    columns: tuple[Column[T], ...]


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


_UUID_WIDTH = 36

JOBS: Table[Job] = Table(
    "jobs match",
    (
        Column(title="id", cell=lambda job: job.id, width=_UUID_WIDTH),
        Column(title="type", cell=lambda job: job.job_type),
        Column(title="state", cell=lambda job: job.state, width=9),
        Column(title="progress", cell=lambda job: progress_text(job.progress)),
        Column(title="attempt", cell=lambda job: job.attempt or "", right=True),
        Column(title="age", cell=lambda job: job.created_at, right=True),
    ),
)

ITEM_ERRORS: Table[ItemError] = Table(
    "item errors",
    (
        Column(title="item", cell=lambda error: error.index, right=True),
        Column(title="key", cell=lambda error: error.key, fold=True),
        Column(title="code", cell=lambda error: error.code, fold=True),
        Column(title="message", cell=lambda error: error.message, fold=True),
    ),
)

WORKERS: Table[WorkerInfo] = Table(
    "workers match",
    (
        Column(title="id", cell=lambda worker: worker.id, width=_UUID_WIDTH),
        Column(title="name", cell=lambda worker: worker.name),
        Column(title="state", cell=lambda worker: worker.state, width=8),
        Column(title="tasks", cell=tasks_text, right=True),
        Column(title="types", cell=lambda worker: " ".join(worker.job_types), fold=True),
        Column(title="last seen", cell=lambda worker: worker.last_seen_at, right=True),
    ),
)
