"""Every way a job may change its state: one table, and a pure function per move that answers Change, Refusal or None.

None means "acknowledged, nothing to do": a report that was recorded before, or one that no longer matters. The table
is the truth for the tests over all pairs, the schema's CHECKs and the diagram in `docs/states.md`.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from types import MappingProxyType

from jobhall.limits import WORKER_LOSSES_MAX
from jobhall.states import EventType, FailureKind, JobState
from jobhall_server.domain.change import Change, Constant, Stamp, Values, merge
from jobhall_server.domain.job import JobRecord, Lease, LeaseState

_S = JobState
_WAITING = frozenset({_S.SCHEDULED, _S.PENDING})

MOVES: MappingProxyType[str, MappingProxyType[JobState, frozenset[JobState]]] = MappingProxyType(
    {
        name: MappingProxyType({source: frozenset(targets) for source, targets in ways.items()})
        for name, ways in {
            "claim": {_S.PENDING: {_S.CLAIMED}},
            "accept": {_S.CLAIMED: {_S.RUNNING}},
            "return": {_S.CLAIMED: {_S.PENDING}},
            "release": {
                _S.CLAIMED: {_S.PENDING},
                _S.RUNNING: {_S.PENDING},
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
                _S.CLAIMED: {_S.FAILED},
                _S.RUNNING: {_S.FAILED},
                _S.CANCELLING: {_S.CANCELLED, _S.FAILED},
            },
            "lose": {
                _S.CLAIMED: {_S.PENDING, _S.FAILED},
                _S.RUNNING: {_S.PENDING, _S.FAILED},
                _S.CANCELLING: {_S.CANCELLED},
            },
            "cancel": {
                _S.SCHEDULED: {_S.CANCELLED},
                _S.PENDING: {_S.CANCELLED},
                _S.CLAIMED: {_S.CANCELLED},
                _S.RUNNING: {_S.CANCELLING},
            },
            "stop": {_S.CANCELLING: {_S.CANCELLED}},
        }.items()
    }
)
"""move → state it may start from → states it may end in. What is not here is refused."""

TERMINAL = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED})
DELETABLE = TERMINAL | _WAITING
"""States in which a job may be deleted; the others are JOB_RUNNING: cancel first, or wait."""


NO_RESULT_DIGEST = 1
"""The digest of every completion without a result: a constant, so that those jobs share one Change."""


class Refusal(Enum):
    """Why a move is not taken; the use case turns it into the error of the same name."""

    LEASE_LOST = "LEASE_LOST"
    RESULT_CONFLICT = "RESULT_CONFLICT"
    JOB_TERMINAL = "JOB_TERMINAL"
    JOB_RUNNING = "JOB_RUNNING"


Decision = Change | Refusal | None


class _Standing(Enum):
    """What a lease is worth to a job just now."""

    OPEN = 1
    LOST = 2
    RECORDED = 3
    STALE = 4


def accept(job: JobRecord | None, lease: Lease) -> Decision:
    """The worker began: it says so, or an update or log of the task implies it. Later words change nothing."""
    if job is None or _standing(job, lease) is not _Standing.OPEN:
        return Refusal.LEASE_LOST
    return ACCEPT if job.state is _S.CLAIMED else None


def complete(job: JobRecord | None, lease: Lease, digest: int) -> tuple[Decision, Values]:
    """The worker finished the task. Taken from every state that it may still hold, also after its session was lost."""
    if job is None:
        return Refusal.LEASE_LOST, ()
    standing = _standing(job, lease)
    if standing is _Standing.RECORDED:
        return _same_outcome(job, digest), ()
    if standing is _Standing.STALE:
        return Refusal.LEASE_LOST, ()
    unstarted = job.state is _S.CLAIMED or job.lease == LeaseState.LOST_UNSTARTED
    if digest == NO_RESULT_DIGEST:
        return _complete(job.state, unstarted, without_result=True), ()
    return _complete(job.state, unstarted, without_result=False), (digest,)


def fail(
    job: JobRecord | None, lease: Lease, digest: int, *, kind: FailureKind, code: str, retryable: bool
) -> tuple[Decision, Values]:
    """The worker's handler failed. After the session was lost it is acknowledged and changes nothing."""
    if job is None:
        return Refusal.LEASE_LOST, ()
    standing = _standing(job, lease)
    if standing is _Standing.RECORDED:
        return _same_outcome(job, digest), ()
    if standing is _Standing.STALE:
        return Refusal.LEASE_LOST, ()
    if standing is _Standing.LOST:
        return None, ()
    if job.state is _S.CANCELLING and retryable:
        return _stopped("fail"), (digest,)
    return _fail(job.state, kind), (digest, code)


