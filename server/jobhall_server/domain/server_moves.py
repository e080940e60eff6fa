"""What the server does to a job by itself: when its worker is lost or comes back, and when its time has come."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from jobhall.limits import WORKER_LOSSES_MAX
from jobhall.states import AttemptOutcome, FailureKind, JobState
from jobhall_server.domain.change import Change, Constant, Stamp, Values
from jobhall_server.domain.job import JobRecord, Lease, LeaseState
from jobhall_server.domain.moves import Decision
from jobhall_server.domain.rules import rules_of
from jobhall_server.domain.session import Disposition
from jobhall_server.domain.standing import (
    COUNTED,
    ENDED,
    ENTERING,
    FAILED,
    READY,
    RUNNING,
    SPENT,
    STARTED,
    Standing,
    back_to,
    standing,
    stopped,
    timed,
    waits_until,
)

_S = JobState

RUN_TIMEOUT = "RUN_TIMEOUT"
PROGRESS_TIMEOUT = "PROGRESS_TIMEOUT"
START_DEADLINE = "START_DEADLINE"


class Resumed(NamedTuple):
    """What a worker that comes back is told of a task, and the change that makes it so."""

    disposition: Disposition
    change: Change | None = None
    values: Values = ()


def return_undelivered(job: JobRecord | None, lease: Lease) -> tuple[Decision, Values]:
    """The delivery was not accepted in time, or the worker's beat does not list it: back to the queue, at no cost."""
    if job is None or standing(job, lease) is not Standing.OPEN or job.state is not _S.CLAIMED:
        return None, ()
    return timed(RETURN, (), job, waits_until(job.attempt, job.start_deadline))


def lose(job: JobRecord, *, confirmed: bool, losses_max: int = WORKER_LOSSES_MAX) -> tuple[Decision, Values]:
    """Its session is lost, or the worker lost it. `confirmed`: the worker had said that the delivery arrived.

    A started task keeps its attempt and counts a loss; `losses_max` losses in a row, or no attempt left, fail the job.
    The lease stays good for a late completion, and for the worker that comes back with it.
    """
    if job.state is _S.CANCELLING:
        return timed(stopped("lose", recorded=False), (), job, None)
    if job.state is _S.CLAIMED and not confirmed:
        return timed(LOSE_UNSEEN, (), job, waits_until(job.attempt, job.start_deadline))
    if job.state not in (_S.CLAIMED, _S.RUNNING):
        return None, ()
    exhausted = job.state is _S.RUNNING and job.attempt >= job.max_attempts
    if exhausted or job.worker_losses + 1 >= losses_max:
        code = "ATTEMPTS_EXHAUSTED" if exhausted else "WORKER_LOSSES_EXHAUSTED"
        return timed(_lose_for_good(job.state, code), (), job, None)
    if job.state is _S.RUNNING:
        return timed(LOSE, (), job, None)
    return timed(LOSE_UNSTARTED, (), job, waits_until(job.attempt, job.start_deadline))


def resume(job: JobRecord | None, lease: Lease, *, session_key: int, started: bool, now: int) -> Resumed:
    """A worker says Hello and lists a task that it holds; `started`: user code has begun.

    What is still its own it keeps, also under a new session. What was lost with its session and claimed by nobody
    since is taken back, on the same attempt. What timed out, or is being cancelled, it is to stop.
    """
    if job is None:
        return Resumed(Disposition.LOST)
    match standing(job, lease):
        case Standing.OPEN:
            return _go_on(job, session_key=session_key, started=started, now=now)
        case Standing.LOST if started:
            unstarted = job.lease == LeaseState.LOST_UNSTARTED
            began_at = now if unstarted or job.started_at is None else job.started_at
            due_at = rules_of(job.rules).deadline(started_at=began_at, now=now)
            return Resumed(Disposition.KEEP, *timed(_take_back(job.state, unstarted), (session_key,), job, due_at))
        case Standing.TIMED_OUT:
            return Resumed(Disposition.CANCEL)
        case Standing.RECORDED:
            # Its outcome came through and the ack did not: the worker sends it again and is told.
            return Resumed(Disposition.KEEP)
        case _:
            return Resumed(Disposition.LOST)


def fall_due(job: JobRecord, now: int, chance: float) -> tuple[Decision, Values]:
    """The time has come at which the server moves the job on by itself, whatever it waits for."""
    if job.due_at is None or job.due_at > now:
        return None, ()
    match job.state:
        case _S.SCHEDULED | _S.PENDING:
            deadline = waits_until(job.attempt, job.start_deadline)
            if deadline is not None and deadline <= now:
                return timed(_expire(job.state), (), job, None)
            return timed(DUE, (), job, deadline) if job.state is _S.SCHEDULED else (None, ())
        case _S.CLAIMED:
            return timed(RETURN, (), job, waits_until(job.attempt, job.start_deadline))
        case _S.RUNNING:
            return _time_out(job, now, chance)
        case _S.CANCELLING:
            return timed(stopped("stop", recorded=False), (), job, None)
        case _:
            return None, ()


