"""Batches on the wire, as dataclasses."""

from __future__ import annotations

from collections.abc import Iterable

from jobhall.model_batches import Batch
from jobhall.states import BatchState, CompletionPolicy
from jobhall.v1 import batch_pb2
from jobhall.wire import progress_from_wire
from jobhall.wire_insight import counts_from_wire
from jobhall.wire_submissions import access_control_from_wire, submission_from_wire
from jobhall.wire_values import enum_from_wire, time_from_wire


def batch_from_wire(message: batch_pb2.Batch, *, job_ids: Iterable[str] = ()) -> Batch:
    """The batch; `job_ids` are those of its first jobs."""
    return Batch(
        id=message.id,
        namespace=message.namespace,
        state=enum_from_wire(BatchState, message.state),
        name=message.name,
        closed=message.closed,
        active=message.active,
        counts=counts_from_wire(message.counts),
        progress=progress_from_wire(message.progress),
        completion_job=submission_from_wire(message.completion_job) if message.HasField("completion_job") else None,
        completion_policy=enum_from_wire(CompletionPolicy, message.completion_policy) or CompletionPolicy.ALL_COMPLETED,
        completion_job_id=message.completion_job_id,
        created_at=time_from_wire(message, "create_time"),
        started_at=time_from_wire(message, "start_time"),
        ended_at=time_from_wire(message, "end_time"),
        updated_at=time_from_wire(message, "update_time"),
        access_control=access_control_from_wire(message.access_control),
        owner=message.owner,
        organization_id=message.organization_id,
        created_by=message.created_by,
        etag=message.etag,
        job_ids=tuple(job_ids),
    )
