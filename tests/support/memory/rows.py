"""A job's row: as it is first written, after a move, and as decisions and callers see it."""

from __future__ import annotations

import inspect
import json
from typing import Any

from jobhall.limits import NAMESPACE_GLOBAL
from jobhall.states import HELD_STATES, TERMINAL_STATES, FailureKind, JobState
from jobhall_server.domain.change import Change, Stamp, Values
from jobhall_server.domain.job import JobFailure, JobRecord, JobView, NewJob, Payload, TaskView
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.rules import rules_of
from jobhall_server.hall.views import PayloadKind
from tests.support.memory.tables import Row, Tables

_RECORD = tuple(inspect.signature(JobRecord).parameters)
_SUBMITTED = (
    "job_id namespace_key queue_key max_attempts owner organization_id created_by labels path file_name file_size "
    "submit_digest rules batch_key start_deadline schedule_at unique_key retention_us access trace type_version"
)
_STAMPED = "ready ready_at created_at updated_at"
_ZERO = "fence nonce lease attempt worker_losses releases excluded lane item_error_count outcome_fence outcome_digest"
_ABSENT = "unique_until ready held_by terminal session_key due_at claimed_at started_at ended_at checkpoint_bytes"
_EMPTY = "worker failure_code cancel_reason cancelled_by"
_SHOWN = (
    "key job_id attempt due_at max_attempts worker_losses revision owner organization_id created_by created_at "
    "ready_at claimed_at started_at ended_at updated_at file_name file_size cancel_reason cancelled_by "
    "item_error_count fence schedule_at start_deadline retention_us access trace"
)
_AS_SUBMITTED, _STAMPS, COLUMNS_SHOWN = _SUBMITTED.split(), _STAMPED.split(), _SHOWN.split()
BLANK: Row = {
    **dict.fromkeys(_ZERO.split(), 0),
    **dict.fromkeys(_ABSENT.split()),
    **dict.fromkeys(_EMPTY.split(), ""),
    "failure_kind": FailureKind.UNSPECIFIED,
    "revision": 1,
}
_WITHOUT_FAILURE = (JobState.COMPLETED, JobState.CANCELLED)


def new_row(key: int, new: NewJob, now: int) -> Row:
    """A job as its submit leaves it: ready, held back, or waiting for its time."""
    state, due_at = new.entry(now)
    ready = now if state is JobState.PENDING else None
    content = None if new.parameters is None else new.parameters.content
    size = None if content is None else len(content.encode() if isinstance(content, str) else content)
    return {
        **BLANK,
        **{name: getattr(new, name) for name in _AS_SUBMITTED},
        **dict.fromkeys(_STAMPS, now),
        "key": key,
        "state": state,
        "due_at": due_at,
        "ready_at": ready,
        "ready": None if new.held_back else ready,
        "held_back": int(new.held_back),
        "stats_key": 0,
        "unique_until": None if new.unique_window_us is None else now + new.unique_window_us,
        "priority_order": -new.priority,
        "parameters_bytes": size,
    }


def moved_row(row: Row, change: Change, values: Values, now: int) -> Row:
    """The row after the change, with all that follows from where the job comes from and goes to."""
    moved = dict(row)
    for name, value in change.sets:
        moved[name] = now if value is Stamp.NOW else row["fence"] if value is Stamp.FENCE else value
    moved.update(zip(change.row_columns, values, strict=True))
    for name, step in change.adds:
        moved[name] = row[name] + step
    source, target = change.source, change.target
    moved["state"] = target
    if change.events:
        moved["updated_at"] = now
    moved["revision"] = row["revision"] + len(change.events)
    if target is not source:
        ready = target is JobState.PENDING
        moved["ready"] = now if ready and not row["held_back"] else None
        moved["ready_at"] = now if ready else row["ready_at"]
        moved["terminal"] = now if target in TERMINAL_STATES else None
    moved["held_by"] = moved["session_key"] if target in HELD_STATES else None
    moved["lane"] = 1 if moved["worker_losses"] > 0 else 0
    return moved


def record_of(row: Row) -> JobRecord:
    """What decisions see of it."""
    return JobRecord(**{name: row[name] for name in _RECORD})


def view_of(tables: Tables, row: Row, *, full: bool) -> JobView:
    """What a caller sees of it."""
    key, state = row["key"], row["state"]
    _, type_namespace, job_type = tables.queue(row["queue_key"])
    own = type_namespace == row["namespace_key"]
    namespace = tables.namespace(row["namespace_key"])
    unhurt = state in _WITHOUT_FAILURE
    shown: dict[str, Any] = {name: row[name] for name in COLUMNS_SHOWN}
    return JobView(
        **shown,
        namespace=namespace,
        job_type=job_type,
        job_type_namespace=namespace if own else NAMESPACE_GLOBAL,
        state=state,
        priority=-row["priority_order"],
        labels=json.loads(row["labels"]) if row["labels"] else {},
        path=row["path"] or "",
        failure_kind=FailureKind.UNSPECIFIED if unhurt else FailureKind(row["failure_kind"]),
        failure_code="" if unhurt else row["failure_code"],
        progress=_progress(tables, row),
        rules=rules_of(row["rules"]),
        current_task=_task(tables, row),
        parameters=_payload(tables, PayloadKind.PARAMETERS, key) if full else None,
        result=_payload(tables, PayloadKind.RESULT, key) if full else None,
        failure=_failure(tables, row) if full else None,
        batch_id=_batch_id(tables, row),
        unique_key=row["unique_key"] or "",
        held_back=bool(row["held_back"]),
        terminal_at=row["terminal"],
    )


def _progress(tables: Tables, row: Row) -> Progress | None:
    """The present attempt's; until it says something, what the checkpoint that it starts from says."""
    progress = tables.progress.get((row["key"], row["fence"]))
    if progress is not None or row["checkpoint_bytes"] is None:
        return progress
    return tables.checkpoints[row["key"]][1]


def _batch_id(tables: Tables, row: Row) -> str:
    batch = tables.batches.get(row["batch_key"])
    return "" if batch is None else batch.batch_id


def _payload(tables: Tables, kind: PayloadKind, key: int) -> Payload | None:
    return tables.payloads[kind].get(key)


def _failure(tables: Tables, row: Row) -> JobFailure | None:
    if not row["failure_kind"] or row["state"] in _WITHOUT_FAILURE:
        return None
    kind, code = FailureKind(row["failure_kind"]), row["failure_code"]
    kept = [fence for key, fence in tables.failures if key == row["key"]]
    known = tables.failures.get((row["key"], max(kept, default=0)))
    if known is not None and (known.kind, known.code) == (kind, code):
        return known
    return JobFailure(kind, "", code, attempt=row["attempt"])


def _task(tables: Tables, row: Row) -> TaskView | None:
    session = tables.sessions.get(row["held_by"])
    if session is None:
        return None
    claimed = row["state"] is JobState.CLAIMED
    return TaskView(
        attempt=row["attempt"] + claimed,
        fence=row["fence"],
        worker=row["worker"],
        session_id=session.record.session_id,
        claimed_at=row["claimed_at"],
        started_at=None if claimed else row["started_at"],
    )
