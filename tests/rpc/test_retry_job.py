"""RetryJob, state by state; and policies, timeouts and reports that cannot be meant, each refused by its field."""

from typing import Any

import pytest

from jobhall.errors import ApiError, Code
from jobhall.limits import NON_RETRYABLE_CODES_MAX
from jobhall.states import EventType, JobState
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.calls import get, refusal, submit, untimed
from tests.support.servers import Running
from tests.support.unary_calls import SOON, claim, fail, report, state

NOBODY = "0190a0b0-0000-7000-8000-000000000000"


async def retry(brisk: Running, job_id: str, **fields: Any) -> job_pb2.Job:
    return (await brisk.jobs.RetryJob(pb.RetryJobRequest(job_id=job_id, **fields))).job


async def test_a_failed_job_begins_anew_and_keeps_its_fence_and_history(brisk: Running) -> None:
    watch: Any = brisk.jobs.WatchJobs(pb.WatchJobsRequest(), timeout=30)
    await watch.read()
    job = await submit(brisk, max_attempts=1)
    failed = await fail(brisk)

    retried = await retry(brisk, job.id, etag=failed.etag)
    given = await claim(brisk, accept=True)
    await report(brisk, given.session_id, {"lease_token": given.tasks[0].lease_token, "completed": {}})

    assert (JobState(retried.state), retried.attempt, retried.worker_losses) == (JobState.PENDING, 0, 0)
    assert not retried.HasField("error")
    assert not retried.HasField("end_time")
    assert retried.revision == failed.revision + 1
    assert (given.tasks[0].attempt, given.tasks[0].fence) == (1, 2)
    assert await told(watch, until=EventType.COMPLETED) == [
        EventType.SUBMITTED,
        EventType.CLAIMED,
        EventType.RUNNING,
        EventType.FAILED,
        EventType.RETRIED,
        EventType.CLAIMED,
        EventType.RUNNING,
        EventType.COMPLETED,
    ]


async def told(watch: Any, *, until: EventType) -> list[EventType]:
    seen: list[EventType] = []
    while until not in seen:
        seen += [EventType(event.event_type) for event in (await watch.read()).events]
    watch.cancel()
    return seen


async def test_a_cancelled_job_begins_anew(brisk: Running) -> None:
    job = await submit(brisk)
    await brisk.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id, reason="enough"))

    retried = await retry(brisk, job.id)

    assert JobState(retried.state) is JobState.PENDING
    assert (retried.cancel_reason, retried.cancelled_by) == ("", "")


async def test_a_completed_job_is_not_retried(brisk: Running) -> None:
    job = await submit(brisk)
    given = await claim(brisk, accept=True)
    await report(brisk, given.session_id, {"lease_token": given.tasks[0].lease_token, "completed": {}})

    error = await refusal(retry(brisk, job.id))

    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "JOB_TERMINAL")
    assert error.metadata["state"] == "COMPLETED"


async def test_a_job_that_has_not_ended_is_left_as_it_is_by_a_retry(brisk: Running) -> None:
    async def left_alone() -> JobState:
        before = await get(brisk, job.id)
        assert untimed(await retry(brisk, job.id)) == untimed(before)
        return JobState(before.state)

    job = await submit(brisk, retry_policy={"initial_delay": {"seconds": 60}})
    seen = [await left_alone()]
    given = await claim(brisk)
    token = given.tasks[0].lease_token
    seen.append(await left_alone())
    await report(brisk, given.session_id, {"lease_token": token, "accepted": {}})
    seen.append(await left_alone())
    await report(brisk, given.session_id, {"lease_token": token, "failed": {}})
    seen.append(await left_alone())

    assert seen == [JobState.PENDING, JobState.CLAIMED, JobState.RUNNING, JobState.SCHEDULED]


async def test_a_job_that_is_being_cancelled_is_left_as_it_is_by_a_retry(brisk: Running) -> None:
    job = await submit(brisk)
    await claim(brisk, accept=True)
    await brisk.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id))

    assert JobState((await retry(brisk, job.id)).state) is JobState.CANCELLING


async def test_a_failure_resent_after_a_retry_changes_nothing(brisk: Running) -> None:
    """The worker's ack was lost; meanwhile somebody retried the job. Its word is on record, and once is enough."""
    job = await submit(brisk, max_attempts=1)
    given = await claim(brisk, accept=True)
    failure = {"lease_token": given.tasks[0].lease_token, "failed": {"message": "no"}}
    await report(brisk, given.session_id, failure)
    retried = await retry(brisk, job.id)

    again = await report(brisk, given.session_id, failure)
    late = await report(brisk, given.session_id, {"lease_token": given.tasks[0].lease_token, "completed": {}})

    assert not again.rejections
    assert [item.status.code for item in late.rejections] == [Code.ALREADY_EXISTS]
    assert untimed(await get(brisk, job.id)) == untimed(retried)


