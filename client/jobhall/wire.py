"""The SDK's door to protobuf: messages of the contract to dataclasses and back; no other module converts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from jobhall.errors import ApiError
from jobhall.model import AccessControl, CancelledJob, ItemError, Job, JobError, LogEntry, Progress, TaskInfo, Timing
from jobhall.model_events import JobAttributes, JobEvent, WatchUpdate
from jobhall.states import EventType, FailureKind, JobState, LogLevel
from jobhall.submission import SubmitAnswer, Submitted
from jobhall.v1 import event_pb2, job_pb2, job_service_pb2
from jobhall.wire_errors import error_from_status
from jobhall.wire_submissions import (
    access_control_from_wire,
    file_info_from_wire,
    retry_policy_from_wire,
    trace_context_from_wire,
)
from jobhall.wire_values import (
    duration_from_wire,
    enum_from_wire,
    payload_from_wire,
    struct_from_wire,
    struct_to_wire,
    time_from_wire,
    time_to_wire,
)

J = TypeVar("J", bound=Job)

# --- to the wire ---


def progress_to_wire(progress: Progress, *, number: int = 0) -> job_pb2.Progress:
    """What a worker reports; `number` counts the reports of one task."""
    details = progress.details
    return job_pb2.Progress(
        step=progress.step,
        stage=progress.stage,
        step_index=progress.step_index,
        step_count=progress.step_count,
        percent=progress.percent,
        message=progress.message,
        items_total=progress.items_total,
        items_processed=progress.items_processed,
        items_succeeded=progress.items_succeeded,
        items_failed=progress.items_failed,
        unit=progress.unit,
        details=None if details is None else struct_to_wire(details, field="progress.details"),
        number=number,
    )


def item_error_to_wire(error: ItemError) -> job_pb2.ItemError:
    """One item that went badly."""
    return job_pb2.ItemError(index=error.index, key=error.key, code=error.code, message=error.message)


def log_entry_to_wire(entry: LogEntry) -> job_pb2.LogEntry:
    """One log line as a worker sends it; number and attempt are the server's to set."""
    return job_pb2.LogEntry(
        time=None if entry.written_at is None else time_to_wire(entry.written_at),
        level=job_pb2.LogLevel.ValueType(int(entry.level)),
        message=entry.message,
        raw=entry.raw,
        fields=None if entry.fields is None else struct_to_wire(entry.fields, field="log.fields"),
    )


# --- from the wire ---


def job_from_wire(message: job_pb2.Job) -> Job:
    """The job, as much of it as the answer's view carried."""
    return _job(message, Job)


def submit_answer_from_wire(answer: job_service_pb2.SubmitJobResponse) -> SubmitAnswer:
    """What became of a submit that was taken."""
    return SubmitAnswer(status_code=200, job_id=answer.job.id, existing=answer.existing)


def cancelled_from_wire(answer: job_service_pb2.CancelJobResponse) -> CancelledJob:
    """The job that was cancelled, and whether its worker was told."""
    return _job(answer.job, partial(CancelledJob, worker_told=answer.worker_told))


def _job(message: job_pb2.Job, kind: Callable[..., J]) -> J:
    parameters, parameters_content_type = payload_from_wire(message.parameters)
    result, result_content_type = payload_from_wire(message.result)
    checkpoint, checkpoint_content_type = payload_from_wire(message.checkpoint)
    return kind(
        id=message.id,
        namespace=message.namespace,
        job_type=message.job_type,
        state=enum_from_wire(JobState, message.state),
        job_type_namespace=message.job_type_namespace,
        parameters=parameters,
        parameters_content_type=parameters_content_type,
        result=result,
        result_content_type=result_content_type,
        error=job_error_from_wire(message.error) if message.HasField("error") else None,
        cancel_reason=message.cancel_reason,
        cancelled_by=message.cancelled_by,
        progress=progress_from_wire(message.progress),
        timing=_timing_from_wire(message.timing),
        labels=dict(message.labels),
        path=message.path,
        file_info=file_info_from_wire(message.file_info) if message.HasField("file_info") else None,
        priority=message.priority,
        scheduled_at=time_from_wire(message, "schedule_time"),
        start_deadline=time_from_wire(message, "start_deadline"),
        purge_at=time_from_wire(message, "purge_time"),
        created_at=time_from_wire(message, "create_time"),
        claimed_at=time_from_wire(message, "claim_time"),
        started_at=time_from_wire(message, "start_time"),
        ended_at=time_from_wire(message, "end_time"),
        updated_at=time_from_wire(message, "update_time"),
        attempt=message.attempt,
        max_attempts=message.max_attempts,
        worker_losses=message.worker_losses,
        fence=message.fence,
        retry_policy=retry_policy_from_wire(message.retry_policy) if message.HasField("retry_policy") else None,
        run_timeout=duration_from_wire(message, "run_timeout"),
        progress_timeout=duration_from_wire(message, "progress_timeout"),
        batch_id=message.batch_id,
        unique_key=message.unique_key,
        retention=duration_from_wire(message, "retention"),
        current_task=_task_info_from_wire(message.current_task) if message.HasField("current_task") else None,
        owner=message.owner,
        organization_id=message.organization_id,
        created_by=message.created_by,
        access_control=access_control_from_wire(message.access_control),
        trace_context=trace_context_from_wire(message.trace_context) if message.HasField("trace_context") else None,
        revision=message.revision,
        etag=message.etag,
        item_error_count=message.item_error_count,
        item_errors=tuple(item_error_from_wire(error) for error in message.item_errors),
        checkpoint=checkpoint,
        checkpoint_content_type=checkpoint_content_type,
    )


