"""Jobs, item errors and log lines, domain → pb2."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from google.protobuf.duration_pb2 import Duration

from jobhall.errors import FieldInvalidError
from jobhall.states import JobState
from jobhall.v1 import job_pb2
from jobhall_server.domain.job import ItemError, JobFailure, JobView, TaskView
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.timing import timing
from jobhall_server.hall.views import LogLine
from jobhall_server.rpc.convert import (
    duration,
    payload_out,
    progress_out,
    struct,
    timestamp,
)
from jobhall_server.rpc.convert_access import access_out
from jobhall_server.rpc.convert_rules import rules_out

_ESTIMATE_US_MAX = 1000 * 365 * 86_400 * 1_000_000
"""A thousand years: what lies beyond is no estimate, and soon no Timestamp."""


def view_is_basic(view: job_pb2.JobView.ValueType, *, basic_default: bool, field: str = "view") -> bool:
    """Whether the answer is to be BASIC; FieldInvalidError for a view that does not exist."""
    if view == job_pb2.JOB_VIEW_UNSPECIFIED:
        return basic_default
    if view not in (job_pb2.JOB_VIEW_BASIC, job_pb2.JOB_VIEW_FULL):
        raise FieldInvalidError(field, f"{view} is no view")
    return view == job_pb2.JOB_VIEW_BASIC


def basic_job_out(view: JobView) -> job_pb2.Job:
    """The job in its BASIC view."""
    message = job_pb2.Job(
        id=view.job_id,
        namespace=view.namespace,
        job_type=view.job_type,
        job_type_namespace=view.job_type_namespace,
        state=int(view.state),  # type: ignore[arg-type]  # equal numbers, proven by a test
        attempt=view.attempt,
        max_attempts=view.max_attempts,
        revision=view.revision,
        etag=str(view.revision),
        create_time=timestamp(view.created_at),
        update_time=timestamp(view.updated_at),
    )
    if view.claimed_at is not None:
        message.claim_time.CopyFrom(timestamp(view.claimed_at))
    if view.started_at is not None:
        message.start_time.CopyFrom(timestamp(view.started_at))
    if view.ended_at is not None:
        message.end_time.CopyFrom(timestamp(view.ended_at))
    if view.progress is not None:
        message.progress.CopyFrom(progress_out(view.progress, basic=True))
    if _tells_failure(view):
        message.error.kind = int(view.failure_kind)  # type: ignore[assignment]
        message.error.code = view.failure_code
    return message


def job_out(view: JobView, *, now_us: int, as_object: bool = False) -> job_pb2.Job:
    """The job in its FULL view; item errors too, where the view has them."""
    message = basic_job_out(view)
    message.fence = view.fence
    message.labels.update(view.labels)
    message.path = view.path
    if view.file_name is not None or view.file_size is not None:
        message.file_info.CopyFrom(file_out(view.file_name, view.file_size))
    message.priority = view.priority
    message.worker_losses = view.worker_losses
    message.owner = view.owner
    message.organization_id = view.organization_id
    message.created_by = view.created_by
    message.cancel_reason = view.cancel_reason
    message.cancelled_by = view.cancelled_by
    message.item_error_count = view.item_error_count
    rules_out(view.rules, message)
    _lifetime_out(view, message)
    message.batch_id = view.batch_id
    message.unique_key = view.unique_key
    message.access_control.CopyFrom(access_out(view.access))
    if view.trace is not None:
        message.trace_context.CopyFrom(trace_out(view.trace))
    if view.parameters is not None:
        message.parameters.CopyFrom(payload_out(view.parameters, as_object=as_object))
    if view.result is not None:
        message.result.CopyFrom(payload_out(view.result, as_object=as_object))
    if view.checkpoint is not None:
        message.checkpoint.CopyFrom(payload_out(view.checkpoint, as_object=as_object))
    if (failure := _failure(view)) is not None:
        message.error.CopyFrom(error_out(failure))
    if view.progress is not None:
        message.progress.CopyFrom(progress_out(view.progress))
    if view.current_task is not None:
        message.current_task.CopyFrom(_task_out(view.current_task, view.progress))
    message.timing.CopyFrom(_timing_out(view, now_us))
    message.item_errors.extend(item_errors_out(view.item_errors))
    return message


def file_out(name: str | None, size_bytes: int | None) -> job_pb2.FileInfo:
    """The file that a job works on; no size is not known, which is not 0."""
    return job_pb2.FileInfo(name=name or "", size_bytes=size_bytes)


def trace_out(text: str) -> job_pb2.TraceContext:
    """The headers that a submit brought."""
    traceparent, tracestate = json.loads(text)
    return job_pb2.TraceContext(traceparent=traceparent, tracestate=tracestate)


def error_out(failure: JobFailure) -> job_pb2.JobError:
    """Why a job, or an attempt, failed."""
    return job_pb2.JobError(
        kind=int(failure.kind),  # type: ignore[arg-type]
        code=failure.code,
        message=failure.message,
        details=struct(failure.details) if failure.details else None,
        retryable=failure.retryable,
        attempt=failure.attempt,
        stack=failure.stack,
    )


def item_errors_out(errors: Iterable[ItemError]) -> list[job_pb2.ItemError]:
    """Item errors in their order."""
    return [job_pb2.ItemError(index=e.index or 0, key=e.key, code=e.code, message=e.message) for e in errors]


def log_line_out(line: LogLine, *, number: int = 0, attempt: int = 0) -> job_pb2.LogEntry:
    """One log line with its number in the task."""
    return job_pb2.LogEntry(
        time=timestamp(line.at),
        level=int(line.level),  # type: ignore[arg-type]
        message=line.text,
        raw=line.raw or b"",
        fields=struct(line.fields) if line.fields else None,
        number=number,
        attempt=attempt,
    )


def _lifetime_out(view: JobView, message: job_pb2.Job) -> None:
    """When it may begin at the earliest and latest, and when it is to be removed."""
    tried_at = view.due_at if view.state is JobState.SCHEDULED else view.schedule_at
    if tried_at is not None:
        message.schedule_time.CopyFrom(timestamp(tried_at))
    if view.start_deadline is not None:
        message.start_deadline.CopyFrom(timestamp(view.start_deadline))
    if view.purge_at is not None:
        message.purge_time.CopyFrom(timestamp(view.purge_at))
    if view.retention_us is not None:
        message.retention.CopyFrom(_span(view.retention_us))


def _tells_failure(view: JobView) -> bool:
    """Not of what came well in the end, or was cancelled."""
    return bool(view.failure_kind) and view.state not in (JobState.COMPLETED, JobState.CANCELLED)


def _failure(view: JobView) -> JobFailure | None:
    """Why the job, or its last attempt, failed."""
    if not _tells_failure(view):
        return None
    if view.failure is not None:
        return replace(view.failure, attempt=view.failure.attempt or view.attempt)
    return JobFailure(
        kind=view.failure_kind,
        message=view.failure_code.replace("_", " ").capitalize(),
        code=view.failure_code,
        attempt=view.attempt,
    )


def _task_out(task: TaskView, progress: Progress | None) -> job_pb2.TaskInfo:
    # Its start and its progress are the reports that have a time of their own.
    reported_at = task.started_at
    if reported_at is not None and progress is not None:
        reported_at = max(reported_at, progress.reported_at or 0)
    return job_pb2.TaskInfo(
        attempt=task.attempt,
        fence=task.fence,
        worker_name=task.worker,
        session_id=task.session_id,
        claim_time=timestamp(task.claimed_at),
        start_time=timestamp(task.started_at) if task.started_at is not None else None,
        report_time=timestamp(reported_at) if reported_at is not None else None,
    )


def _timing_out(view: JobView, now_us: int) -> job_pb2.Timing:
    known = timing(view, now_us)
    message = job_pb2.Timing(
        queue_duration=_span(known.queue_us),
        items_per_second=known.items_per_second,
        recent_items_per_second=known.recent_per_second,
    )
    if known.run_us is not None:
        message.run_duration.CopyFrom(_span(known.run_us))
    if known.remaining_us is not None and known.remaining_us <= _ESTIMATE_US_MAX:
        message.estimated_remaining.CopyFrom(_span(known.remaining_us))
        message.estimated_completion_time.CopyFrom(timestamp(now_us + known.remaining_us))
    return message


def _span(us: int) -> Duration:
    return duration(max(0, us) / 1e6)
