"""Completion jobs over the real server: submitted once, by the policy, as the owner's, whatever happens between."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

from jobhall.errors import Code
from jobhall.states import BatchState, CompletionPolicy
from jobhall.v1 import batch_service_pb2 as pb
from jobhall.v1 import job_service_pb2 as jobs_pb
from jobhall.v1 import job_type_pb2
from jobhall.v1 import job_type_service_pb2 as types_pb
from jobhall_server.domain.access import ANYBODY, Principal
from jobhall_server.hall.batch_loop import BatchLoop
from jobhall_server.hall.batch_submissions import BatchSubmission
from jobhall_server.hall.submits import Submission
from tests.support.authenticators import ByToken
from tests.support.batch_calls import (
    COMPLETED,
    FAILED,
    cancel,
    change,
    create,
    ended,
    read,
    state,
    work,
)
from tests.support.calls import get, refusal, register
from tests.support.halls import open_hall
from tests.support.servers import Running, running_server
from tests.support.waiting import eventually_async

REPORT: Any = {"job_type": "report"}
SOON = 20.0


@pytest.fixture
async def hall(brisk: Running) -> Running:
    await register(brisk, "report")
    return brisk


async def reports(server: Running) -> list[str]:
    """Ids of the completion jobs that there are."""
    return [job.id for job in (await server.jobs.ListJobs(jobs_pb.ListJobsRequest(filter="type = report"))).jobs]


async def looked_at(server: Running) -> None:
    """The batch loop has had a look at everything that was there before."""
    batch = await create(server, closed=True, completion_job=REPORT, namespace="")
    await delete_report(server, (await ended(server, batch.batch.id)).completion_job_id)


async def delete_report(server: Running, job_id: str) -> None:
    await server.jobs.DeleteJob(jobs_pb.DeleteJobRequest(job_id=job_id))


async def test_it_is_submitted_once_when_the_last_job_of_a_closed_batch_completes(hall: Running) -> None:
    completion = {**REPORT, "priority": 7, "labels": {"a": "b"}, "parameters": {"json": "[1]"}}
    batch = (await create(hall, jobs=2, completion_job=completion)).batch
    await work(hall, COMPLETED, COMPLETED)
    await looked_at(hall)
    open_still = await read(hall, batch.id)
    await change(hall, batch.id, closed=True)

    over = await ended(hall, batch.id)
    await looked_at(hall)
    job = await get(hall, over.completion_job_id)

    assert open_still.completion_job_id == ""
    assert (state(over), int(over.etag)) == (BatchState.COMPLETED, int(open_still.etag) + 2)
    assert (job.job_type, job.priority, job.batch_id) == ("report", 7, "")
    assert (dict(job.labels), job.parameters.json) == ({"a": "b"}, "[1]")
    assert await reports(hall) == [job.id]


@pytest.mark.parametrize("policy", list(CompletionPolicy))
async def test_of_a_batch_with_a_failed_job_it_is_submitted_by_the_policy(
    hall: Running, policy: CompletionPolicy
) -> None:
    batch = (await create(hall, jobs=2, closed=True, completion_job=REPORT, completion_policy=policy)).batch
    await work(hall, COMPLETED, FAILED)
    await looked_at(hall)

    submitted = bool((await read(hall, batch.id)).completion_job_id)

    assert submitted == (policy is CompletionPolicy.ALL_TERMINAL)
    assert len(await reports(hall)) == submitted


async def test_a_failed_job_that_is_retried_and_completes_brings_it_after_all(hall: Running) -> None:
    answer = await create(hall, jobs=2, closed=True, completion_job=REPORT)
    await work(hall, COMPLETED, FAILED)
    await looked_at(hall)
    before = await reports(hall)

    await hall.jobs.RetryJob(jobs_pb.RetryJobRequest(job_id=answer.job_ids[1]))
    await work(hall, COMPLETED)
    over = await ended(hall, answer.batch.id)

    assert (before, await reports(hall)) == ([], [over.completion_job_id])


async def test_a_job_that_is_retried_after_it_was_submitted_brings_no_second_one(hall: Running) -> None:
    policy = CompletionPolicy.ALL_TERMINAL
    answer = await create(hall, jobs=1, closed=True, completion_job=REPORT, completion_policy=policy)
    await work(hall, FAILED)
    first = await ended(hall, answer.batch.id)

    await hall.jobs.RetryJob(jobs_pb.RetryJobRequest(job_id=answer.job_ids[0]))
    await work(hall, COMPLETED)
    await looked_at(hall)

    assert (await read(hall, answer.batch.id)).completion_job_id == first.completion_job_id
    assert await reports(hall) == [first.completion_job_id]


async def test_a_policy_that_is_changed_when_all_have_ended_brings_it(hall: Running) -> None:
    batch = (await create(hall, jobs=1, closed=True, completion_job=REPORT)).batch
    await work(hall, FAILED)
    await looked_at(hall)
    before = await reports(hall)

    await change(hall, batch.id, completion_policy=CompletionPolicy.ALL_TERMINAL)
    over = await ended(hall, batch.id)

    assert (before, await reports(hall)) == ([], [over.completion_job_id])


async def test_deleting_the_last_job_that_is_in_the_way_brings_it(hall: Running) -> None:
    answer = await create(hall, jobs=2, closed=True, completion_job=REPORT)
    await work(hall, COMPLETED, FAILED)

    await hall.jobs.DeleteJob(jobs_pb.DeleteJobRequest(job_id=answer.job_ids[1]))

    assert state(await ended(hall, answer.batch.id)) is BatchState.COMPLETED


async def test_a_batch_without_jobs_is_done_when_it_is_closed(hall: Running) -> None:
    batch = (await create(hall, completion_job=REPORT)).batch
    await change(hall, batch.id, closed=True)

    assert (await ended(hall, batch.id)).completion_job_id


@pytest.mark.parametrize(
    ("policy", "submitted"), [(CompletionPolicy.ALL_COMPLETED, False), (CompletionPolicy.ALL_TERMINAL, True)]
)
async def test_of_a_cancelled_batch_it_is_submitted_under_all_terminal_only(
    hall: Running, policy: CompletionPolicy, submitted: bool
) -> None:
    answer = await create(hall, jobs=2, completion_job=REPORT, completion_policy=policy)
    await work(hall, COMPLETED)
    await cancel(hall, answer.batch.id)
    await hall.jobs.DeleteJob(jobs_pb.DeleteJobRequest(job_id=answer.job_ids[1]))
    await looked_at(hall)

    batch = await read(hall, answer.batch.id)

    assert (state(batch), bool(batch.completion_job_id)) == (BatchState.COMPLETED, submitted)
    assert batch.completion_job.job_type == "report"


async def test_it_can_be_given_changed_and_taken_away_until_it_is_submitted(hall: Running) -> None:
    batch = (await create(hall)).batch
    await change(hall, batch.id, completion_job={**REPORT, "priority": 1})
    await change(hall, batch.id, completion_job={**REPORT, "priority": 2})
    await change(hall, batch.id, closed=True)
    over = await ended(hall, batch.id)

    refusals = [
        await refusal(change(hall, batch.id, "completion_job")),
        await refusal(change(hall, batch.id, completion_policy=CompletionPolicy.ALL_TERMINAL)),
    ]
    renamed = await change(hall, batch.id, name="done")

    assert (await get(hall, over.completion_job_id)).priority == 2
    assert {(error.code, error.reason) for error in refusals} == {(Code.FAILED_PRECONDITION, "BATCH_CLOSED")}
    assert (renamed.name, renamed.completion_job_id) == ("done", over.completion_job_id)


async def test_one_whose_type_is_gone_is_told_in_the_log_and_tried_again(
    hall: Running, server_log: io.StringIO
) -> None:
    await register(hall, "brief")
    batch = (await create(hall, completion_job={"job_type": "brief"})).batch
    await hall.job_types.DeleteJobType(types_pb.DeleteJobTypeRequest(name="brief"))
    await change(hall, batch.id, closed=True)
    await eventually_async(
        lambda: "completion_job_refused" in server_log.getvalue(), within=SOON, what="the refusal is in the log"
    )
    before = await read(hall, batch.id)
    others = (await create(hall, closed=True, completion_job=REPORT)).batch
    await ended(hall, others.id)

    await register(hall, "brief")

    assert before.completion_job_id == ""
    assert (await get(hall, (await ended(hall, batch.id)).completion_job_id)).job_type == "brief"


async def test_loops_that_look_at_the_same_batches_submit_each_completion_job_once(tmp_path: Path) -> None:
    """Two processes look at the same time and both find a batch done: the second one's unit finds it submitted."""
    async with open_hall("sqlite", tmp_path) as scene:
        hall = scene.hall
        loops = [hall.batch_loop, BatchLoop(hall), BatchLoop(hall)]
        running = [asyncio.create_task(loop.run()) for loop in loops[1:]]
        for loop in loops:
            loop.read_submission = lambda _text: Submission("score")
        asked = BatchSubmission("default", closed=True, completion=Submission("score"), completion_job="{}")
        batches = [(await hall.batches.create(ANYBODY, asked))[0].record.batch_id for _ in range(20)]

        async def submitted() -> list[str]:
            found = [(await hall.batches.get(ANYBODY, batch)).record.completion_job_id for batch in batches]
            return found if all(found) else []

        job_ids = await eventually_async(submitted, within=SOON, what="every completion job is submitted")
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        stored = scene.floor.rows("SELECT count(*) FROM jobhall_jobs")

    assert len(set(job_ids)) == 20
    assert stored == [(20,)]


async def test_it_is_its_owners_and_lives_where_the_batch_does(tmp_path: Path) -> None:
    ann = Principal("ann", "acme", name="Ann", roles=frozenset({"user", "worker"}))
    async with running_server(tmp_path, authenticator=ByToken(ann=ann)) as server:
        mine: Any = {"metadata": (("authorization", "Bearer ann"),)}
        request = types_pb.RegisterJobTypeRequest(job_type=job_type_pb2.JobType(name="report", namespace="eu"))
        await server.job_types.RegisterJobType(request, **mine)
        create_it = pb.CreateBatchRequest(namespace="eu", closed=True, completion_job=REPORT)
        batch = (await server.batches.CreateBatch(create_it, **mine)).batch

        async def submitted() -> str:
            answer = await server.batches.GetBatch(pb.GetBatchRequest(batch_id=batch.id), **mine)
            return str(answer.batch.completion_job_id)

        job_id = await eventually_async(submitted, within=SOON, what="the completion job is submitted")
        job = (await server.jobs.GetJob(jobs_pb.GetJobRequest(job_id=job_id), **mine)).job

    assert (job.namespace, job.owner, job.organization_id, job.created_by) == ("eu", "ann", "acme", "Ann")
