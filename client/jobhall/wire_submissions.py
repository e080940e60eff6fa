"""What a client says of a job on the wire: submissions and their parts, there and back."""

from __future__ import annotations

from jobhall.model import AccessControl, FileInfo, RetryPolicy, TraceContext
from jobhall.states import BackoffStrategy, UniquePolicy, Visibility
from jobhall.submission import Submission
from jobhall.v1 import job_pb2
from jobhall.wire_values import (
    duration_from_wire,
    enum_from_wire,
    int32,
    payload_from_wire,
    payload_to_wire,
    span_to_wire,
    time_from_wire,
    when_to_wire,
)


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
        priority=None if submission.priority is None else int32(submission.priority, field=f"{field}.priority"),
        job_id=job_id,
        max_attempts=int32(submission.max_attempts, field=f"{field}.max_attempts"),
    )
    # Most submissions say none of these.
    if submission.file_info is not None:
        message.file_info.CopyFrom(file_info_to_wire(submission.file_info, field=f"{field}.file_info"))
    if submission.schedule_time is not None:
        message.schedule_time.CopyFrom(when_to_wire(submission.schedule_time, field=f"{field}.schedule_time"))
    if submission.start_deadline is not None:
        message.start_deadline.CopyFrom(when_to_wire(submission.start_deadline, field=f"{field}.start_deadline"))
    if submission.retry_policy is not None:
        message.retry_policy.CopyFrom(retry_policy_to_wire(submission.retry_policy, field=f"{field}.retry_policy"))
    if submission.run_timeout is not None:
        message.run_timeout.CopyFrom(span_to_wire(submission.run_timeout, field=f"{field}.run_timeout"))
    if submission.progress_timeout is not None:
        message.progress_timeout.CopyFrom(span_to_wire(submission.progress_timeout, field=f"{field}.progress_timeout"))
    if submission.batch_id:
        message.batch_id = submission.batch_id
    if submission.unique_key:
        message.unique_key = submission.unique_key
    ...
    return message
