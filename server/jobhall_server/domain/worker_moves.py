"""What a worker's reports do to its job. Each is judged by its lease: open, lost, timed out, recorded or stale."""

from __future__ import annotations

from functools import lru_cache

from jobhall.states import WAITING_STATES, AttemptOutcome, FailureKind, JobState
from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.job import JobRecord, Lease, LeaseState
from jobhall_server.domain.moves import Decision, Refusal
from jobhall_server.domain.rules import NO_RULES, rules_of
from jobhall_server.domain.standing import (
    COMPLETED,
    COUNTED,
    DIGEST,
    ENDED,
    ENTERING,
    RECORDED,
    RUNNING,
    STARTED,
    Standing,
    back_to,
    standing,
    stopped,
    timed,
    waits_until,
)

_S = JobState
# A completion is each job's own cost: to ask an enum for its member takes longer than to compare with it.
_OPEN, _CLAIMED = Standing.OPEN, JobState.CLAIMED

NO_RESULT_DIGEST = 1
"""The digest of every completion without a result: a constant, so that those jobs share one Change."""

RELEASES_FREE = 2
"""So many releases of a job cost nothing; from the next one on it backs off."""


def accept(job: JobRecord | None, lease: Lease, now: int) -> tuple[Decision, Values]:
    """The worker began: it says so, or an update or log of the task implies it. Later words tell that it is not
    silent.
    """
    if job is None or standing(job, lease) is not Standing.OPEN:
        return Refusal.LEASE_LOST, ()
    if job.state is _S.CLAIMED:
        due_at = rules_of(job.rules).deadline(started_at=now, now=now) if job.rules else None
        return timed(ACCEPT, (), job, due_at)
    if job.state is _S.RUNNING and job.rules is not None:
        rules = rules_of(job.rules)
        if rules.progress_timeout_us is not None and job.started_at is not None:
            return timed(HEARD, (), job, rules.deadline(started_at=job.started_at, now=now))
    return None, ()


def complete(job: JobRecord | None, lease: Lease, digest: int) -> tuple[Decision, Values]:
    """The worker finished the task. Taken from every state that it may still hold, also after its session was lost or
    its time was over, as long as nobody else has claimed the job.
    """
    if job is None:
        return Refusal.LEASE_LOST, ()
    worth = standing(job, lease)
    if worth is not _OPEN and (known := _known(job, worth, digest)) is not None:
        return known[0], ()
    state = job.state
    unstarted = state is _CLAIMED or job.lease == LeaseState.LOST_UNSTARTED
    values = () if digest == NO_RESULT_DIGEST else (digest,)
    return timed(_complete(state, unstarted, not values), values, job, None)


def fail(
    job: JobRecord | None,
    lease: Lease,
    digest: int,
    *,
    kind: FailureKind,
    code: str,
    now: int,
    chance: float,
    retryable: bool | None = None,
    delay_us: int | None = None,
) -> tuple[Decision, Values]:
    """The worker's handler failed: the job is tried again while it has attempts left, or it FAILED.

    `retryable` and `delay_us` are the worker's own word, None where the job's policy decides; `chance` (0..1) is for
    the policy's jitter. After the session was lost, or a timeout, it is acknowledged and changes nothing.
    """
    if job is None:
        return Refusal.LEASE_LOST, ()
    known = _known(job, standing(job, lease), digest, late_counts=False)
    if known is not None:
        return known[0], ()
    policy = (rules_of(job.rules) if job.rules else NO_RULES).retry
    if retryable is None:
        retryable = code not in policy.non_retryable_codes
    if job.state is _S.CANCELLING and retryable:
        return timed(stopped("fail"), (digest,), job, None)
    attempt = job.attempt + (job.state is _S.CLAIMED)
    if not retryable or attempt >= job.max_attempts or job.state is _S.CANCELLING:
        return timed(_fail(job.state, _S.FAILED, kind), (digest, code), job, None)
    delay_us = policy.delay_us(attempt, chance) if delay_us is None else delay_us
    target = back_to(delay_us)
    due_at = now + delay_us if target is _S.SCHEDULED else None
    return timed(_fail(job.state, target, kind), (digest, code), job, due_at)


