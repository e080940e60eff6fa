"""The SDK's door to protobuf: messages of the contract to dataclasses and back; no other module converts."""

from __future__ import annotations

from jobhall.errors import ApiError, FieldInvalidError
from jobhall.model import (
    AccessControl,
    FileInfo,
    ItemError,
    Job,
    JobError,
    JobEvent,
    JobType,
    LogEntry,
    Progress,
    RetryPolicy,
    ServerInfo,
    Submission,
    Submitted,
    TaskInfo,
    Timing,
    Visibility,
    WatchUpdate,
)
from jobhall.states import BackoffStrategy, EventType, FailureKind, JobState, LogLevel
from jobhall.v1 import admin_service_pb2, event_pb2, job_pb2, job_service_pb2, job_type_pb2
from jobhall.wire_errors import error_from_status
from jobhall.wire_values import (
    duration_from_wire,
    enum_from_wire,
    payload_from_wire,
    payload_to_wire,
    span_to_wire,
    struct_from_wire,
    struct_to_wire,
    time_from_wire,
    time_to_wire,
)

# --- to the wire ---


def submission_to_wire(submission: Submission, *, job_id: str, field: str = "job") -> job_pb2.JobSubmission:
    """The submission under that id; `field` is its place in the request, for errors."""
    message = job_pb2.JobSubmission(
        namespace=submission.namespace,
        job_type=submission.job_type,
        parameters=payload_to_wire(
            submission.parameters, field=f"{field}.parameters", content_type=submission.content_type
        ),
        labels=submission.labels,
        path=submission.path,
        priority=None if submission.priority is None else _int32(submission.priority, f"{field}.priority"),
        job_id=job_id,
        max_attempts=_int32(submission.max_attempts, f"{field}.max_attempts"),
    )
    if submission.file_info is not None:
        message.file_info.name = submission.file_info.name
        message.file_info.size_bytes = submission.file_info.size_bytes
    if submission.retry_policy is not None:
        message.retry_policy.CopyFrom(retry_policy_to_wire(submission.retry_policy, field=f"{field}.retry_policy"))
    if submission.run_timeout is not None:
        message.run_timeout.CopyFrom(span_to_wire(submission.run_timeout, field=f"{field}.run_timeout"))
    if submission.progress_timeout is not None:
        message.progress_timeout.CopyFrom(span_to_wire(submission.progress_timeout, field=f"{field}.progress_timeout"))
    return message


def retry_policy_to_wire(policy: RetryPolicy, *, field: str) -> job_pb2.RetryPolicy:
    """When to try again; `field` is its place in the request, for errors."""
    return job_pb2.RetryPolicy(
        strategy=job_pb2.BackoffStrategy.ValueType(int(policy.strategy)),
        initial_delay=span_to_wire(policy.initial_delay, field=f"{field}.initial_delay"),
        max_delay=None if policy.max_delay is None else span_to_wire(policy.max_delay, field=f"{field}.max_delay"),
        multiplier=policy.multiplier,
        jitter=policy.jitter,
        non_retryable_codes=policy.non_retryable_codes,
    )


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
    parameters, parameters_content_type = payload_from_wire(message.parameters)
    result, result_content_type = payload_from_wire(message.result)
    return Job(
        id=message.id,
        namespace=message.namespace,
        job_type=message.job_type,
        state=enum_from_wire(JobState, message.state),
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
        retry_policy=retry_policy_from_wire(message.retry_policy) if message.HasField("retry_policy") else None,
        run_timeout=duration_from_wire(message, "run_timeout"),
        progress_timeout=duration_from_wire(message, "progress_timeout"),
        batch_id=message.batch_id,
        unique_key=message.unique_key,
        current_task=_task_info_from_wire(message.current_task) if message.HasField("current_task") else None,
        owner=message.owner,
        organization_id=message.organization_id,
        created_by=message.created_by,
        access_control=_access_control_from_wire(message.access_control),
        revision=message.revision,
        etag=message.etag,
        item_error_count=message.item_error_count,
        item_errors=tuple(item_error_from_wire(error) for error in message.item_errors),
    )


def retry_policy_from_wire(message: job_pb2.RetryPolicy) -> RetryPolicy:
    """When to try again; what is left out reads as its default."""
    default = RetryPolicy()
    initial_delay = duration_from_wire(message, "initial_delay")
    return RetryPolicy(
        strategy=enum_from_wire(BackoffStrategy, message.strategy) or default.strategy,
        initial_delay=default.initial_delay if initial_delay is None else initial_delay,
        max_delay=duration_from_wire(message, "max_delay"),
        multiplier=message.multiplier or default.multiplier,
        jitter=message.jitter if message.HasField("jitter") else default.jitter,
        non_retryable_codes=tuple(message.non_retryable_codes),
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


def file_info_from_wire(message: job_pb2.FileInfo) -> FileInfo:
    """The file that a job works on."""
    return FileInfo(message.name, message.size_bytes)


def event_from_wire(message: event_pb2.JobEvent) -> JobEvent:
    """One event of a watch or of the log."""
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
        owner=message.attributes.owner,
        labels=dict(message.attributes.labels),
        path=message.attributes.path,
        progress=progress_from_wire(message.progress) if message.HasField("progress") else None,
        log_entries=tuple(log_entry_from_wire(entry) for entry in message.log_entries),
    )


def watch_update_from_wire(message: job_service_pb2.WatchJobsResponse) -> WatchUpdate:
    """One message of a watch."""
    return WatchUpdate(
        cursor=message.cursor,
        events=tuple(event_from_wire(event) for event in message.events),
        jobs=tuple(job_from_wire(job) for job in message.snapshot_jobs),
        snapshot_complete=message.snapshot_complete,
        reset=message.cursor_reset,
    )


def outcome_from_wire(message: job_service_pb2.SubmitOutcome) -> Submitted | ApiError:
    """What became of one submit on the stream."""
    if message.HasField("error"):
        return error_from_status(message.error)
    submitted = message.submitted
    return Submitted(submitted.job_id, submitted.revision, submitted.existing)


def job_type_from_wire(message: job_type_pb2.JobType) -> JobType:
    """A registered job type."""
    return JobType(
        name=message.name,
        namespace=message.namespace,
        description=message.description,
        version=message.version,
        paused=message.paused,
        worker_count=message.worker_count,
        worker_names=tuple(message.worker_names),
        created_at=time_from_wire(message, "create_time"),
        updated_at=time_from_wire(message, "update_time"),
        etag=message.etag,
    )


def server_info_from_wire(message: admin_service_pb2.ServerInfo) -> ServerInfo:
    """What a server says of itself."""
    return ServerInfo(
        version=message.version,
        protocol_version_min=message.protocol_version_min,
        protocol_version_max=message.protocol_version_max,
        engine=message.engine,
        engine_version=message.engine_version,
        schema_revision=message.schema_revision,
        replica_id=message.replica_id,
        features=tuple(message.features),
        server_time=time_from_wire(message, "server_time"),
    )


def _int32(value: int, field: str) -> int:
    """The number, if the message can hold it: what it may really be is the server's to say."""
    if not -(2**31) <= value < 2**31:
        raise FieldInvalidError(field, f"is {value}, which is beyond 32 bits")
    return value


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


def _access_control_from_wire(message: job_pb2.AccessControl) -> AccessControl:
    public = message.visibility == job_pb2.VISIBILITY_PUBLIC
    return AccessControl(
        visibility=Visibility.PUBLIC if public else Visibility.PRIVATE,
        read_access=tuple(message.read_access),
        write_access=tuple(message.write_access),
        admin_access=tuple(message.admin_access),
    )
