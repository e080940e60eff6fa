"""Output for a terminal: tables, colours and bars."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from jobhall.cli.bars import Bars
from jobhall.cli.phrases import duration_text, job_rows, list_cells, outcome_text, worker_cells, worker_rows
from jobhall.model import Job
from jobhall.states import JobState, WorkerState
from jobhall.worker_info import WorkerInfo

_STATE_STYLES = {
    "RUNNING": "cyan",
    "CLAIMED": "cyan",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "yellow",
    "CANCELLING": "yellow",
    "ATTACHED": "green",
    "DETACHED": "red",
    "DRAINING": "yellow",
}


class Screen:
    """Writes to standard output, as wide as the terminal is; NO_COLOR is rich's to respect."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)

    def submitted(self, job: Job) -> None:
        self._console.print(f"{job.id}  {escape(job.job_type)}", styled_state(job.state), soft_wrap=True)

    def job(self, job: Job) -> None:
        self._console.print(_fields(job_rows(job), job.state))
        if job.item_errors:
            self._console.print(_item_errors(job))
        if job.error is not None and job.error.stack:
            self._console.print(Text(job.error.stack.rstrip(), style="dim"))

    def listing(self, jobs: Iterable[Job]) -> None:
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("id", no_wrap=True)
        table.add_column("type", no_wrap=True, overflow="ellipsis")
        table.add_column("state", no_wrap=True, min_width=9)
        table.add_column("progress", no_wrap=True, overflow="ellipsis")
        table.add_column("attempt", justify="right", no_wrap=True)
        table.add_column("age", justify="right", no_wrap=True)
        now = datetime.now(UTC)
        for job in jobs:
            job_id, job_type, _, progress, attempt = list_cells(job)
            age = duration_text(now - job.created_at) if job.created_at else ""
            table.add_row(job_id, Text(job_type), styled_state(job.state), Text(progress), attempt, age)
        if table.row_count:
            self._console.print(table)
        else:
            self._console.print("no jobs match", style="dim")

    def changed(self, it: Job | WorkerInfo, *, verb: str) -> None:
        self._console.print(f"{verb} {it.id}", styled_state(it.state), soft_wrap=True)

    def worker(self, worker: WorkerInfo) -> None:
        self._console.print(_fields(worker_rows(worker), worker.state))

    def workers(self, workers: Iterable[WorkerInfo]) -> None:
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("id", no_wrap=True)
        table.add_column("name", no_wrap=True, overflow="ellipsis")
        table.add_column("state", no_wrap=True, min_width=8)
        table.add_column("tasks", justify="right", no_wrap=True)
        table.add_column("types", overflow="fold")
        table.add_column("last seen", justify="right", no_wrap=True)
        now = datetime.now(UTC)
        for worker in workers:
            worker_id, name, _, tasks, types = worker_cells(worker)
            seen = duration_text(now - worker.last_seen_at) if worker.last_seen_at else ""
            table.add_row(worker_id, Text(name), styled_state(worker.state), tasks, Text(types), seen)
        if table.row_count:
            self._console.print(table)
        else:
            self._console.print("no workers match", style="dim")

    def follow(self, *, named: bool) -> Bars:
        return Bars(self._console, named=named)

    def ended(self, job: Job) -> None:
        outcome = Text(outcome_text(job), style="" if job.succeeded else "red")
        self._console.print(styled_state(job.state), job.id, outcome, soft_wrap=True)


def styled_state(state: JobState | WorkerState) -> Text:
    """The state's name in its colour."""
    return Text(state.name, style=_STATE_STYLES.get(state.name, ""))


def _fields(rows: Iterable[tuple[str, str]], state: JobState | WorkerState) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, styled_state(state) if name == "state" else Text(value))
    return table


def _item_errors(job: Job) -> Table:
    table = Table(title=f"item errors ({len(job.item_errors)} of {job.item_error_count})", title_justify="left")
    for title in ("item", "key", "code", "message"):
        table.add_column(title, overflow="fold")
    for error in job.item_errors:
        table.add_row(str(error.index), Text(error.key), Text(error.code), Text(error.message))
    return table
