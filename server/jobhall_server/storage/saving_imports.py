"""Writing jobs from elsewhere, each row as it is, and the attempts that they had there."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from jobhall.states import EventType, JobState
from jobhall_server.domain.job import AttemptView, JobView
from jobhall_server.hall.store import Home
from jobhall_server.hall.submits import labels_text
from jobhall_server.storage import statements_jobs, statements_write
from jobhall_server.storage.codec import id_bytes
from jobhall_server.storage.columns import ASIDE
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.staged import LeaseKey, Staged


def import_jobs(execution: Execution, staged: Staged, number: int) -> None:
    """Insert them, and log their events from `number` on."""
    tables, now = execution.tables, staged.now
    # By fence, so that of each job the newest attempt tells its worker.
    attempts = staged.imported_attempts
    workers = {key: attempts[key, fence].worker for key, fence in sorted(attempts)}
    rows = [
        _row(key, job, home, staged) | {"worker": workers.get(key, "")} for key, (job, home) in staged.imported.items()
    ]
    _insert(execution, tables.jobs, rows)
    if attempts:
        _insert(execution, tables.attempts, [_attempt_row(lease, attempt) for lease, attempt in attempts.items()])
    keys = list(staged.imported)
    staged.logged.append(keys)
    event = {"event_type": EventType.IMPORTED, "later": 0, "failed": 1}
    execution.write_keys(statements_jobs.log_as_they_are(tables), keys, base=number, now=now, **event)


def _insert(execution: Execution, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    # All columns of all rows, whatever they hold: one text for any import leaves those of the hot path prepared.
    statement = statements_write.insert(table, (), tuple(rows[0]))
    execution.write_rows(statement, [tuple(row.values()) for row in rows])


_AS_IT_IS_NAMES = (
    "owner organization_id created_by attempt max_attempts worker_losses revision fence item_error_count created_at "
    "ready_at claimed_at started_at ended_at updated_at due_at schedule_at start_deadline retention_us access trace "
    "file_name file_size failure_code cancel_reason cancelled_by"
)
_AS_IT_IS = _AS_IT_IS_NAMES.split()


def _row(key: int, job: JobView, home: Home, staged: Staged) -> dict[str, Any]:
    state = job.state
    pending = state is JobState.PENDING
    ready = pending and not home.held_back
    aside = state in ASIDE or (pending and home.held_back)
    return {
        "key": key,
        "state": int(state),
        "queue_key": home.queue_key,
        "namespace_key": home.namespace_key,
        "batch_key": home.batch_key,
        "held_back": int(home.held_back),
        "type_version": home.type_version,
        "stats_key": staged.stats_keys[key],
        "ready": staged.now if ready else None,
        "terminal": job.terminal_at,
        "aside": int(state) if aside else None,
        "lane": int(job.worker_losses > 0),
        "priority_order": -job.priority,
        "rules": job.rules.text(),
        "parameters_bytes": job.parameters and job.parameters.size_bytes,
        "checkpoint_bytes": job.checkpoint and job.checkpoint.size_bytes,
        "job_id": id_bytes(job.job_id),
        "failure_kind": int(job.failure_kind),
        "labels": labels_text(job.labels),
        "path": job.path or None,
        "unique_key": job.unique_key or None,
        **{name: getattr(job, name) for name in _AS_IT_IS},
    }


def _attempt_row(lease: LeaseKey, attempt: AttemptView) -> dict[str, Any]:
    failure = attempt.failure
    return {
        "job_key": lease[0],
        "fence": lease[1],
        "attempt": attempt.attempt,
        "worker": attempt.worker,
        "claimed_at": attempt.claimed_at,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "outcome": int(attempt.outcome),
        "failure_kind": 0 if failure is None else int(failure.kind),
        "failure_code": "" if failure is None else failure.code,
        "item_error_count": attempt.item_error_count,
    }
