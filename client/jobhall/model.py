"""What the SDK gives and takes: frozen dataclasses, aware UTC datetimes, timedeltas; protobuf stays behind `wire`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, overload

from jobhall.limits import RETRY_INITIAL_DELAY, RETRY_JITTER, RETRY_MULTIPLIER
from jobhall.states import BackoffStrategy, EventType, FailureKind, JobState, LogLevel


class Visibility(IntEnum):
    """Who may see a job besides its owner and those whom its access lists name."""

    PRIVATE = 1
    PUBLIC = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessControl:
    """Who may do what with a job; the owner may always do all. The lists hold subjects, at most 100 each."""

    visibility: Visibility = Visibility.PRIVATE
    read_access: tuple[str, ...] = ()
    write_access: tuple[str, ...] = ()
    admin_access: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileInfo:
    """The file that a job works on, for people and lists; the server never opens it."""

    name: str
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed attempt at a job is followed by another; how often, `max_attempts` says."""

    strategy: BackoffStrategy = BackoffStrategy.EXPONENTIAL
    initial_delay: timedelta = RETRY_INITIAL_DELAY
    """Before the second attempt."""
    max_delay: timedelta | None = None
    """No delay is longer; None means 10 minutes, or the initial delay where that is longer."""
    multiplier: float = RETRY_MULTIPLIER
    """Growth per attempt where it is EXPONENTIAL, at least 1."""
    jitter: float = RETRY_JITTER
    """Share of each delay that is random, 0 to 1."""
    non_retryable_codes: tuple[str, ...] = ()
    """Codes of a failure that end the job at once, at most 100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a task has come, as its worker says; succeeded + failed ≤ processed ≤ total."""

    step: str = ""
    """Name of the step at work, for people."""
    stage: str = ""
    """Name of the stage that the step belongs to, for programs."""
    step_index: int = 0
    """From 1; 0 means not given."""
    step_count: int = 0
    percent: float | None = None
    """0 to 100; the server computes it from the items where a worker leaves it out."""
    message: str = ""
    items_total: int | None = None
    items_processed: int = 0
    items_succeeded: int = 0
    items_failed: int = 0
    unit: str = ""
    """What an item is, in the plural."""
    details: Mapping[str, Any] | None = None
    """Whatever else the job's own clients understand; its numbers come back as floats."""
    updated_at: datetime | None = None
    """When the server took the report; set by the server."""

    @property
    def items_remaining(self) -> int | None:
        """How many items are still to do, where the total is known."""
        return None if self.items_total is None else self.items_total - self.items_processed


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Rates and estimates, computed by the server when it answered."""

    queue_duration: timedelta | None = None
    run_duration: timedelta | None = None
    """The present attempt only."""
    items_per_second: float | None = None
    recent_items_per_second: float | None = None
    estimated_remaining: timedelta | None = None
    estimated_completion_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Why a job, or its last attempt, failed."""

    kind: FailureKind
    code: str = ""
    message: str = ""
    details: Mapping[str, Any] | None = None
    retryable: bool = False
    attempt: int = 0
    stack: str = ""
    """The worker's stack trace."""


