"""Faults of batches that were found once, each with its story."""

import asyncio
import math
from typing import Any
from uuid import uuid4

import pytest

from jobhall.errors import BatchIdReusedError, FieldInvalidError, JobTypeNotFoundError, SchemaMismatchError
from jobhall.v1 import batch_service_pb2 as pb
from jobhall.v1 import job_pb2
from jobhall.v1.job_type_pb2 import JobType
from jobhall.v1.job_type_service_pb2 import DeleteJobTypeRequest, RegisterJobTypeRequest
from tests.support.batch_calls import cancel, change, create
from tests.support.calls import refusal, register, submission
from tests.support.servers import Running
from tests.support.unary_calls import claim

TWO_SIGNS: Any = {"run_timeout": {"seconds": 1, "nanos": -5}}
AT_ONCE = 100


def not_a_number() -> job_pb2.JobSubmission:
    submission = job_pb2.JobSubmission(job_type="score")
    submission.parameters.object.fields["share"].number_value = math.nan
    return submission


@pytest.mark.parametrize(
    ("completion_job", "field"),
    [
        (not_a_number(), ".parameters.object.share"),
        (job_pb2.JobSubmission(job_type="score", schedule_time={"seconds": 10**15}), ".schedule_time"),  # type: ignore[arg-type]
        (job_pb2.JobSubmission(job_type="score", run_timeout={"seconds": 10**15}), ".run_timeout"),  # type: ignore[arg-type]
        (job_pb2.JobSubmission(job_type="score", **TWO_SIGNS), ""),
    ],
)
async def test_a_completion_job_that_cannot_be_kept_is_refused_by_its_field(
    server: Running, completion_job: job_pb2.JobSubmission, field: str
) -> None:
    """UpdateBatch wrote the job down before it looked at it, and what JSON cannot say was INTERNAL; a duration with two
    signs, which a submit takes, was so with CreateBatch too.
    """
    await register(server)
    batch = (await create(server)).batch

    created = await refusal(server.batches.CreateBatch(pb.CreateBatchRequest(completion_job=completion_job)))
    updated = await refusal(change(server, batch.id, completion_job=completion_job))

    assert isinstance(created, FieldInvalidError)
    assert created.violations[0].field == f"completion_job{field}"
    assert isinstance(updated, FieldInvalidError)
    assert updated.violations[0].field == f"batch.completion_job{field}"


@pytest.mark.parametrize("since", ["deleted", "replaced"])
async def test_a_batch_that_is_created_again_is_there_whatever_became_of_its_types(server: Running, since: str) -> None:
    """Its jobs were checked once more before anybody looked whether the batch was there: a call that was repeated
    since its answer was lost failed, as though nothing had been stored.
    """
    await register(server)
    request = pb.CreateBatchRequest(batch_id=str(uuid4()), jobs=[submission(json="1")], completion_job=submission())
    first = await server.batches.CreateBatch(request)
    await cancel(server, first.batch.id)
    if since == "deleted":
        await server.job_types.DeleteJobType(DeleteJobTypeRequest(name="score"))
    else:
        replaced = RegisterJobTypeRequest(replace=True)
        replaced.job_type.MergeFrom(JobType(name="score", parameters_schema='{"type": "string"}'))
        await server.job_types.RegisterJobType(replaced)

    again = await server.batches.CreateBatch(request)

    assert (again.batch.id, again.job_ids) == (first.batch.id, first.job_ids)
    request.name = "another"
    assert isinstance(await refusal(server.batches.CreateBatch(request)), BatchIdReusedError)
    request.batch_id = str(uuid4())
    assert isinstance(await refusal(server.batches.CreateBatch(request)), JobTypeNotFoundError | SchemaMismatchError)


async def test_a_thousand_refused_completion_jobs_keep_no_other_batch_waiting(server: Running) -> None:
    """What the server had to do for batches was read a thousand batches at a time, always the oldest. Where as many
    had completion jobs of a type that was deleted since, no newer batch was ever swept or got its own.
    """
    await register(server)
    await register(server, "gone")
    report = job_pb2.JobSubmission(job_type="gone")
    opened: list[str] = []
    while len(opened) < 1000:
        made = await asyncio.gather(*(create(server, completion_job=report) for _ in range(AT_ONCE)))
        opened += [answer.batch.id for answer in made]
    await server.job_types.DeleteJobType(DeleteJobTypeRequest(name="gone"))
    for start in range(0, len(opened), AT_ONCE):
        some = opened[start : start + AT_ONCE]
        await asyncio.gather(*(change(server, batch_id, closed=True) for batch_id in some))
    newest = (await create(server, jobs=2)).batch

    cancelled = await cancel(server, newest.id)

    assert cancelled.counts.cancelled == 2


async def test_a_batch_whose_jobs_are_stopping_is_not_changed_by_a_second_cancel(server: Running) -> None:
    """It went over the jobs again, and its etag changed, though all of them were asked to stop already."""
    await register(server)
    batch = (await create(server, jobs=2)).batch
    await claim(server, accept=True)

    first = await cancel(server, batch.id, reason="once")
    second = await cancel(server, batch.id, reason="twice")

    assert (first.counts.cancelling, first.counts.cancelled) == (1, 1)
    assert second == first
