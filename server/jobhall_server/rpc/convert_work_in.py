"""What a worker sends, pb2 → frames. Reports are the hot path: one dict lookup per item, no chain of questions."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from jobhall.errors import ApiError, FieldInvalidError, ProtocolViolationError
from jobhall.limits import (
    CAPACITY_MAX,
    CODE_BYTES_MAX,
    ERROR_DETAILS_BYTES_MAX,
    ERROR_STACK_BYTES_MAX,
    INTEGER_MAX,
    NAMESPACE_DEFAULT,
    REASON_BYTES_MAX,
    TEXT_BYTES_MAX,
    WORKER_JOB_TYPES_MAX,
)
from jobhall.states import FailureKind
from jobhall.v1 import task_pb2, worker_pb2, worker_service_pb2
from jobhall_server.domain.job import JobFailure
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.worker_moves import NO_RESULT_DIGEST
from jobhall_server.hall.frames import (
    Body,
    Capacity,
    CheckpointBody,
    CompletedBody,
    FailedBody,
    Heartbeat,
    Hello,
    ItemErrorsBody,
    ListedTask,
    LogsBody,
    Rejection,
    ReleasedBody,
    Report,
    ReportKind,
    WorkerDrain,
)
from jobhall_server.rpc.convert import digest_of, payload_digest, payload_in, progress_in
from jobhall_server.rpc.convert_details_in import bounded, cut, details_in, item_error_in, log_line_in
from jobhall_server.rpc.convert_rules import span_in

_NOTHING_TO_SAY = CompletedBody(None, NO_RESULT_DIGEST)
"""How most tasks end: one value for all of them."""


def hello_in(message: worker_service_pb2.Hello) -> Hello:
    """The Hello, with `default` and a fresh secret where the worker left the choice to the server."""
    return Hello(
        worker_name=message.worker_name,
        namespaces=tuple(message.namespaces) or (NAMESPACE_DEFAULT,),
        job_types=tuple(message.job_types),
        labels=dict(message.labels),
        tasks_max=message.capacity.tasks_max,
        type_limits=_type_limits(message.capacity),
        runtime=runtime_in(message.runtime),
        protocol_version=message.protocol_version,
        session_id=message.session_id,
        resume_token=message.resume_token or secrets.token_urlsafe(24),
        connection=message.connection or 1,
        held=tuple(ListedTask(held.lease_token, held.started) for held in message.held_tasks),
    )


def capacity_in(message: task_pb2.Capacity) -> Capacity:
    """The worker's credit; ProtocolViolationError outside what Welcome allows."""
    if not 0 <= message.tasks_max <= CAPACITY_MAX:
        raise ProtocolViolationError(f"capacity.tasks_max is {message.tasks_max}; it must lie in 0..{CAPACITY_MAX}")
    return Capacity(message.tasks_max, _type_limits(message))


def heartbeat_in(message: worker_service_pb2.Heartbeat) -> Heartbeat:
    """The beat."""
    tokens, cancelling = tuple(message.lease_tokens), tuple(message.cancelling_lease_tokens)
    return Heartbeat(message.number, tokens, message.assignments_seen, cancelling)


def drain_in(_: worker_service_pb2.WorkerDrain) -> WorkerDrain:
    """The worker wants to leave; how long it gives itself is its own affair."""
    return WorkerDrain(reason="the worker leaves")


def updates_in(updates: Iterable[task_pb2.TaskUpdate], malformed: list[Rejection]) -> list[Report]:
    """The reports. A malformed item goes to `malformed`; the hall still counts it, as no more than a sign of life."""
    reports: list[Report] = []
    add = reports.append
    for update in updates:
        name = update.WhichOneof("update")
        if name == "accepted":
            add(Report(update.seq, update.lease_token, ReportKind.ACCEPTED, None))
            continue
        reader = _READERS.get(name) if name is not None else None
        if reader is None:
            add(_refused(update.seq, update.lease_token, FieldInvalidError("update", "is required"), malformed))
            continue
        kind, body_of = reader
        try:
            body = body_of(update)
        except ApiError as error:
            add(_refused(update.seq, update.lease_token, error, malformed))
            continue
        add(Report(update.seq, update.lease_token, kind, body))
    return reports


def logs_in(logs: Iterable[task_pb2.TaskLog], malformed: list[Rejection]) -> list[Report]:
    """The log lines of tasks; lines without a time are stamped with this machine's."""
    now_us = time.time_ns() // 1000
    reports = []
    for log in logs:
        try:
            lines = [log_line_in(entry, "log_entries", now_us) for entry in log.log_entries]
            body = LogsBody(_first_number(log.first_number, len(lines)), lines)
        except ApiError as error:
            reports.append(_refused(log.seq, log.lease_token, error, malformed))
            continue
        reports.append(Report(log.seq, log.lease_token, ReportKind.LOGS, body))
    return reports


