"""What the use cases ask of a store: units that one writer runs in commit groups, and reads; `storage` keeps both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar

from jobhall.states import EventType, FailureKind, JobState, LogLevel
from jobhall_server.domain.access import Principal
from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.job import ItemError, JobFailure, JobRecord, JobView, Lease, NewJob, Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.session import NewSession, SessionRecord

T = TypeVar("T")


class PayloadKind(IntEnum):
    """Which of a job's payloads a stored one is."""

    PARAMETERS = 1
    RESULT = 2
    CHECKPOINT = 3


class Want(NamedTuple):
    """One hungry session in a claim: it may be given `credit` tasks in all, and of each queue its own number."""

    session_key: int
    epoch: int
    credit: int
    nonce: int
    """63 random bits for the tokens of this claim; drawn on the loop, since a unit touches no randomness."""
    worker: str
    queues: tuple[tuple[int, int], ...]
    """(queue key, at most so many), in the order in which the queues take turns."""
    accept_us: int | None = None
    """Of a unary session: how long what it is given may wait to be accepted. A stream's own timers see to that."""
    job_keys: tuple[int, ...] = ()
    """Only these jobs; `queues` then only bounds which."""


class Claimed(NamedTuple):
    """A job just leased, with what its worker needs to run it. `attempt` is the one that its start will be."""

    lease: Lease
    job_id: str
    queue_key: int
    attempt: int
    max_attempts: int
    priority: int
    created_at: int
    labels: str | None
    path: str | None
    file_name: str | None
    file_size: int | None
    owner: str
    organization_id: str
    rules: str | None
    parameters: Payload | None
    checkpoint: Payload | None = None
    progress: Progress | None = None
    """What the attempt before saved last, and how far it was then."""


class LogLine(NamedTuple):
    """One log line of a task; `at` in microseconds UTC, `fields` a JSON object or None, `raw` where it is not UTF-8."""

    at: int
    level: LogLevel
    text: str
    raw: bytes | None
    fields: str | None


class Group(Protocol):
    """One transaction of the writer, as a unit sees it. Nothing here blocks; what it changes is saved at the end."""

    @property
    def now(self) -> int:
        """The one time of this group, microseconds UTC."""

    def job(self, key: int) -> JobRecord | None:
        """The job that the unit named by key, as the units before it in the group left it; None when it is gone."""

    def job_by_id(self, job_id: str) -> JobRecord | None:
        """The job that the unit named by id, with its owner and submit digest; also one submitted in this group."""

    def session(self, key: int) -> SessionRecord | None:
        """The session that the unit named by key, as the units before it in the group left it."""

    def session_by_id(self, session_id: str) -> SessionRecord | None:
        """The session that the unit named by id; also one opened in this group."""

    def held(self, session_key: int) -> list[JobRecord]:
        """Every job that the session holds now, CLAIMED, RUNNING or CANCELLING, by key."""

    def change(self, job: JobRecord, change: Change, values: Values = ()) -> None:
        """Take a move; `values` are those of the change's `row_columns`."""

    def insert_job(self, new: NewJob) -> int:
        """Add a PENDING job with its SUBMITTED event; answers its key."""

    def delete_job(self, job: JobRecord) -> None:
        """Remove the job and all that goes with it; its DELETED event is logged."""

    def save_payload(self, job_key: int, kind: PayloadKind, payload: Payload) -> None:
        """Keep a payload, in place of the one of its kind."""

    def save_checkpoint(self, job_key: int, state: Payload, progress: Progress | None) -> None:
        """Keep what the next attempt starts from, and how far the job was then, in place of an earlier one."""

    def save_failure(self, job_key: int, failure: JobFailure) -> None:
        """Keep the error of the job, in place of an earlier one."""

    def save_progress(self, job_key: int, fence: int, progress: Progress) -> None:
        """Keep the newest progress of the lease `fence`."""

    def progress(self, job_key: int, fence: int) -> Progress | None:
        """How far the lease `fence` is: its newest progress that was saved, else that of the last checkpoint."""

    def add_item_errors(self, job_key: int, fence: int, first_number: int, errors: Sequence[ItemError]) -> None:
        """Keep item errors, numbered in the lease from `first_number` (1 is the first); a resent number is ignored."""

    def add_logs(self, job_key: int, fence: int, first_number: int, lines: Sequence[LogLine]) -> None:
        """Keep log lines, numbered in the lease from `first_number` (1 is the first); a resent number is ignored."""

    def claim(self, wants: Sequence[Want]) -> list[list[Claimed]]:
        """Lease jobs to the sessions, one list each; only in a unit with `after_save`. A session that is not at that
        epoch, attached or unary, or that drains, gets nothing; nor does any get a job that it gave back as not its
        own. Within a queue by priority, then the time it became PENDING, then key.
        """

    def cut_old(self, *, before: int, limit: int) -> int:
        """Remove at most `limit` events at the log's old end, and as many sessions that are over, from before that
        time; only in a unit with `after_save`. Answers how many rows went.
        """

    def open_session(self, new: NewSession) -> SessionRecord:
        """Add a session at epoch 1: attached, or detached from birth where it is unary."""

    def save_session(self, session: SessionRecord, hello: NewSession | None = None) -> None:
        """Write what a move made of a session; `hello` is what its worker says of itself by now."""

    def exclude(self, job_key: int, session_key: int) -> None:
        """That session is not given the job again (its row says `excluded` by the release's Change)."""

    def namespace_key(self, name: str) -> int:
        """The namespace's key, made on first use."""

    def job_type_key(self, namespace_key: int, name: str) -> tuple[int, bool]:
        """The registered type's key, and whether this call registered it."""

    def has_job_type(self, namespace: str, name: str) -> bool:
        """Whether the type is registered in that very namespace."""

    def queue_key(self, namespace_key: int, job_type_key: int) -> int:
        """The queue's key, made on first use."""


