"""SubmitJobStream: every submit has one outcome, refused ones refuse nobody else, and the protocol is kept."""

import asyncio
import uuid
from typing import Any

import grpc

from jobhall.errors import Code
from jobhall.v1 import job_service_pb2 as pb
from tests.support.calls import refusal, register, submission
from tests.support.servers import Running


async def outcomes(call: Any, count: int) -> dict[int, Any]:
    found: dict[int, Any] = {}
    while len(found) < count:
        answer = await call.read()
        assert answer is not grpc.aio.EOF
        found.update({outcome.seq: outcome for outcome in answer.outcomes})
    return found


async def test_each_submit_is_acknowledged_or_refused_alone(server: Running) -> None:
    await register(server)
    call = server.jobs.SubmitJobStream(timeout=20)
    jobs = [submission(), submission("scor"), submission(priority=1000), submission(json="{"), submission(json="{}")]

    await call.write(pb.SubmitJobStreamRequest(first_seq=1, jobs=jobs))
    found = await outcomes(call, 5)

    assert [seq for seq, outcome in sorted(found.items()) if outcome.WhichOneof("outcome") == "submitted"] == [1, 5]
    refused = [Code(found[seq].error.code) for seq in (2, 3, 4)]
    assert refused == [Code.NOT_FOUND, Code.INVALID_ARGUMENT, Code.INVALID_ARGUMENT]
    assert len((await server.jobs.ListJobs(pb.ListJobsRequest())).jobs) == 2
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_after_the_half_close_every_outcome_still_comes(server: Running) -> None:
    await register(server)
    call = server.jobs.SubmitJobStream(timeout=20)

    for first_seq in range(1, 2001, 50):
        jobs = [submission() for _ in range(50)]
        await call.write(pb.SubmitJobStreamRequest(first_seq=first_seq, jobs=jobs))
    await call.done_writing()
    found = await outcomes(call, 2000)

    assert sorted(found) == list(range(1, 2001))
    assert len({outcome.submitted.job_id for outcome in found.values()}) == 2000
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_the_same_id_twice_in_one_message_is_one_job(server: Running) -> None:
    await register(server)
    call = server.jobs.SubmitJobStream(timeout=20)
    job_id = str(uuid.uuid4())
    jobs = [submission(job_id=job_id), submission(job_id=job_id), submission(job_id=job_id, json="[]")]

    await call.write(pb.SubmitJobStreamRequest(first_seq=1, jobs=jobs))
    found = await outcomes(call, 3)

    assert [found[seq].submitted.job_id for seq in (1, 2)] == [job_id, job_id]
    assert b"JOB_ID_REUSED" in found[3].error.SerializeToString()
    call.cancel()


async def test_numbers_that_do_not_follow_on_break_the_protocol(server: Running) -> None:
    for message in (
        pb.SubmitJobStreamRequest(first_seq=2, jobs=[submission()]),
        pb.SubmitJobStreamRequest(first_seq=1),
        pb.SubmitJobStreamRequest(first_seq=1, jobs=[submission() for _ in range(1001)]),
    ):
        call = server.jobs.SubmitJobStream(timeout=20)
        await call.write(message)

        error = await refusal(call.read())

        assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "PROTOCOL_VIOLATION")


async def test_a_client_that_goes_away_leaves_its_jobs_and_nothing_else(server: Running) -> None:
    await register(server)
    call = server.jobs.SubmitJobStream(timeout=20)
    await call.write(pb.SubmitJobStreamRequest(first_seq=1, jobs=[submission() for _ in range(500)]))

    await outcomes(call, 500)
    call.cancel()

    assert not [task for task in asyncio.all_tasks() if task.get_name() == "submit-stream"]
    page = await server.jobs.ListJobs(pb.ListJobsRequest(page_size=1000))
    assert len(page.jobs) == 500


async def test_a_message_above_the_limit_of_the_channel_is_resource_exhausted(server: Running) -> None:
    await register(server)
    large = '"' + "x" * 1_000_000 + '"'
    async with grpc.aio.insecure_channel(server.address, options=[("grpc.max_send_message_length", -1)]) as channel:
        method: Any = channel.unary_unary(
            "/jobhall.v1.JobService/BatchSubmitJobs", request_serializer=pb.BatchSubmitJobsRequest.SerializeToString
        )
        request = pb.BatchSubmitJobsRequest(jobs=[submission(json=large) for _ in range(5)])

        error = await refusal(method(request, timeout=20))

    assert error.code is Code.RESOURCE_EXHAUSTED
