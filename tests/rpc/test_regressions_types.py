"""Faults of job types and their schemas that were found once, each with its story."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobhall.errors import ApiError, JobTypeInUseError, JobTypeNotFoundError, RoleRequiredError
from jobhall.states import FailureKind, JobState
from jobhall.v1 import job_pb2, job_type_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall.v1 import job_type_service_pb2 as types_pb
from jobhall_server.domain.access import Principal
from jobhall_server.hall.registry import nearest
from tests.support.authenticators import ByToken
from tests.support.calls import RawWorker, get, refusal, register, submission, submit
from tests.support.servers import Running, running_server

JOBS = 100
"""Of the type `slow`: some ten milliseconds each."""


async def registered(server: Running, name: str, **fields: Any) -> None:
    request = types_pb.RegisterJobTypeRequest(job_type=job_type_pb2.JobType(name=name, **fields))
    await server.job_types.RegisterJobType(request)


async def deleted(server: Running, name: str) -> None:
    await server.job_types.DeleteJobType(types_pb.DeleteJobTypeRequest(name=name))


async def retried(server: Running, job_id: str) -> None:
    await server.jobs.RetryJob(pb.RetryJobRequest(job_id=job_id))


def slow_schema() -> str:
    """Every part names the next one twice: it is small, and takes a million looks at the smallest value."""
    twice = {f"p{depth}": {"allOf": [{"$ref": f"#/$defs/p{depth + 1}"}] * 2} for depth in range(19)}
    return json.dumps({"$ref": "#/$defs/p0", "$defs": twice | {"p19": {"type": "number"}}})


def many() -> pb.BatchSubmitJobsRequest:
    return pb.BatchSubmitJobsRequest(jobs=[submission("slow", json="1") for _ in range(JOBS)])


async def failed_once(server: Running, worker: RawWorker) -> job_pb2.Job:
    """A job whose one attempt is over."""
    job = await submit(server, max_attempts=1)
    [task] = await worker.tasks()
    await worker.report(task.lease_token, failed={"code": "BROKEN"})
    return job


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_retried_job_of_a_deleted_type_keeps_the_check_of_its_result(
    tmp_path: Path, *, restarted: bool
) -> None:
    """The check looked for the type among those that are registered. A job that had failed was retried after its type
    was deleted, its worker was still there, and any result whatever was COMPLETED.
    """
    async with running_server(tmp_path) as server:
        await registered(server, "score", result_schema='{"type": "string"}')
        worker = RawWorker(server)
        await worker.hello()
        job = await failed_once(server, worker)
        if not restarted:
            await deleted(server, "score")
            await retried(server, job.id)
            await ends_by_schema(server, worker, job.id)
        else:
            await worker.end()
            await deleted(server, "score")
    if restarted:
        async with running_server(tmp_path, auto_register=False) as server:
            worker = RawWorker(server)
            await worker.hello()
            await retried(server, job.id)
            await ends_by_schema(server, worker, job.id)


async def ends_by_schema(server: Running, worker: RawWorker, job_id: str) -> None:
    """The worker reports a number where a string is to be."""
    [task] = await worker.tasks()
    ack = await worker.report(task.lease_token, completed={"result": {"json": "5"}})

    [rejection] = ack.rejections
    assert rejection.status.message.startswith('completed.result: is not of type "string"')
    job = await get(server, job_id)
    assert (JobState(job.state), FailureKind(job.error.kind)) == (JobState.FAILED, FailureKind.SCHEMA_MISMATCH)
    assert await worker.end() is None


async def test_a_call_with_many_slow_checks_lets_others_be_served_in_between(server: Running) -> None:
    """One check is bounded, a thousand of them in one call were not: the server did nothing else for minutes, and took
    its workers for lost.
    """
    await register(server)
    await registered(server, "slow", parameters_schema=slow_schema())
    job = await submit(server)
    submitting = asyncio.ensure_future(server.jobs.BatchSubmitJobs(many()))

    await others_are_served(server, job.id, until=submitting)

    assert len((await submitting).jobs) == JOBS


async def others_are_served(server: Running, job_id: str, *, until: asyncio.Future[Any]) -> None:
    """No call waits for all of what is checked meanwhile, or for most of it."""
    began = last = time.monotonic()
    slowest = 0.0
    while not until.done():
        await get(server, job_id)
        slowest, last = max(slowest, time.monotonic() - last), time.monotonic()
    assert slowest < (last - began) / 2


async def test_a_worker_with_many_slow_results_lets_others_be_served_in_between(server: Running) -> None:
    """The same of results: those of one message are checked one after the other."""
    await register(server)
    await registered(server, "slow", result_schema=slow_schema())
    job = await submit(server)
    await server.jobs.BatchSubmitJobs(many())
    worker = RawWorker(server, "slow", tasks_max=JOBS)
    await worker.hello()
    tokens: list[bytes] = []
    while len(tokens) < JOBS:
        tokens += [task.lease_token for task in await worker.tasks()]
    results: list[Any] = [
        {"seq": seq, "lease_token": token, "completed": {"result": {"json": "1"}}}
        for seq, token in enumerate(tokens, 1)
    ]
    await worker.send(task_updates={"updates": results})
    acked = asyncio.ensure_future(worker.next("ack"))

    await others_are_served(server, job.id, until=acked)

    assert not (await acked).ack.rejections
    assert await worker.end() is None


async def test_a_type_is_not_deleted_under_submits_that_are_still_checked(server: Running) -> None:
    """Since checks let others have their turn, a type may be deleted while a call is half checked. Either that call
    finds it gone, or its jobs keep it.
    """
    await registered(server, "slow", parameters_schema=slow_schema())
    submitting = asyncio.ensure_future(server.jobs.BatchSubmitJobs(many()))
    stream = server.jobs.SubmitJobStream()
    await stream.write(pb.SubmitJobStreamRequest(first_seq=1, jobs=many().jobs))
    await get_nothing(server)

    await deleted(server, "slow")

    assert isinstance(await refusal(submitting), JobTypeNotFoundError)
    answer: Any = await stream.read()
    assert len(answer.outcomes) == JOBS
    assert all("there is no job type 'slow'" in outcome.error.message for outcome in answer.outcomes)
    stream.cancel()
    stats = await server.jobs.GetJobStats(pb.GetJobStatsRequest())
    assert stats.total == job_pb2.JobCounts()


async def get_nothing(server: Running) -> None:
    """A turn of the server's loop, so that what was called before has begun."""
    assert isinstance(await refusal(get(server, "0190a0b0-0000-7000-8000-000000000001")), ApiError)


