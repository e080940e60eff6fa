"""Output for pipes and logs: a line per job or event, whole however long, at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from jobhall.cli.phrases import counts_text, event_text, log_text, moment, outcome_text, warn_of_reset
from jobhall.cli.records import batch_rows, job_rows
from jobhall.cli.tables import Cell, Table, cell_text
from jobhall.model import Job, LogEntry
from jobhall.model_batches import Batch
from jobhall.model_events import JobEvent
from jobhall.states import EventType

T = TypeVar("T")

_PROGRESS_SECONDS = 1.0


class Lines:
    """A submitted job is its id alone, a list has tabs between its columns: made for `$(…)` and `cut`."""

    def made(self, it: Job | Batch, *words: Cell) -> None:
        _write(it.id)

    def job(self, job: Job) -> None:
        self.record(job, job_rows(job))
        for error in job.item_errors:
            _write(f"item error: {error.index} {error.key} {error.code} {error.message}")
        if job.error is not None and job.error.stack:
            print(job.error.stack.rstrip(), flush=True)

    def record(self, it: Any, rows: Iterable[tuple[str, str]]) -> None:  # noqa: ARG002 - they are of it
        for name, value in rows:
            _write(f"{name}: {value}")

    def table(self, table: Table[T], entries: Iterable[T], *, whole: Any = None) -> None:  # noqa: ARG002 - of them
        for entry in entries:
            _write("\t".join(_cell(column.cell(entry)) for column in table.columns))

    def said(self, it: Any, *words: Cell) -> None:  # noqa: ARG002 - the words are of it
        _write(" ".join(cell_text(word) for word in words))

    def log(self, entry: LogEntry) -> None:
        _write(f"{moment(entry.written_at) if entry.written_at else '-'} {entry.level.name:<8} {log_text(entry)}")

    def batch(self, batch: Batch) -> None:
        self.record(batch, batch_rows(batch))

    @contextmanager
    def follow_batch(self) -> Iterator[Callable[[Batch], None]]:
        told: list[str] = []

        def tell(batch: Batch) -> None:
            line = f"{batch.state.name} {batch.id} {counts_text(batch.counts)}"
            if told != [line]:
                _write(line)
                told[:] = [line]

        yield tell

    def follow(self, *, named: bool) -> EventLines:  # noqa: ARG002 - the same for both
        return EventLines()

    def ended(self, job: Job) -> None:
        _write(f"{job.state.name} {job.id} {job.job_type} {outcome_text(job)}".rstrip())


class EventLines:
    """A line for each event, `TIME EVENT JOB_ID TYPE …`; of progress at most one a second and job."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_at: dict[str, float] = {}

    def show(self, job: Job, *, cursor: str = "") -> None:
        """Says nothing: the first line about a job is the first thing that happens to it."""

    def tell(self, event: JobEvent, *, cursor: str = "") -> None:  # noqa: ARG002 - lines are for people
        now = self._clock()
        if event.event_type is EventType.PROGRESS:
            if now < self._next_at.get(event.job_id, now):
                return
            self._next_at[event.job_id] = now + _PROGRESS_SECONDS
        elif event.state.terminal:
            self._next_at.pop(event.job_id, None)
        at = event.happened_at or (event.progress and event.progress.updated_at)
        words = (moment(at) if at else "-", event.event_type.name, event.job_id, event.job_type, event_text(event))
        _write(" ".join(words).rstrip())

    def mark(self, cursor: str) -> None:
        """Says nothing."""

    def begin_anew(self) -> None:
        warn_of_reset()
        self._next_at.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return None


def _cell(value: Cell) -> str:
    # A tab of its own would shift the columns after it.
    return cell_text(value).replace("\t", " ")


def _write(line: str) -> None:
    print(" ".join(line.splitlines()), flush=True)