def timeout_code(job: JobRecord, now: int) -> str:
    """Which of its times is over: RUN_TIMEOUT or PROGRESS_TIMEOUT."""
    run_us = rules_of(job.rules).run_timeout_us
    over = run_us is not None and job.started_at is not None and job.started_at + run_us <= now
    return RUN_TIMEOUT if over else PROGRESS_TIMEOUT


def _go_on(job: JobRecord, *, session_key: int, started: bool, now: int) -> Resumed:
    disposition = Disposition.CANCEL if job.state is _S.CANCELLING else Disposition.KEEP
    rules = rules_of(job.rules)
    if job.state is _S.CLAIMED and started:
        due_at = rules.deadline(started_at=now, now=now)
        return Resumed(disposition, *timed(_take_back_claimed(), (session_key,), job, due_at))
    silent = job.state is _S.RUNNING and rules.progress_timeout_us is not None
    if not silent and job.session_key == session_key:
        return Resumed(disposition)
    due_at = job.due_at
    if silent and job.started_at is not None:
        # While its stream was away nothing of it could be heard.
        due_at = rules.deadline(started_at=job.started_at, now=now)
    return Resumed(disposition, *timed(_hand_over(job.state), (session_key,), job, due_at))


def _time_out(job: JobRecord, now: int, chance: float) -> tuple[Decision, Values]:
    code = timeout_code(job, now)
    policy = rules_of(job.rules).retry
    if code in policy.non_retryable_codes or job.attempt >= job.max_attempts:
        return timed(_timed_out(_S.FAILED, code), (), job, None)
    delay_us = policy.delay_us(job.attempt, chance)
    target = back_to(delay_us)
    return timed(_timed_out(target, code), (), job, now + delay_us if target is _S.SCHEDULED else None)


RETURN = Change("return", _S.CLAIMED, _S.PENDING, SPENT, events=READY)
DUE = Change("fall due", _S.SCHEDULED, _S.PENDING, events=READY)
_UNSTARTED: tuple[tuple[str, Constant], ...] = (("lease", LeaseState.LOST_UNSTARTED),)
LOSE_UNSEEN = Change("lose", _S.CLAIMED, _S.PENDING, _UNSTARTED, events=READY)
LOSE_UNSTARTED = Change("lose", _S.CLAIMED, _S.PENDING, _UNSTARTED, (("worker_losses", 1),), events=READY)
LOSE = Change(
    "lose",
    _S.RUNNING,
    _S.PENDING,
    (
        ("lease", LeaseState.LOST_STARTED),
        ("failure_kind", FailureKind.WORKER_LOST),
        ("failure_code", "WORKER_LOST"),
    ),
    (("worker_losses", 1),),
    events=READY,
    closes=AttemptOutcome.FAILED,
)


@lru_cache(maxsize=8)
def _expire(source: JobState) -> Change:
    why = (("failure_kind", FailureKind.EXPIRED), ("failure_code", START_DEADLINE))
    return Change("expire", source, _S.FAILED, (*SPENT, *ENDED, *why), events=FAILED)


@lru_cache(maxsize=8)
def _lose_for_good(source: JobState, code: str) -> Change:
    return Change(
        "lose",
        source,
        _S.FAILED,
        (*SPENT, *ENDED, ("failure_kind", FailureKind.WORKER_LOST), ("failure_code", code)),
        (("worker_losses", 1),),
        events=FAILED,
    )


@lru_cache(maxsize=8)
def _take_back(source: JobState, unstarted: bool) -> Change:
    return Change(
        "take back",
        source,
        _S.RUNNING,
        # Its worker was not lost after all.
        (
            ("lease", LeaseState.OPEN),
            ("worker_losses", 0),
            ("failure_kind", FailureKind.UNSPECIFIED),
            ("failure_code", ""),
            *(STARTED if unstarted else ()),
        ),
        COUNTED if unstarted else (),
        ("session_key",),
        RUNNING,
        AttemptOutcome.UNSPECIFIED,
    )


@lru_cache(maxsize=1)
def _take_back_claimed() -> Change:
    return Change("take back", _S.CLAIMED, _S.RUNNING, STARTED, COUNTED, ("session_key",), RUNNING)


@lru_cache(maxsize=8)
def _hand_over(state: JobState) -> Change:
    return Change("hand over", state, state, row_columns=("session_key",))


@lru_cache(maxsize=16)
def _timed_out(target: JobState, code: str) -> Change:
    final = target is _S.FAILED
    return Change(
        "time out",
        _S.RUNNING,
        target,
        (
            ("lease", LeaseState.SPENT if final else LeaseState.TIMED_OUT),
            *((("ended_at", Stamp.NOW),) if final else ()),
            ("failure_kind", FailureKind.TIMEOUT),
            ("failure_code", code),
        ),
        events=ENTERING[target],
        closes=None if final else AttemptOutcome.FAILED,
    )