def release(
    job: JobRecord | None,
    lease: Lease,
    digest: int,
    *,
    now: int,
    chance: float,
    delay_us: int = 0,
    not_mine: bool = False,
) -> tuple[Decision, Values]:
    """The worker gives the task back unfinished: the attempt is not counted. Of a cancelled job it is the end.

    It may ask for a delay; from the third release on the job backs off by itself. `not_mine`: claims must look whether
    the session may have the job again.
    """
    if job is None:
        return Refusal.LEASE_LOST, ()
    known = _known(job, standing(job, lease), digest, late_counts=False)
    if known is not None:
        return known[0], ()
    if job.state is _S.CANCELLING:
        return timed(stopped("release"), (digest,), job, None)
    if job.releases >= RELEASES_FREE:
        delay_us = max(delay_us, rules_of(job.rules).retry.delay_us(job.releases - RELEASES_FREE + 1, chance))
    target = back_to(delay_us)
    due_at = now + delay_us if target is _S.SCHEDULED else None
    if job.state is _S.CLAIMED:
        due_at = waits_until(job.attempt, job.start_deadline, due_at)
    return timed(_release(job.state, target, not_mine), (digest,), job, due_at)


def note_item_errors(job: JobRecord, count: int) -> tuple[Change, Values]:
    """The task, which was accepted, counted `count` item errors under its lease so far; a resend lowers nothing."""
    return _note(job.state), (max(count, job.item_error_count),)


def note_checkpoint(job: JobRecord, size_bytes: int) -> tuple[Change, Values]:
    """The task, which was accepted, left something for the next attempt to start from."""
    return _checkpoint(job.state), (size_bytes,)


def _known(job: JobRecord, worth: Standing, digest: int, *, late_counts: bool = True) -> tuple[Refusal | None] | None:
    """The answer to an outcome that moves nothing; None when it is to be taken."""
    match worth:
        case Standing.OPEN:
            return None
        case Standing.LOST | Standing.TIMED_OUT:
            return None if late_counts else (None,)
        case Standing.RECORDED:
            return (None if job.outcome_digest == digest else Refusal.RESULT_CONFLICT,)
        case _:
            return (Refusal.LEASE_LOST,)


ACCEPT = Change("accept", _S.CLAIMED, _S.RUNNING, STARTED, COUNTED, events=RUNNING)
HEARD = Change("accept", _S.RUNNING, _S.RUNNING)


@lru_cache(maxsize=8)
def _note(state: JobState) -> Change:
    return Change("note", state, state, row_columns=("item_error_count",))


@lru_cache(maxsize=8)
def _checkpoint(state: JobState) -> Change:
    return Change("note", state, state, row_columns=("checkpoint_bytes",))


@lru_cache(maxsize=64)
def _complete(source: JobState, unstarted: bool, without_result: bool) -> Change:
    return Change(
        "complete",
        source,
        _S.COMPLETED,
        (
            *RECORDED,
            *(STARTED if unstarted else ()),
            *ENDED,
            *((("outcome_digest", NO_RESULT_DIGEST),) if without_result else ()),
        ),
        COUNTED if unstarted else (),
        () if without_result else DIGEST,
        (RUNNING if unstarted else ()) + COMPLETED,
        AttemptOutcome.UNSPECIFIED if source in WAITING_STATES else None,
    )


@lru_cache(maxsize=64)
def _fail(source: JobState, target: JobState, kind: FailureKind) -> Change:
    unstarted = source is _S.CLAIMED
    final = target is _S.FAILED
    return Change(
        "fail",
        source,
        target,
        (
            *RECORDED,
            *(STARTED if unstarted else ()),
            # Its worker lives: whatever losses there were are not in a row any more.
            *(ENDED if final else (("worker_losses", 0),)),
            ("failure_kind", kind),
        ),
        COUNTED if unstarted else (),
        (*DIGEST, "failure_code"),
        (RUNNING if unstarted else ()) + ENTERING[target],
        closes=None if final else AttemptOutcome.FAILED,
    )


@lru_cache(maxsize=32)
def _release(source: JobState, target: JobState, not_mine: bool) -> Change:
    # A worker that had started it lives: whatever losses there were are not in a row any more.
    # Once it was begun in time no deadline for that counts again.
    started = (("start_deadline", None), ("worker_losses", 0)) if source is _S.RUNNING else ()
    return Change(
        "release",
        source,
        target,
        (*RECORDED, *started, *((("excluded", 1),) if not_mine else ())),
        (("releases", 1), *((("attempt", -1),) if source is _S.RUNNING else ())),
        DIGEST,
        ENTERING[target],
        closes=AttemptOutcome.RELEASED if source is _S.RUNNING else None,
    )
