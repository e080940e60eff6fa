"""Batches, pb2 ↔ domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from google.protobuf import json_format

from jobhall.errors import FieldInvalidError
from jobhall.states import CompletionPolicy
from jobhall.v1 import batch_pb2, batch_service_pb2, job_pb2
from jobhall_server.domain.batch import BatchUpdate, BatchView
from jobhall_server.hall import checks
from jobhall_server.hall.batch_submissions import BatchSubmission
from jobhall_server.hall.submits import Submission
from jobhall_server.rpc.convert import check_mask, digest_of, progress_out, timestamp
from jobhall_server.rpc.convert_access import access_in, access_out
from jobhall_server.rpc.convert_stats import counts_out
from jobhall_server.rpc.convert_submissions import submission_in


def batch_submission_in(message: batch_service_pb2.CreateBatchRequest) -> BatchSubmission:
    """What the client asks for, its jobs in the batch's namespace."""
    namespace = checks.one_namespace(message.namespace, "namespace")
    completion = message.completion_job if message.HasField("completion_job") else None
    return BatchSubmission(
        namespace=namespace,
        jobs=[_within(job, f"jobs[{place}]", namespace) for place, job in enumerate(message.jobs)],
        batch_id=checks.job_id(message.batch_id, "batch_id") if message.batch_id else "",
        name=message.name,
        closed=message.closed,
        active=message.active if message.HasField("active") else True,
        completion=None if completion is None else _within(completion, "completion_job", namespace),
        completion_job=None if completion is None else _submission_text(completion, "completion_job"),
        completion_policy=_policy_in(message.completion_policy, "completion_policy"),
        access=access_in(message.access_control, "access_control") if message.HasField("access_control") else None,
        digest=_digest(message) if message.batch_id else 0,
    )


def batch_update_in(message: batch_pb2.Batch, paths: Sequence[str]) -> tuple[BatchUpdate, Submission | None]:
    """The fields that a mask names, as they are to be, and what the completion job says if that is one of them; those
    that it does not name are not looked at.
    """
    check_mask(paths, _UPDATES)
    given = "completion_job" in paths and message.HasField("completion_job")
    # Its namespace is the batch's, which the use case knows. It is read first: what is wrong with it is named so.
    completion = _within(message.completion_job, "batch.completion_job", "") if given else None
    fields = {_UPDATES[path][0]: _UPDATES[path][1](message) for path in paths}
    return BatchUpdate(frozenset(fields), **fields), completion  # type: ignore[arg-type]  # each of its field's type


def submission_of_text(text: str) -> Submission:
    """A completion job, as it was kept in its batch."""
    return submission_in(json_format.Parse(text, job_pb2.JobSubmission()), "completion_job")


def batch_out(view: BatchView) -> batch_pb2.Batch:
    """The batch; one that is only tried has no times yet."""
    batch = view.record
    message = batch_pb2.Batch(
        id=batch.batch_id,
        name=batch.name,
        namespace=batch.namespace,
        closed=batch.closed,
        state=int(batch.state),  # type: ignore[arg-type]  # equal numbers, proven by a test
        counts=counts_out(batch.counts),
        progress=progress_out(view.progress),
        active=batch.active,
        completion_policy=int(batch.completion_policy),  # type: ignore[arg-type]
        completion_job_id=batch.completion_job_id,
        access_control=access_out(batch.access),
        owner=batch.owner,
        organization_id=batch.organization_id,
        created_by=batch.created_by,
    )
    if batch.completion_job is not None:
        json_format.Parse(batch.completion_job, message.completion_job)
    if batch.key:
        message.etag = str(batch.revision)
        message.create_time.CopyFrom(timestamp(batch.created_at))
        message.update_time.CopyFrom(timestamp(batch.updated_at))
    if batch.started_at is not None:
        message.start_time.CopyFrom(timestamp(batch.started_at))
    if batch.ended_at is not None:
        message.end_time.CopyFrom(timestamp(batch.ended_at))
    return message


def _within(message: job_pb2.JobSubmission, field: str, namespace: str) -> Submission:
    """A job that is to be in the batch's namespace."""
    if message.namespace:
        raise FieldInvalidError(f"{field}.namespace", "is the batch's; leave it empty")
    return submission_in(message, field)._replace(namespace=namespace)


def _submission_text(message: job_pb2.JobSubmission, field: str) -> str:
    try:
        return json_format.MessageToJson(message, preserving_proto_field_name=True, indent=None, sort_keys=True)
    except json_format.SerializeToJsonError as error:
        # A submit takes some of what no JSON can say, such as a duration whose parts have two signs.
        raise FieldInvalidError(field, str(error)[:200]) from None


def _policy_in(policy: batch_pb2.CompletionPolicy.ValueType, field: str) -> CompletionPolicy:
    try:
        return CompletionPolicy(policy) or CompletionPolicy.ALL_COMPLETED
    except ValueError:
        raise FieldInvalidError(field, f"{policy} is no policy") from None


def _digest(message: batch_service_pb2.CreateBatchRequest) -> int:
    """Of all of it but `validate_only`, which changes nothing of what is asked for."""
    request = batch_service_pb2.CreateBatchRequest()
    request.CopyFrom(message)
    request.ClearField("validate_only")
    return digest_of(request.SerializeToString(deterministic=True))


def _completion_job(message: batch_pb2.Batch) -> str | None:
    given = message.HasField("completion_job")
    return _submission_text(message.completion_job, "batch.completion_job") if given else None


_UPDATES: Mapping[str, tuple[str, Callable[[batch_pb2.Batch], object]]] = MappingProxyType(
    {
        "name": ("name", lambda message: message.name),
        "closed": ("closed", lambda message: message.closed),
        "active": ("active", lambda message: message.active),
        "completion_job": ("completion_job", _completion_job),
        "completion_policy": (
            "completion_policy",
            lambda message: _policy_in(message.completion_policy, "batch.completion_policy"),
        ),
        "access_control": ("access", lambda message: access_in(message.access_control, "batch.access_control")),
    }
)
"""Path of a mask → field of BatchUpdate, and how it is read."""
