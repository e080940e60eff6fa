"""What commands say, whoever reads it: a terminal, a pipe, or a program that wants JSON."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol, Self, TypeVar

from jobhall.cli.tables import Cell, Table
from jobhall.model import Job, LogEntry
from jobhall.model_batches import Batch
from jobhall.model_events import JobEvent

T = TypeVar("T")


class Follower(Protocol):
    """Shows jobs while they run; used in `with`."""

    def show(self, job: Job, *, cursor: str = "") -> None:
        """A job as it now is, briefly or whole; the cursor is the place to go on from, as with the others."""

    def tell(self, event: JobEvent, *, cursor: str = "") -> None:
        """Something happened to a job."""

    def mark(self, cursor: str) -> None:
        """Nothing happened up to there."""

    def begin_anew(self) -> None:
        """Events may be missing: what was shown does not hold any more, and is about to be shown again."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_error: object) -> None: ...


class Output(Protocol):
    """One way to say it. What is passed is whole; a program that wants JSON is given all of it."""

    def made(self, it: Job | Batch, *words: Cell) -> None:
        """A job or batch was made and nobody waits for it; piped, its id is all that is said."""

    def job(self, job: Job) -> None:
        """All there is to say about one job."""

    def record(self, it: Any, rows: Iterable[tuple[str, str]]) -> None:
        """All there is to say about one thing, by name."""

    def table(self, table: Table[T], entries: Iterable[T], *, whole: Any = None) -> None:
        """Entries of a list, briefly; piped, one by one as they come. `whole` is the document that they are of."""

    def said(self, it: Any, *words: Cell) -> None:
        """What became of one thing, in a line."""

    def log(self, entry: LogEntry) -> None:
        """One line of a job's log."""

    def batch(self, batch: Batch) -> None:
        """All there is to say about one batch."""

    def follow_batch(self) -> AbstractContextManager[Callable[[Batch], None]]:
        """To show a batch until it has ended, whenever it was looked at."""

    def follow(self, *, named: bool) -> Follower:
        """To show jobs while they run: those that were named, or all that match something."""

    def ended(self, job: Job) -> None:
        """A job that was followed by name has ended."""


def on_terminal() -> bool:
    """Whether who reads it sees a terminal that can redraw."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def check_reader() -> None:
    """BrokenPipeError where nobody reads standard output any more: who has nothing to write would never notice."""
    if not hasattr(select, "poll"):
        return  # Windows: it is noticed at the next line.
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if any(event & select.POLLERR for _, event in poll.poll(0)):
        raise BrokenPipeError


def choose_output(*, as_json: bool) -> Output:
    """JSON if asked for; tables and bars for a terminal that can redraw; else plain lines."""
    if as_json:
        from jobhall.cli.documents import Documents

        return Documents()
    if on_terminal():
        from jobhall.cli.screen import Screen

        return Screen()
    from jobhall.cli.lines import Lines

    return Lines()