def release(job: JobRecord | None, lease: Lease, digest: int) -> tuple[Decision, Values]:
    """The worker gives the task back unfinished: the attempt is not counted. Of a cancelled job it is the end."""
    if job is None:
        return Refusal.LEASE_LOST, ()
    standing = _standing(job, lease)
    if standing is _Standing.RECORDED:
        return _same_outcome(job, digest), ()
    if standing is _Standing.STALE:
        return Refusal.LEASE_LOST, ()
    if standing is _Standing.LOST:
        return None, ()
    if job.state is _S.CANCELLING:
        return _stopped("release"), (digest,)
    return (RELEASE_UNSTARTED if job.state is _S.CLAIMED else RELEASE), (digest,)


def note_item_errors(job: JobRecord | None, lease: Lease, count: int) -> tuple[Decision, Values]:
    """The task counted item errors: `count` of them under this lease so far. A resend never lowers the count."""
    if job is None or _standing(job, lease) is not _Standing.OPEN:
        return Refusal.LEASE_LOST, ()
    return _note(job.state), (max(count, job.item_error_count if job.state is not _S.CLAIMED else 0),)


def return_undelivered(job: JobRecord | None, lease: Lease) -> Decision:
    """The delivery was not accepted in time, or the worker's beat does not list it: back to the queue, at no cost."""
    if job is None or _standing(job, lease) is not _Standing.OPEN or job.state is not _S.CLAIMED:
        return None
    return RETURN


def lose(job: JobRecord, *, confirmed: bool) -> Decision:
    """Its session is lost, or the worker lost it. `confirmed`: the worker had said that the delivery arrived.

    A started task keeps its attempt and counts a loss; `WORKER_LOSSES_MAX` losses in a row, or no attempt left, fail
    the job. The lease stays good for a late completion.
    """
    if job.state is _S.CANCELLING:
        return _stopped("lose", recorded=False)
    if job.state is _S.CLAIMED and not confirmed:
        return LOSE_UNSEEN
    if job.state not in (_S.CLAIMED, _S.RUNNING):
        return None
    exhausted = job.state is _S.RUNNING and job.attempt >= job.max_attempts
    if exhausted or job.worker_losses + 1 >= WORKER_LOSSES_MAX:
        return _lose_for_good(job.state, "ATTEMPTS_EXHAUSTED" if exhausted else "WORKER_LOSSES_EXHAUSTED")
    return LOSE if job.state is _S.RUNNING else LOSE_UNSTARTED


def cancel(job: JobRecord, *, reason: str, by: str) -> tuple[Decision, Values]:
    """A caller wants it stopped: at once while nobody runs it, else by asking its worker."""
    if job.state in (_S.CANCELLING, _S.CANCELLED):
        return None, ()
    if job.state in TERMINAL:
        return Refusal.JOB_TERMINAL, ()
    return (ASK_TO_STOP if job.state is _S.RUNNING else _cancel(job.state)), (reason, by)


def stop(job: JobRecord | None, lease: Lease) -> Decision:
    """The grace of a cancelled job is over: it is CANCELLED, whatever its worker does."""
    if job is None or _standing(job, lease) is not _Standing.OPEN or job.state is not _S.CANCELLING:
        return None
    return _stopped("stop", recorded=False)


def delete(job: JobRecord) -> Refusal | None:
    """None when the job may be removed; its log entries stay, and DELETED is added."""
    return None if job.state in DELETABLE else Refusal.JOB_RUNNING


def _standing(job: JobRecord, lease: Lease) -> _Standing:
    if job.fence == lease.fence and job.nonce == lease.nonce and job.lease != LeaseState.SPENT:
        return _Standing.OPEN if job.lease == LeaseState.OPEN else _Standing.LOST
    return _Standing.RECORDED if job.outcome_fence == lease.fence else _Standing.STALE


def _same_outcome(job: JobRecord, digest: int) -> Refusal | None:
    return None if job.outcome_digest == digest else Refusal.RESULT_CONFLICT


