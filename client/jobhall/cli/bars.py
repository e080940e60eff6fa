"""Live bars on a terminal: a row per job with how far it is, its pace and the time it still needs."""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from jobhall.cli.phrases import counts_text, event_text, harmless, warn_of_reset
from jobhall.model import Job, Progress
from jobhall.model_batches import Batch
from jobhall.model_events import JobEvent
from jobhall.states import EventType, JobState

_ROWS_MAX = 20
"""Bars on screen at once; what happens to further jobs is told in lines alone."""


class Bars:
    """Named jobs keep their bars to the end; of a stream of jobs each state change is a line, the running have bars."""

    def __init__(self, console: Console, *, named: bool) -> None:
        self._named = named
        self._console = console
        self._rows: dict[str, TaskID] = {}
        self._progress = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _Counts(table_column=Column(no_wrap=True)),
            _Pace(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[state]}", markup=False),
            console=console,
        )

    @property
    def shown(self) -> list[str]:
        """The jobs that have a bar."""
        return list(self._rows)

    def show(self, job: Job, *, cursor: str = "") -> None:  # noqa: ARG002 - bars are for people
        if self._named or job.state is JobState.RUNNING:
            self._update(job.id, job.job_type, job.state, attempt=job.attempt, progress=job.progress)

    def tell(self, event: JobEvent, *, cursor: str = "") -> None:  # noqa: ARG002 - bars are for people
        if not self._named and event.event_type is not EventType.PROGRESS:
            self._console.print(_line(event), soft_wrap=True)
        gone = event.event_type in (EventType.DELETED, EventType.LEFT)
        if self._named or (event.state in (JobState.RUNNING, JobState.CANCELLING) and not gone):
            self._update(event.job_id, event.job_type, event.state, attempt=event.attempt, progress=event.progress)
        elif (row := self._rows.pop(event.job_id, None)) is not None:
            self._progress.remove_task(row)

    def mark(self, cursor: str) -> None:
        """Says nothing."""

    def begin_anew(self) -> None:
        warn_of_reset()
        if not self._named:
            for row in self._rows.values():
                self._progress.remove_task(row)
            self._rows.clear()

    def _update(self, job_id: str, job_type: str, state: JobState, *, attempt: int, progress: Progress | None) -> None:
        if job_id not in self._rows and len(self._rows) >= _ROWS_MAX:
            return
        row = self._row(job_id, job_type)
        shown = f"{state.name}, attempt {attempt}" if attempt > 1 else state.name
        self._progress.update(row, state=shown)
        if progress is not None:
            self._advance(row, progress)
        if state.terminal:
            self._progress.stop_task(row)

    def _row(self, job_id: str, job_type: str) -> TaskID:
        if job_id not in self._rows:
            # Of a UUIDv7 the end is what differs.
            name = f"{job_type} …{job_id[-8:]}"
            self._rows[job_id] = self._progress.add_task(name, total=None, state="", unit="", counted=False)
        return self._rows[job_id]

    def _advance(self, row: TaskID, progress: Progress) -> None:
        counted = progress.items_total is not None
        percent = progress.percent
        if not counted and percent is None:
            return
        total = progress.items_total if counted else 100
        completed = progress.items_processed if counted else percent
        if completed is not None and completed < self._progress.tasks[self._place(row)].completed:
            # A further attempt begins again; its pace is its own.
            self._progress.reset(row)
        self._progress.update(
            row, total=total, completed=completed, unit=harmless(progress.unit) or "items", counted=counted
        )

    def _place(self, row: TaskID) -> int:
        return self._progress.task_ids.index(row)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()


class BatchBar:
    """The bar of one batch: live in `with`, called with it whenever it was looked at; or drawn once."""

    def __init__(self, console: Console) -> None:
        self._progress = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f} %"),
            TextColumn("{task.fields[counts]}", markup=False),
            console=console,
        )
        self._row = self._progress.add_task("", total=100, counts="")

    def __call__(self, batch: Batch) -> None:
        self._progress.update(
            self._row,
            description=batch.state.name,
            # One that ended without any job has no percentage.
            completed=100 if batch.done else batch.progress.percent or 0,
            counts=counts_text(batch.counts),
        )

    def draw(self, batch: Batch) -> None:
        """The bar as it now is, once and for all."""
        self(batch)
        self._progress.console.print(self._progress.get_renderable())

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()


class _Counts(ProgressColumn):
    """`450/1000 rows`, or the percentage where nobody counts items."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text("")
        if not task.fields["counted"]:
            return Text(f"{task.completed:.0f} %")
        return Text(f"{task.completed:.0f}/{task.total:.0f} {task.fields['unit']}")


class _Pace(ProgressColumn):
    """`120.5 rows/s`, over the last seconds; over the whole at the end."""

    def render(self, task: Task) -> Text:
        pace = task.finished_speed or task.speed
        if pace is None or not task.fields["counted"]:
            return Text("")
        return Text(f"{pace:.1f} {task.fields['unit']}/s")


def _line(event: JobEvent) -> Text:
    when = event.happened_at.astimezone().strftime("%H:%M:%S") if event.happened_at else "--:--:--"
    text = f"{when} {event.event_type.name:<10} {event.job_id} {event.job_type} {event_text(event)}"
    return Text(harmless(text.rstrip()), style="red" if event.event_type is EventType.FAILED else "")