async def test_a_retry_or_cancel_with_an_old_etag_is_refused(brisk: Running) -> None:
    job = await submit(brisk, max_attempts=1)
    failed = await fail(brisk)

    for call in (
        retry(brisk, job.id, etag=job.etag),
        brisk.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id, etag=job.etag)),
    ):
        error = await refusal(call)
        assert (error.code, error.reason) == (Code.ABORTED, "ETAG_MISMATCH")
    assert untimed(await get(brisk, job.id)) == untimed(failed)


async def test_a_retry_wakes_a_claim_that_waits(brisk: Running) -> None:
    job = await submit(brisk)
    await brisk.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id))
    await retry(brisk, job.id)

    given = await claim(brisk, timeout=SOON)

    assert [task.job_id for task in given.tasks] == [job.id]


# --- bad input ---


POLICIES: dict[str, tuple[dict[str, Any], str]] = {
    "no such strategy": ({"strategy": 9}, "strategy"),
    "shrinking delays": ({"multiplier": 0.5}, "multiplier"),
    "no number": ({"multiplier": float("nan")}, "multiplier"),
    "endless delays": ({"multiplier": 101.0}, "multiplier"),
    "more than all of it random": ({"jitter": 1.5}, "jitter"),
    "less than none of it random": ({"jitter": -0.1}, "jitter"),
    "before its time": ({"initial_delay": {"seconds": -1}}, "initial_delay"),
    "in a thousand years": ({"initial_delay": {"seconds": 10**10}}, "initial_delay"),
    "no cap": ({"max_delay": {"seconds": 10**10}}, "max_delay"),
    "a cap below the floor": ({"initial_delay": {"seconds": 5}, "max_delay": {"seconds": 4}}, "max_delay"),
    "too many codes": ({"non_retryable_codes": ["X"] * (NON_RETRYABLE_CODES_MAX + 1)}, "non_retryable_codes"),
    "a long code": ({"non_retryable_codes": ["X", "Y" * 300]}, "non_retryable_codes[1]"),
}


@pytest.mark.parametrize("name", POLICIES)
async def test_a_policy_that_cannot_be_meant_names_its_field(brisk: Running, name: str) -> None:
    policy, field = POLICIES[name]

    check(await refusal(submit(brisk, retry_policy=policy)), f"job.retry_policy.{field}")


@pytest.mark.parametrize("name", ["run_timeout", "progress_timeout"])
@pytest.mark.parametrize("seconds", [0, -1, 10**10])
async def test_a_timeout_that_cannot_be_meant_names_its_field(brisk: Running, name: str, seconds: int) -> None:
    fields: dict[str, Any] = {name: {"seconds": seconds}}

    check(await refusal(submit(brisk, **fields)), f"job.{name}")


async def test_calls_with_what_cannot_be_meant_name_the_field(brisk: Running) -> None:
    grace: Any = {"seconds": -1}

    check(await refusal(retry(brisk, "7")), "job_id")
    check(await refusal(brisk.jobs.CancelJob(pb.CancelJobRequest(job_id=NOBODY, grace=grace))), "grace")
    assert (await refusal(retry(brisk, NOBODY))).reason == "JOB_NOT_FOUND"


@pytest.mark.parametrize(
    "update",
    [
        {"failed": {"retry_delay": {"seconds": -1}}},
        {"failed": {"retry_delay": {"seconds": 10**10}}},
        {"failed": {"code": "X" * 300}},
        {"released": {"delay": {"seconds": -1}}},
        {"released": {"delay": {"seconds": 10**10}}},
        {"checkpoint": {}},
        {"checkpoint": {"state": {"json": "{"}}},
        {"checkpoint": {"state": {"json": "1"}, "progress": {"items_total": 1, "items_processed": 2}}},
    ],
    ids=range(8),
)
async def test_a_report_that_cannot_be_meant_is_rejected_and_the_task_goes_on(
    brisk: Running, update: dict[str, Any]
) -> None:
    job = await submit(brisk)
    given = await claim(brisk, accept=True)
    token = given.tasks[0].lease_token

    answer = await report(brisk, given.session_id, {"lease_token": token, **update})

    [rejection] = answer.rejections
    assert rejection.status.code == Code.INVALID_ARGUMENT
    assert b"FIELD_INVALID" in rejection.status.SerializeToString()
    assert await state(brisk, job.id) is JobState.RUNNING


def check(error: ApiError, field: str) -> None:
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
    assert [violation.field for violation in error.violations] == [field]