def _refused(seq: int, token: bytes, error: ApiError, malformed: list[Rejection]) -> Report:
    malformed.append(Rejection(seq, token, error))
    return Report(seq, token, ReportKind.ACCEPTED, None)


# --- one update of each kind ---


def _progress(update: task_pb2.TaskUpdate) -> Progress:
    return progress_in(update.progress)


def _item_errors(update: task_pb2.TaskUpdate) -> ItemErrorsBody:
    body = update.item_errors
    errors = [item_error_in(error, "item_errors") for error in body.item_errors]
    return ItemErrorsBody(_first_number(body.first_number, len(errors)), errors)


def _checkpoint(update: task_pb2.TaskUpdate) -> CheckpointBody:
    body = update.checkpoint
    state = payload_in(body.state, "checkpoint.state")
    if state is None:
        raise FieldInvalidError("checkpoint.state", "is required")
    progress = progress_in(body.progress) if body.HasField("progress") else None
    if progress is not None and (fault := progress.fault()) is not None:
        raise FieldInvalidError("checkpoint.progress", fault)
    return CheckpointBody(state, progress)


def _completed(update: task_pb2.TaskUpdate) -> CompletedBody:
    body = update.completed
    result = payload_in(body.result, "completed.result") if body.HasField("result") else None
    progress = progress_in(body.progress) if body.HasField("progress") else None
    if result is None:
        return _NOTHING_TO_SAY if progress is None else CompletedBody(None, NO_RESULT_DIGEST, progress)
    return CompletedBody(result, payload_digest(result), progress)


def _failed(update: task_pb2.TaskUpdate) -> FailedBody:
    body = update.failed
    retryable = body.retryable if body.HasField("retryable") else None
    failure = JobFailure(
        kind=FailureKind.APPLICATION,
        message=cut(body.message, TEXT_BYTES_MAX),
        code=bounded(body.code, CODE_BYTES_MAX, "failed.code"),
        retryable=retryable is not False,
        details=details_in(body.details, ERROR_DETAILS_BYTES_MAX, "failed.details")
        if body.HasField("details")
        else None,
        stack=cut(body.stack, ERROR_STACK_BYTES_MAX),
    )
    digest = digest_of(b"failed", body.code.encode(), body.message.encode(), bytes([failure.retryable]))
    return FailedBody(
        failure,
        digest,
        progress_in(body.progress) if body.HasField("progress") else None,
        retryable,
        span_in(body.retry_delay, "failed.retry_delay") if body.HasField("retry_delay") else None,
    )


def _released(update: task_pb2.TaskUpdate) -> ReleasedBody:
    body = update.released
    return ReleasedBody(
        cut(body.message, REASON_BYTES_MAX),
        digest_of(b"released", body.SerializeToString()),
        delay_us=span_in(body.delay, "released.delay") if body.HasField("delay") else 0,
        not_mine=body.reason == task_pb2.RELEASE_REASON_NOT_MINE,
    )


def _cancelled(update: task_pb2.TaskUpdate) -> ReleasedBody:
    body = update.cancelled
    progress = progress_in(body.progress) if body.HasField("progress") else None
    return ReleasedBody(cut(body.message, REASON_BYTES_MAX), digest_of(b"cancelled", body.message.encode()), progress)


_READERS: Mapping[str, tuple[ReportKind, Callable[[task_pb2.TaskUpdate], Body]]] = MappingProxyType(
    {
        "progress": (ReportKind.PROGRESS, _progress),
        "item_errors": (ReportKind.ITEM_ERRORS, _item_errors),
        "checkpoint": (ReportKind.CHECKPOINT, _checkpoint),
        "completed": (ReportKind.COMPLETED, _completed),
        "failed": (ReportKind.FAILED, _failed),
        "released": (ReportKind.RELEASED, _released),
        "cancelled": (ReportKind.CANCELLED, _cancelled),
    }
)


# --- parts ---


def _first_number(number: int, count: int) -> int:
    if number < 1 or number + count - 1 > INTEGER_MAX:
        raise FieldInvalidError("first_number", f"is {number}; items of a task are numbered from 1 to {INTEGER_MAX}")
    return number


def _type_limits(message: task_pb2.Capacity) -> dict[str, int]:
    if len(message.types) > WORKER_JOB_TYPES_MAX:
        raise ProtocolViolationError(f"capacity bounds {len(message.types)} types; the limit is {WORKER_JOB_TYPES_MAX}")
    return {bound.job_type: max(0, bound.tasks_max) for bound in message.types}


def runtime_in(message: worker_pb2.RuntimeInfo) -> dict[str, str]:
    """What the worker runs on, by field."""
    return {descriptor.name: str(value)[:255] for descriptor, value in message.ListFields()}
