"""BatchService: each method decodes, calls one use case, encodes."""

# The names and signatures of methods are those of the generated base class.
# ruff: noqa: N802, ARG002

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from jobhall.errors import FieldInvalidError
from jobhall.limits import BATCH_SUBMIT_MAX, SKIP_MAX
from jobhall.v1 import batch_pb2, batch_service_pb2
from jobhall.v1.batch_service_pb2_grpc import BatchServiceServicer
from jobhall_server.domain.batch import BatchView
from jobhall_server.hall import checks
from jobhall_server.hall.batch_loop import SWEEP_WAIT_SECONDS
from jobhall_server.hall.hall import Hall
from jobhall_server.rpc.batch_filters import parse_batch_filter, parse_batch_order
from jobhall_server.rpc.caller import principal
from jobhall_server.rpc.convert_batches import batch_out, batch_submission_in, batch_update_in, submission_of_text
from jobhall_server.rpc.interceptor import Context
from jobhall_server.rpc.pages import page_size_in, page_that_fits

_ANSWER_SECONDS = 0.5
"""What is left of a call's time for its answer."""


class BatchServicer(BatchServiceServicer):
    """Every method of the service."""

    def __init__(self, hall: Hall) -> None:
        self._batches = hall.batches
        hall.batch_loop.read_submission = submission_of_text

    async def CreateBatch(
        self, request: batch_service_pb2.CreateBatchRequest, context: Context
    ) -> batch_service_pb2.CreateBatchResponse:
        checks.check_count(len(request.jobs), BATCH_SUBMIT_MAX, "jobs")
        submission = batch_submission_in(request)
        if request.validate_only:
            tried = await self._batches.rehearse(principal(), submission)
            return batch_service_pb2.CreateBatchResponse(batch=batch_out(tried))
        batch, job_ids = await self._batches.create(principal(), submission)
        return batch_service_pb2.CreateBatchResponse(batch=batch_out(batch), job_ids=job_ids)

    async def GetBatch(
        self, request: batch_service_pb2.GetBatchRequest, context: Context
    ) -> batch_service_pb2.GetBatchResponse:
        batch = await self._batches.get(principal(), request.batch_id)
        return batch_service_pb2.GetBatchResponse(batch=batch_out(batch))

    async def ListBatches(
        self, request: batch_service_pb2.ListBatchesRequest, context: Context
    ) -> batch_service_pb2.ListBatchesResponse:
        where = parse_batch_filter(request.filter, checks.listed_namespace(request.namespace, "namespace"))
        order = parse_batch_order(request.order_by)
        checks.check_range(request.skip, 0, SKIP_MAX, "skip")

        async def ask(size: int) -> tuple[list[BatchView], str]:
            token = request.page_token
            return await self._batches.page(
                principal(), where, order, page_size=size, page_token_text=token, skip=request.skip
            )

        async def encode(batches: Sequence[BatchView]) -> list[batch_pb2.Batch]:
            return [batch_out(batch) for batch in batches]

        batches, token = await page_that_fits(ask, encode, page_size_in(request.page_size))
        return batch_service_pb2.ListBatchesResponse(batches=batches, next_page_token=token)

    async def UpdateBatch(
        self, request: batch_service_pb2.UpdateBatchRequest, context: Context
    ) -> batch_service_pb2.UpdateBatchResponse:
        if not request.HasField("batch"):
            raise FieldInvalidError("batch", "is required")
        update, completion = batch_update_in(request.batch, request.update_mask.paths)
        batch = await self._batches.update(
            principal(),
            request.batch.id,
            update,
            completion,
            etag=request.batch.etag,
            wait_seconds=_wait_seconds(context),
        )
        return batch_service_pb2.UpdateBatchResponse(batch=batch_out(batch))

    async def CancelBatch(
        self, request: batch_service_pb2.CancelBatchRequest, context: Context
    ) -> batch_service_pb2.CancelBatchResponse:
        batch = await self._batches.cancel(
            principal(),
            request.batch_id,
            reason=request.reason,
            etag=request.etag,
            wait_seconds=_wait_seconds(context),
        )
        return batch_service_pb2.CancelBatchResponse(batch=batch_out(batch))

    async def DeleteBatch(
        self, request: batch_service_pb2.DeleteBatchRequest, context: Context
    ) -> batch_service_pb2.DeleteBatchResponse:
        batch = await self._batches.delete(
            principal(), request.batch_id, etag=request.etag, wait_seconds=_wait_seconds(context)
        )
        return batch_service_pb2.DeleteBatchResponse(batch=batch_out(batch))


def _wait_seconds(context: Context) -> float:
    """How long the call may wait for what is done behind it."""
    # Its stub forgets that a call may have no deadline.
    left = cast("float | None", context.time_remaining())
    return SWEEP_WAIT_SECONDS if left is None else max(0.0, min(SWEEP_WAIT_SECONDS, left - _ANSWER_SECONDS))
