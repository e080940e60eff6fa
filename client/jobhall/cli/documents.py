"""Output for programs: one JSON document a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from jobhall.cli.phrases import warn_of_reset
from jobhall.cli.tables import Cell, Table
from jobhall.model import Job, LogEntry
from jobhall.model_batches import Batch
from jobhall.model_events import JobEvent
from jobhall.plain import Plain

T = TypeVar("T")


def json_line(it: Plain | dict[str, Any]) -> str:
    """The model as one line of JSON, as `to_dict` says it."""
    plain = it.to_dict() if isinstance(it, Plain) else it
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


class Documents:
    """Each thing an object; a watch gives `{"event": …}` and `{"job": …}`, so that they can be told apart."""

    def made(self, it: Job | Batch, *words: Cell) -> None:
        _write(it)

    def job(self, job: Job) -> None:
        _write(job)

    def record(self, it: Any, rows: Iterable[tuple[str, str]]) -> None:  # noqa: ARG002 - they are of it
        _write(it)

    def table(self, table: Table[T], entries: Iterable[T], *, whole: Any = None) -> None:  # noqa: ARG002 - it has no columns
        for entry in entries if whole is None else [whole]:
            _write(entry)

    def said(self, it: Any, *words: Cell) -> None:
        _write(it)

    def log(self, entry: LogEntry) -> None:
        _write(entry)

    def batch(self, batch: Batch) -> None:
        _write(batch)

    @contextmanager
    def follow_batch(self) -> Iterator[Callable[[Batch], None]]:
        yield lambda _batch: None

    def follow(self, *, named: bool) -> EventDocuments:  # noqa: ARG002 - the same for both
        return EventDocuments()

    def ended(self, job: Job) -> None:
        """Says nothing: the follower showed the whole job last."""


class EventDocuments:
    """A line for each event, with the place to go on from; that alone where nothing happened."""

    def show(self, job: Job, *, cursor: str = "") -> None:
        _write({"job": job.to_dict(), "cursor": cursor})

    def tell(self, event: JobEvent, *, cursor: str = "") -> None:
        _write({"event": event.to_dict(), "cursor": cursor})

    def mark(self, cursor: str) -> None:
        _write({"cursor": cursor})

    def begin_anew(self) -> None:
        warn_of_reset()
        _write({"reset": True, "cursor": ""})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return None


def _write(it: Any) -> None:
    print(json_line(it), flush=True)
