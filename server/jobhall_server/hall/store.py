"""What the use cases ask of a store: units that one writer runs in commit groups, and reads; `storage` keeps both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar

from jobhall_server.domain.access import unique_scope
from jobhall_server.domain.batch import BatchRecord, NewBatch
from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.job import (
    AttemptView,
    ItemError,
    JobFailure,
    JobRecord,
    JobView,
    Lease,
    NewJob,
    Payload,
)
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.session import NewSession, SessionRecord
from jobhall_server.hall.reads import Reads
from jobhall_server.hall.views import (
    JobTypeView,
    LogLine,
    PayloadKind,
)

T = TypeVar("T")


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
    batch_id: str = ""
    trace: str | None = None
    type_version: int = 0


class UniqueKey(NamedTuple):
    """What a unique key holds within: its queue (namespace and type), and the organisation, else the owner."""

    queue_key: int
    scope: str
    text: str

    @classmethod
    def of(cls, job: JobRecord | NewJob) -> UniqueKey:
        """That of a job that has one; of a record, one that was loaded by its id."""
        scope = unique_scope(owner=job.owner, organization_id=job.organization_id)
        return cls(job.queue_key, scope, job.unique_key or "")


class Holder(NamedTuple):
    """The job that has a unique key; it keeps it until it is terminal, and at least until then (microseconds UTC)."""

    job: JobRecord
    until: int | None


class Home(NamedTuple):
    """Where a job from elsewhere belongs here."""

    queue_key: int
    namespace_key: int
    batch_key: int | None = None
    held_back: bool = False
    """Its batch is not active."""
    type_version: int = 0
    """Of its type's schemas; 0 where it has none."""


class Group(Protocol):
    """One transaction of the writer, as a unit sees it. Nothing here blocks; what it changes is saved at the end."""

    @property
    def now(self) -> int:
        """The one time of this group, microseconds UTC."""

    def job(self, key: int) -> JobRecord | None:
        """The job that the unit named by key, as the units before it in the group left it; None when it is gone."""

    def job_id(self, key: int) -> str:
        """The id of a job that the unit named by key: a refusal tells it, so it is not loaded with every job."""

    def job_by_id(self, job_id: str) -> JobRecord | None:
        """The job that the unit named by id, with its owner and submit digest; also one submitted in this group."""

    def session(self, key: int) -> SessionRecord | None:
        """The session that the unit named by key, as the units before it in the group left it."""

    def session_by_id(self, session_id: str) -> SessionRecord | None:
        """The session that the unit named by id; also one opened in this group."""

    def held(self, session_key: int) -> list[JobRecord]:
        """Every job that the session holds now, CLAIMED, RUNNING or CANCELLING, by key."""

    def change(self, job: JobRecord, change: Change, values: Values = ()) -> None:
        """Take a move; `values` are those of the change's `row_columns`. What closes an attempt keeps it as history.
        An UPDATED event tells the labels and access before too, of a job that was loaded by its id.
        """

    def insert_job(self, new: NewJob) -> int:
        """Add a job in the state of its `entry`, with its SUBMITTED event; answers its key. Its unique key is its own
        from now on, and its batch counts it.
        """

    def import_job(self, job: JobView, attempts: Sequence[AttemptView], home: Home) -> JobRecord:
        """Add a job from elsewhere as it is, with its ended attempts and what each told last, and its IMPORTED event;
        its batch counts it. What else belongs to it is kept by the methods below.
        """

    def delete_job(self, job: JobRecord, *, purged: bool = False) -> None:
        """Remove the job and all that goes with it; its DELETED event is logged. One that is `purged`, since it is old,
        still counts in its batch, and among those removed in the stats.
        """

    def holder(self, unique: UniqueKey) -> Holder | None:
        """The job that has the key, as the units before it in the group left it."""

    def take_unique_key(self, job: JobRecord) -> None:
        """The job has its own unique key (again); only of a job that was loaded by its id."""

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

    def drop_logs(self, job_key: int, fence: int, through_number: int) -> None:
        """Remember that the lease's lines beyond the bound, up to that number, were not kept."""

    def claim(self, wants: Sequence[Want]) -> list[list[Claimed]]:
        """Lease jobs to the sessions, one list each; only in a unit with `after_save`. A session that is not at that
        epoch, attached or unary, or that drains, gets nothing; nor does any get a job that it gave back as not its
        own. Within a queue by priority, then the time it became PENDING, then key.
        """

    def cut_old(self, *, before: int, events_max: int, limit: int) -> int:
        """Remove at most `limit` events at the log's old end, those from before that time and those that are more than
        `events_max`, and as many sessions that are over since before it; only in a unit with `after_save`. Answers how
        many rows went.
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
        """The registered type's key, and whether this call registered it, as a worker's Hello does: `auto`, without
        schemas. One that was retired is registered again.
        """

    def has_job_type(self, namespace: str, name: str) -> bool:
        """Whether the type is registered in that very namespace, and not retired."""

    def job_type(self, namespace: str, name: str) -> JobTypeView | None:
        """The type of that very namespace, as the units before left it; a retired one too."""

    def save_job_type(self, job_type: JobTypeView) -> None:
        """Write what a unit made of a type; a new `version` is kept beside the older ones."""

    def jobs_waiting(self, job_type_key: int) -> int:
        """How many jobs of the type, in all namespaces, have not ended, by the kept counters before this group."""

    def open_batch(self, new: NewBatch) -> BatchRecord:
        """Add a batch."""

    def batch(self, key: int) -> BatchRecord | None:
        """The batch that the unit named by key, as the units before it in the group left it."""

    def batch_by_id(self, batch_id: str) -> BatchRecord | None:
        """The batch that the unit named by id; also one opened in this group."""

    def save_batch(self, batch: BatchRecord) -> None:
        """Write what a unit made of a batch; its counts are the store's own."""

    def delete_batch(self, batch: BatchRecord) -> None:
        """Remove a batch that has no jobs any more."""

    def hold_back(self, job_keys: Sequence[int], *, held_back: bool) -> None:
        """Take those jobs out of the claims' sight, or put them back into it, but for COMPLETED ones; only in a unit
        with `after_save`. One that ended stays held back if it is retried.
        """

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
    batch_keys: Sequence[int] = ()
    """Batches to lock and load."""
    batch_ids: Sequence[str] = ()
    """Batches to lock and load by id (canonical text)."""
    after_save: ClassVar[bool] = False
    """True for a claim: it runs when what the others decided is saved, so that it finds their jobs."""

    def decide(self, group: Group) -> T:
        """Decide by the moves and tell the group. No clock, randomness, metrics or logs in here: it may run twice."""
        raise NotImplementedError


Logged = Sequence[Sequence[int]]
"""The keys of the jobs of all events of a group, in parts; a key may be there more than once."""


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

    def on_commit(self, callback: Callable[[int, Logged], None]) -> None:
        """Call back on the loop after each group that logged events, with the number of the last one, and whose."""

    def on_batch_end(self, callback: Callable[[Sequence[int]], None]) -> None:
        """Call back on the loop after each group in which closed batches' last jobs ended, with the batches' keys."""

    @property
    def replica_key(self) -> int:
        """This process's own row among the replicas; another one after `register_anew`."""

    async def renew(self, *, ahead_us: int = 0) -> bool:
        """Renew that row and the shared served time (every 5 s); False, and nothing renewed, when the row is gone or
        older than 10 s: others may have taken this process for dead. With `ahead_us` as of that much later, for whoever
        is about to set the clock ahead.
        """

    async def register_anew(self) -> None:
        """Go on as a new replica; what the old one attached counts as a dead process's."""