def progress_from_wire(message: job_pb2.Progress) -> Progress:
    """The progress; of an absent message one that says nothing."""
    return Progress(
        step=message.step,
        stage=message.stage,
        step_index=message.step_index,
        step_count=message.step_count,
        percent=message.percent if message.HasField("percent") else None,
        message=message.message,
        items_total=message.items_total if message.HasField("items_total") else None,
        items_processed=message.items_processed,
        items_succeeded=message.items_succeeded,
        items_failed=message.items_failed,
        unit=message.unit,
        details=struct_from_wire(message.details) if message.HasField("details") else None,
        updated_at=time_from_wire(message, "update_time"),
    )


def job_error_from_wire(message: job_pb2.JobError) -> JobError:
    """Why a job or an attempt failed."""
    return JobError(
        kind=enum_from_wire(FailureKind, message.kind),
        code=message.code,
        message=message.message,
        details=struct_from_wire(message.details) if message.HasField("details") else None,
        retryable=message.retryable,
        attempt=message.attempt,
        stack=message.stack,
    )


def item_error_from_wire(message: job_pb2.ItemError) -> ItemError:
    """One item that went badly."""
    return ItemError(index=message.index, key=message.key, code=message.code, message=message.message)


def log_entry_from_wire(message: job_pb2.LogEntry) -> LogEntry:
    """One log line."""
    return LogEntry(
        message=message.message,
        level=enum_from_wire(LogLevel, message.level),
        written_at=time_from_wire(message, "time"),
        raw=message.raw,
        fields=struct_from_wire(message.fields) if message.HasField("fields") else None,
        number=message.number,
        attempt=message.attempt,
    )


def event_from_wire(message: event_pb2.JobEvent) -> JobEvent:
    """One event of a watch or of the log."""
    attributes = message.attributes
    labels = attributes.labels
    lines = message.log_entries
    return JobEvent(
        event_type=enum_from_wire(EventType, message.event_type),
        job_id=message.job_id,
        revision=message.revision,
        namespace=message.namespace,
        job_type=message.job_type,
        state=enum_from_wire(JobState, message.state),
        attempt=message.attempt,
        fence=message.fence,
        worker_name=message.worker_name,
        failure_kind=enum_from_wire(FailureKind, message.failure_kind),
        failure_code=message.failure_code,
        happened_at=time_from_wire(message, "time"),
        owner=attributes.owner,
        organization_id=attributes.organization_id,
        batch_id=attributes.batch_id,
        labels=dict(labels) if len(labels) else {},
        path=attributes.path,
        access_control=_access_control_of(attributes),
        previous=_attributes_from_wire(message.previous_attributes)
        if message.HasField("previous_attributes")
        else None,
        progress=progress_from_wire(message.progress) if message.HasField("progress") else None,
        log_entries=tuple([log_entry_from_wire(entry) for entry in lines]) if len(lines) else (),
    )


def watch_update_from_wire(message: job_service_pb2.WatchJobsResponse) -> WatchUpdate:
    """One message of a watch."""
    return WatchUpdate(
        cursor=message.cursor,
        events=events_from_wire(message.events),
        jobs=tuple([job_from_wire(job) for job in message.snapshot_jobs]),
        snapshot_complete=message.snapshot_complete,
        reset=message.cursor_reset,
    )


def events_from_wire(messages: Iterable[event_pb2.JobEvent]) -> tuple[JobEvent, ...]:
    """Some of them, in their order."""
    return tuple([event_from_wire(message) for message in messages])


def outcome_from_wire(message: job_service_pb2.SubmitOutcome) -> Submitted | ApiError:
    """What became of one submit on the stream."""
    if message.HasField("error"):
        return error_from_status(message.error)
    submitted = message.submitted
    return Submitted(submitted.job_id, submitted.revision, submitted.existing)


def _attributes_from_wire(message: event_pb2.JobAttributes) -> JobAttributes:
    return JobAttributes(
        owner=message.owner,
        organization_id=message.organization_id,
        batch_id=message.batch_id,
        labels=dict(message.labels),
        path=message.path,
        access_control=_access_control_of(message),
    )


def _access_control_of(message: event_pb2.JobAttributes) -> AccessControl | None:
    return access_control_from_wire(message.access_control) if message.HasField("access_control") else None


def _timing_from_wire(message: job_pb2.Timing) -> Timing:
    return Timing(
        queue_duration=duration_from_wire(message, "queue_duration"),
        run_duration=duration_from_wire(message, "run_duration"),
        items_per_second=message.items_per_second if message.HasField("items_per_second") else None,
        recent_items_per_second=(
            message.recent_items_per_second if message.HasField("recent_items_per_second") else None
        ),
        estimated_remaining=duration_from_wire(message, "estimated_remaining"),
        estimated_completion_at=time_from_wire(message, "estimated_completion_time"),
    )


def _task_info_from_wire(message: job_pb2.TaskInfo) -> TaskInfo:
    return TaskInfo(
        attempt=message.attempt,
        fence=message.fence,
        worker_name=message.worker_name,
        session_id=message.session_id,
        claimed_at=time_from_wire(message, "claim_time"),
        started_at=time_from_wire(message, "start_time"),
        reported_at=time_from_wire(message, "report_time"),
    )
