"""What the store is asked by and answers with: filters, pages, and rows as they are read back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, IntEnum
from typing import NamedTuple

from jobhall.limits import EVENT_LOG_AGE, EVENT_LOG_ENTRIES_MAX
from jobhall.states import BatchState, EventType, FailureKind, JobState, LogLevel
from jobhall_server.domain.batch import Counts
from jobhall_server.domain.job import JobView, Lease
from jobhall_server.domain.session import SessionRecord


class PayloadKind(IntEnum):
    """Which of a job's payloads a stored one is."""

    PARAMETERS = 1
    RESULT = 2
    CHECKPOINT = 3


class LogLine(NamedTuple):
    """One log line of a task; `at` in microseconds UTC, `fields` a JSON object or None, `raw` where it is not UTF-8."""

    at: int
    level: LogLevel
    text: str
    raw: bytes | None
    fields: str | None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a list, a snapshot or a watch names; every condition given must hold, empty ones do not count.

    `namespace` None means every namespace. Times are microseconds UTC: `after` inclusive, `before` exclusive.
    """

    namespace: str | None = None
    job_ids: frozenset[str] = frozenset()
    job_types: frozenset[str] = frozenset()
    states: frozenset[JobState] = frozenset()
    owners: frozenset[str] = frozenset()
    labels: tuple[tuple[str, str], ...] = ()
    path: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    batch_id: str | None = None
    unique_key: str | None = None
    failure_kinds: frozenset[FailureKind] = frozenset()
    failure_codes: frozenset[str] = frozenset()
    priority_min: int | None = None
    priority_max: int | None = None
    updated_after: int | None = None
    updated_before: int | None = None
    ended_after: int | None = None
    ended_before: int | None = None


class EventRow(NamedTuple):
    """One stored event: what its transition fixed, and the columns that filters and access rules name."""

    number: int
    job_key: int
    job_id: str
    namespace: str
    job_type: str
    event_type: EventType
    state: JobState
    revision: int
    attempt: int
    worker: str
    failure_kind: FailureKind
    failure_code: str
    owner: str
    organization_id: str
    labels: str | None
    at: int
    batch_id: str = ""
    access: str | None = None
    previous: str | None = None
    """Only of UPDATED: a JSON object of what was before of `labels` and `access`, where it changed."""
    batch_key: int | None = None
    fence: int = 0
    path: str = ""


class LogPlace(NamedTuple):
    """The event log's bounds: events `first`..`last` can be read (last = first - 1 when it is empty)."""

    log_id: str
    first: int
    last: int
    gaps: tuple[tuple[int, int], ...] = ()
    """Pairs (after, until): numbers between them that may have been given, and shown, and were lost with the power."""


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which events to read: those for which one of these holds; all of them where nothing is given."""

    namespaces: frozenset[str] = frozenset()
    queues: frozenset[tuple[str, str]] = frozenset()
    """Namespace and type."""
    job_ids: frozenset[str] = frozenset()
    job_keys: frozenset[int] = frozenset()
    batch_keys: frozenset[int] = frozenset()


class LogSlice(NamedTuple):
    """A part of the log: `rows` are all events that were asked for, up to event `until`. `first` and `last` are the
    log's bounds, as in LogPlace.
    """

    first: int
    last: int
    until: int
    rows: list[EventRow]


@dataclass(frozen=True, slots=True)
class JobTypeView:
    """A registered job type, as it is read back and as units write it; schemas and defaults are JSON texts."""

    key: int
    namespace: str
    name: str
    created_at: int
    updated_at: int = 0
    description: str = ""
    parameters_schema: str | None = None
    result_schema: str | None = None
    defaults: str | None = None
    version: int = 1
    """Counts its registrations with other schemas."""
    revision: int = 1
    """Counts its changes."""
    paused: bool = False
    auto: bool = False
    """Registered by nobody but a worker's Hello."""
    retired: bool = False
    """Deleted: only its old jobs still know it. Never in lists."""

    @property
    def plain(self) -> bool:
        """Whether it leaves its jobs as they are submitted: no schemas, no defaults."""
        return self.parameters_schema is self.result_schema is self.defaults is None

    @property
    def schema_version(self) -> int:
        """The version of its schemas; 0 where it has none."""
        return 0 if self.parameters_schema is self.result_schema is None else self.version


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue: a pair of namespace and type. `type_namespace` is `@global` or the namespace itself."""

    key: int
    namespace_key: int
    namespace: str
    type_namespace: str
    job_type: str


class ListOrder(Enum):
    """In which order a list of jobs comes."""

    CREATED_DESC = "create_time desc"
    CREATED = "create_time"
    UPDATED_DESC = "update_time desc"
    UPDATED = "update_time"


class Place(NamedTuple):
    """Where a page ended: the last job's time, by which the list is ordered (0 where it is by key), and its key."""

    at: int
    key: int


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list: at most `size` after that place (None: from the beginning), `skip` left out.

    A list by update_time shows a job that changes meanwhile again, or no more.
    """

    size: int
    after: Place | None = None
    skip: int = 0
    order: ListOrder = ListOrder.CREATED_DESC


@dataclass(frozen=True, slots=True)
class JobPage:
    """Matching jobs, and the place from which to read on; None at the end of the list. A page may be short, even empty,
    and yet not be the last: a read looks at a bounded number of rows.
    """

    jobs: list[JobView]
    next: Place | None = None


@dataclass(frozen=True, slots=True)
class BatchFilter:
    """Which batches a list names; empty conditions do not count. `namespace` None means every one."""

    namespace: str | None = None
    states: frozenset[BatchState] = frozenset()
    owners: frozenset[str] = frozenset()
    name: str | None = None
    active: bool | None = None
    closed: bool | None = None
    created_after: int | None = None
    created_before: int | None = None


class BatchOrder(Enum):
    """In which order a list of batches comes."""

    CREATED_DESC = "create_time desc"
    CREATED = "create_time"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class QueueStats:
    """The kept counters of one queue, of the owners that were asked for; rates are over about the last minute."""

    queue: QueueView
    counts: Counts
    removed: Counts
    """Those that retention and purges removed, by the state in which they were."""
    completed_per_second: float
    failed_per_second: float
    oldest_ready_at: int | None
    """When the job that is PENDING for longest became so."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what has ended is kept that says nothing of it itself, in microseconds; None: for ever. The event log is
    kept for `events_us`, and never longer than `events_max` entries.
    """

    completed_us: int | None = None
    failed_us: int | None = None
    cancelled_us: int | None = None
    events_us: int = EVENT_LOG_AGE // timedelta(microseconds=1)
    events_max: int = EVENT_LOG_ENTRIES_MAX


@dataclass(frozen=True, slots=True)
class PurgeStep:
    """What one look along the jobs found: keys of those that are over; where to look on (None: it was the end)."""

    job_keys: tuple[int, ...]
    next_key: int | None


@dataclass(frozen=True, slots=True)
class Expired:
    """What the reaper finds, at most 1,000 of each; times by the database, and by the time that was served."""

    sessions: tuple[int, ...] = ()
    """Detached sessions whose time to live is over."""
    held: tuple[tuple[int, int], ...] = ()
    """(job key, session key) of what lost sessions still hold."""
    stale: tuple[int, ...] = ()
    """Sessions still attached to a replica whose row is stale (older than 15 s, or of an earlier process here)."""
    due: tuple[int, ...] = ()
    """Jobs whose `due_at` has come: SCHEDULED and PENDING ones at once, held ones only after time was served for a
    while.
    """
    drained: tuple[int, ...] = ()
    """Living sessions that were to be gone by now."""


class HeldRow(NamedTuple):
    """A task as the database has it: what a stream needs that takes it over, or looks whether it still agrees."""

    lease: Lease
    session_key: int
    epoch: int
    """Of the session."""
    state: JobState
    attempt: int
    """The one that it is, or that its start will be."""
    due_at: int | None
    cancel_reason: str
    job_id: str
    queue_key: int
    owner: str
    organization_id: str
    labels: str | None
    type_version: int = 0
    batch_id: str = ""


@dataclass(frozen=True, slots=True)
class SessionView:
    """A living session as it is read back; times microseconds UTC."""

    record: SessionRecord
    worker_name: str
    namespaces: tuple[str, ...]
    job_types: tuple[str, ...]
    labels: dict[str, str]
    runtime: dict[str, str]
    tasks_max: int
    created_at: int
    held_count: int
    seen_at: int
    """When its replica renewed its row last, or when it was detached or renewed."""
