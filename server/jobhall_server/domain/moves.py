"""Every way a job may change its state: one table, and a pure function per move that answers Change, Refusal or None.

None means "acknowledged, nothing to do": a report that was recorded before, or one that no longer matters. The table
is the truth for the tests over all pairs, the schema's CHECKs and the diagram in `docs/states.md`. Here are the moves
that callers ask for; those of workers are in `worker_moves.py`, those of the server itself in `server_moves.py`.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from jobhall.states import AttemptOutcome, EventType, FailureKind, JobState
from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.job import JobRecord
from jobhall_server.domain.standing import CANCELLED, ENDED, ENTERING, SPENT, Events, timed, waits_until

_S = JobState
_WAITING = {_S.SCHEDULED, _S.PENDING}

MOVES: MappingProxyType[str, MappingProxyType[JobState, frozenset[JobState]]] = MappingProxyType(
    {
        name: MappingProxyType({source: frozenset(targets) for source, targets in ways.items()})
        for name, ways in {
            "claim": {_S.PENDING: {_S.CLAIMED}},
            "accept": {_S.CLAIMED: {_S.RUNNING}},
            "return": {_S.CLAIMED: {_S.PENDING}},
            "release": {
                _S.CLAIMED: _WAITING,
                _S.RUNNING: _WAITING,
                _S.CANCELLING: {_S.CANCELLED},
            },
            "complete": {
                _S.CLAIMED: {_S.COMPLETED},
                _S.RUNNING: {_S.COMPLETED},
                _S.CANCELLING: {_S.COMPLETED},
                _S.PENDING: {_S.COMPLETED},
                _S.SCHEDULED: {_S.COMPLETED},
            },
            "fail": {
                _S.CLAIMED: {*_WAITING, _S.FAILED},
                _S.RUNNING: {*_WAITING, _S.FAILED},
                _S.CANCELLING: {_S.CANCELLED, _S.FAILED},
            },
            "lose": {
                _S.CLAIMED: {_S.PENDING, _S.FAILED},
                _S.RUNNING: {_S.PENDING, _S.FAILED},
                _S.CANCELLING: {_S.CANCELLED},
            },
            "take back": {
                _S.SCHEDULED: {_S.RUNNING},
                _S.PENDING: {_S.RUNNING},
                _S.CLAIMED: {_S.RUNNING},
            },
            "time out": {_S.RUNNING: {*_WAITING, _S.FAILED}},
            "fall due": {_S.SCHEDULED: {_S.PENDING}},
            "expire": {_S.SCHEDULED: {_S.FAILED}, _S.PENDING: {_S.FAILED}},
            "update": {_S.SCHEDULED: {_S.PENDING}, _S.PENDING: {_S.SCHEDULED}},
            "cancel": {
                _S.SCHEDULED: {_S.CANCELLED},
                _S.PENDING: {_S.CANCELLED},
                _S.CLAIMED: {_S.CANCELLED},
                _S.RUNNING: {_S.CANCELLING},
            },
            "stop": {_S.CANCELLING: {_S.CANCELLED}},
            "retry": {_S.FAILED: {_S.PENDING}, _S.CANCELLED: {_S.PENDING}},
        }.items()
    }
)
"""move → state it may start from → states it may end in. What is not here is refused."""

TERMINAL = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED})
DELETABLE = TERMINAL | _WAITING
"""States in which a job may be deleted; the others are JOB_RUNNING: cancel first, or wait."""


class Refusal(Enum):
    """Why a move is not taken; the use case turns it into the error of the same name."""

    LEASE_LOST = "LEASE_LOST"
    RESULT_CONFLICT = "RESULT_CONFLICT"
    JOB_TERMINAL = "JOB_TERMINAL"
    JOB_RUNNING = "JOB_RUNNING"


Decision = Change | Refusal | None


def cancel(job: JobRecord, *, reason: str, by: str, stop_at: int) -> tuple[Decision, Values]:
    """A caller wants it stopped: at once while nobody runs it, else by asking its worker, who has until `stop_at`."""
    if job.state in (_S.CANCELLING, _S.CANCELLED):
        return None, ()
    if job.state in TERMINAL:
        return Refusal.JOB_TERMINAL, ()
    if job.state is _S.RUNNING:
        return timed(ASK_TO_STOP, (reason, by), job, stop_at)
    return timed(_cancel(job.state), (reason, by), job, None)


def retry(job: JobRecord) -> Decision:
    """A caller wants a FAILED or CANCELLED job run again, as if for the first time; its history and fence stay."""
    if job.state is _S.COMPLETED:
        return Refusal.JOB_TERMINAL
    return _retry(job.state, job.started_at is not None) if job.state in TERMINAL else None


class JobUpdate(NamedTuple):
    """New values of what `columns` names, of UPDATABLE; times microseconds UTC, None clears."""

    columns: frozenset[str]
    priority: int = 0
    schedule_at: int | None = None
    start_deadline: int | None = None
    labels: str | None = None
    access: str | None = None


_TURN = frozenset({"priority", "schedule_at", "start_deadline"})
UPDATABLE = _TURN | {"labels", "access"}
"""What a caller may change of a job: its turn only while it waits for it, the rest at any time."""


def update(job: JobRecord, update: JobUpdate, now: int) -> tuple[Decision, Values]:
    """A caller changes its turn, labels or access: a new `schedule_at` sends it to SCHEDULED, or back to PENDING."""
    turn = update.columns & _TURN
    if turn and job.state not in _WAITING:
        return (Refusal.JOB_TERMINAL if job.state in TERMINAL else Refusal.JOB_RUNNING), ()
    names = tuple(sorted(update.columns))
    values: Values = tuple(-update.priority if name == "priority" else getattr(update, name) for name in names)
    target, at = job.state, job.due_at if job.state is _S.SCHEDULED else None
    if "schedule_at" in turn:
        later = update.schedule_at is not None and update.schedule_at > now
        target, at = (_S.SCHEDULED, update.schedule_at) if later else (_S.PENDING, None)
    due_at = job.due_at
    if turn:
        deadline = update.start_deadline if "start_deadline" in turn else job.start_deadline
        due_at = waits_until(job.attempt, deadline, at)
    return timed(_update(job.state, target, names), values, job, due_at)


def delete(job: JobRecord) -> Refusal | None:
    """None when the job may be removed; its log entries stay, and DELETED is added."""
    return None if job.state in DELETABLE else Refusal.JOB_RUNNING


ASK_TO_STOP = Change(
    "cancel",
    _S.RUNNING,
    _S.CANCELLING,
    row_columns=("cancel_reason", "cancelled_by"),
    events=((EventType.CANCELLING, _S.CANCELLING),),
)


@lru_cache(maxsize=8)
def _cancel(source: JobState) -> Change:
    return Change(
        "cancel",
        source,
        _S.CANCELLED,
        (*SPENT, *ENDED),
        row_columns=("cancel_reason", "cancelled_by"),
        events=CANCELLED,
    )


@lru_cache(maxsize=128)
def _update(source: JobState, target: JobState, names: tuple[str, ...]) -> Change:
    moved: Events = () if target is source else ENTERING[target]
    told: Events = () if moved and names == ("schedule_at",) else ((EventType.UPDATED, source),)
    columns = tuple("priority_order" if name == "priority" else name for name in names)
    return Change("update", source, target, row_columns=columns, events=told + moved)


@lru_cache(maxsize=8)
def _retry(source: JobState, started: bool) -> Change:
    return Change(
        "retry",
        source,
        _S.PENDING,
        (
            ("attempt", 0),
            ("worker_losses", 0),
            ("releases", 0),
            ("excluded", 0),
            ("item_error_count", 0),
            ("claimed_at", None),
            ("started_at", None),
            ("ended_at", None),
            ("failure_kind", FailureKind.UNSPECIFIED),
            ("failure_code", ""),
            ("cancel_reason", ""),
            ("cancelled_by", ""),
            ("start_deadline", None),
        ),
        events=((EventType.RETRIED, _S.PENDING),),
        closes=_OUTCOMES[source] if started else None,
    )


_OUTCOMES = MappingProxyType({_S.FAILED: AttemptOutcome.FAILED, _S.CANCELLED: AttemptOutcome.CANCELLED})
