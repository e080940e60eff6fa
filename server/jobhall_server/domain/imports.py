"""A job that comes from elsewhere: what of it cannot have been so, and what it is here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

from jobhall.limits import ATTEMPTS_MAX, INTEGER_MAX
from jobhall.states import WAITING_STATES, AttemptOutcome, JobState
from jobhall_server.domain.job import AttemptView, JobFailure, JobView
from jobhall_server.domain.standing import waits_until

_S = JobState

AHEAD_US_MAX = 86_400_000_000
"""A clock elsewhere may go wrong, but hardly by more than a day."""

FENCE_MAX = 2**31 - 1
"""Half of what a lease token has room for: from here it goes on growing."""

Fault = tuple[str, str]
"""The path of a field within what is imported, and what is wrong with it."""

_UNDER_WAY = frozenset({_S.RUNNING, _S.CANCELLING})
_BEGUN = _UNDER_WAY | {_S.COMPLETED}
_BEFORE_ITS_START = WAITING_STATES | {_S.CLAIMED}

_JOB_RANGES = (
    ("attempt", 0, ATTEMPTS_MAX),
    ("worker_losses", 0, ATTEMPTS_MAX),
    ("fence", 0, FENCE_MAX),
    *((name, 0, INTEGER_MAX - 1) for name in ("revision", "item_error_count")),
)
_ATTEMPT_RANGES = (("attempt", 1, ATTEMPTS_MAX), ("fence", 1, FENCE_MAX), ("item_error_count", 0, INTEGER_MAX))


def faults(job: JobView, attempts: Sequence[AttemptView], now: int) -> Iterator[Fault]:
    """All that cannot have been so; what each field may be by itself was looked at before."""
    yield from _outside(job, "job", _JOB_RANGES)
    times = {"create": job.created_at, "claim": job.claimed_at, "start": job.started_at, "end": job.ended_at}
    yield from _untimely("job", times, now)
    yield from _unlike_its_state(job)
    yield from _unlike_its_counts(job)
    latest = _fence(job, attempts)
    fences: set[int] = set()
    for place, attempt in enumerate(attempts):
        field = f"attempts[{place}]"
        yield from _outside(attempt, field, _ATTEMPT_RANGES)
        times = {"claim": attempt.claimed_at, "start": attempt.started_at, "end": attempt.ended_at}
        yield from _untimely(field, times, now)
        yield from _ended_wrongly(job, attempt, field, under_way=job.state in _UNDER_WAY and attempt.fence == latest)
        if attempt.fence in fences:
            yield f"{field}.fence", f"is {attempt.fence} again; no two attempts share one"
        if 0 < job.fence < attempt.fence:
            yield f"{field}.fence", f"is {attempt.fence}, more than job.fence = {job.fence}"
        fences.add(attempt.fence)
    if job.state in _BEFORE_ITS_START and job.started_at is not None and latest not in fences:
        yield "job.start_time", "is of an attempt that is not among the attempts; give it too, or leave this out"


def settled(job: JobView, attempts: Sequence[AttemptView], now: int) -> tuple[JobView, tuple[AttemptView, ...]]:
    """The job and its attempts, which have no faults, as they are here from now on. What a worker held comes as if that
    had given it back just now: the move interrupted it, and nothing failed.
    """
    job = job._replace(fence=_fence(job, attempts), revision=job.revision + 1, updated_at=now)
    kept = sorted(attempts, key=attrgetter("fence"))
    match job.state:
        case _S.CLAIMED:
            job = job._replace(state=_S.PENDING)
        case _S.RUNNING:
            kept = _closed(job, kept, AttemptOutcome.RELEASED, now)
            job = job._replace(state=_S.PENDING, attempt=job.attempt - 1, worker_losses=0, start_deadline=None)
        case _S.CANCELLING:
            kept = _closed(job, kept, AttemptOutcome.CANCELLED, now)
            job = job._replace(state=_S.CANCELLED, ended_at=now, failure=None)
        case _:
            pass
    if job.failure is not None:
        job = job._replace(failure_kind=job.failure.kind, failure_code=job.failure.code)
    return _placed(job, now), tuple(kept)


def latest_fences(job: JobView, attempts: Sequence[AttemptView]) -> Mapping[int, int]:
    """Of a settled job: the newest fence of each number of an attempt, and under 0 the newest of all."""
    numbered = [(attempt.attempt, attempt.fence) for attempt in attempts]
    if job.started_at is not None and all(attempt.fence != job.fence for attempt in attempts):
        numbered.append((job.attempt, job.fence))
    fences = dict(sorted(numbered))
    return fences | ({0: max(fences.values())} if fences else {})


def _placed(job: JobView, now: int) -> JobView:
    """Where it stands: when the server moves it on by itself, and since when it waits for its turn or is over."""
    if job.state.terminal:
        return job._replace(due_at=None, terminal_at=now)
    if job.state is _S.PENDING:
        return job._replace(ready_at=now, due_at=waits_until(job.attempt, job.start_deadline))
    due_at = waits_until(job.attempt, job.start_deadline, job.schedule_at)
    # Of what was claimed before, it is the end of a back-off and not what its submit asked for.
    return job._replace(due_at=due_at, schedule_at=None if job.fence else job.schedule_at)


def _fence(job: JobView, attempts: Sequence[AttemptView]) -> int:
    """The newest, and no less than there were starts."""
    least = max(job.attempt, job.started_at is not None)
    return max(job.fence, least, *(attempt.fence for attempt in attempts))


def _closed(job: JobView, attempts: list[AttemptView], outcome: AttemptOutcome, now: int) -> list[AttemptView]:
    """The attempts with the one under way, which may not be among them, brought to its end."""
    if not attempts or attempts[-1].fence != job.fence:
        worker = "" if job.current_task is None else job.current_task.worker
        assert job.started_at is not None
        start = (job.claimed_at, job.started_at, None)
        attempts = [*attempts, AttemptView(job.attempt, job.fence, worker, "", *start, AttemptOutcome.UNSPECIFIED)]
    last = attempts[-1]
    count = max(last.item_error_count, job.item_error_count)
    progress = last.progress or job.progress
    return [*attempts[:-1], replace(last, outcome=outcome, ended_at=now, item_error_count=count, progress=progress)]


def _outside(given: JobView | AttemptView, field: str, ranges: Iterable[tuple[str, int, int]]) -> Iterator[Fault]:
    for name, low, high in ranges:
        value = getattr(given, name)
        if not low <= value <= high:
            yield f"{field}.{name}", f"is {value}; it must lie in {low}..{high}"


def _untimely(field: str, times: Mapping[str, int | None], now: int) -> Iterator[Fault]:
    """Times that are none, or that do not follow each other."""
    earlier, least = "", 0
    for name, at in times.items():
        if at is None:
            continue
        if not 0 <= at <= now + AHEAD_US_MAX:
            yield f"{field}.{name}_time", "lies before 1970, or more than a day ahead"
        elif at < least:
            yield f"{field}.{name}_time", f"is before {earlier}_time"
        earlier, least = name, max(least, at)


def _unlike_its_state(job: JobView) -> Iterator[Fault]:
    is_so = f"the job is {job.state.name}"
    if job.state.terminal != (job.ended_at is not None):
        yield "job.end_time", f"is required: {is_so}" if job.state.terminal else f"is given, though {is_so}"
    if job.state in _BEGUN and job.started_at is None:
        yield "job.start_time", f"is required: {is_so}"
    if job.state is _S.SCHEDULED and job.schedule_at is None:
        yield "job.schedule_time", f"is required: {is_so}"
    if job.result is not None and job.state is not _S.COMPLETED:
        yield "job.result", f"is given, though {is_so}"
    if job.failure is not None and job.state in (_S.COMPLETED, _S.CANCELLED):
        yield "job.error", f"is given, though {is_so}"
    if job.state is _S.FAILED or job.failure is not None:
        yield from _unkind(job.failure, "job.error", is_so)


def _unlike_its_counts(job: JobView) -> Iterator[Fault]:
    if job.state in _BEGUN and not job.attempt:
        yield "job.attempt", f"is 0, though the job is {job.state.name}"
    most = job.max_attempts - (job.state in _BEFORE_ITS_START)
    if job.attempt > most:
        left = "and none is left to wait for" if job.attempt == job.max_attempts else "which is more"
        yield "job.attempt", f"is {job.attempt} of max_attempts = {job.max_attempts}, {left}"


def _ended_wrongly(job: JobView, attempt: AttemptView, field: str, *, under_way: bool) -> Iterator[Fault]:
    if under_way:
        if attempt.outcome or attempt.ended_at is not None:
            yield f"{field}.outcome", f"says that it is over, though the job is {job.state.name}"
        return
    if not attempt.outcome:
        yield f"{field}.outcome", "is required: the attempt is over"
    if attempt.ended_at is None:
        yield f"{field}.end_time", "is required: the attempt is over"
    if attempt.outcome is AttemptOutcome.FAILED:
        yield from _unkind(attempt.failure, f"{field}.error", "the attempt FAILED")
    elif attempt.failure is not None:
        yield f"{field}.error", "is given, though the attempt did not fail"


def _unkind(failure: JobFailure | None, field: str, is_so: str) -> Iterator[Fault]:
    if failure is None:
        yield field, f"is required: {is_so}"
    elif not failure.kind:
        yield f"{field}.kind", "is required"
