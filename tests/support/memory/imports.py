"""A job from elsewhere: its row, and what its attempts left behind."""

from __future__ import annotations

from collections.abc import Sequence

from jobhall.states import JobState
from jobhall_server.domain.job import AttemptView, JobView
from jobhall_server.hall.store import Home
from jobhall_server.hall.submits import labels_text
from tests.support.memory.rows import BLANK, COLUMNS_SHOWN
from tests.support.memory.tables import ClosedAttempt, Journal, Row, Tables


def imported_row(key: int, job: JobView, attempts: Sequence[AttemptView], home: Home, now: int) -> Row:
    """A job as it comes from elsewhere."""
    ready = now if job.state is JobState.PENDING else None
    given = job._asdict()
    return {
        **BLANK,
        **{name: given[name] for name in COLUMNS_SHOWN},
        **{name: getattr(home, name) for name in Home._fields},
        "key": key,
        "state": job.state,
        "failure_kind": job.failure_kind,
        "failure_code": job.failure_code,
        "worker": max(((attempt.fence, attempt.worker) for attempt in attempts), default=(0, ""))[1],
        "submit_digest": 0,
        "stats_key": 0,
        "held_back": int(home.held_back),
        "ready": None if home.held_back else ready,
        "ready_at": ready,
        "terminal": job.terminal_at,
        "lane": int(job.worker_losses > 0),
        "rules": job.rules.text(),
        "labels": labels_text(job.labels),
        "path": job.path or None,
        "unique_key": job.unique_key or None,
        "priority_order": -job.priority,
        "parameters_bytes": job.parameters and job.parameters.size_bytes,
        "checkpoint_bytes": job.checkpoint and job.checkpoint.size_bytes,
    }


def import_attempts(tables: Tables, journal: Journal, key: int, attempts: Sequence[AttemptView]) -> None:
    """Write the attempts, and how each failed and what it told last."""
    for attempt in attempts:
        lease = (key, attempt.fence)
        journal.put(tables.attempts, lease, _closed(attempt))
        if attempt.failure is not None:
            journal.put(tables.failures, lease, attempt.failure)
        if attempt.progress is not None:
            journal.put(tables.progress, lease, attempt.progress)


def _closed(attempt: AttemptView) -> ClosedAttempt:
    failure = attempt.failure
    return ClosedAttempt(
        attempt=attempt.attempt,
        worker=attempt.worker,
        session_key=0,
        claimed_at=attempt.claimed_at,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        outcome=attempt.outcome,
        failure_kind=0 if failure is None else failure.kind,
        failure_code="" if failure is None else failure.code,
        item_error_count=attempt.item_error_count,
    )