@dataclass(frozen=True, slots=True)
class ItemError:
    """One item of a job that went badly while the job went on."""

    index: int
    """Its place in the input, by the job's own count."""
    key: str = ""
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One line of a task's log."""

    message: str
    level: LogLevel = LogLevel.INFO
    written_at: datetime | None = None
    """By the worker's clock."""
    raw: bytes = b""
    """The line as it was, only where it was not UTF-8."""
    fields: Mapping[str, Any] | None = None
    number: int = 0
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInfo:
    """The task that holds a job now."""

    attempt: int
    fence: int
    worker_name: str
    session_id: str
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    reported_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the server told it.

    Lists, watches and `submit_many` tell it briefly: its ids, type, state, times, attempts and revision, of the
    progress percent, step and message; the rest is empty there, and `get_jobs` brings it. `parameters` and `result`
    are the decoded JSON, or bytes where bytes were given.
    """

    id: str
    namespace: str
    job_type: str
    state: JobState
    parameters: Any = None
    parameters_content_type: str = ""
    result: Any = None
    result_content_type: str = ""
    error: JobError | None = None
    """Why it failed; of a job that waits for another attempt, or runs again, why the attempt before did."""
    cancel_reason: str = ""
    cancelled_by: str = ""
    progress: Progress = field(default_factory=Progress)
    timing: Timing = field(default_factory=Timing)
    labels: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    file_info: FileInfo | None = None
    priority: int = 0
    scheduled_at: datetime | None = None
    """Not to be started before this time: as submitted, or the end of its back-off."""
    start_deadline: datetime | None = None
    purge_at: datetime | None = None
    created_at: datetime | None = None
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    updated_at: datetime | None = None
    attempt: int = 0
    max_attempts: int = 0
    worker_losses: int = 0
    """How many workers in a row were lost while they held it."""
    retry_policy: RetryPolicy | None = None
    """What holds for it, the defaults spelled out."""
    run_timeout: timedelta | None = None
    """How long one attempt may run; None: without bound."""
    progress_timeout: timedelta | None = None
    """How long one attempt may be silent between two reports; None: without bound."""
    batch_id: str = ""
    unique_key: str = ""
    current_task: TaskInfo | None = None
    owner: str = ""
    organization_id: str = ""
    created_by: str = ""
    access_control: AccessControl = field(default_factory=AccessControl)
    revision: int = 0
    etag: str = ""
    item_error_count: int = 0
    item_errors: tuple[ItemError, ...] = ()
    """The first 100, where they were asked for."""

    @property
    def done(self) -> bool:
        """Whether the job has ended, well or badly."""
        return self.state.terminal

    @property
    def succeeded(self) -> bool:
        """Whether the job has completed."""
        return self.state is JobState.COMPLETED


@dataclass(frozen=True, slots=True)
class Jobs(Sequence[Job]):
    """Jobs that were asked for by id, in that order; those not found, or not to be seen, are named apart."""

    jobs: tuple[Job, ...] = ()
    missing_ids: tuple[str, ...] = ()

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Job]: ...
    def __getitem__(self, index: int | slice) -> Job | Sequence[Job]:
        return self.jobs[index]

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)


@dataclass(frozen=True, slots=True)
class JobPage:
    """One page of a list; an empty token means that it is the last."""

    jobs: tuple[Job, ...]
    next_page_token: str = ""


@dataclass(frozen=True, slots=True)
class Submission:
    """A job to submit; only the type is required."""

    job_type: str
    parameters: Any = None
    """Anything that JSON can say, or bytes; None means none."""
    content_type: str = field(default="", kw_only=True)
    """Media type of the parameters; empty means JSON, or plain bytes."""
    namespace: str = field(default="", kw_only=True)
    labels: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    path: str = field(default="", kw_only=True)
    """The resource that the job concerns, such as a URL path."""
    file_info: FileInfo | None = field(default=None, kw_only=True)
    priority: int | None = field(default=None, kw_only=True)
    """From -100 to 100, higher first; None means the type's default."""
    job_id: str = field(default="", kw_only=True)
    """A UUID of your own, by which a repeated submit is known; empty: a fresh one."""
    max_attempts: int = field(default=0, kw_only=True)
    """Worker losses included; 1 means never run twice, 0 the type's default."""
    retry_policy: RetryPolicy | None = field(default=None, kw_only=True)
    """None means the type's default."""
    run_timeout: float | timedelta | None = field(default=None, kw_only=True)
    """How long one attempt may run, in seconds where it is a number; None means the type's default, else no bound."""
    progress_timeout: float | timedelta | None = field(default=None, kw_only=True)
    """How long one attempt may be silent between two reports; the same."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What is known of a job the moment it is durable."""

    job_id: str
    revision: int = 1
    existing: bool = False
    """Whether the job_id named a job that was there already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobType:
    """A registered job type."""

    name: str
    """`name` or `category:name`."""
    namespace: str
    """Where it is registered: a namespace, or `@global`."""
    description: str = ""
    version: int = 0
    paused: bool = False
    worker_count: int = 0
    """How many workers serve it now."""
    worker_names: tuple[str, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One entry of the ordered log of state changes, or for this watcher alone its PROGRESS, LOG, ENTERED and LEFT."""

    event_type: EventType
    job_id: str
    revision: int
    namespace: str
    job_type: str
    state: JobState
    """After the event; of a deleted job the last one."""
    attempt: int = 0
    fence: int = 0
    worker_name: str = ""
    failure_kind: FailureKind = FailureKind.UNSPECIFIED
    failure_code: str = ""
    happened_at: datetime | None = None
    owner: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    progress: Progress | None = None
    log_entries: tuple[LogEntry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchUpdate:
    """One message of a watch: keep its cursor and a later watch goes on after it. May be empty but for that."""

    cursor: str
    events: tuple[JobEvent, ...] = ()
    jobs: tuple[Job, ...] = ()
    """A page of the snapshot, brief."""
    snapshot_complete: bool = False
    """The snapshot is whole with this message; what follows happened after it."""
    reset: bool = False
    """The cursor was too old and events may be missing: forget what is not in the snapshot that follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """What a server says of itself."""

    version: str
    protocol_version_min: int = 0
    """Of the worker protocol."""
    protocol_version_max: int = 0
    engine: str = ""
    """Of the database: `sqlite` or `postgresql`."""
    engine_version: str = ""
    schema_revision: str = ""
    replica_id: str = ""
    features: tuple[str, ...] = ()
    server_time: datetime | None = None
