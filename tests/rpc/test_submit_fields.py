"""What a submit may say beyond its type: each field is kept, shown, acted upon, and handed to the worker."""

import asyncio
import uuid
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from jobhall.errors import Code
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.calls import RawWorker, get, refusal, register, submission, submit, untimed
from tests.support.servers import Running
from tests.support.waiting import eventually_async

SOON = 10.0
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def ahead(seconds: float) -> Timestamp:
    """That time from now, as this machine's clock has it."""
    time = Timestamp()
    time.GetCurrentTime()
    time.FromMicroseconds(time.ToMicroseconds() + round(seconds * 1e6))
    return time


async def is_in(server: Running, job_id: str, state: job_pb2.JobState.ValueType) -> job_pb2.Job:
    async def there() -> job_pb2.Job | None:
        job = await get(server, job_id)
        return job if job.state == state else None

    job = await eventually_async(there, within=SOON, what=f"the job is {job_pb2.JobState.Name(state)}")
    assert job is not None
    return job


async def test_every_field_of_a_submit_is_shown_and_read_back(server: Running) -> None:
    await register(server)

    job = await submit(
        server,
        json="{}",
        priority=-7,
        schedule_time=ahead(60),
        start_deadline=ahead(120),
        retry_policy={"strategy": job_pb2.BACKOFF_STRATEGY_LINEAR},
        run_timeout={"seconds": 5},
        progress_timeout={"seconds": 3},
        unique_key="nightly",
        access_control={"visibility": job_pb2.VISIBILITY_PUBLIC, "write_access": ["ann"]},
        trace_context={"traceparent": TRACE, "tracestate": "v=1"},
        retention={"seconds": 3600},
        file_info={"name": "a.csv"},
    )

    assert job.state == job_pb2.JOB_STATE_SCHEDULED
    assert 50 < job.schedule_time.seconds - job.create_time.seconds < 70
    assert 110 < job.start_deadline.seconds - job.create_time.seconds < 130
    assert (job.priority, job.unique_key, job.retention.seconds) == (-7, "nightly", 3600)
    assert (job.run_timeout.seconds, job.progress_timeout.seconds) == (5, 3)
    assert job.retry_policy.strategy == job_pb2.BACKOFF_STRATEGY_LINEAR
    assert job.access_control.visibility == job_pb2.VISIBILITY_PUBLIC
    assert list(job.access_control.write_access) == ["ann"]
    assert (job.trace_context.traceparent, job.trace_context.tracestate) == (TRACE, "v=1")
    assert job.file_info.name == "a.csv"
    assert not job.file_info.HasField("size_bytes")
    assert not job.HasField("purge_time")
    assert untimed(await get(server, job.id)) == untimed(job)


async def test_a_job_that_says_nothing_is_private_and_has_no_times_of_its_own(server: Running) -> None:
    await register(server)

    job = await submit(server)

    assert job.access_control == job_pb2.AccessControl(visibility=job_pb2.VISIBILITY_PRIVATE)
    assert not any(job.HasField(name) for name in ("schedule_time", "start_deadline", "trace_context", "retention"))
    assert (job.batch_id, job.unique_key) == ("", "")


