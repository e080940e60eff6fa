"""Submits that join a batch: one that is there, open, the caller's, and of their own namespace."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from jobhall.errors import Code
from jobhall.v1 import batch_pb2, batch_service_pb2, batch_service_pb2_grpc, job_pb2, job_type_service_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall_server.domain.access import Principal
from tests.support.authenticators import ByToken
from tests.support.calls import RawWorker, get, refusal, register, submission, submit
from tests.support.servers import Running, running_server


async def created(server: Running, **fields: Any) -> batch_pb2.Batch:
    stub = batch_service_pb2_grpc.BatchServiceStub(server.channel)
    return (await stub.CreateBatch(batch_service_pb2.CreateBatchRequest(**fields))).batch


async def counts(server: Running, batch_id: str) -> batch_pb2.Batch:
    stub = batch_service_pb2_grpc.BatchServiceStub(server.channel)
    return (await stub.GetBatch(batch_service_pb2.GetBatchRequest(batch_id=batch_id))).batch


async def test_a_job_joins_its_batch_and_its_worker_is_told_of_it(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()
    batch = await created(server)

    job = await submit(server, batch_id=batch.id.upper())

    (task,) = await worker.tasks()
    assert task.batch_id == job.batch_id == (await get(server, job.id)).batch_id == batch.id
    assert (await counts(server, batch.id)).counts.claimed == 1
    worker.cut()


async def test_a_batch_that_is_closed_takes_no_job_but_knows_those_that_it_has(server: Running) -> None:
    """A submit whose answer was lost is sent again; by then its batch may be closed."""
    await register(server)
    batch = await created(server)
    mine = pb.SubmitJobRequest(job=submission(batch_id=batch.id, job_id="0190a0b0-0000-7000-8000-000000000001"))
    await server.jobs.SubmitJob(mine)
    close = batch_service_pb2.UpdateBatchRequest(batch=batch_pb2.Batch(id=batch.id, closed=True))
    close.update_mask.paths.append("closed")
    await batch_service_pb2_grpc.BatchServiceStub(server.channel).UpdateBatch(close)

    again = await server.jobs.SubmitJob(mine)
    error = await refusal(submit(server, batch_id=batch.id))
    tried = await refusal(
        server.jobs.SubmitJob(pb.SubmitJobRequest(job=submission(batch_id=batch.id), validate_only=True))
    )

    assert again.existing
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "BATCH_CLOSED")
    assert tried.reason == "BATCH_CLOSED"


async def test_a_job_of_another_namespace_cannot_join(server: Running) -> None:
    await register(server, namespace="@global")
    batch = await created(server, namespace="acme")

    error = await refusal(submit(server, batch_id=batch.id))

    assert [violation.field for violation in error.violations] == ["job.batch_id"]
    assert "namespace 'acme'" in error.message


async def test_jobs_of_a_batch_that_is_not_active_are_held_back(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()
    batch = await created(server, active=False)

    held_back = await submit(server, batch_id=batch.id)
    given_out = await submit(server)

    assert held_back.state == job_pb2.JOB_STATE_PENDING
    assert [task.job_id for task in await worker.tasks()] == [given_out.id]
    assert (await get(server, held_back.id)).state == job_pb2.JOB_STATE_PENDING
    worker.cut()


async def test_one_job_that_cannot_join_refuses_all_that_are_submitted_with_it(server: Running) -> None:
    await register(server)
    batch, closed = await created(server), await created(server, closed=True)
    jobs = [submission(batch_id=batch.id), submission(batch_id=closed.id)]

    error = await refusal(server.jobs.BatchSubmitJobs(pb.BatchSubmitJobsRequest(jobs=jobs)))

    assert error.reason == "BATCH_CLOSED"
    assert (await counts(server, batch.id)).counts.pending == 0


async def test_on_the_stream_one_that_cannot_join_is_refused_alone(server: Running) -> None:
    await register(server)
    batch, closed = await created(server), await created(server, closed=True)
    stream = server.jobs.SubmitJobStream()
    jobs = [submission(batch_id=closed.id), submission(batch_id=batch.id), submission()]
    await stream.write(pb.SubmitJobStreamRequest(first_seq=1, jobs=jobs))
    await stream.done_writing()

    outcomes = {outcome.seq: outcome for message in [m async for m in stream] for outcome in message.outcomes}

    assert "is closed" in outcomes[1].error.message
    assert all(outcomes[seq].HasField("submitted") for seq in (2, 3))
    assert (await counts(server, batch.id)).counts.pending == 1


@pytest.fixture
async def strangers(tmp_path: Path) -> AsyncIterator[Running]:
    people = {name: Principal(name, roles=frozenset({"user"})) for name in ("ann", "ben")}
    async with running_server(tmp_path, authenticator=ByToken(**people)) as server:
        yield server


async def test_the_batch_of_a_stranger_does_not_exist(strangers: Running) -> None:
    ann, ben = (grpc.aio.Metadata(("authorization", f"Bearer {name}")) for name in ("ann", "ben"))
    stub = batch_service_pb2_grpc.BatchServiceStub(strangers.channel)
    score = job_type_service_pb2.RegisterJobTypeRequest(job_type={"name": "score"})  # type: ignore[arg-type]
    await strangers.job_types.RegisterJobType(score, metadata=ann)
    batch = (await stub.CreateBatch(batch_service_pb2.CreateBatchRequest(), metadata=ann)).batch
    request = pb.SubmitJobRequest(job=submission(batch_id=batch.id))

    error = await refusal(strangers.jobs.SubmitJob(request, metadata=ben))
    mine = await strangers.jobs.SubmitJob(request, metadata=ann)

    assert (error.code, error.reason) == (Code.NOT_FOUND, "BATCH_NOT_FOUND")
    assert mine.job.batch_id == batch.id
