"""What is unacked goes by ReportTasks where the stream cannot be had: an outcome waits for nothing but the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from grpc import aio

from jobhall.channel import Endpoint
from jobhall.errors import ApiError, Code, SessionExpiredError
from jobhall.v1.worker_service_pb2 import ReportTasksRequest, ReportTasksResponse
from jobhall.v1.worker_service_pb2_grpc import WorkerServiceStub
from jobhall.wire_errors import error_from_call
from jobhall.worker.access import Access, open_channel
from jobhall.worker.stream import Effects, WorkerStream

if TYPE_CHECKING:
    from jobhall.v1.worker_service_pb2_grpc import WorkerServiceAsyncStub


async def flush(
    stream: WorkerStream, access: Access, perform: Callable[[Effects], None], *, within_seconds: float
) -> ApiError | None:
    """Reports until no outcome is left to be confirmed, for so long at most; what it failed at, if it did."""
    clock = asyncio.get_running_loop().time
    until = clock() + within_seconds
    try:
        try:
            async with asyncio.timeout_at(until):
                endpoint = await access.endpoint()
        except TimeoutError as error:
            raise ApiError("the token's source does not answer", code=Code.UNAVAILABLE) from error
        stream.begin_flush()
        async with open_channel(endpoint) as channel:
            stub = WorkerServiceStub(channel)
            while (request := stream.flush()) is not None:
                try:
                    response = await _report(stub, request, endpoint, timeout=until - clock())
                except SessionExpiredError:
                    # Completions are taken by their tokens all the same; the next Hello lists what is held.
                    stream.renew_session()
                    request.ClearField("session_id")
                    response = await _report(stub, request, endpoint, timeout=until - clock())
                perform(stream.flushed(response))
    except ApiError as error:
        return error
    return None


async def _report(
    stub: WorkerServiceAsyncStub, request: ReportTasksRequest, endpoint: Endpoint, *, timeout: float
) -> ReportTasksResponse:
    try:
        return await stub.ReportTasks(request, metadata=endpoint.metadata, timeout=timeout)
    except aio.AioRpcError as error:
        raise error_from_call(error, address=endpoint.address) from error