class Unit(Generic[T]):
    """A piece of work for the writer: it names what it touches, then decides in memory. It raises to drop its own."""

    job_keys: Sequence[int] = ()
    """Jobs to load by key."""
    job_ids: Sequence[str] = ()
    """Jobs to load by id (canonical text)."""
    session_keys: Sequence[int] = ()
    """Sessions to lock and load."""
    session_ids: Sequence[str] = ()
    """Sessions to lock and load by id."""
    after_save: ClassVar[bool] = False
    """True for a claim: it runs when what the others decided is saved, so that it finds their jobs."""

    def decide(self, group: Group) -> T:
        """Decide by the moves and tell the group. No clock, randomness, metrics or logs in here: it may run twice."""
        raise NotImplementedError


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


class LogPlace(NamedTuple):
    """The event log's bounds: events `first`..`last` can be read (last = first - 1 when it is empty)."""

    log_id: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class JobTypeView:
    """A registered job type as it is read back."""

    key: int
    namespace: str
    name: str
    created_at: int


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue: a pair of namespace and type. `type_namespace` is `@global` or the namespace itself."""

    key: int
    namespace_key: int
    namespace: str
    type_namespace: str
    job_type: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list, newest first: at most `size` after `before_key` (None: from the newest), `skip` left out."""

    size: int
    before_key: int | None = None
    skip: int = 0


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
    """Jobs whose `due_at` has come: SCHEDULED ones at once, held ones only after time was served for a while."""
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


class Reads(Protocol):
    """The store's queries. Each reads at most 1,000 rows and never holds a transaction over an await.

    Every one that reads jobs for a caller takes the caller and leaves out what does not exist for them.
    """

    async def job(self, principal: Principal, job_id: str, *, full: bool = True) -> JobView | None:
        """One job; `full` adds parameters, result and error."""

    async def jobs_by_id(self, principal: Principal, job_ids: Sequence[str], *, full: bool = False) -> list[JobView]:
        """Those of the jobs that exist for the caller, in no order."""

    async def jobs(self, principal: Principal, where: JobFilter, page: Page) -> list[JobView]:
        """A page of matching jobs, newest first, BASIC."""

    async def item_errors(self, job_key: int, *, after_number: int, limit: int) -> list[tuple[int, ItemError]]:
        """Item errors of the job's latest attempt with their numbers, in order."""

    async def log_lines(self, job_key: int, *, after_number: int, limit: int) -> list[tuple[int, LogLine]]:
        """Log lines of the job's latest attempt with their numbers, in order."""

    async def log_place(self) -> LogPlace:
        """Where the event log begins and ends now."""

    async def events(self, *, after: int, limit: int) -> list[EventRow]:
        """Events with greater numbers, in order."""

    async def job_types(self, namespace: str | None = None) -> list[JobTypeView]:
        """Registered types of one namespace or of all, by namespace and name."""

    async def queues(self, *, after_key: int = 0) -> list[QueueView]:
        """Queues made after that key, by key; those of one namespace and type never change."""

    async def expired(self, *, ttl_us: int) -> Expired:
        """What the reaper has to move on; `ttl_us` is the time to live of sessions that have none of their own.

        Nothing but a SCHEDULED job falls due, and no session expires, before time was served for `ttl_us` without a
        pause: outages re-execute nothing.
        """

    async def held(self, session_keys: Sequence[int]) -> list[HeldRow]:
        """Every task that those sessions hold, however many, by session and key."""

    async def session(self, session_id: str) -> SessionView | None:
        """One living session."""

    async def sessions(self, *, after_key: int | None, limit: int) -> list[SessionView]:
        """Living sessions with smaller keys (None: from the newest), newest first."""


class Store(Protocol):
    """The one door to the database, for one process."""

    @property
    def reads(self) -> Reads:
        """The queries."""

    def run(self, unit: Unit[T], *, refusable: bool = False) -> Awaitable[T]:
        """Queue a unit; done when its group is committed, with what `decide` answered or raised.

        `refusable` units (submits, management) raise QueueFullError when the writer's queue is full; reports and
        claims are always taken. Cancelling the awaiting task does not undo the unit.
        """

    def on_commit(self, callback: Callable[[int], None]) -> None:
        """Call back on the loop after each group that logged events, with the number of the last one."""

    @property
    def replica_key(self) -> int:
        """This process's own row among the replicas; another one after `register_anew`."""

    async def renew(self) -> bool:
        """Renew that row and the shared served time (every 5 s); False, and nothing renewed, when the row is gone or
        older than 10 s: others may have taken this process for dead.
        """

    async def register_anew(self) -> None:
        """Go on as a new replica; what the old one attached counts as a dead process's."""