_SPENT: tuple[tuple[str, Constant], ...] = (("lease", LeaseState.SPENT),)
_RECORDED: tuple[tuple[str, Constant], ...] = (*_SPENT, ("outcome_fence", Stamp.FENCE))
_STARTED: tuple[tuple[str, Constant], ...] = (("started_at", Stamp.NOW), ("item_error_count", 0))
_ENDED: tuple[tuple[str, Constant], ...] = (("ended_at", Stamp.NOW),)
_DIGEST = ("outcome_digest",)
_RUNNING = (EventType.RUNNING, _S.RUNNING)
_READY = ((EventType.READY, _S.PENDING),)

ACCEPT = Change("accept", _S.CLAIMED, _S.RUNNING, _STARTED, (("attempt", 1),), events=(_RUNNING,))
RETURN = Change("return", _S.CLAIMED, _S.PENDING, _SPENT, events=_READY)
RELEASE_UNSTARTED = Change("release", _S.CLAIMED, _S.PENDING, _RECORDED, row_columns=_DIGEST, events=_READY)
RELEASE = Change(
    "release",
    _S.RUNNING,
    _S.PENDING,
    # Its worker lives: whatever losses there were are not in a row any more.
    (*_RECORDED, ("started_at", None), ("worker_losses", 0)),
    (("attempt", -1),),
    row_columns=_DIGEST,
    events=_READY,
)
LOSE_UNSEEN = Change("lose", _S.CLAIMED, _S.PENDING, (("lease", LeaseState.LOST_UNSTARTED),), events=_READY)
LOSE_UNSTARTED = Change(
    "lose", _S.CLAIMED, _S.PENDING, (("lease", LeaseState.LOST_UNSTARTED),), (("worker_losses", 1),), events=_READY
)
LOSE = Change(
    "lose", _S.RUNNING, _S.PENDING, (("lease", LeaseState.LOST_STARTED),), (("worker_losses", 1),), events=_READY
)
ASK_TO_STOP = Change(
    "cancel",
    _S.RUNNING,
    _S.CANCELLING,
    row_columns=("cancel_reason", "cancelled_by"),
    events=((EventType.CANCELLING, _S.CANCELLING),),
)


@lru_cache(maxsize=8)
def _note(source: JobState) -> Change:
    started = _S.RUNNING if source is _S.CLAIMED else source
    note = Change("note", started, started, row_columns=("item_error_count",))
    return merge(ACCEPT, note) if source is _S.CLAIMED else note


@lru_cache(maxsize=64)
def _complete(source: JobState, unstarted: bool, *, without_result: bool) -> Change:
    return Change(
        "complete",
        source,
        _S.COMPLETED,
        (
            *_RECORDED,
            *(_STARTED if unstarted else ()),
            *_ENDED,
            *((("outcome_digest", NO_RESULT_DIGEST),) if without_result else ()),
        ),
        (("attempt", 1),) if unstarted else (),
        () if without_result else _DIGEST,
        ((_RUNNING,) if unstarted else ()) + ((EventType.COMPLETED, _S.COMPLETED),),
    )


@lru_cache(maxsize=64)
def _fail(source: JobState, kind: FailureKind) -> Change:
    unstarted = source is _S.CLAIMED
    return Change(
        "fail",
        source,
        _S.FAILED,
        (
            *_RECORDED,
            *(_STARTED if unstarted else ()),
            *_ENDED,
            ("failure_kind", kind),
        ),
        (("attempt", 1),) if unstarted else (),
        (*_DIGEST, "failure_code"),
        ((_RUNNING,) if unstarted else ()) + ((EventType.FAILED, _S.FAILED),),
    )


@lru_cache(maxsize=8)
def _lose_for_good(source: JobState, code: str) -> Change:
    return Change(
        "lose",
        source,
        _S.FAILED,
        (*_SPENT, *_ENDED, ("failure_kind", FailureKind.WORKER_LOST), ("failure_code", code)),
        (("worker_losses", 1),),
        events=((EventType.FAILED, _S.FAILED),),
    )


@lru_cache(maxsize=8)
def _cancel(source: JobState) -> Change:
    return Change(
        "cancel",
        source,
        _S.CANCELLED,
        (*_SPENT, *_ENDED),
        row_columns=("cancel_reason", "cancelled_by"),
        events=((EventType.CANCELLED, _S.CANCELLED),),
    )


@lru_cache(maxsize=8)
def _stopped(move: str, *, recorded: bool = True) -> Change:
    return Change(
        move,
        _S.CANCELLING,
        _S.CANCELLED,
        (*(_RECORDED if recorded else _SPENT), *_ENDED),
        row_columns=_DIGEST if recorded else (),
        events=((EventType.CANCELLED, _S.CANCELLED),),
    )
