"""Rows of the read statements as what the use cases are given."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from jobhall.states import AttemptOutcome, EventType, FailureKind, JobState, LogLevel
from jobhall_server.domain.job import AttemptView, ItemError, JobFailure, JobView, Lease, Payload, TaskView
from jobhall_server.domain.rules import rules_of
from jobhall_server.domain.session import SessionRecord, SessionState
from jobhall_server.hall.views import EventRow, HeldRow, JobTypeView, LogLine, SessionView
from jobhall_server.storage.codec import STATES, id_of_hex, progress_of
from jobhall_server.storage.connections import Row
from jobhall_server.storage.statements_sessions import SESSION


class JobRow(NamedTuple):
    """What every statement of `statements_read_jobs` selects first, in this order."""

    key: int
    job_id: bytes | str
    updated_at: int
    state: int
    priority_order: int
    attempt: int
    max_attempts: int
    worker_losses: int
    revision: int
    fence: int
    owner: str
    organization_id: str
    created_by: str
    created_at: int
    ready_at: int | None
    claimed_at: int | None
    started_at: int | None
    ended_at: int | None
    due_at: int | None
    rules: str | None
    labels: str | None
    path: str | None
    file_name: str | None
    file_size: int | None
    failure_kind: int
    failure_code: str
    cancel_reason: str
    cancelled_by: str
    item_error_count: int
    worker: str
    schedule_at: int | None
    start_deadline: int | None
    unique_key: str | None
    retention_us: int | None
    access: str | None
    trace: str | None
    held_back: int
    terminal: int | None
    namespace: str
    job_type: str
    job_type_namespace: str
    session_id: str | None
    batch_id: bytes | str | None
    progress: str | None


class FullRow(NamedTuple):
    """What follows a JobRow when the job is read in full."""

    parameters_text: str | None
    parameters_data: bytes | None
    parameters_content_type: str | None
    result_text: str | None
    result_data: bytes | None
    result_content_type: str | None


class KeptFailure(NamedTuple):
    """What follows a FullRow, and an attempt: a row of `failures`, empty where there is none."""

    kind: int | None
    message: str
    code: str
    retryable: int
    details: str | None
    stack: str
    attempt: int


_JOB_COLUMNS = len(JobRow._fields)
_FULL_COLUMNS = _JOB_COLUMNS + len(FullRow._fields)
_EVENT_TYPES = tuple(EventType)
_FAILURE_KINDS = tuple(FailureKind)
_WITHOUT_FAILURE = (JobState.COMPLETED, JobState.CANCELLED)
"""Whatever failed on the way there."""
_TYPE_COLUMNS = JobTypeView.__slots__
_SESSION_COLUMNS = len(SESSION)
_SESSION_STATE = SESSION.index("state")
_ID, _EVENT_TYPE, _STATE, _FAILURE_KIND, _BATCH_ID, _PATH = map(
    EventRow._fields.index, ("job_id", "event_type", "state", "failure_kind", "batch_id", "path")
)
_batch_id = lru_cache(maxsize=256)(id_of_hex)
"""Many events of a slice are of one batch."""


def job_view(row: Row) -> JobView:
    """The job in a row: BASIC, or in full when the row goes on after a JobRow."""
    job = JobRow._make(row[:_JOB_COLUMNS])
    full, kept = None, None
    if len(row) > _JOB_COLUMNS:
        full = FullRow._make(row[_JOB_COLUMNS:_FULL_COLUMNS])
        kept = KeptFailure._make(row[_FULL_COLUMNS:])
    if STATES[job.state] in _WITHOUT_FAILURE:
        job = job._replace(failure_kind=int(FailureKind.UNSPECIFIED), failure_code="")
    return JobView(
        key=job.key,
        job_id=id_of(job.job_id),
        namespace=job.namespace,
        job_type=job.job_type,
        job_type_namespace=job.job_type_namespace,
        state=STATES[job.state],
        priority=-job.priority_order,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        worker_losses=job.worker_losses,
        revision=job.revision,
        owner=job.owner,
        organization_id=job.organization_id,
        created_by=job.created_by,
        created_at=job.created_at,
        ready_at=job.ready_at,
        claimed_at=job.claimed_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        updated_at=job.updated_at,
        due_at=job.due_at,
        rules=rules_of(job.rules),
        labels=orjson.loads(job.labels) if job.labels else {},
        path=job.path or "",
        file_name=job.file_name,
        file_size=job.file_size,
        failure_kind=_FAILURE_KINDS[job.failure_kind],
        failure_code=job.failure_code,
        cancel_reason=job.cancel_reason,
        cancelled_by=job.cancelled_by,
        item_error_count=job.item_error_count,
        progress=progress_of(job.progress) if job.progress else None,
        current_task=_task(job),
        fence=job.fence,
        schedule_at=job.schedule_at,
        start_deadline=job.start_deadline,
        batch_id=id_of(job.batch_id) if job.batch_id else "",
        unique_key=job.unique_key or "",
        retention_us=job.retention_us,
        access=job.access,
        trace=job.trace,
        held_back=bool(job.held_back),
        terminal_at=job.terminal,
        parameters=full and payload(full.parameters_text, full.parameters_data, full.parameters_content_type),
        result=full and payload(full.result_text, full.result_data, full.result_content_type),
        failure=kept and _failure(job.failure_kind, job.failure_code, job.attempt, kept),
    )


def id_of(stored: bytes | str) -> str:
    """The id of its bytes, or of their digits where the row came in JSON."""
    return id_of_hex(stored if isinstance(stored, str) else stored.hex())


def payload(text: str | None, data: bytes | None, content_type: str | None) -> Payload | None:
    """Content of either kind; None where there is none."""
    content: Any = text if data is None else data
    return None if content is None else Payload(content, content_type or "")


def attempt(row: Row) -> AttemptView:
    """An attempt, of `statements_read_history.attempts`."""
    number, fence, worker, _, claimed_at, started_at, ended_at, errors, outcome, kind, code, session_id, *rest = row
    progress, *kept = rest
    return AttemptView(
        attempt=number,
        fence=fence,
        worker=worker,
        session_id=session_id or "",
        claimed_at=claimed_at,
        started_at=started_at,
        ended_at=ended_at,
        outcome=AttemptOutcome(outcome),
        failure=_failure(kind, code, number, KeptFailure._make(kept)),
        progress=progress_of(progress) if progress else None,
        item_error_count=errors,
    )


def item_error(row: Row) -> tuple[int, ItemError]:
    """An item error with its number."""
    number, index, key, code, message = row
    return number, ItemError(index, key, code, message)


def log_line(row: Row) -> tuple[int, LogLine]:
    """A log line with its number."""
    number, at, level, text, raw, fields = row
    return number, LogLine(at, LogLevel(level), text, raw, fields)


def event(row: list[Any]) -> EventRow:
    """An entry of the event log, of `statements_read_log.log_slice`; of the list that is given."""
    # Each event's own cost: the row becomes what it is to be where it stands.
    row[_ID] = id_of_hex(row[_ID])
    row[_EVENT_TYPE] = _EVENT_TYPES[row[_EVENT_TYPE]]
    row[_STATE] = STATES[row[_STATE]]
    row[_FAILURE_KIND] = _FAILURE_KINDS[row[_FAILURE_KIND]]
    row[_BATCH_ID] = _batch_id(row[_BATCH_ID]) if row[_BATCH_ID] else ""
    row[_PATH] = row[_PATH] or ""
    return EventRow._make(row)


def job_type(row: Row) -> JobTypeView:
    """A registered type."""
    told = dict(zip(_TYPE_COLUMNS, row, strict=True))
    return JobTypeView(**told | {name: bool(told[name]) for name in ("paused", "auto", "retired")})


def held(row: Row) -> HeldRow:
    """A task that a session holds, of `statements_read_sessions.held`."""
    key, fence, nonce, session_key, _, epoch, state, attempt, due_at, cancel_reason, job_id, *described = row
    queue_key, owner, organization_id, labels, type_version, batch_id = described
    state = STATES[state]
    return HeldRow(
        Lease(key, fence, nonce),
        session_key,
        epoch,
        state,
        _attempt(attempt, state),
        due_at,
        cancel_reason,
        id_of(job_id),
        queue_key,
        owner,
        organization_id,
        labels,
        type_version,
        id_of(batch_id) if batch_id else "",
    )


def session(row: Row) -> SessionView:
    """A session, of `statements_read_sessions.sessions`."""
    columns = dict(zip(SESSION, row, strict=False)) | {"state": SessionState(row[_SESSION_STATE])}
    name, namespaces, job_types, labels, runtime, *rest = row[_SESSION_COLUMNS:]
    return SessionView(
        SessionRecord(**columns),
        name,
        tuple(orjson.loads(namespaces)),
        tuple(orjson.loads(job_types)),
        orjson.loads(labels),
        orjson.loads(runtime),
        *rest,
    )


def _attempt(attempt: int, state: JobState) -> int:
    """The one that it is; until the worker has started, the one that its start will be."""
    return attempt + (state is JobState.CLAIMED)


def _task(job: JobRow) -> TaskView | None:
    if job.session_id is None or job.claimed_at is None:
        return None
    state = STATES[job.state]
    return TaskView(
        attempt=_attempt(job.attempt, state),
        fence=job.fence,
        worker=job.worker,
        session_id=job.session_id,
        claimed_at=job.claimed_at,
        started_at=None if state is JobState.CLAIMED else job.started_at,
    )


def _failure(kind: int, code: str, attempt: int, kept: KeptFailure) -> JobFailure | None:
    """What is kept of a failure, where it is of this one, and not of an earlier end of the same lease."""
    if not kind:
        return None
    if (kept.kind, kept.code) != (kind, code):
        return JobFailure(FailureKind(kind), "", code, attempt=attempt)
    return JobFailure(
        kind=FailureKind(kind),
        message=kept.message,
        code=kept.code,
        retryable=bool(kept.retryable),
        details=kept.details,
        stack=kept.stack,
        attempt=kept.attempt,
    )