async def test_jobs_that_were_checked_keep_their_type(server: Running) -> None:
    """The other way round, so that the test above means something."""
    await registered(server, "slow", parameters_schema=slow_schema())
    await server.jobs.BatchSubmitJobs(many())

    assert isinstance(await refusal(deleted(server, "slow")), JobTypeInUseError)


async def test_only_an_admin_changes_what_is_global(tmp_path: Path) -> None:
    """Whoever might submit could also register a type for every namespace, and replace, pause or delete any such."""
    user, root = (("authorization", "Bearer ann"),), (("authorization", "Bearer root"),)
    callers = ByToken(
        ann=Principal("ann", roles=frozenset({"user"})), root=Principal("root", roles=frozenset({"admin"}))
    )
    async with running_server(tmp_path, authenticator=callers) as server:
        stub = server.job_types
        everywhere: dict[str, Any] = {"namespace": "@global", "name": "score"}

        # One after the other: a call begins when it is made, not when it is awaited.
        def changes(metadata: Any) -> Iterator[Any]:
            by_prefix, by_namespace = job_type_pb2.JobType(name="public:score"), job_type_pb2.JobType(**everywhere)
            yield stub.RegisterJobType(types_pb.RegisterJobTypeRequest(job_type=by_namespace), metadata=metadata)
            yield stub.RegisterJobType(types_pb.RegisterJobTypeRequest(job_type=by_prefix), metadata=metadata)
            yield stub.PauseJobType(types_pb.PauseJobTypeRequest(**everywhere), metadata=metadata)
            yield stub.ResumeJobType(types_pb.ResumeJobTypeRequest(name="public:score"), metadata=metadata)
            yield stub.DeleteJobType(types_pb.DeleteJobTypeRequest(**everywhere), metadata=metadata)

        await next(changes(root))
        for change in changes(user):
            assert isinstance(await refusal(change), RoleRequiredError)
        found = await stub.GetJobType(types_pb.GetJobTypeRequest(**everywhere), metadata=user)
        assert (found.job_type.etag, found.job_type.paused) == ("1", False)
        for change in changes(root):
            await change


def test_the_nearest_name_is_found_among_very_many_without_comparing_them_all() -> None:
    """With ten thousand types a submit of one that is not there kept the whole server busy for about a second."""
    known = [f"category-{number % 7}:some-long-type-name-number-{number}" for number in range(60_000)]
    began = time.process_time()

    assert nearest("some-long-type-nam", known).startswith("category-")
    assert nearest("resise", [*known, "resize"]) == "resize"
    assert time.process_time() - began < 5.0


def test_two_letters_in_the_wrong_order_are_found_among_many_too() -> None:
    """Among more than a hundred types only those were compared of which three letters at an end agreed."""
    assert nearest("scroe", [*(f"type-{number:03}" for number in range(200)), "score"]) == "score"


def test_the_nearest_name_of_few_need_not_begin_or_end_alike() -> None:
    assert nearest("thumbnails", ["score", "mk-thumbnail-s3"]) == "mk-thumbnail-s3"
    assert nearest("thumbnails", []) == ""
