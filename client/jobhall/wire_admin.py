"""What AdminService is told and tells on the wire: whole jobs on their way in, API keys, the audit."""

from __future__ import annotations

from jobhall.model import Job, JobError, LogEntry, Progress
from jobhall.model_admin import ApiKey, AuditEntry, ImportedJob
from jobhall.model_insight import JobAttempt
from jobhall.v1 import admin_service_pb2, job_pb2
from jobhall.wire import item_error_to_wire, log_entry_to_wire, progress_to_wire
from jobhall.wire_submissions import (
    access_control_to_wire,
    file_info_to_wire,
    retry_policy_to_wire,
    trace_context_to_wire,
)
from jobhall.wire_values import (
    int32,
    int64,
    payload_to_wire,
    span_to_wire,
    struct_to_wire,
    time_from_wire,
    time_to_wire,
    when_to_wire,
)

_NO_PROGRESS = Progress()


def imported_job_to_wire(imported: ImportedJob, *, field: str = "jobs[0]") -> admin_service_pb2.ImportedJob:
    """The job with all that belongs to it; `field` is its place in the request, for errors."""
    attempts = enumerate(imported.attempts)
    return admin_service_pb2.ImportedJob(
        job=job_to_wire(imported.job, field=f"{field}.job"),
        attempts=[_attempt_to_wire(attempt, f"{field}.attempts[{place}]") for place, attempt in attempts],
        log_entries=[_log_entry_to_wire(entry) for entry in imported.log_entries],
        item_errors=[item_error_to_wire(error) for error in imported.item_errors],
    )


def imported_job_bytes(imported: ImportedJob) -> int:
    """How much of a request it takes."""
    return imported_job_to_wire(imported).ByteSize()


def job_to_wire(job: Job, *, field: str) -> job_pb2.Job:
    """A whole job; what the server reckons by itself, such as its timing, is left out."""
    return job_pb2.Job(
        id=job.id,
        namespace=job.namespace,
        job_type=job.job_type,
        job_type_namespace=job.job_type_namespace,
        state=job_pb2.JobState.ValueType(int(job.state)),
        parameters=_payload(job.parameters, job.parameters_content_type, f"{field}.parameters"),
        result=_payload(job.result, job.result_content_type, f"{field}.result"),
        checkpoint=_payload(job.checkpoint, job.checkpoint_content_type, f"{field}.checkpoint"),
        error=_error_to_wire(job.error, f"{field}.error"),
        cancel_reason=job.cancel_reason,
        cancelled_by=job.cancelled_by,
        progress=_progress_to_wire(job.progress),
        labels=job.labels,
        path=job.path,
        file_info=file_info_to_wire(job.file_info, field=f"{field}.file_info"),
        priority=int32(job.priority, field=f"{field}.priority"),
        attempt=int32(job.attempt, field=f"{field}.attempt"),
        max_attempts=int32(job.max_attempts, field=f"{field}.max_attempts"),
        worker_losses=int32(job.worker_losses, field=f"{field}.worker_losses"),
        fence=int64(job.fence, field=f"{field}.fence"),
        revision=int64(job.revision, field=f"{field}.revision"),
        item_error_count=int64(job.item_error_count, field=f"{field}.item_error_count"),
        retry_policy=retry_policy_to_wire(job.retry_policy, field=f"{field}.retry_policy"),
        run_timeout=span_to_wire(job.run_timeout, field=f"{field}.run_timeout"),
        progress_timeout=span_to_wire(job.progress_timeout, field=f"{field}.progress_timeout"),
        retention=span_to_wire(job.retention, field=f"{field}.retention"),
        batch_id=job.batch_id,
        unique_key=job.unique_key,
        owner=job.owner,
        organization_id=job.organization_id,
        created_by=job.created_by,
        access_control=access_control_to_wire(job.access_control),
        trace_context=trace_context_to_wire(job.trace_context),
        current_task=_held(job, field),
        schedule_time=when_to_wire(job.scheduled_at, field=f"{field}.schedule_time"),
        start_deadline=when_to_wire(job.start_deadline, field=f"{field}.start_deadline"),
        create_time=when_to_wire(job.created_at, field=f"{field}.create_time"),
        claim_time=when_to_wire(job.claimed_at, field=f"{field}.claim_time"),
        start_time=when_to_wire(job.started_at, field=f"{field}.start_time"),
        end_time=when_to_wire(job.ended_at, field=f"{field}.end_time"),
    )


