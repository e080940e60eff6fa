"""Calls of BatchService."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from jobhall.calls import Call, check_size, unary
from jobhall.filters import BatchSelection, batch_filter_text, check_names
from jobhall.ids import new_id
from jobhall.misfits import names_misfits
from jobhall.model import AccessControl
from jobhall.model_batches import Batch, BatchPage
from jobhall.states import CompletionPolicy
from jobhall.submission import Submission
from jobhall.unchanged import Unchanged, changes
from jobhall.v1 import batch_pb2
from jobhall.v1 import batch_service_pb2 as batches_pb2
from jobhall.v1.job_pb2 import JobSubmission
from jobhall.wire_batches import batch_from_wire
from jobhall.wire_submissions import access_control_to_wire, submission_to_wire
from jobhall.wire_values import int32


class BatchPageOptions(BatchSelection, total=False):
    """Which batches, and which page of them."""

    page_size: int
    """1 to 1000; 100 where it is left out."""
    page_token: str
    skip: int
    """How many to pass over first; 0 to 10,000."""
    order_by: str
    """`create_time desc` where it is left out, `create_time` or `name`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """A batch to create."""

    name: str
    namespace: str
    jobs: Iterable[Submission]
    closed: bool
    active: bool
    completion_job: Submission | None
    completion_policy: CompletionPolicy
    access_control: AccessControl | None
    batch_id: str


@names_misfits
def create_batch(new: NewBatch, *, validate_only: bool) -> Call[Batch]:
    """Creates a batch under its own or a fresh id; the answer is the batch with the ids of its first jobs."""
    request = batches_pb2.CreateBatchRequest(
        namespace=new.namespace,
        batch_id=new.batch_id or ("" if validate_only else new_id()),
        name=new.name,
        # Without ids of their own the server makes them: the same batch again is then the same request.
        jobs=[submission_to_wire(job, job_id=job.job_id, field=f"jobs[{index}]") for index, job in enumerate(new.jobs)],
        closed=new.closed,
        active=new.active,
        completion_job=_completion_job_to_wire(new.completion_job, field="completion_job"),
        completion_policy=_policy_to_wire(new.completion_policy),
        access_control=access_control_to_wire(new.access_control),
        validate_only=validate_only,
    )
    check_size(request)
    return unary(
        "BatchService",
        request,
        batches_pb2.CreateBatchResponse,
        lambda answer: batch_from_wire(answer.batch, job_ids=answer.job_ids),
    )


@names_misfits
def get_batch(batch_id: str) -> Call[Batch]:
    """Reads one batch."""
    return _batch_call(batches_pb2.GetBatchRequest(batch_id=batch_id), batches_pb2.GetBatchResponse)


@names_misfits
def list_batches(options: BatchPageOptions) -> Call[BatchPage]:
    """Reads one page of a list."""
    check_names(options, BatchPageOptions)
    request = batches_pb2.ListBatchesRequest(
        namespace=options.get("namespace", ""),
        page_size=int32(options.get("page_size", 0), field="page_size"),
        page_token=options.get("page_token", ""),
        skip=int32(options.get("skip", 0), field="skip"),
        filter=batch_filter_text(options),
        order_by=options.get("order_by", ""),
    )
    return unary(
        "BatchService",
        request,
        batches_pb2.ListBatchesResponse,
        lambda answer: BatchPage(tuple(batch_from_wire(it) for it in answer.batches), answer.next_page_token),
    )


@names_misfits
def update_batch(
    batch_id: str,
    *,
    name: str | Unchanged,
    closed: bool | Unchanged,
    active: bool | Unchanged,
    completion_job: Submission | Unchanged | None,
    completion_policy: CompletionPolicy | Unchanged,
    access_control: AccessControl | Unchanged | None,
    etag: str,
) -> Call[Batch]:
    """Changes what is not UNCHANGED; the answer is the batch as it then is."""
    fields = changes(
        name=(name, None),
        closed=(closed, None),
        active=(active, None),
        completion_job=(completion_job, partial(_completion_job_to_wire, field="batch.completion_job")),
        completion_policy=(completion_policy, _policy_to_wire),
        access_control=(access_control, access_control_to_wire),
    )
    batch = batch_pb2.Batch(id=batch_id, etag=etag, **fields)
    request = batches_pb2.UpdateBatchRequest(batch=batch, update_mask=FieldMask(paths=fields))
    return _batch_call(request, batches_pb2.UpdateBatchResponse)


@names_misfits
def cancel_batch(batch_id: str, *, reason: str, etag: str) -> Call[Batch]:
    """Closes a batch and cancels its jobs; the answer is the batch after that."""
    request = batches_pb2.CancelBatchRequest(batch_id=batch_id, reason=reason, etag=etag)
    return _batch_call(request, batches_pb2.CancelBatchResponse)


@names_misfits
def delete_batch(batch_id: str, *, etag: str) -> Call[Batch]:
    """Deletes a batch and its jobs; the answer is the batch as it last was."""
    request = batches_pb2.DeleteBatchRequest(batch_id=batch_id, etag=etag)
    return _batch_call(request, batches_pb2.DeleteBatchResponse)


def _completion_job_to_wire(job: Submission | None, *, field: str) -> JobSubmission | None:
    return None if job is None else submission_to_wire(job, job_id=job.job_id, field=field)


def _policy_to_wire(policy: CompletionPolicy) -> batch_pb2.CompletionPolicy.ValueType:
    return batch_pb2.CompletionPolicy.ValueType(int(policy))


def _batch_call(request: Message, response: type[Message]) -> Call[Batch]:
    return unary("BatchService", request, response, lambda answer: batch_from_wire(answer.batch))
