"""What the SDK gives and takes: frozen dataclasses, aware UTC datetimes, timedeltas; protobuf stays behind `wire`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, overload

from jobhall.limits import RETRY_INITIAL_DELAY, RETRY_JITTER, RETRY_MULTIPLIER
from jobhall.plain import Plain
from jobhall.spans import span_text
from jobhall.states import BackoffStrategy, FailureKind, JobState, LogLevel, Visibility

_MB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessControl(Plain):
    """Who may do what with a job or batch; the owner may always do all. The lists hold subjects, at most 100 each."""

    visibility: Visibility = Visibility.PRIVATE
    read_access: tuple[str, ...] = ()
    write_access: tuple[str, ...] = ()
    admin_access: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileInfo(Plain):
    """The file that a job works on, for people and lists; the server never opens it."""

    name: str
    size_bytes: int | None = None
    """None where it is not known."""

    @property
    def size_mb(self) -> float | None:
        """The size in units of 1024 * 1024 bytes."""
        return None if self.size_bytes is None else self.size_bytes / _MB


@dataclass(frozen=True, slots=True)
class TraceContext(Plain):
    """W3C trace context: the two headers, as they are."""

    traceparent: str
    tracestate: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy(Plain):
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
class Progress(Plain):
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

    @property
    def error_rate(self) -> float | None:
        """Share of the processed items that went badly, 0 to 1; None before the first item."""
        return self.items_failed / self.items_processed if self.items_processed else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing(Plain):
    """Rates and estimates, computed by the server when it answered."""

    queue_duration: timedelta | None = None
    """From the submit to the start of the latest attempt."""
    run_duration: timedelta | None = None
    """The latest attempt only."""
    items_per_second: float | None = None
    recent_items_per_second: float | None = None
    """The same over about the last ten seconds."""
    estimated_remaining: timedelta | None = None
    estimated_completion_at: datetime | None = None

    @property
    def queue_text(self) -> str:
        """`queue_duration` as `1m 25s`; empty where it is not known, as are the others."""
        return span_text(self.queue_duration)

    @property
    def run_text(self) -> str:
        """`run_duration` as `1m 25s`."""
        return span_text(self.run_duration)

    @property
    def remaining_text(self) -> str:
        """`estimated_remaining` as `1m 25s`."""
        return span_text(self.estimated_remaining)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError(Plain):
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
class ItemError(Plain):
    """One item of a job that went badly while the job went on."""

    index: int
    """Its place in the input, by the job's own count."""
    key: str = ""
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry(Plain):
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
class TaskInfo(Plain):
    """The task that holds a job now."""

    attempt: int
    fence: int
    worker_name: str
    session_id: str
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    reported_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Plain):
    """A job as the server told it.

    Lists, watches and `submit_many` tell it briefly: its ids, type, state, times, attempts and revision, of its error
    kind and code, of the progress percent, step and message; the rest is empty there, and `get_jobs` brings it.
    `parameters` and `result` are the decoded JSON, or bytes where bytes were given.
    """

    id: str
    namespace: str
    job_type: str
    state: JobState
    job_type_namespace: str = ""
    """Where its type is registered: its own namespace or `@global`."""
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
    """Not to be started before this time: while it is SCHEDULED the end of its back-off too, else as was asked."""
    start_deadline: datetime | None = None
    """Not to be started for the first time after this time."""
    purge_at: datetime | None = None
    """When retention will delete it; known from its end on."""
    created_at: datetime | None = None
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    updated_at: datetime | None = None
    attempt: int = 0
    max_attempts: int = 0
    worker_losses: int = 0
    """How many workers in a row were lost while they held it."""
    fence: int = 0
    """Of its latest claim, whether that was accepted or not; 0 before the first."""
    retry_policy: RetryPolicy | None = None
    """What holds for it, the defaults spelled out."""
    run_timeout: timedelta | None = None
    """How long one attempt may run; None: without bound."""
    progress_timeout: timedelta | None = None
    """How long one attempt may be silent between two reports; None: without bound."""
    batch_id: str = ""
    unique_key: str = ""
    retention: timedelta | None = None
    """How long it is kept after its end, where its submit said so; when that is, `purge_at` says."""
    current_task: TaskInfo | None = None
    owner: str = ""
    organization_id: str = ""
    created_by: str = ""
    access_control: AccessControl = field(default_factory=AccessControl)
    trace_context: TraceContext | None = None
    revision: int = 0
    """Counts its logged events, from 1; progress and logs do not raise it."""
    etag: str = ""
    item_error_count: int = 0
    """Of the latest attempt, kept or not."""
    item_errors: tuple[ItemError, ...] = ()
    """The first 100, where they were asked for."""
    checkpoint: Any = None
    """The last one, decoded as `parameters` are; where it was asked for."""
    checkpoint_content_type: str = ""

    def __hash__(self) -> int:
        # By its id alone: what it was given and what came of it may be dicts, which have no hash.
        return hash(self.id)

    @property
    def done(self) -> bool:
        """Whether the job has ended, well or badly."""
        return self.state.terminal

    @property
    def succeeded(self) -> bool:
        """Whether the job has completed."""
        return self.state is JobState.COMPLETED

    @property
    def operation(self) -> str:
        """What it does: its type."""
        return self.job_type

    @property
    def last_updated_at(self) -> datetime | None:
        """When its state, or what may be changed of it, changed last; progress does not count."""
        return self.updated_at

    @property
    def response(self) -> Mapping[str, Any]:
        """What came of it, always a mapping; empty while it goes on, and where there is no result, or none was told.

        The result, where it is no object as `result`; of a failed job `failure_reason` and `error_details`, of a
        cancelled one `failure_reason`.
        """
        if self.succeeded:
            result = {} if self.result is None else self.result
            return result if isinstance(result, Mapping) else {"result": result}
        if self.state is JobState.CANCELLED:
            return {"failure_reason": self.error_message}
        if self.state is not JobState.FAILED or self.error is None:
            return {}
        return {"failure_reason": self.error_message, "error_details": self.error_details}

    @property
    def has_errors(self) -> bool:
        """Whether it, an attempt or an item went badly, or it was cancelled."""
        ended_badly = self.state in (JobState.FAILED, JobState.CANCELLED)
        return ended_badly or self.error is not None or self.error_count > 0

    @property
    def error_message(self) -> str | None:
        """Why it failed or was cancelled; of one that is tried again, why the attempt before failed; else None."""
        if self.error is not None:
            return self.error.message or self.error.code or self.error.kind.name
        return (self.cancel_reason or "cancelled") if self.state is JobState.CANCELLED else None

    @property
    def error_details(self) -> Mapping[str, Any] | None:
        """What the application added to its failure, and, with `include_errors`, its item errors as `errors`."""
        details = dict(self.error.details or {}) if self.error is not None else {}
        if self.item_errors:
            details.setdefault("errors", [error.to_dict() for error in self.item_errors])
        return details or None

    @property
    def error_count(self) -> int:
        """How many of its items went badly, in the latest attempt."""
        return self.item_error_count


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelledJob(Job):
    """A job that was just cancelled, as it then was: CANCELLED, or CANCELLING while its worker stops."""

    worker_told: bool = False
    """Whether a worker holds it and was told to stop."""

    __hash__ = Job.__hash__


@dataclass(frozen=True, slots=True)
class Jobs(Sequence[Job], Plain):
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
class JobPage(Plain):
    """One page of a list; an empty token means that it is the last."""

    jobs: tuple[Job, ...]
    next_page_token: str = ""


@dataclass(frozen=True, slots=True)
class LogPage(Plain):
    """One page of the log of an attempt; an empty token means that it is the last."""

    entries: tuple[LogEntry, ...]
    next_page_token: str = ""
    dropped_count: int = 0
    """Lines of the attempt that were not kept, since it wrote more than the server keeps."""
