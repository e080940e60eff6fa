"""What a worker without a stream reports of its tasks, for `client.workers.report_tasks`: one class per report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Any, TypeAlias

from jobhall.model import ItemError, LogEntry, Progress
from jobhall.states import ReleaseReason

__all__ = [
    "Accepted",
    "Cancelled",
    "Checkpointed",
    "Completed",
    "Failed",
    "ItemErrors",
    "Logged",
    "Progressed",
    "Released",
    "TaskReport",
]


@dataclass(frozen=True, slots=True)
class Accepted:
    """User code has begun. Every other report but Released says so as well."""

    lease_token: bytes


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far the task has come."""

    lease_token: bytes
    progress: Progress
    number: int = 0
    """Counts the reports of the task, so that a late one never overwrites a newer; 0: the last to arrive counts."""


@dataclass(frozen=True, slots=True)
class ItemErrors:
    """Items that went badly while the task went on."""

    lease_token: bytes
    item_errors: Sequence[ItemError]
    _: KW_ONLY
    first_number: int = 1
    """Of the first one here among all of the task: what is sent twice counts once."""


@dataclass(frozen=True, slots=True)
class Logged:
    """Lines for the job's log; whatever their place, they are taken before what the same call says of their task."""

    lease_token: bytes
    lines: Sequence[LogEntry]
    _: KW_ONLY
    first_number: int = 1
    """Of the first one here among all of the task: what is sent twice counts once."""


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """What the next attempt, if there is one, is to start from: what JSON can say, or bytes."""

    lease_token: bytes
    state: Any
    _: KW_ONLY
    progress: Progress | None = None
    """At that point; None: the last that was reported."""


@dataclass(frozen=True, slots=True)
class Completed:
    """It is done: the job is COMPLETED. The result is what JSON can say, or bytes; None is none."""

    lease_token: bytes
    result: Any = None
    _: KW_ONLY
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """It went wrong: the job is tried again, or FAILED. What is None is left to the job's retry policy."""

    lease_token: bytes
    message: str = ""
    _: KW_ONLY
    code: str = "TASK_FAILED"
    details: Mapping[str, Any] | None = None
    stack: str = ""
    retryable: bool | None = None
    retry_delay: float | timedelta | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """It is given back unfinished: the attempt does not count."""

    lease_token: bytes
    message: str = ""
    _: KW_ONLY
    reason: ReleaseReason = ReleaseReason.UNSPECIFIED
    delay: float | timedelta | None = None
    """Nobody gets it before that has passed."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """It stopped because it was asked to."""

    lease_token: bytes
    message: str = ""
    _: KW_ONLY
    progress: Progress | None = None


TaskReport: TypeAlias = (
    Accepted | Progressed | ItemErrors | Logged | Checkpointed | Completed | Failed | Released | Cancelled
)
"""Any of them."""
