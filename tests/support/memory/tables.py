"""What a database of this engine holds: dicts that outlive every process, and a journal to take back writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from jobhall.ids import new_id
from jobhall.states import AttemptOutcome, JobState
from jobhall_server.domain.batch import BatchRecord
from jobhall_server.domain.job import ItemError, JobFailure, Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.session import NewSession, SessionRecord
from jobhall_server.hall.store import UniqueKey
from jobhall_server.hall.views import EventRow, JobTypeView, LogLine, PayloadKind

K = TypeVar("K")
V = TypeVar("V")

Row = dict[str, Any]
"""A job's columns, named as in SQL. A row is never changed once it stands in a table: a write puts another one."""

Place = tuple[int, int, int]
"""Job key, fence, number in the lease."""


class Session(NamedTuple):
    """A session, and what its worker says of itself."""

    record: SessionRecord
    about: NewSession
    created_at: int


class ClosedAttempt(NamedTuple):
    """An attempt that ended while its job went on; times microseconds UTC."""

    attempt: int
    worker: str
    session_key: int
    claimed_at: int | None
    started_at: int
    ended_at: int | None
    outcome: AttemptOutcome
    failure_kind: int
    failure_code: str
    item_error_count: int


class Ended(NamedTuple):
    """A job that came to its end in that minute, for the rates; whose it was."""

    queue_key: int
    owner: str
    organization_id: str
    state: JobState
    minute: int


class ServedTime(NamedTuple):
    """The service's one row: since when it has been there without a pause, and when that was last said."""

    resumed_at: int
    last_at: int


@dataclass(slots=True)
class Tables:
    """One database; whoever opens it next finds it as the last one left it."""

    log_id: str = field(default_factory=new_id)
    jobs: dict[int, Row] = field(default_factory=dict)
    keys_of_ids: dict[str, int] = field(default_factory=dict)
    payloads: dict[PayloadKind, dict[int, Payload]] = field(default_factory=lambda: {kind: {} for kind in PayloadKind})
    checkpoints: dict[int, tuple[Payload, Progress | None]] = field(default_factory=dict)
    failures: dict[tuple[int, int], JobFailure] = field(default_factory=dict)
    """(job key, fence); of progress and attempts too."""
    progress: dict[tuple[int, int], Progress] = field(default_factory=dict)
    attempts: dict[tuple[int, int], ClosedAttempt] = field(default_factory=dict)
    item_errors: dict[Place, ItemError] = field(default_factory=dict)
    logs: dict[Place, LogLine] = field(default_factory=dict)
    log_drops: dict[tuple[int, int], int] = field(default_factory=dict)
    """The greatest number of a line that was not kept."""
    exclusions: dict[tuple[int, int], None] = field(default_factory=dict)
    """(job key, session key)"""
    events: dict[int, EventRow] = field(default_factory=dict)
    namespaces: dict[str, int] = field(default_factory=dict)
    job_types: dict[tuple[int, str], int] = field(default_factory=dict)
    types: dict[int, JobTypeView] = field(default_factory=dict)
    schemas: dict[tuple[int, int], tuple[str | None, str | None]] = field(default_factory=dict)
    """By the type's key and version."""
    unique_keys: dict[UniqueKey, tuple[int, int | None]] = field(default_factory=dict)
    """The holder's key, and until when it holds at least."""
    batches: dict[int, BatchRecord] = field(default_factory=dict)
    purged: dict[tuple[int, JobState], int] = field(default_factory=dict)
    """Jobs of a batch that are gone and still count, by its key and their state."""
    purged_progress: dict[int, tuple[int, Progress]] = field(default_factory=dict)
    """What such a job told last, and its batch."""
    removed: dict[tuple[int, str, str, JobState], int] = field(default_factory=dict)
    """Purged jobs by queue, owner, organisation and state."""
    ended: dict[Ended, int] = field(default_factory=dict)
    queues: dict[tuple[int, int], int] = field(default_factory=dict)
    sessions: dict[int, Session] = field(default_factory=dict)
    replicas: dict[int, int] = field(default_factory=dict)
    """When each renewed its row."""
    counters: dict[str, int] = field(default_factory=dict)
    served: dict[None, ServedTime] = field(default_factory=dict)

    def namespace(self, key: int) -> str:
        """The name of that key."""
        return next(name for name, known in self.namespaces.items() if known == key)

    def newest_progress(self, job_key: int) -> Progress | None:
        """What the job told last of all, whatever its attempt."""
        fences = [fence for key, fence in self.progress if key == job_key]
        return self.progress[job_key, max(fences)] if fences else None

    def queue(self, key: int) -> tuple[int, int, str]:
        """Of a queue: the keys of its namespace and of its type's, and its type's name."""
        namespace_key, type_key = next(pair for pair, known in self.queues.items() if known == key)
        type_namespace_key, name = next(pair for pair, known in self.job_types.items() if known == type_key)
        return namespace_key, type_namespace_key, name


_ABSENT: Final = object()


class Journal:
    """Writes into tables, and what was there before them."""

    def __init__(self) -> None:
        self._before: list[tuple[dict[Any, Any], Any, Any]] = []

    @property
    def length(self) -> int:
        """How many writes it holds: a place to undo to."""
        return len(self._before)

    def put(self, table: dict[K, V], key: K, value: V) -> None:
        self._before.append((table, key, table.get(key, _ABSENT)))
        table[key] = value

    def remove(self, table: dict[K, V], key: K) -> None:
        if key in table:
            self._before.append((table, key, table.pop(key)))

    def undo(self, length: int) -> None:
        """Take back the writes after that many, the last one first."""
        while len(self._before) > length:
            table, key, before = self._before.pop()
            if before is _ABSENT:
                del table[key]
            else:
                table[key] = before
