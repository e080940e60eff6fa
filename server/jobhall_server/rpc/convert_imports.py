"""Jobs from elsewhere, pb2 → domain: each field as a submit or a worker would have been asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from google.protobuf.message import Message

from jobhall.errors import FieldInvalidError
from jobhall.limits import (
    ATTEMPTS_DEFAULT,
    ATTEMPTS_MAX,
    CODE_BYTES_MAX,
    ERROR_DETAILS_BYTES_MAX,
    ERROR_STACK_BYTES_MAX,
    JOB_TYPE_PREFIX_GLOBAL,
    JOB_TYPE_PREFIX_OWN,
    NAMESPACE_GLOBAL,
    REASON_BYTES_MAX,
    SUBJECT_BYTES_MAX,
    TEXT_BYTES_MAX,
    WORKER_NAME_BYTES_MAX,
)
from jobhall.states import AttemptOutcome, FailureKind, JobState
from jobhall.v1 import admin_service_pb2, job_pb2
from jobhall_server.domain.access import Principal
from jobhall_server.domain.job import AttemptView, JobFailure, JobView, Payload, TaskView
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.rules import NO_RULES, Rules
from jobhall_server.hall import checks
from jobhall_server.hall.imports import ImportedJob, NumberedLine
from jobhall_server.hall.submits import Submission
from jobhall_server.rpc.convert import MALFORMED_PROGRESS, microseconds, payload_in, progress_in
from jobhall_server.rpc.convert_details_in import bounded, details_in, item_error_in, log_line_in
from jobhall_server.rpc.convert_submissions import submission_in

_STATES = {int(state): state for state in JobState if state}
_KINDS = {int(kind): kind for kind in FailureKind}
_OUTCOMES = {int(outcome): outcome for outcome in AttemptOutcome}
_OF_A_SUBMIT_NAMES = (
    "namespace job_type parameters labels path file_info priority max_attempts start_deadline retry_policy run_timeout "
    "progress_timeout batch_id unique_key access_control trace_context retention"
)
_OF_A_SUBMIT = frozenset(_OF_A_SUBMIT_NAMES.split())


def imported_job_in(
    messages: Sequence[admin_service_pb2.ImportedJob], place: int, *, principal: Principal, now_us: int
) -> ImportedJob:
    """The job at that place; FieldInvalidError."""
    message, field = messages[place], f"jobs[{place}]"
    submission = _submission(message.job, f"{field}.job")
    entries, errors = enumerate(message.log_entries), enumerate(message.item_errors)
    return ImportedJob(
        field,
        _spec(message.job, submission.namespace, f"{field}.job"),
        _owned(_job(message, submission, f"{field}.job", now_us), principal),
        [_attempt(attempt, f"{field}.attempts[{index}]") for index, attempt in enumerate(message.attempts)],
        [
            NumberedLine(entry.attempt, entry.number, log_line_in(entry, f"{field}.log_entries[{index}]", now_us))
            for index, entry in entries
        ],
        [item_error_in(error, f"{field}.item_errors[{index}]") for index, error in errors],
    )


def _submission(message: job_pb2.Job, field: str) -> Submission:
    """What its submit may have said, judged as that is."""
    asked = job_pb2.JobSubmission()
    for descriptor, value in message.ListFields():
        if descriptor.name not in _OF_A_SUBMIT:
            continue
        if descriptor.name == "labels":
            asked.labels.update(value)
        elif descriptor.message_type is None:
            setattr(asked, descriptor.name, value)
        else:
            getattr(asked, descriptor.name).CopyFrom(value)
    submission = submission_in(asked, field)
    submission.check()
    checks.one_namespace(submission.namespace, f"{field}.namespace")
    checks.check_job_type(submission.job_type, f"{field}.job_type")
    return submission


def _spec(message: job_pb2.Job, namespace: str, field: str) -> str:
    """The name of its type with the scope that `job_type_namespace` tells, if it does."""
    if not message.job_type_namespace:
        return message.job_type
    if message.job_type_namespace not in (namespace, NAMESPACE_GLOBAL):
        fault = f"is neither its own namespace nor {NAMESPACE_GLOBAL}"
        raise FieldInvalidError(f"{field}.job_type_namespace", fault)
    own = message.job_type_namespace == namespace
    return f"{JOB_TYPE_PREFIX_OWN if own else JOB_TYPE_PREFIX_GLOBAL}{message.job_type}"


def _job(message: admin_service_pb2.ImportedJob, submission: Submission, field: str, now_us: int) -> JobView:
    job = message.job
    if job.state not in _STATES:
        raise FieldInvalidError(f"{field}.state", f"{job.state} is no state" if job.state else "is required")
    return JobView(
        key=0,
        job_id=checks.job_id(job.id, f"{field}.id"),
        namespace=submission.namespace,
        job_type=job.job_type,
        job_type_namespace=job.job_type_namespace,
        state=_STATES[job.state],
        priority=job.priority,
        attempt=job.attempt,
        max_attempts=submission.max_attempts or ATTEMPTS_DEFAULT,
        worker_losses=job.worker_losses,
        revision=job.revision,
        owner=_text(job.owner, SUBJECT_BYTES_MAX, f"{field}.owner"),
        organization_id=_text(job.organization_id, SUBJECT_BYTES_MAX, f"{field}.organization_id"),
        created_by=_text(job.created_by, SUBJECT_BYTES_MAX, f"{field}.created_by"),
        created_at=microseconds(job.create_time, f"{field}.create_time") if job.HasField("create_time") else now_us,
        ready_at=None,
        claimed_at=_time(job, "claim_time", field),
        started_at=_time(job, "start_time", field),
        ended_at=_time(job, "end_time", field),
        updated_at=now_us,
        rules=Rules(submission.retry or NO_RULES.retry, submission.run_timeout_us, submission.progress_timeout_us),
        labels=submission.labels,
        path=submission.path,
        file_name=submission.file_name,
        file_size=submission.file_size,
        cancel_reason=_text(job.cancel_reason, REASON_BYTES_MAX, f"{field}.cancel_reason"),
        cancelled_by=_text(job.cancelled_by, SUBJECT_BYTES_MAX, f"{field}.cancelled_by"),
        # Of a job that is at work they may have become more since it was read itself.
        item_error_count=max(job.item_error_count, len(message.item_errors) if job.HasField("start_time") else 0),
        progress=_progress(job, f"{field}.progress"),
        parameters=submission.parameters,
        result=_payload(job, "result", field),
        checkpoint=_payload(job, "checkpoint", field),
        failure=_failure(job, f"{field}.error"),
        current_task=_task(job, field),
        fence=max(job.fence, job.current_task.fence) if job.HasField("current_task") else job.fence,
        schedule_at=_time(job, "schedule_time", field),
        start_deadline=submission.start_deadline,
        batch_id=submission.batch_id,
        unique_key=submission.unique_key,
        retention_us=submission.retention_us,
        access=submission.access,
        trace=submission.trace,
    )


def _owned(job: JobView, principal: Principal) -> JobView:
    """What says of nobody whose it is, is the caller's."""
    if job.owner:
        return job
    return job._replace(
        owner=principal.subject,
        organization_id=principal.organization_id,
        created_by=job.created_by or principal.display_name,
    )


