"""Output for programs: one JSON document a line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self, TypeVar

from jobhall.cli.plain_values import json_line
from jobhall.cli.tables import Cell, Table
from jobhall.model import Job, JobEvent, LogEntry

T = TypeVar("T")


class Documents:
    """Each thing an object; a watch gives `{"event": …}` and `{"job": …}`, so that they can be told apart."""

    def submitted(self, job: Job) -> None:
        _write(job)

    def job(self, job: Job) -> None:
        _write(job)

    def record(self, it: Any, rows: Iterable[tuple[str, str]]) -> None:  # noqa: ARG002 - they are of it
        _write(it)

    def table(self, table: Table[T], entries: Iterable[T]) -> None:  # noqa: ARG002 - an object needs no columns
        for entry in entries:
            _write(entry)

    def said(self, it: Any, *words: Cell) -> None:
        _write(it)

    def log(self, entry: LogEntry) -> None:
        _write(entry)

    def follow(self, *, named: bool) -> EventDocuments:  # noqa: ARG002 - the same for both
        return EventDocuments()

    def ended(self, job: Job) -> None:
        """Says nothing: the follower showed the whole job last."""


class EventDocuments:
    """A line for each event."""

    def show(self, job: Job) -> None:
        _write({"job": job})

    def tell(self, event: JobEvent) -> None:
        _write({"event": event})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return None


def _write(value: Any) -> None:
    print(json_line(value), flush=True)
