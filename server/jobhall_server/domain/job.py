"""A job as the moves see it, as it is first written, and as it is read back; and the lease on it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

from jobhall.states import AttemptOutcome, FailureKind, JobState
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.rules import NO_RULES, Rules

_TOKEN = struct.Struct(">QIQ")


class LeaseState(IntEnum):
    """Whether the newest lease on a job still counts, and for what (DESIGN section 3, "a token is spent")."""

    SPENT = 0
    """By its outcome, by a return to the queue, or because there never was one: nothing is taken on it any more."""
    OPEN = 1
    """A session holds the job under it."""
    LOST_UNSTARTED = 2
    """Its session was lost before the start: a late completion is taken, or the session takes the job back."""
    LOST_STARTED = 3
    """The same, after the start: the attempt is counted already."""
    TIMED_OUT = 4
    """Its time was over while a session held it: a late completion is taken, and nothing else."""


class Lease(NamedTuple):
    """What a lease token says; to everybody outside it is 20 opaque bytes."""

    job_key: int
    fence: int
    nonce: int

    def token(self) -> bytes:
        """The bytes that the worker is given."""
        return _TOKEN.pack(self.job_key, self.fence, self.nonce)

    @classmethod
    def parse(cls, token: bytes) -> Lease | None:
        """The lease in `token`, or None when no server of ours can have made it."""
        if len(token) != _TOKEN.size:
            return None
        return cls._make(_TOKEN.unpack(token))


class Payload(NamedTuple):
    """Parameters, a result or a checkpoint: `str` content is JSON text as the caller sent it, `bytes` is anything."""

    content: str | bytes
    content_type: str = ""

    @property
    def size_bytes(self) -> int:
        """What the content takes; text as UTF-8."""
        content = self.content
        return len(content) if isinstance(content, bytes) or content.isascii() else len(content.encode())


@dataclass(slots=True, eq=False)
class JobRecord:
    """The columns of a job that decisions read. Moves never write it: they answer with a Change.

    `due_at` is when the server itself moves the job on (microseconds UTC): a SCHEDULED one is ready then, a task of a
    unary session was not accepted, a running one is past its time, a cancelled one past its grace. `rules` is what
    `rules_of` reads. `start_deadline` counts until the first attempt does. `job_id` and what comes after it are there
    only when the job was loaded by its id.
    """

    key: int
    state: JobState
    queue_key: int
    namespace_key: int
    fence: int
    nonce: int
    lease: int
    session_key: int | None
    attempt: int
    max_attempts: int
    worker_losses: int
    outcome_fence: int
    outcome_digest: int
    item_error_count: int
    revision: int
    due_at: int | None = None
    started_at: int | None = None
    releases: int = 0
    rules: str | None = None
    batch_key: int | None = None
    stats_key: int = 0
    start_deadline: int | None = None
    job_id: str = ""
    owner: str = ""
    organization_id: str = ""
    submit_digest: int = 0
    created_at: int = 0
    labels: str | None = None
    access: str | None = None
    unique_key: str | None = None


class NewJob(NamedTuple):
    """A job to be written; the store gives it its key and its time. `job_id` is canonical UUID text."""

    job_id: str
    namespace_key: int
    queue_key: int
    parameters: Payload | None = None
    owner: str = ""
    organization_id: str = ""
    created_by: str = ""
    priority: int = 0
    max_attempts: int = 4
    labels: str | None = None
    """A JSON object of strings, keys sorted; None when there are none."""
    path: str | None = None
    file_name: str | None = None
    file_size: int | None = None
    submit_digest: int = 0
    """Of the whole submission as first sent; 0 where the server chose the id."""
    rules: str | None = None
    """What `Rules.text` wrote; None where the job says nothing of its attempts."""
    schedule_at: int | None = None
    start_deadline: int | None = None
    batch_key: int | None = None
    held_back: bool = False
    """Its batch is not active."""
    unique_key: str | None = None
    unique_window_us: int | None = None
    """How long after its submit it keeps that key even when it is terminal."""
    retention_us: int | None = None
    access: str | None = None
    """What `access_text` wrote; None for PRIVATE without lists."""
    trace: str | None = None
    """A JSON array of traceparent and tracestate."""
    type_version: int = 0
    """Of its type's schemas; 0 where it had none."""

    def entry(self, now: int) -> tuple[JobState, int | None]:
        """The state that it begins in, and when the server moves it on from there."""
        if self.schedule_at is None or self.schedule_at <= now:
            return JobState.PENDING, self.start_deadline
        deadline = self.start_deadline
        return JobState.SCHEDULED, self.schedule_at if deadline is None else min(self.schedule_at, deadline)


@dataclass(frozen=True, slots=True)
class JobFailure:
    """Why a job failed, as its worker or the server says it; `stack` and `details` are for people."""

    kind: FailureKind
    message: str
    code: str = ""
    retryable: bool = False
    details: str | None = None
    """A JSON text, or None."""
    stack: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class ItemError:
    """One item of a job that could not be processed; the job itself goes on."""

    index: int | None
    key: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class TaskView:
    """The lease that a session holds on a job now, as clients may see it: never the token."""

    attempt: int
    fence: int
    worker: str
    session_id: str
    claimed_at: int
    started_at: int | None


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One accepted start of a job, as its history shows it; times microseconds UTC."""

    attempt: int
    fence: int
    worker: str
    session_id: str
    claimed_at: int | None
    started_at: int
    ended_at: int | None
    outcome: AttemptOutcome
    failure: JobFailure | None = None
    progress: Progress | None = None
    item_error_count: int = 0


class JobView(NamedTuple):
    """A job as it is read for a caller; times are microseconds UTC. BASIC reads leave the payloads out.

    No dataclass: one that is frozen takes twice as long to make, and every submit in a batch answers with one.
    """

    key: int
    job_id: str
    namespace: str
    job_type: str
    job_type_namespace: str
    state: JobState
    priority: int
    attempt: int
    max_attempts: int
    worker_losses: int
    revision: int
    owner: str
    organization_id: str
    created_by: str
    created_at: int
    ready_at: int | None
    claimed_at: int | None
    started_at: int | None
    ended_at: int | None
    updated_at: int
    due_at: int | None = None
    """When the server moves it on by itself: of a SCHEDULED job, when it is tried (again)."""
    rules: Rules = NO_RULES
    labels: Mapping[str, str] = MappingProxyType({})
    path: str = ""
    file_name: str | None = None
    file_size: int | None = None
    failure_kind: FailureKind = FailureKind.UNSPECIFIED
    failure_code: str = ""
    cancel_reason: str = ""
    cancelled_by: str = ""
    item_error_count: int = 0
    progress: Progress | None = None
    parameters: Payload | None = None
    result: Payload | None = None
    failure: JobFailure | None = None
    current_task: TaskView | None = None
    item_errors: tuple[ItemError, ...] = ()
    fence: int = 0
    """The newest; item errors, logs and progress are of the attempt that has it."""
    schedule_at: int | None = None
    """As submitted or updated last."""
    start_deadline: int | None = None
    batch_id: str = ""
    unique_key: str = ""
    retention_us: int | None = None
    purge_at: int | None = None
    """When retention removes it; None while it has not ended, or where it is kept for ever."""
    access: str | None = None
    trace: str | None = None
    checkpoint: Payload | None = None
    held_back: bool = False
    terminal_at: int | None = None
    """When it became terminal here, be it by its import: from then on its retention counts."""
