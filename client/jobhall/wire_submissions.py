"""What a client says of a job on the wire: submissions and their parts, there and back."""

from __future__ import annotations

from operator import attrgetter

from jobhall.filters import each
from jobhall.ids import new_id
from jobhall.misfits import MISFIT_ERRORS, tell_misfit
from jobhall.model import AccessControl, FileInfo, RetryPolicy, TraceContext
from jobhall.states import BackoffStrategy, UniquePolicy, Visibility
from jobhall.submission import Submission
from jobhall.v1 import job_pb2
from jobhall.wire_values import (
    duration_from_wire,
    enum_from_wire,
    int32,
    int64,
    payload_from_wire,
    payload_to_wire,
    span_to_wire,
    time_from_wire,
    when_to_wire,
)

_rare = attrgetter(
    "file_info",
    "schedule_time",
    "start_deadline",
    "retry_policy",
    "run_timeout",
    "progress_timeout",
    "batch_id",
    "unique_key",
    "unique_policy",
    "unique_window",
    "retention",
    "access_control",
    "trace_context",
)
_NOTHING_RARE = _rare(Submission(""))


def submission_to_wire(
    submission: Submission, *, job_id: str | None = None, field: str = "job"
) -> job_pb2.JobSubmission:
    """The submission under that id, else its own or a fresh one; `field` is its place in the request, for errors."""
    try:
        message = job_pb2.JobSubmission(
            namespace=submission.namespace,
            job_type=submission.job_type,
            parameters=payload_to_wire(
                submission.parameters, field=f"{field}.parameters", content_type=submission.content_type
            ),
            labels=submission.labels,
            path=submission.path,
            priority=None if submission.priority is None else int32(submission.priority, field=f"{field}.priority"),
            job_id=(submission.job_id or new_id()) if job_id is None else job_id,
            max_attempts=int32(submission.max_attempts, field=f"{field}.max_attempts"),
        )
        # To leave a field empty costs as much as to fill it, and most submissions say none of these.
        if _rare(submission) != _NOTHING_RARE:
            message.MergeFrom(_rare_to_wire(submission, field))
        return message
    except MISFIT_ERRORS as error:
        tell_misfit(error, submission, Submission, field=field)
        raise


def submission_from_wire(message: job_pb2.JobSubmission) -> Submission:
    """The submission as somebody made it."""
    parameters, content_type = payload_from_wire(message.parameters)
    return Submission(
        message.job_type,
        parameters,
        content_type=content_type,
        namespace=message.namespace,
        labels=dict(message.labels),
        path=message.path,
        file_info=file_info_from_wire(message.file_info) if message.HasField("file_info") else None,
        priority=message.priority if message.HasField("priority") else None,
        job_id=message.job_id,
        max_attempts=message.max_attempts,
        schedule_time=time_from_wire(message, "schedule_time"),
        start_deadline=time_from_wire(message, "start_deadline"),
        retry_policy=retry_policy_from_wire(message.retry_policy) if message.HasField("retry_policy") else None,
        run_timeout=duration_from_wire(message, "run_timeout"),
        progress_timeout=duration_from_wire(message, "progress_timeout"),
        batch_id=message.batch_id,
        unique_key=message.unique_key,
        unique_policy=enum_from_wire(UniquePolicy, message.unique_policy),
        unique_window=duration_from_wire(message, "unique_window"),
        retention=duration_from_wire(message, "retention"),
        access_control=access_control_from_wire(message.access_control) if message.HasField("access_control") else None,
        trace_context=trace_context_from_wire(message.trace_context) if message.HasField("trace_context") else None,
    )


def retry_policy_to_wire(policy: RetryPolicy | None, *, field: str) -> job_pb2.RetryPolicy | None:
    """When to try again; `field` is its place in the request, for errors."""
    if policy is None:
        return None
    return job_pb2.RetryPolicy(
        strategy=job_pb2.BackoffStrategy.ValueType(int(policy.strategy)),
        initial_delay=span_to_wire(policy.initial_delay, field=f"{field}.initial_delay"),
        max_delay=span_to_wire(policy.max_delay, field=f"{field}.max_delay"),
        multiplier=policy.multiplier,
        jitter=policy.jitter,
        non_retryable_codes=each(policy.non_retryable_codes, field=f"{field}.non_retryable_codes"),
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


def access_control_to_wire(access: AccessControl | None) -> job_pb2.AccessControl | None:
    """Who may do what."""
    if access is None:
        return None
    return job_pb2.AccessControl(
        visibility=job_pb2.Visibility.ValueType(int(access.visibility)),
        read_access=each(access.read_access, field="access_control.read_access"),
        write_access=each(access.write_access, field="access_control.write_access"),
        admin_access=each(access.admin_access, field="access_control.admin_access"),
    )


def access_control_from_wire(message: job_pb2.AccessControl) -> AccessControl:
    """Who may do what; of an absent message the default."""
    return AccessControl(
        visibility=enum_from_wire(Visibility, message.visibility) or Visibility.PRIVATE,
        read_access=tuple(message.read_access),
        write_access=tuple(message.write_access),
        admin_access=tuple(message.admin_access),
    )


def file_info_to_wire(file: FileInfo | None, *, field: str) -> job_pb2.FileInfo | None:
    """The file that a job works on; `field` is its place in the request, for errors."""
    if file is None:
        return None
    size = None if file.size_bytes is None else int64(file.size_bytes, field=f"{field}.size_bytes")
    return job_pb2.FileInfo(name=file.name, size_bytes=size)


def file_info_from_wire(message: job_pb2.FileInfo) -> FileInfo:
    """The file that a job works on."""
    return FileInfo(message.name, message.size_bytes if message.HasField("size_bytes") else None)


def trace_context_to_wire(trace: TraceContext | None) -> job_pb2.TraceContext | None:
    """The trace context of a submit."""
    return None if trace is None else job_pb2.TraceContext(traceparent=trace.traceparent, tracestate=trace.tracestate)


def trace_context_from_wire(message: job_pb2.TraceContext) -> TraceContext:
    """The trace context of a submit."""
    return TraceContext(message.traceparent, message.tracestate)


def _rare_to_wire(submission: Submission, field: str) -> job_pb2.JobSubmission:
    return job_pb2.JobSubmission(
        file_info=file_info_to_wire(submission.file_info, field=f"{field}.file_info"),
        schedule_time=when_to_wire(submission.schedule_time, field=f"{field}.schedule_time"),
        start_deadline=when_to_wire(submission.start_deadline, field=f"{field}.start_deadline"),
        retry_policy=retry_policy_to_wire(submission.retry_policy, field=f"{field}.retry_policy"),
        run_timeout=span_to_wire(submission.run_timeout, field=f"{field}.run_timeout"),
        progress_timeout=span_to_wire(submission.progress_timeout, field=f"{field}.progress_timeout"),
        batch_id=submission.batch_id,
        unique_key=submission.unique_key,
        unique_policy=job_pb2.UniquePolicy.ValueType(int(submission.unique_policy)),
        unique_window=span_to_wire(submission.unique_window, field=f"{field}.unique_window"),
        retention=span_to_wire(submission.retention, field=f"{field}.retention"),
        access_control=access_control_to_wire(submission.access_control),
        trace_context=trace_context_to_wire(submission.trace_context),
    )
