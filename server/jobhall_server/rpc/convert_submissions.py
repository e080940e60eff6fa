"""Submissions and updates of jobs, pb2 → domain: every field is honoured, or refused by its path."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from google.protobuf.timestamp_pb2 import Timestamp

from jobhall.errors import FieldInvalidError
from jobhall.limits import (
    NAMESPACE_DEFAULT,
    PRIORITY_MAX,
    PRIORITY_MIN,
    TRACEPARENT_BYTES_MAX,
    TRACESTATE_BYTES_MAX,
    UNIQUE_KEY_BYTES_MAX,
)
from jobhall.states import UniquePolicy
from jobhall.v1 import job_pb2
from jobhall_server.domain.moves import JobUpdate
from jobhall_server.hall import checks
from jobhall_server.hall.submits import Submission, labels_text
from jobhall_server.rpc.convert import check_mask, digest_of, microseconds, payload_in
from jobhall_server.rpc.convert_access import access_in
from jobhall_server.rpc.convert_rules import policy_in, retention_in, span_in, timeout_in

_NO_LABELS: Mapping[str, str] = MappingProxyType({})
_RARE = frozenset(
    {
        "schedule_time",
        "start_deadline",
        "retry_policy",
        "run_timeout",
        "progress_timeout",
        "batch_id",
        "unique_key",
        "unique_policy",
        "unique_window",
        "access_control",
        "trace_context",
        "retention",
    }
)
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


def submission_in(message: job_pb2.JobSubmission, field: str) -> Submission:
    """What the client asks for; `field` is its path in the request, such as `jobs[3]`."""
    if not message.job_type:
        raise FieldInvalidError(f"{field}.job_type", "is required")
    file = message.file_info if message.HasField("file_info") else None
    submission = Submission(
        job_type=message.job_type,
        namespace=message.namespace or NAMESPACE_DEFAULT,
        parameters=payload_in(message.parameters, f"{field}.parameters") if message.HasField("parameters") else None,
        labels=dict(message.labels) if message.labels else _NO_LABELS,
        path=message.path,
        file_name=file.name if file is not None else None,
        file_size=file.size_bytes if file is not None and file.HasField("size_bytes") else None,
        priority=message.priority if message.HasField("priority") else None,
        job_id=checks.job_id(message.job_id, f"{field}.job_id") if message.job_id else "",
        max_attempts=message.max_attempts,
        digest=_submit_digest(message) if message.job_id else 0,
        field=field,
    )
    # One pass over the few fields that are set costs less than a question for each that is rare.
    rare = [descriptor.name for descriptor, _ in message.ListFields() if descriptor.name in _RARE]
    return _with_rare(submission, message, rare) if rare else submission


def update_in(message: job_pb2.Job, paths: list[str]) -> JobUpdate:
    """The fields of the job that a mask names, as they are to be; those that it does not name are not looked at."""
    check_mask(paths, _UPDATES)
    columns = {_UPDATES[path][0]: _UPDATES[path][1](message) for path in paths}
    return JobUpdate(frozenset(columns), **columns)  # type: ignore[arg-type]  # each of its column's type


def _submit_digest(message: job_pb2.JobSubmission) -> int:
    # Deterministic: maps are serialised in the order of their keys, so that the same submit has the same bytes.
    return digest_of(message.SerializeToString(deterministic=True))


def _with_rare(submission: Submission, message: job_pb2.JobSubmission, names: list[str]) -> Submission:
    """The submission with those fields too."""
    field = submission.field
    found = {_RARE_FIELDS[name][0]: _RARE_FIELDS[name][1](message, f"{field}.{name}") for name in names}
    submission = submission._replace(**found)  # type: ignore[arg-type]  # each of its field's type
    for name in ("unique_policy", "unique_window"):
        if name in names and not submission.unique_key:
            raise FieldInvalidError(f"{field}.{name}", "is given without a unique_key")
    at, deadline = submission.schedule_at, submission.start_deadline
    if at is not None and deadline is not None and deadline <= at:
        raise FieldInvalidError(f"{field}.start_deadline", "is not after schedule_time")
    return submission


def _unique_key(message: job_pb2.JobSubmission, field: str) -> str:
    checks.check_text(message.unique_key, UNIQUE_KEY_BYTES_MAX, field)
    return message.unique_key


def _unique_policy(message: job_pb2.JobSubmission, field: str) -> UniquePolicy:
    try:
        return UniquePolicy(message.unique_policy)
    except ValueError:
        raise FieldInvalidError(field, f"{message.unique_policy} is no policy") from None


def _trace_in(message: job_pb2.TraceContext, field: str) -> str | None:
    """Both headers as they are stored; None where there are none. FieldInvalidError by the form of W3C."""
    parent, state = message.traceparent, message.tracestate
    checks.check_text(parent, TRACEPARENT_BYTES_MAX, f"{field}.traceparent")
    checks.check_text(state, TRACESTATE_BYTES_MAX, f"{field}.tracestate")
    if not parent:
        if state:
            raise FieldInvalidError(f"{field}.tracestate", "is given without a traceparent")
        return None
    match = _TRACEPARENT.fullmatch(parent)
    if match is None or (match[1] == "00" and match[2]) or not _PRINTABLE.fullmatch(parent):
        fault = "is not of the form 00-TRACE-PARENT-FLAGS, hexadecimal in lower case and not all zeros"
        raise FieldInvalidError(f"{field}.traceparent", fault)
    if not _PRINTABLE.fullmatch(state):
        raise FieldInvalidError(f"{field}.tracestate", "has characters that no header may have")
    return json.dumps([parent, state], separators=(",", ":"))


_RARE_FIELDS: Mapping[str, tuple[str, Callable[[job_pb2.JobSubmission, str], object]]] = MappingProxyType(
    {
        "schedule_time": ("schedule_at", lambda message, field: microseconds(message.schedule_time, field)),
        "start_deadline": ("start_deadline", lambda message, field: microseconds(message.start_deadline, field)),
        "retry_policy": ("retry", lambda message, field: policy_in(message.retry_policy, field)),
        "run_timeout": ("run_timeout_us", lambda message, field: timeout_in(message.run_timeout, field)),
        "progress_timeout": ("progress_timeout_us", lambda message, field: timeout_in(message.progress_timeout, field)),
        "batch_id": ("batch_id", lambda message, field: checks.job_id(message.batch_id, field)),
        "unique_key": ("unique_key", _unique_key),
        "unique_policy": ("unique_policy", _unique_policy),
        "unique_window": ("unique_window_us", lambda message, field: span_in(message.unique_window, field)),
        "access_control": ("access", lambda message, field: access_in(message.access_control, field)),
        "trace_context": ("trace", lambda message, field: _trace_in(message.trace_context, field)),
        "retention": ("retention_us", lambda message, field: retention_in(message.retention, field)),
    }
)
"""Field of the message → field of Submission, and how it is read."""


def _priority(message: job_pb2.Job) -> int:
    checks.check_range(message.priority, PRIORITY_MIN, PRIORITY_MAX, "job.priority")
    return message.priority


def _time(message: job_pb2.Job, name: str) -> int | None:
    time: Timestamp = getattr(message, name)
    return microseconds(time, f"job.{name}") if message.HasField(name) else None  # type: ignore[arg-type]


def _labels(message: job_pb2.Job) -> str | None:
    checks.check_labels(message.labels, "job.labels")
    return labels_text(message.labels)


_UPDATES: Mapping[str, tuple[str, Callable[[job_pb2.Job], object]]] = MappingProxyType(
    {
        "priority": ("priority", _priority),
        "schedule_time": ("schedule_at", lambda message: _time(message, "schedule_time")),
        "start_deadline": ("start_deadline", lambda message: _time(message, "start_deadline")),
        "labels": ("labels", _labels),
        "access_control": ("access", lambda message: access_in(message.access_control, "job.access_control")),
    }
)
"""Path of a mask → field of JobUpdate, and how it is read."""
