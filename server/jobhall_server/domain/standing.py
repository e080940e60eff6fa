"""What a lease is worth to a job, and the pieces of which the moves make their changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from functools import lru_cache
from types import MappingProxyType

from jobhall.states import EventType, JobState
from jobhall_server.domain.change import Change, Constant, Stamp, Values
from jobhall_server.domain.job import JobRecord, Lease, LeaseState


class Standing(Enum):
    """What a lease is worth to a job just now."""

    OPEN = 1
    """A session holds the job under it."""
    LOST = 2
    """The session was lost; nobody has claimed the job since."""
    TIMED_OUT = 3
    """The attempt was over by its time; nobody has claimed the job since."""
    RECORDED = 4
    """Its outcome is the newest that the job has on record."""
    STALE = 5
    """Nothing."""


def standing(job: JobRecord, lease: Lease) -> Standing:
    """What the lease is worth to the job now."""
    if job.fence == lease.fence and job.nonce == lease.nonce and job.lease != LeaseState.SPENT:
        if job.lease == LeaseState.OPEN:
            return Standing.OPEN
        return Standing.TIMED_OUT if job.lease == LeaseState.TIMED_OUT else Standing.LOST
    return Standing.RECORDED if job.outcome_fence == lease.fence else Standing.STALE


def waits_until(attempt: int, start_deadline: int | None, at: int | None = None) -> int | None:
    """When the server moves on a job that waits, from `at` on for its turn: then, or when its time to begin is over,
    which counts until an attempt does.
    """
    if start_deadline is None or attempt:
        return at
    return start_deadline if at is None else min(at, start_deadline)


def timed(change: Change, values: Values, job: JobRecord, due_at: int | None) -> tuple[Change, Values]:
    """The change with a new time at which the server moves the job on by itself; None: it does not."""
    if due_at is not None:
        return _with_due(change), (*values, due_at)
    return (change if job.due_at is None else _without_due(change)), values


@lru_cache(maxsize=512)
def _with_due(change: Change) -> Change:
    return _replaced(change, change.sets, (*change.row_columns, "due_at"))


@lru_cache(maxsize=512)
def _without_due(change: Change) -> Change:
    return _replaced(change, (*change.sets, ("due_at", None)), change.row_columns)


def _replaced(change: Change, sets: tuple[tuple[str, Constant], ...], row_columns: tuple[str, ...]) -> Change:
    return replace(change, sets=sets, row_columns=row_columns)


SPENT: tuple[tuple[str, Constant], ...] = (("lease", LeaseState.SPENT),)
RECORDED: tuple[tuple[str, Constant], ...] = (*SPENT, ("outcome_fence", Stamp.FENCE))
STARTED: tuple[tuple[str, Constant], ...] = (("started_at", Stamp.NOW), ("item_error_count", 0))
ENDED: tuple[tuple[str, Constant], ...] = (("ended_at", Stamp.NOW),)
COUNTED: tuple[tuple[str, int], ...] = (("attempt", 1),)
DIGEST = ("outcome_digest",)

Events = tuple[tuple[EventType, JobState], ...]
RUNNING: Events = ((EventType.RUNNING, JobState.RUNNING),)
READY: Events = ((EventType.READY, JobState.PENDING),)
SCHEDULED: Events = ((EventType.SCHEDULED, JobState.SCHEDULED),)
FAILED: Events = ((EventType.FAILED, JobState.FAILED),)
CANCELLED: Events = ((EventType.CANCELLED, JobState.CANCELLED),)
COMPLETED: Events = ((EventType.COMPLETED, JobState.COMPLETED),)


def back_to(delay_us: int) -> JobState:
    """Where a job goes that is to be run again: to the queue at once, or after a delay."""
    return JobState.SCHEDULED if delay_us > 0 else JobState.PENDING


ENTERING: Mapping[JobState, Events] = MappingProxyType(
    {JobState.SCHEDULED: SCHEDULED, JobState.PENDING: READY, JobState.FAILED: FAILED}
)
"""What is logged when an attempt ends and the job goes there."""


@lru_cache(maxsize=8)
def stopped(move: str, *, recorded: bool = True) -> Change:
    """A cancelled job is CANCELLED now; `recorded`: its worker said so, and may say it again."""
    return Change(
        move,
        JobState.CANCELLING,
        JobState.CANCELLED,
        (*(RECORDED if recorded else SPENT), *ENDED),
        row_columns=DIGEST if recorded else (),
        events=CANCELLED,
    )
