"""Calls of BatchService by the bare stubs, and its jobs as a worker without a stream does them."""

from typing import Any

from jobhall.states import BatchState, CompletionPolicy
from jobhall.v1 import batch_pb2
from jobhall.v1 import batch_service_pb2 as pb
from jobhall.v1 import job_service_pb2 as jobs_pb
from tests.support.servers import Running
from tests.support.unary_calls import claim, report
from tests.support.waiting import eventually_async

END_SECONDS = 10.0
COMPLETED: Any = {"completed": {}}
FAILED: Any = {"failed": {"code": "BROKEN", "retryable": False}}


async def create(server: Running, *, jobs: Any = 0, **fields: Any) -> pb.CreateBatchResponse:
    """With those jobs, or so many of the type `score`."""
    given: Any = [{"job_type": "score"}] * jobs if isinstance(jobs, int) else jobs
    answer: pb.CreateBatchResponse = await server.batches.CreateBatch(pb.CreateBatchRequest(jobs=given, **fields))
    return answer


async def read(server: Running, batch_id: str) -> batch_pb2.Batch:
    return (await server.batches.GetBatch(pb.GetBatchRequest(batch_id=batch_id))).batch


async def change(server: Running, batch_id: str, *paths: str, etag: str = "", **fields: Any) -> batch_pb2.Batch:
    """The fields given are the mask, and `paths` those that are cleared."""
    request = pb.UpdateBatchRequest(batch=batch_pb2.Batch(id=batch_id, etag=etag, **fields))
    request.update_mask.paths.extend([*fields, *paths])
    return (await server.batches.UpdateBatch(request)).batch


async def cancel(server: Running, batch_id: str, **fields: Any) -> batch_pb2.Batch:
    return (await server.batches.CancelBatch(pb.CancelBatchRequest(batch_id=batch_id, **fields))).batch


async def delete(server: Running, batch_id: str, **fields: Any) -> batch_pb2.Batch:
    return (await server.batches.DeleteBatch(pb.DeleteBatchRequest(batch_id=batch_id, **fields))).batch


async def listed(server: Running, text: str = "", **fields: Any) -> list[str]:
    """The names of all pages."""
    names: list[str] = []
    request = pb.ListBatchesRequest(filter=text, **fields)
    while True:
        page = await server.batches.ListBatches(request)
        names += [batch.name for batch in page.batches]
        if not page.next_page_token:
            return names
        request.page_token = page.next_page_token
        request.skip = 0


async def work(server: Running, *outcomes: Any) -> None:
    """Do as many jobs as there are outcomes."""
    given = await claim(server, accept=True, tasks_max=len(outcomes))
    tasks = [{"lease_token": task.lease_token} for task in given.tasks]
    assert len(tasks) == len(outcomes)
    answer = await report(
        server, given.session_id, *({**task, **outcome} for task, outcome in zip(tasks, outcomes, strict=True))
    )
    assert not answer.rejections


async def ended(server: Running, batch_id: str) -> batch_pb2.Batch:
    """The batch when its completion job was submitted."""

    async def submitted() -> bool:
        return bool((await read(server, batch_id)).completion_job_id)

    await eventually_async(submitted, within=END_SECONDS, what="the completion job is submitted")
    return await read(server, batch_id)


async def members(server: Running, batch_id: str) -> list[str]:
    """Ids of its jobs, the oldest first."""
    request = jobs_pb.ListJobsRequest(filter=f"batch = {batch_id}", order_by="create_time")
    return [job.id for job in (await server.jobs.ListJobs(request)).jobs]


def state(batch: batch_pb2.Batch) -> BatchState:
    return BatchState(batch.state)


def policy(batch: batch_pb2.Batch) -> CompletionPolicy:
    return CompletionPolicy(batch.completion_policy)
