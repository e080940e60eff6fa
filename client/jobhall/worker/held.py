"""A task in this worker's hands: what the threads that run it and the one that reports on it both see."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobhall.limits import JOB_TYPE_PREFIX_GLOBAL, JOB_TYPE_PREFIX_OWN
from jobhall.v1.job_pb2 import ItemError, LogEntry, Progress
from jobhall.v1.task_pb2 import TaskAssignment, TaskUpdate

if TYPE_CHECKING:
    from jobhall.task import StopCause, Task


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered function: plain or async, and how many of its tasks may run at once (None: as the worker may)."""

    job_type: str
    function: Callable[[Task], Any]
    concurrency: int | None
    is_async: bool


def bare_name(job_type: str) -> str:
    """The type as assignments name it."""
    return job_type.removeprefix(JOB_TYPE_PREFIX_GLOBAL).removeprefix(JOB_TYPE_PREFIX_OWN)


class HeldTask:
    """One delivered task, from its assignment to the ack of its outcome.

    Each attribute has one thread that writes it; buffers are deques, whose ends are safe to share.
    """

    # Defaults in the class: most tasks report nothing, and to make one is part of every job's cost.
    cancel_reason: str | None = None
    """Set when the task is to stop."""
    stop_cause: StopCause | None = None
    """Set before the reason."""
    lost: bool = False
    """The server gave the task away: nothing that is said of it will be taken."""
    stopping: bool = False
    """The worker leaves and gives the task back."""
    accepted: bool = False
    """The server has it on record that the task begins, before it does."""
    ended: bool = False
    """Its outcome is with the stream."""
    outcome_bytes: int = 0
    """About how many its outcome has."""
    kept_bytes: int = 0
    """The same with what else it said at its end, until the server has confirmed it."""
    refused: bool = False
    """The server did not take its outcome, and a failure that says so went in its place."""
    over: bool = False
    """Its handler is done."""
    started_at: float = 0.0
    """Reading of the monotonic clock when user code began; 0 before."""
    seconds: float = 0.0
    """How long user code took."""
    runner: asyncio.Task[None] | None = None
    """Who is in its async handler now."""

    progress: Progress | None = None
    """The latest, never changed once it stands here."""
    progress_sent: Progress | None = None
    progress_number: int = 0
    lines: deque[LogEntry] | None = None
    lines_dropped: int = 0
    """How many there was no room for; it only grows, as the handler's threads write it."""
    lines_missed: int = 0
    """How many of these were said to be missing."""
    lines_number: int = 0
    """How many lines of log were numbered."""
    item_errors: deque[ItemError] | None = None
    item_errors_count: int = 0
    """How many there are in all; beyond those that are kept only this grows."""
    item_errors_number: int = 0
    """How many item errors were numbered."""
    checkpoints: deque[TaskUpdate] | None = None
    """The latest that is not yet on its way; there is room for one."""
    checkpoint_waits: bool = False
    """One is on its way: progress, which is numbered after it, waits until it is sent."""
    report_waits: bool = False
    """It stands in the queue of those that have something to report."""
    reported_at: float = 0.0

    def __init__(self, assignment: TaskAssignment, handler: Handler, delivered_at: float) -> None:
        self.assignment = assignment
        self.token = assignment.lease_token
        self.handler = handler
        self.delivered_at = delivered_at

    def ask_to_stop(self, cause: StopCause, reason: str = "") -> None:
        """The first word stands; the reason is the cause's own where nobody gave one."""
        if self.cancel_reason is None:
            self.stop_cause = cause
            self.cancel_reason = reason or cause.value

    def __repr__(self) -> str:
        return f"{self.assignment.job_type} {self.assignment.job_id} (attempt {self.assignment.attempt})"