def _attempt(message: job_pb2.Attempt, field: str) -> AttemptView:
    if message.outcome not in _OUTCOMES:
        raise FieldInvalidError(f"{field}.outcome", f"{message.outcome} is no outcome")
    started_at = _time(message, "start_time", field)
    if started_at is None:
        raise FieldInvalidError(f"{field}.start_time", "is required")
    return AttemptView(
        attempt=message.attempt,
        fence=message.fence,
        worker=_text(message.worker_name, WORKER_NAME_BYTES_MAX, f"{field}.worker_name"),
        session_id="",
        claimed_at=_time(message, "claim_time", field),
        started_at=started_at,
        ended_at=_time(message, "end_time", field),
        outcome=_OUTCOMES[message.outcome],
        failure=_failure(message, f"{field}.error"),
        progress=_progress(message, f"{field}.progress"),
        item_error_count=message.item_error_count,
    )


def _failure(message: job_pb2.Job | job_pb2.Attempt, field: str) -> JobFailure | None:
    if not message.HasField("error"):
        return None
    error = message.error
    if error.kind not in _KINDS:
        raise FieldInvalidError(f"{field}.kind", f"{error.kind} is no kind of failure")
    checks.check_range(error.attempt, 0, ATTEMPTS_MAX, f"{field}.attempt")
    return JobFailure(
        kind=_KINDS[error.kind],
        message=bounded(error.message, TEXT_BYTES_MAX, f"{field}.message"),
        code=_text(error.code, CODE_BYTES_MAX, f"{field}.code"),
        retryable=error.retryable,
        details=details_in(error.details, ERROR_DETAILS_BYTES_MAX, f"{field}.details")
        if error.HasField("details")
        else None,
        stack=bounded(error.stack, ERROR_STACK_BYTES_MAX, f"{field}.stack"),
        attempt=error.attempt,
    )


def _progress(message: job_pb2.Job | job_pb2.Attempt, field: str) -> Progress | None:
    if not message.HasField("progress"):
        return None
    progress = progress_in(message.progress)
    if progress is MALFORMED_PROGRESS:
        raise FieldInvalidError(field, "has a text that is too long, or details that are too many or no JSON")
    if (fault := progress.fault()) is not None:
        raise FieldInvalidError(field, fault)
    return replace(progress, reported_at=_time(message.progress, "update_time", field))


def _payload(message: job_pb2.Job, name: Literal["result", "checkpoint"], field: str) -> Payload | None:
    return payload_in(getattr(message, name), f"{field}.{name}") if message.HasField(name) else None


def _task(message: job_pb2.Job, field: str) -> TaskView | None:
    """Who held it, should that attempt not be told of by itself."""
    if not message.HasField("current_task"):
        return None
    task = message.current_task
    worker = _text(task.worker_name, WORKER_NAME_BYTES_MAX, f"{field}.current_task.worker_name")
    return TaskView(task.attempt, task.fence, worker, session_id="", claimed_at=0, started_at=None)


def _time(message: Message, name: str, field: str) -> int | None:
    return microseconds(getattr(message, name), f"{field}.{name}") if message.HasField(name) else None


def _text(value: str, limit: int, field: str) -> str:
    checks.check_text(value, limit, field)
    return value
