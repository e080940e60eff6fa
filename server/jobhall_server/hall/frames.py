"""What goes over a worker stream, as plain values: the session machine reads and writes these, `rpc` converts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NamedTuple

from jobhall.errors import ApiError
from jobhall.limits import LOG_LINES_KEPT_MAX, STREAM_MESSAGE_BYTES_TARGET, UNACKED_BYTES_MAX, UNACKED_ITEMS_MAX
from jobhall_server.domain.job import ItemError, JobFailure, Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.session import Disposition
from jobhall_server.hall.store import Claimed
from jobhall_server.hall.views import LogLine


class ReportKind(IntEnum):
    """What a worker says of one task."""

    ACCEPTED = 1
    PROGRESS = 2
    ITEM_ERRORS = 3
    CHECKPOINT = 4
    COMPLETED = 5
    FAILED = 6
    RELEASED = 7
    CANCELLED = 8
    LOGS = 9


class ItemErrorsBody(NamedTuple):
    """Item errors numbered within the lease from `first_number`; `count` is how many there are so far in all."""

    first_number: int
    errors: Sequence[ItemError]


class LogsBody(NamedTuple):
    """Log lines numbered within the lease from `first_number`."""

    first_number: int
    lines: Sequence[LogLine]

    @property
    def through_number(self) -> int:
        """The number of the last line."""
        return self.first_number + len(self.lines) - 1

    @property
    def kept(self) -> Sequence[LogLine]:
        """Those that are kept; the newest beyond the bound are only counted."""
        return self.lines[: max(0, LOG_LINES_KEPT_MAX - self.first_number + 1)]


class CompletedBody(NamedTuple):
    """The outcome of a task that finished, with the digest of the stored bytes and the last progress."""

    result: Payload | None
    digest: int
    progress: Progress | None = None


class FailedBody(NamedTuple):
    """The outcome of a task whose handler failed; `retryable` and `delay_us` are its own word, None: the policy's."""

    failure: JobFailure
    digest: int
    progress: Progress | None = None
    retryable: bool | None = None
    delay_us: int | None = None


class ReleasedBody(NamedTuple):
    """A task given back unfinished, or its cancellation confirmed; `not_mine`: this session does not want it again."""

    reason: str
    digest: int
    progress: Progress | None = None
    delay_us: int = 0
    not_mine: bool = False


class CheckpointBody(NamedTuple):
    """What the next attempt is to start from; `progress` None: as last reported."""

    state: Payload
    progress: Progress | None = None


Body = Progress | ItemErrorsBody | LogsBody | CompletedBody | FailedBody | ReleasedBody | CheckpointBody | None


class Report(NamedTuple):
    """One item of a worker's updates. `seq` numbers the stream's items from 1; progress carries 0."""

    seq: int
    token: bytes
    kind: ReportKind
    body: Body


# --- worker → server ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListedTask:
    """A task that the worker still holds when it says Hello."""

    token: bytes
    started: bool


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame of a stream: who the worker is and what it serves."""

    worker_name: str
    namespaces: tuple[str, ...]
    job_types: tuple[str, ...]
    labels: dict[str, str]
    tasks_max: int
    type_limits: dict[str, int]
    runtime: dict[str, str]
    protocol_version: int
    session_id: str
    resume_token: str
    connection: int
    held: tuple[ListedTask, ...] = ()


@dataclass(frozen=True, slots=True)
class Capacity:
    """Absolute credit: at most `tasks_max` held in all, and of each named type at most its own number."""

    tasks_max: int
    type_limits: dict[str, int]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Every token delivered whose end is not acked, the last assignments frame seen, and what is being cancelled."""

    number: int
    tokens: Sequence[bytes]
    assignments_seen: int
    cancelling: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Reports:
    """Updates and logs of tasks, in the worker's order; `size_bytes` is what the message took on the wire,
    `assignments_seen` the last assignments that the worker says it has read (0: no word).
    """

    items: Sequence[Report]
    size_bytes: int = 0
    assignments_seen: int = 0


@dataclass(frozen=True, slots=True)
class WorkerDrain:
    """The worker wants no new tasks; it ends the stream when it holds nothing."""

    reason: str


FrameIn = Hello | Capacity | Heartbeat | Reports | WorkerDrain


# --- server → worker ---------------------------------------------------------------------------------------------


class CancelCause(Enum):
    """Why a worker is asked to stop a task."""

    REQUESTED = 1
    """Somebody cancelled the job."""
    RUN_TIMEOUT = 2
    """Its time is over; only a late completion is still taken."""
    PROGRESS_TIMEOUT = 3
    """It was silent for too long; the same."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """The worker is to stop a task: within `grace_seconds` it confirms or finishes, else the server moves on."""

    token: bytes
    reason: str
    grace_seconds: float
    cause: CancelCause = CancelCause.REQUESTED


@dataclass(frozen=True, slots=True)
class HeldDecision:
    """What becomes of a task that the Hello listed; `cancel` stands with CANCEL alone."""

    token: bytes
    disposition: Disposition
    cancel: Cancel | None = None


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to Hello; intervals and limits stand in `settings`, which `rpc` spells out in full."""

    session_id: str
    resume_token: str
    epoch: int
    held: Sequence[HeldDecision]
    settings: StreamSettings


class Assignment(NamedTuple):
    """A task for the worker, with its names looked up and its token made."""

    claimed: Claimed
    namespace: str
    job_type: str
    token: bytes


@dataclass(frozen=True, slots=True)
class Assignments:
    """Tasks delivered to the worker; `number` counts these frames from 1, a beat confirms them by it."""

    number: int
    tasks: Sequence[Assignment]


@dataclass(frozen=True, slots=True)
class Cancels:
    """Tasks to stop."""

    tasks: Sequence[Cancel]


@dataclass(frozen=True, slots=True)
class Rejection:
    """An item that was not taken, and why; the stream goes on."""

    seq: int
    token: bytes
    error: ApiError


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything up to `through_seq` is durable or rejected; progress that was refused is named by its token."""

    through_seq: int
    rejections: Sequence[Rejection] = ()
    bad_progress: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """The answer to beat `number` (0: unasked): what is not the worker's any more, and what it is to stop."""

    number: int
    lost: Sequence[bytes]
    cancels: Sequence[Cancel]


class DrainReason(Enum):
    """Why the server wants a worker to leave its stream, and so what the worker does."""

    SERVER_STOPPING = 1
    """Keep the tasks and reconnect."""
    REAUTHENTICATE = 2
    """The same, with a new token."""
    WORKER_DRAIN = 3
    """Finish what is held, and stop."""


@dataclass(frozen=True, slots=True)
class ServerDrain:
    """The worker is to leave this stream, after a random part of `within_seconds`."""

    reason: DrainReason
    message: str
    within_seconds: float


FrameOut = Welcome | Assignments | Cancels | Ack | HeartbeatReply | ServerDrain


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """The pace that the server sets, told in Welcome; seconds, counts and bytes."""

    heartbeat_seconds: float = 5.0
    session_ttl_seconds: float = 15.0
    accept_seconds: float = 10.0
    hello_seconds: float = 10.0
    cancel_grace_seconds: float = 30.0
    drain_seconds: float = 30.0
    unacked_items_max: int = UNACKED_ITEMS_MAX
    unacked_bytes_max: int = UNACKED_BYTES_MAX
    message_bytes: int = STREAM_MESSAGE_BYTES_TARGET