def api_key_from_wire(message: admin_service_pb2.ApiKey) -> ApiKey:
    """A key as the server tells of it."""
    return ApiKey(
        id=message.id,
        name=message.name,
        subject=message.subject,
        organization_id=message.organization_id,
        roles=tuple(message.roles),
        namespaces=tuple(message.namespaces),
        job_types=tuple(message.job_types),
        prefix=message.prefix,
        created_at=time_from_wire(message, "create_time"),
        expires_at=time_from_wire(message, "expire_time"),
        last_used_at=time_from_wire(message, "last_used_time"),
        revoked_at=time_from_wire(message, "revoke_time"),
    )


def audit_entry_from_wire(message: admin_service_pb2.AuditEntry) -> AuditEntry:
    """One thing that was done."""
    return AuditEntry(
        id=message.id,
        happened_at=time_from_wire(message, "time"),
        subject=message.subject,
        subject_name=message.subject_name,
        organization_id=message.organization_id,
        method=message.method,
        namespace=message.namespace,
        resource_type=message.resource_type,
        resource_id=message.resource_id,
        code=message.code,
        reason=message.reason,
        request_id=message.request_id,
        peer=message.peer,
    )


def _payload(content: object, content_type: str, field: str) -> job_pb2.Payload | None:
    if content is None and content_type:
        # Without content there is no media type: it is the null of JSON.
        return job_pb2.Payload(json="null", content_type=content_type)
    return payload_to_wire(content, field=field, content_type=content_type)


def _held(job: Job, field: str) -> job_pb2.TaskInfo | None:
    task = job.current_task
    if task is None:
        return None
    return job_pb2.TaskInfo(
        attempt=int32(task.attempt, field=f"{field}.current_task.attempt"),
        fence=int64(task.fence, field=f"{field}.current_task.fence"),
        worker_name=task.worker_name,
    )


def _attempt_to_wire(attempt: JobAttempt, field: str) -> job_pb2.Attempt:
    return job_pb2.Attempt(
        attempt=int32(attempt.attempt, field=f"{field}.attempt"),
        fence=int64(attempt.fence, field=f"{field}.fence"),
        worker_name=attempt.worker_name,
        session_id=attempt.session_id,
        claim_time=when_to_wire(attempt.claimed_at, field=f"{field}.claim_time"),
        start_time=when_to_wire(attempt.started_at, field=f"{field}.start_time"),
        end_time=when_to_wire(attempt.ended_at, field=f"{field}.end_time"),
        outcome=job_pb2.AttemptOutcome.ValueType(int(attempt.outcome)),
        error=_error_to_wire(attempt.error, f"{field}.error"),
        progress=_progress_to_wire(attempt.progress),
        item_error_count=int64(attempt.item_error_count, field=f"{field}.item_error_count"),
    )


def _log_entry_to_wire(entry: LogEntry) -> job_pb2.LogEntry:
    message = log_entry_to_wire(entry)
    message.number, message.attempt = entry.number, entry.attempt
    return message


def _error_to_wire(error: JobError | None, field: str) -> job_pb2.JobError | None:
    if error is None:
        return None
    return job_pb2.JobError(
        kind=job_pb2.FailureKind.ValueType(int(error.kind)),
        code=error.code,
        message=error.message,
        details=None if error.details is None else struct_to_wire(error.details, field=f"{field}.details"),
        retryable=error.retryable,
        attempt=int32(error.attempt, field=f"{field}.attempt"),
        stack=error.stack,
    )


def _progress_to_wire(progress: Progress) -> job_pb2.Progress | None:
    if progress == _NO_PROGRESS:
        return None
    message = progress_to_wire(progress)
    if progress.updated_at is not None:
        message.update_time.CopyFrom(time_to_wire(progress.updated_at))
    return message