async def test_a_scheduled_job_is_given_out_when_its_time_comes_and_one_of_the_past_at_once(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()

    later = await submit(server, schedule_time=ahead(0.3))
    at_once = await submit(server, schedule_time=ahead(-60))

    assert later.state == job_pb2.JOB_STATE_SCHEDULED
    assert at_once.state == job_pb2.JOB_STATE_PENDING
    assert [task.job_id for task in await worker.tasks()] == [at_once.id]
    assert [task.job_id for task in await worker.tasks()] == [later.id]
    shown = await get(server, later.id)
    assert shown.claim_time.ToMicroseconds() >= later.schedule_time.ToMicroseconds()
    assert shown.schedule_time == later.schedule_time
    worker.cut()


@pytest.mark.parametrize("schedule", [None, 0.1])
async def test_a_job_that_no_worker_began_by_its_deadline_has_expired(server: Running, schedule: float | None) -> None:
    await register(server)

    job = await submit(server, start_deadline=ahead(0.3), schedule_time=None if schedule is None else ahead(schedule))

    failed = await is_in(server, job.id, job_pb2.JOB_STATE_FAILED)
    assert (failed.error.kind, failed.error.code) == (job_pb2.FAILURE_KIND_EXPIRED, "START_DEADLINE")
    assert failed.attempt == 0
    assert not failed.HasField("start_time")


async def test_a_job_that_began_in_time_may_last_beyond_its_deadline(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()
    job = await submit(server, start_deadline=ahead(0.3))
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, accepted={})
    await register(server, "other")
    expired = await submit(server, "other", start_deadline=ahead(0.5))

    await is_in(server, expired.id, job_pb2.JOB_STATE_FAILED)
    await worker.report(task.lease_token, completed={})

    assert (await get(server, job.id)).state == job_pb2.JOB_STATE_COMPLETED
    await worker.end()


async def test_a_deadline_that_is_over_is_refused_but_not_when_the_submit_is_repeated(server: Running) -> None:
    """A submit whose answer was lost is sent again; by then its deadline may be over."""
    await register(server)
    request = pb.SubmitJobRequest(job=submission(job_id=str(uuid.uuid4()), start_deadline=ahead(0.3)))
    first = await server.jobs.SubmitJob(request)
    await is_in(server, first.job.id, job_pb2.JOB_STATE_FAILED)

    again = await server.jobs.SubmitJob(request)
    error = await refusal(submit(server, start_deadline=ahead(-0.1)))

    assert (again.existing, again.job.id) == (True, first.job.id)
    assert [violation.field for violation in error.violations] == ["job.start_deadline"]


async def test_a_worker_is_handed_the_trace_context_of_the_submit(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()

    await submit(server, trace_context={"traceparent": TRACE}, file_info={"name": "a.csv"})

    (task,) = await worker.tasks()
    assert (task.trace_context.traceparent, task.trace_context.tracestate) == (TRACE, "")
    assert task.file_info.name == "a.csv"
    assert not task.file_info.HasField("size_bytes")
    worker.cut()


async def test_a_task_says_when_its_worker_last_reported(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()
    job = await submit(server)
    (task,) = await worker.tasks()

    before = (await get(server, job.id)).current_task
    await worker.report(task.lease_token, accepted={})
    begun = (await get(server, job.id)).current_task
    await worker.send(task_updates={"updates": [{"lease_token": task.lease_token, "progress": {"percent": 5}}]})
    await worker.beat(task.lease_token)
    heard = (await get(server, job.id)).current_task

    assert not before.HasField("report_time")
    assert begun.report_time == begun.start_time
    assert heard.report_time.ToMicroseconds() > heard.start_time.ToMicroseconds()
    worker.cut()


async def test_a_checkpoint_is_shown_only_to_who_asks_for_it(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()
    job = await submit(server)
    (task,) = await worker.tasks()
    none = await get(server, job.id, include_checkpoint=True)
    await worker.report(task.lease_token, checkpoint={"state": {"json": '{"row": 7}'}})

    shown = await get(server, job.id, include_checkpoint=True)
    basic = await get(server, job.id, include_checkpoint=True, view=job_pb2.JOB_VIEW_BASIC)

    assert not none.HasField("checkpoint")
    assert shown.checkpoint.json == basic.checkpoint.json == '{"row": 7}'
    assert not (await get(server, job.id)).HasField("checkpoint")
    worker.cut()


# --- validate_only ---


async def counted(server: Running) -> int:
    return len((await server.jobs.ListJobs(pb.ListJobsRequest(namespace="-"))).jobs)


async def test_a_submit_that_is_only_tried_shows_the_job_as_it_would_be_and_stores_nothing(server: Running) -> None:
    await register(server, namespace="@global")
    message = submission(json="{}", priority=3, schedule_time=ahead(60), namespace="never.used", labels={"a": "b"})

    answer = await server.jobs.SubmitJob(pb.SubmitJobRequest(job=message, validate_only=True))

    job = answer.job
    assert not answer.existing
    assert (job.id, job.revision, job.etag) == ("", 0, "")
    assert not any(job.HasField(name) for name in ("create_time", "update_time", "timing"))
    assert (job.namespace, job.priority, job.max_attempts) == ("never.used", 3, 4)
    assert (job.state, dict(job.labels), job.parameters.json) == (job_pb2.JOB_STATE_SCHEDULED, {"a": "b"}, "{}")
    assert job.owner == "anonymous"
    assert await counted(server) == 0


async def test_what_is_only_tried_is_refused_as_the_submit_would_be_and_for_the_first_fault(server: Running) -> None:
    await register(server)
    await submit(server, unique_key="k")
    good, taken = submission(), submission(unique_key="k", unique_policy=job_pb2.UNIQUE_POLICY_REJECT)
    twice = [submission(unique_key="twice", unique_policy=job_pb2.UNIQUE_POLICY_REJECT)] * 2

    tried = await server.jobs.BatchSubmitJobs(pb.BatchSubmitJobsRequest(jobs=[good, good], validate_only=True))
    refused: list[Any] = [
        await refusal(server.jobs.BatchSubmitJobs(pb.BatchSubmitJobsRequest(jobs=jobs, validate_only=True)))
        for jobs in ([good, taken], twice)
    ]

    assert [job.id for job in tried.jobs] == ["", ""]
    assert [(error.code, error.reason) for error in refused] == [(Code.ALREADY_EXISTS, "UNIQUE_KEY_TAKEN")] * 2
    assert await counted(server) == 1


async def test_what_is_only_tried_and_there_already_is_shown_as_it_is(server: Running) -> None:
    await register(server)
    message = submission(job_id=str(uuid.uuid4()))
    job = await submit(server, job_id=message.job_id)

    tried = await server.jobs.SubmitJob(pb.SubmitJobRequest(job=message, validate_only=True))

    assert (tried.existing, tried.job.id, tried.job.revision) == (True, job.id, 1)


async def test_of_two_that_are_tried_together_the_second_would_be_answered_with_the_first(server: Running) -> None:
    """There is no such job to be shown, for the first one is not stored either."""
    await register(server)
    pair = [submission(unique_key="k", priority=1), submission(unique_key="k", priority=2)]

    tried = await server.jobs.BatchSubmitJobs(pb.BatchSubmitJobsRequest(jobs=pair, validate_only=True))

    assert [job.id for job in tried.jobs] == ["", ""]


async def test_a_try_replaces_nothing(server: Running) -> None:
    await register(server)
    job = await submit(server, unique_key="k")
    message = submission(unique_key="k", unique_policy=job_pb2.UNIQUE_POLICY_REPLACE_PENDING)

    tried = await server.jobs.SubmitJob(pb.SubmitJobRequest(job=message, validate_only=True))

    assert not tried.existing
    assert (await get(server, job.id)).revision == 1


async def test_a_refused_submit_leaves_nothing_of_its_batch_of_submits(server: Running) -> None:
    """The first of them was written already within the transaction when the second was refused."""
    await register(server)
    await submit(server, unique_key="k")
    jobs = [submission(unique_key="new"), submission(unique_key="k", unique_policy=job_pb2.UNIQUE_POLICY_REJECT)]

    error = await refusal(server.jobs.BatchSubmitJobs(pb.BatchSubmitJobsRequest(jobs=jobs)))
    free = await server.jobs.SubmitJob(pb.SubmitJobRequest(job=jobs[0]))

    assert error.reason == "UNIQUE_KEY_TAKEN"
    assert not free.existing
    assert await counted(server) == 2


async def test_many_submits_with_everything_at_once_are_all_there(server: Running) -> None:
    await register(server)

    answers = await asyncio.gather(
        *(
            submit(server, unique_key=f"k{number}", schedule_time=ahead(60), labels={"n": str(number)})
            for number in range(50)
        )
    )

    assert len({job.id for job in answers}) == 50
    assert {job.state for job in answers} == {job_pb2.JOB_STATE_SCHEDULED}
