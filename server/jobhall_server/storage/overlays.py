"""A job as the units before left it in one group: moves that follow each other merged, the record that they lead to."""

from __future__ import annotations

from typing import Any, NamedTuple

from jobhall.states import AttemptOutcome, EventType
from jobhall_server.domain.change import Change, Stamp, Values, merge, merge_values
from jobhall_server.domain.job import JobRecord, NewJob


class Moved(NamedTuple):
    """What a group does to a job: `earlier` row writes, then `change`. `before` and the last move give its record."""

    change: Change
    values: Values
    earlier: tuple[tuple[Change, Values], ...]
    before: JobRecord
    last: Change
    last_values: Values

    @property
    def writes(self) -> tuple[tuple[Change, Values], ...]:
        """The row writes, in order."""
        return (*self.earlier, (self.change, self.values))


class ClosedAttempt(NamedTuple):
    """How an attempt ended of a job that goes on; what is None stands in the job's row."""

    attempt: int
    session_key: int | None
    started_at: int
    outcome: int
    failure_kind: int | None
    failure_code: str | None
    item_error_count: int


def moved_on(moved: Moved, job: JobRecord, change: Change, values: Values) -> Moved:
    """The same job after one more move, as one row write where the events of both can tell it."""
    if not _one_write(moved.change, change):
        return Moved(change, values, moved.writes, job, change, values)
    both = merge(moved.change, change)
    both_values = merge_values(moved.change, change, moved.values, values) if both.row_columns else ()
    return Moved(both, both_values, moved.earlier, job, change, values)


def record_after(job: JobRecord, change: Change, values: Values, now: int) -> JobRecord:
    """A copy of the record with the change made."""
    columns: dict[str, Any] = {name: getattr(job, name) for name in _COLUMNS}
    given: dict[str, Any] = dict(change.sets)
    given.update(zip(change.row_columns, values, strict=True))
    for name, step in change.adds:
        given[name] = columns[name] + step
    stamps = {Stamp.NOW: now, Stamp.FENCE: job.fence}
    for name, value in given.items():
        if name in columns:
            columns[name] = stamps[value] if isinstance(value, Stamp) else value
    columns["state"] = change.target
    columns["revision"] += len(change.events)
    return JobRecord(**columns)


def closed_attempt(job: JobRecord, change: Change, values: Values, earlier: Moved | None, now: int) -> ClosedAttempt:
    """How the attempt ends that the change closes. A retry tells again how it ended before, by a move that may be as
    new as the group.
    """
    outcome = change.closes
    assert outcome is not None
    kind: Any = 0
    code: Any = ""
    if outcome is AttemptOutcome.FAILED:
        writes = ((change, values),) if change.source.held else () if earlier is None else earlier.writes
        kind, code = _failure(writes)
    unstarted = job.started_at is None
    return ClosedAttempt(
        attempt=job.attempt + unstarted,
        session_key=job.session_key,
        started_at=now if job.started_at is None else job.started_at,
        outcome=outcome,
        failure_kind=kind,
        failure_code=code,
        item_error_count=0 if unstarted else job.item_error_count,
    )


def record_of_new(key: int, new: NewJob, now: int) -> JobRecord:
    """A job that this group inserts, as it will be loaded by the next."""
    state, due_at = new.entry(now)
    return JobRecord(
        key=key,
        state=state,
        queue_key=new.queue_key,
        namespace_key=new.namespace_key,
        fence=0,
        nonce=0,
        lease=0,
        session_key=None,
        attempt=0,
        max_attempts=new.max_attempts,
        worker_losses=0,
        outcome_fence=0,
        outcome_digest=0,
        item_error_count=0,
        revision=1,
        due_at=due_at,
        rules=new.rules,
        batch_key=new.batch_key,
        start_deadline=new.start_deadline,
        job_id=new.job_id,
        owner=new.owner,
        organization_id=new.organization_id,
        submit_digest=new.submit_digest,
        created_at=now,
        labels=new.labels,
        access=new.access,
        unique_key=new.unique_key,
    )


def unique_until(new: NewJob, now: int) -> int | None:
    """Until when the new job keeps its unique key even when it is terminal."""
    return None if new.unique_window_us is None else now + new.unique_window_us


_COLUMNS = JobRecord.__slots__


def _one_write(before: Change, change: Change) -> bool:
    """Whether the events before this move may be read from the row after it: they carry the attempt of their time, and
    the failure. A job that comes back to where it was goes there anew, which one row write would not tell.
    """
    if change.events and any(name == "failure_kind" for name, _ in before.sets):
        return False
    if change.events and change.events[0][0] is EventType.UPDATED:
        # It tells what was before, too.
        return False
    if change.target is before.source and change.target is not change.source:
        return False
    return "attempt" not in {name for name, _ in change.adds} | {name for name, _ in change.sets} | {
        *change.row_columns
    }


def _failure(writes: tuple[tuple[Change, Values], ...]) -> tuple[Any, Any]:
    """Kind and code that the row writes leave in the row; None where they leave what is there."""
    kind = code = None
    for change, values in writes:
        given = {**dict(change.sets), **dict(zip(change.row_columns, values, strict=True))}
        kind, code = given.get("failure_kind", kind), given.get("failure_code", code)
    return kind, code
