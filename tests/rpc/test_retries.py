"""Failures and what follows them: back-off by each policy, the worker's own word, and the last attempt."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from jobhall.errors import Code
from jobhall.states import FailureKind, JobState
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.calls import get, refusal, submit, untimed
from tests.support.servers import Running
from tests.support.unary_calls import SOON, claim, fail, report, state
from tests.support.waiting import eventually_async

AT_ONCE = {"initial_delay": {}, "jitter": 0.0}
"""A policy that waits for nothing."""


def delay_of(job: job_pb2.Job) -> float:
    """Milliseconds from the failure to the next attempt."""
    assert JobState(job.state) is JobState.SCHEDULED
    return (job.schedule_time.ToMicroseconds() - job.update_time.ToMicroseconds()) / 1000


# --- back-off ---


async def test_a_failed_attempt_is_scheduled_and_says_when_it_is_tried_again_and_why(brisk: Running) -> None:
    job = await submit(brisk, retry_policy={"initial_delay": {"nanos": 100_000_000}, "jitter": 0.0})

    failed = await fail(brisk, details={"row": 7})
    again = await claim(brisk, accept=True, timeout=SOON)
    running = await get(brisk, job.id)
    await report(brisk, again.session_id, {"lease_token": again.tasks[0].lease_token, "completed": {}})
    completed = await get(brisk, job.id)

    assert delay_of(failed) == 100
    assert (failed.attempt, failed.max_attempts) == (1, 4)
    assert (FailureKind(failed.error.kind), failed.error.code, failed.error.message) == (
        FailureKind.APPLICATION,
        "BROKEN",
        "no",
    )
    assert (failed.error.attempt, failed.error.retryable, dict(failed.error.details)) == (1, True, {"row": 7})
    assert not failed.HasField("end_time")
    assert (running.attempt, again.tasks[0].attempt) == (2, 2)
    assert not running.HasField("schedule_time")
    assert running.claim_time.ToMicroseconds() >= failed.schedule_time.ToMicroseconds()
    assert JobState(completed.state) is JobState.COMPLETED
    assert not completed.HasField("error")


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        ({"strategy": "BACKOFF_STRATEGY_FIXED"}, [40, 40, 40]),
        ({"strategy": "BACKOFF_STRATEGY_LINEAR"}, [40, 80, 120]),
        ({"strategy": "BACKOFF_STRATEGY_LINEAR", "max_delay": {"nanos": 100_000_000}}, [40, 80, 100]),
        ({"strategy": "BACKOFF_STRATEGY_EXPONENTIAL", "multiplier": 3.0}, [40, 120, 360]),
        ({"multiplier": 1.5, "max_delay": {"nanos": 80_000_000}}, [40, 60, 80]),
        ({"initial_delay": {}}, [None, None, None]),
    ],
)
async def test_each_strategy_waits_as_it_says_and_the_last_attempt_fails_the_job(
    brisk: Running, policy: dict[str, Any], delays: list[float | None]
) -> None:
    job = await submit(brisk, retry_policy={"initial_delay": {"nanos": 40_000_000}, "jitter": 0.0, **policy})

    waited: list[float | None] = []
    for _ in delays:
        failed = await fail(brisk)
        waited.append(None if JobState(failed.state) is JobState.PENDING else delay_of(failed))
    last = await fail(brisk)

    assert waited == delays
    assert (last.id, JobState(last.state), last.attempt) == (job.id, JobState.FAILED, 4)
    assert (last.error.code, last.error.attempt) == ("BROKEN", 4)
    assert last.HasField("end_time")


async def test_what_says_nothing_of_retries_waits_a_second_less_some_jitter_and_shows_its_policy(
    brisk: Running,
) -> None:
    await submit(brisk)

    failed = await fail(brisk)

    policy = failed.retry_policy
    assert 800 <= delay_of(failed) <= 1000
    assert (policy.initial_delay.seconds, policy.max_delay.seconds) == (1, 600)
    assert (policy.multiplier, round(policy.jitter, 3)) == (2.0, 0.2)
    assert policy.strategy == job_pb2.BACKOFF_STRATEGY_EXPONENTIAL


async def test_jitter_takes_a_random_part_of_the_delay_away(brisk: Running) -> None:
    for _ in range(8):
        await submit(brisk, retry_policy={"initial_delay": {"seconds": 60}, "jitter": 0.5})

    delays = [delay_of(await fail(brisk)) for _ in range(8)]

    assert all(30_000 <= delay <= 60_000 for delay in delays)
    assert len(set(delays)) > 1


# --- whose word counts ---


@pytest.mark.parametrize(
    ("failed", "wanted"),
    [
        ({"code": "DECLINED"}, JobState.FAILED),
        ({"code": "BROKEN"}, JobState.PENDING),
        ({"code": "BROKEN", "retryable": False}, JobState.FAILED),
        ({"code": "DECLINED", "retryable": True}, JobState.PENDING),
        ({"code": "BROKEN", "retry_delay": {"seconds": 60}}, JobState.SCHEDULED),
    ],
)
async def test_a_code_ends_the_job_unless_the_worker_says_otherwise(
    brisk: Running, failed: dict[str, Any], wanted: JobState
) -> None:
    await submit(brisk, retry_policy={**AT_ONCE, "non_retryable_codes": ["DECLINED"]})

    job = await fail(brisk, **failed)

    assert (JobState(job.state), job.attempt) == (wanted, 1)
    assert JobState(job.state) is not JobState.SCHEDULED or delay_of(job) == 60_000


async def test_one_attempt_means_that_a_job_is_never_run_twice(brisk: Running) -> None:
    await submit(brisk, max_attempts=1, retry_policy=AT_ONCE)

    job = await fail(brisk, retryable=True)

    assert (JobState(job.state), job.attempt) == (JobState.FAILED, 1)


async def test_a_failure_that_is_sent_again_is_counted_once(brisk: Running) -> None:
    job = await submit(brisk, retry_policy={"initial_delay": {"seconds": 60}})
    given = await claim(brisk, accept=True)
    token = given.tasks[0].lease_token

    first = await report(brisk, given.session_id, {"lease_token": token, "failed": {"message": "no"}})
    scheduled = await get(brisk, job.id)
    again = await report(brisk, given.session_id, {"lease_token": token, "failed": {"message": "no"}})
    other = await report(brisk, given.session_id, {"lease_token": token, "completed": {}})

    assert not first.rejections
    assert not again.rejections
    assert [(item.seq, item.status.code) for item in other.rejections] == [(1, Code.ALREADY_EXISTS)]
    assert untimed(await get(brisk, job.id)) == untimed(scheduled)


async def test_a_job_that_backs_off_can_be_cancelled_and_deleted(brisk: Running) -> None:
    for _ in range(2):
        await submit(brisk, retry_policy={"initial_delay": {"seconds": 60}})
    first, second = [await fail(brisk) for _ in range(2)]

    cancelled = (await brisk.jobs.CancelJob(pb.CancelJobRequest(job_id=first.id, reason="enough"))).job
    await brisk.jobs.DeleteJob(pb.DeleteJobRequest(job_id=second.id))

    assert (JobState(cancelled.state), cancelled.cancel_reason) == (JobState.CANCELLED, "enough")
    assert not cancelled.HasField("error")
    assert not cancelled.HasField("schedule_time")
    assert (await refusal(get(brisk, second.id))).reason == "JOB_NOT_FOUND"


async def test_no_client_waits_in_vain_for_a_job_that_is_tried_again(brisk: Running) -> None:
    """WaitJob and `stop_when_terminal` see a job through its back-off: SCHEDULED is no end."""
    job = await submit(brisk, max_attempts=2, retry_policy={"initial_delay": {"nanos": 50_000_000}, "jitter": 0.0})
    await fail(brisk)

    early = await brisk.jobs.WaitJob(pb.WaitJobRequest(job_id=job.id, timeout=Duration(nanos=1_000_000)))
    await fail(brisk)
    await eventually_async(lambda: _is(brisk, job.id, JobState.FAILED), within=10, what="the last attempt failed")
    ended = await brisk.jobs.WaitJob(pb.WaitJobRequest(job_id=job.id))

    assert not early.done
    assert ended.done
    assert ended.job.attempt == 2


async def _is(brisk: Running, job_id: str, wanted: JobState) -> bool:
    return await state(brisk, job_id) is wanted
