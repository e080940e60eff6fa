"""Builders of job records as the moves see them, and what a store makes of a record by a change."""

from dataclasses import dataclass

from jobhall.states import HELD_STATES, JobState
from jobhall_server.domain.change import Change, Stamp, Values
from jobhall_server.domain.job import JobRecord, Lease, LeaseState

LEASE = Lease(job_key=7, fence=3, nonce=4242)
"""The newest lease on every record made here."""
STATES = tuple(state for state in JobState if state)
TERMINAL = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)
LOST = (LeaseState.LOST_UNSTARTED, LeaseState.LOST_STARTED)
NOW = 1_800_000_000_000_000
SECOND = 1_000_000


def job_record(
    state: JobState,
    *,
    lease: LeaseState | None = None,
    attempt: int = 1,
    max_attempts: int = 4,
    worker_losses: int = 0,
    outcome_fence: int = 0,
    outcome_digest: int = 0,
    item_error_count: int = 0,
    releases: int = 0,
    rules: str | None = None,
    due_at: int | None = None,
    started_at: int | None = None,
    start_deadline: int | None = None,
) -> JobRecord:
    """A job of that state; its lease is open where a session holds it, else spent. It falls due where it must."""
    held = state in HELD_STATES
    if due_at is None and state in (JobState.SCHEDULED, JobState.CANCELLING):
        due_at = NOW + SECOND
    if started_at is None and state in (JobState.RUNNING, JobState.CANCELLING):
        started_at = NOW - SECOND
    if lease is None:
        lease = LeaseState.OPEN if held else LeaseState.SPENT
    return JobRecord(
        key=LEASE.job_key,
        state=state,
        queue_key=1,
        namespace_key=1,
        fence=LEASE.fence,
        nonce=LEASE.nonce,
        lease=lease,
        session_key=5 if held else None,
        attempt=attempt,
        max_attempts=max_attempts,
        worker_losses=worker_losses,
        outcome_fence=outcome_fence,
        outcome_digest=outcome_digest,
        item_error_count=item_error_count,
        revision=1,
        due_at=due_at,
        started_at=started_at,
        releases=releases,
        rules=rules,
        start_deadline=start_deadline,
    )


@dataclass(frozen=True, slots=True)
class Saved:
    """A record after a change, with the columns that only people read."""

    record: JobRecord
    shown: dict[str, object]


def saved(job: JobRecord, change: Change, values: Values = ()) -> Saved:
    """What a store keeps of the job when it saves the change."""
    assert job.state is change.source
    columns: dict[str, object] = {name: getattr(job, name) for name in JobRecord.__slots__}
    for name, constant in change.sets:
        columns[name] = job.fence if constant is Stamp.FENCE else NOW if constant is Stamp.NOW else constant
    for name, step in change.adds:
        before = columns[name]
        assert isinstance(before, int)
        columns[name] = before + step
    columns.update(zip(change.row_columns, values, strict=True))
    columns["state"] = change.target
    columns["revision"] = job.revision + len(change.events)
    record = JobRecord(**{name: columns[name] for name in JobRecord.__slots__})  # type: ignore[arg-type]
    return Saved(record, {name: value for name, value in columns.items() if name not in JobRecord.__slots__})
