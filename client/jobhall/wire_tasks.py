"""Claims, reports and heartbeats on the wire, as a worker without a stream says and hears them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jobhall.limits import NAMESPACE_DEFAULT
from jobhall.model import Progress
from jobhall.model_tasks import Claim, ClaimedTask, HeartbeatAnswer, Rejection, ReportAnswer, StopRequest
from jobhall.reports import (
    Accepted,
    Cancelled,
    Checkpointed,
    Completed,
    Failed,
    ItemErrors,
    Logged,
    Progressed,
    Released,
    TaskReport,
)
from jobhall.states import CancelCause
from jobhall.v1 import job_pb2, task_pb2
from jobhall.v1 import worker_service_pb2 as workers_pb2
from jobhall.wire import item_error_to_wire, log_entry_to_wire, progress_from_wire, progress_to_wire
from jobhall.wire_errors import error_from_status
from jobhall.wire_submissions import file_info_from_wire, trace_context_from_wire
from jobhall.wire_values import (
    duration_from_wire,
    enum_from_wire,
    int64,
    payload_from_wire,
    payload_to_wire,
    span_to_wire,
    struct_to_wire,
    time_from_wire,
)


def reports_to_wire(session_id: str, reports: Sequence[TaskReport]) -> workers_pb2.ReportTasksRequest:
    """The reports, each numbered by its place from 1, so that a rejection leads back to it."""
    request = workers_pb2.ReportTasksRequest(session_id=session_id)
    for number, report in enumerate(reports, 1):
        if isinstance(report, Logged):
            request.logs.append(
                task_pb2.TaskLog(
                    seq=number,
                    lease_token=report.lease_token,
                    first_number=int64(report.first_number, field="first_number"),
                    log_entries=[log_entry_to_wire(line) for line in report.lines],
                )
            )
        else:
            request.updates.append(_update(number, report))
    return request


def claim_from_wire(answer: workers_pb2.ClaimTasksResponse) -> Claim:
    """What was claimed."""
    return Claim(
        session_id=answer.session_id,
        tasks=tuple(_task_from_wire(task) for task in answer.tasks),
        expires_at=time_from_wire(answer, "expire_time"),
    )


def report_answer_from_wire(answer: workers_pb2.ReportTasksResponse, reports: Sequence[TaskReport]) -> ReportAnswer:
    """What became of these reports."""
    return ReportAnswer(
        rejections=tuple(Rejection(reports[it.seq - 1], error_from_status(it.status)) for it in answer.rejections),
        dropped_progress=tuple(answer.dropped_progress_lease_tokens),
        stops=_stops(answer.cancels),
        expires_at=time_from_wire(answer, "expire_time"),
    )


def heartbeat_from_wire(answer: workers_pb2.HeartbeatResponse) -> HeartbeatAnswer:
    """What the server says to a heartbeat."""
    return HeartbeatAnswer(
        lost=tuple(answer.lost_lease_tokens),
        stops=_stops(answer.cancels),
        expires_at=time_from_wire(answer, "expire_time"),
    )


def _task_from_wire(task: task_pb2.TaskAssignment) -> ClaimedTask:
    parameters, content_type = payload_from_wire(task.parameters)
    return ClaimedTask(
        lease_token=task.lease_token,
        job_id=task.job_id,
        job_type=task.job_type,
        namespace=task.namespace or NAMESPACE_DEFAULT,
        attempt=task.attempt,
        max_attempts=task.max_attempts,
        fence=task.fence,
        parameters=parameters,
        parameters_content_type=content_type,
        labels=dict(task.labels),
        path=task.path,
        file_info=file_info_from_wire(task.file_info) if task.HasField("file_info") else None,
        priority=task.priority,
        checkpoint=payload_from_wire(task.checkpoint)[0],
        progress=progress_from_wire(task.progress),
        run_timeout=duration_from_wire(task, "run_timeout"),
        progress_timeout=duration_from_wire(task, "progress_timeout"),
        trace_context=trace_context_from_wire(task.trace_context) if task.HasField("trace_context") else None,
        created_at=time_from_wire(task, "create_time"),
        batch_id=task.batch_id,
        owner=task.owner,
        organization_id=task.organization_id,
    )


def _stops(cancels: Iterable[task_pb2.CancelTask]) -> tuple[StopRequest, ...]:
    return tuple(
        StopRequest(
            lease_token=it.lease_token,
            cause=enum_from_wire(CancelCause, it.cause),
            reason=it.reason,
            grace=duration_from_wire(it, "grace"),
        )
        for it in cancels
    )


def _update(number: int, report: TaskReport) -> task_pb2.TaskUpdate:
    update = task_pb2.TaskUpdate(seq=number, lease_token=report.lease_token)
    match report:
        case Accepted():
            update.accepted.SetInParent()
        case Progressed():
            number = int64(report.number, field="progress.number")
            update.progress.CopyFrom(progress_to_wire(report.progress, number=number))
        case ItemErrors():
            update.item_errors.first_number = int64(report.first_number, field="first_number")
            update.item_errors.item_errors.extend(item_error_to_wire(error) for error in report.item_errors)
        case Checkpointed():
            state = payload_to_wire(report.state, field="state")
            update.checkpoint.CopyFrom(task_pb2.TaskCheckpoint(state=state, progress=_progress(report.progress)))
        case Completed():
            result = payload_to_wire(report.result, field="result")
            update.completed.CopyFrom(task_pb2.TaskCompleted(result=result, progress=_progress(report.progress)))
        case Failed():
            update.failed.CopyFrom(_failed(report))
        case Released():
            delay = span_to_wire(report.delay, field="delay")
            reason = task_pb2.ReleaseReason.ValueType(int(report.reason))
            update.released.CopyFrom(task_pb2.TaskReleased(reason=reason, delay=delay, message=report.message))
        case Cancelled():
            progress = _progress(report.progress)
            update.cancelled.CopyFrom(task_pb2.TaskCancelled(message=report.message, progress=progress))
    return update


def _failed(report: Failed) -> task_pb2.TaskFailed:
    return task_pb2.TaskFailed(
        code=report.code,
        message=report.message,
        details=None if report.details is None else struct_to_wire(report.details, field="details"),
        stack=report.stack,
        retryable=report.retryable,
        retry_delay=span_to_wire(report.retry_delay, field="retry_delay"),
        progress=_progress(report.progress),
    )


def _progress(progress: Progress | None) -> job_pb2.Progress | None:
    return None if progress is None else progress_to_wire(progress)
