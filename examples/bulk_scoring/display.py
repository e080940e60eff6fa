"""Shows how the jobs go: live bars on a terminal, a line for every tenth of the way where there is none."""

from __future__ import annotations

from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

import jobhall


class Display(Protocol):
    """Something that shows jobs while they run."""

    def show(self, name: str, job: jobhall.Job) -> None:
        """Show a job as it now is; `name` says which."""

    def note(self, text: str) -> None:
        """Say that something happened."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_error: object) -> None: ...


def make_display() -> Display:
    console = Console(highlight=False)
    return Bars(console) if console.is_terminal else Lines(console)


class Bars:
    """A bar per job, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} rows"),
            TextColumn("{task.fields[pace]}"),
            TextColumn("{task.fields[place]}", style="dim"),
            console=console,
        )
        self._bars: dict[str, TaskID] = {}

    def show(self, name: str, job: jobhall.Job) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=1, pace="", place="")
        self._progress.update(
            self._bars[name],
            total=job.progress.items_total or 1,
            completed=job.progress.items_processed,
            pace=_pace(job),
            place=_place(job),
        )

    def note(self, text: str) -> None:
        self._progress.console.print(text)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()


class Lines:
    """A line per job whenever its state, worker, attempt or tenth of the way changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, object] = {}

    def show(self, name: str, job: jobhall.Job) -> None:
        total, processed = job.progress.items_total or 0, job.progress.items_processed
        percent = 100 * processed // total if total else 0
        news = (_place(job), percent // 10)
        if self._shown.get(name) != news:
            self._shown[name] = news
            self.note(f"{name}  {percent:3d} %  {processed}/{total} rows  {_pace(job)}  {_place(job)}")

    def note(self, text: str) -> None:
        # As it comes, and unbroken: whoever reads a pipe wants neither a buffer's delay nor a terminal's width.
        self._console.print(text, soft_wrap=True, markup=False)
        self._console.file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return None


def _pace(job: jobhall.Job) -> str:
    """Rows per second, and the estimated time as long as there is one: both are the server's figures."""
    timing = job.timing
    rate = timing.recent_items_per_second if timing.estimated_remaining is not None else timing.items_per_second
    parts = [f"{rate:.0f} rows/s"] if rate else []
    if timing.estimated_remaining is not None and not job.done:
        parts.append(f"{timing.estimated_remaining.total_seconds():.0f} s left")
    return ", ".join(parts)


def _place(job: jobhall.Job) -> str:
    """State, attempt and, while somebody runs it, the worker."""
    attempt = f", attempt {job.attempt}" if job.attempt else ""
    worker = f" on {job.current_task.worker_name}" if job.current_task else ""
    return f"{job.state.name}{attempt}{worker}"
