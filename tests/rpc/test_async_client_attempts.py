"""AsyncClient over the real server: a job's rules for its attempts, what it shows between two, RetryJob and grace."""

import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobhall import (
    AsyncClient,
    BackoffStrategy,
    FailureKind,
    Job,
    JobFailedError,
    JobState,
    RetryPolicy,
    Submission,
    Task,
    TaskFailed,
    Worker,
)
from jobhall.errors import FieldInvalidError, JobNotFoundError, JobTerminalError
from tests.support.servers import Running, running_server
from tests.support.waiting import eventually_async

NOBODY = "0190a0b0-0000-7000-8000-000000000000"
WAIT_SECONDS = 10.0
POLICY = RetryPolicy(
    strategy=BackoffStrategy.LINEAR,
    initial_delay=timedelta(seconds=10),
    max_delay=timedelta(minutes=5),
    multiplier=3.0,
    jitter=0.5,
    non_retryable_codes=("DECLINED", "GONE"),
)
AT_ONCE = RetryPolicy(initial_delay=timedelta(0))
IN_AN_HOUR = RetryPolicy(strategy=BackoffStrategy.FIXED, initial_delay=timedelta(hours=1), jitter=0.0)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    """No deadline fires before a server has served for a session's time to live, so that is short here."""
    async with running_server(tmp_path, session_ttl_seconds=2, heartbeat_seconds=0.7, reaper_seconds=0.1) as running:
        yield running


@pytest.fixture
async def flaky(server: Running) -> AsyncIterator[Worker]:
    """A worker whose handlers fail until the third attempt, with the code that they were given, or hear nothing."""
    over = threading.Event()
    worker = Worker(server.address, name="flaky", drain_seconds=0)

    @worker.handler("third")
    async def third(task: Task) -> int:
        if task.attempt < 3:
            raise TaskFailed("not yet", code=task.parameters or "EARLY")
        return task.attempt

    @worker.handler("deaf")
    def deaf(_task: Task) -> None:
        over.wait(WAIT_SECONDS)

    async with worker:
        await eventually_async(lambda: worker.connected, within=WAIT_SECONDS, what="the worker is connected")
        yield worker
        over.set()


async def in_state(client: AsyncClient, job_id: str, state: JobState) -> Job:
    async def job_there() -> Job | None:
        job = await client.jobs.get_job(job_id)
        return job if job.state is state else None

    job = await eventually_async(job_there, within=WAIT_SECONDS, what=f"the job is {state.name}")
    assert job is not None
    return job


# --- rules ---


async def test_the_rules_of_a_job_are_read_back_however_it_was_submitted(client: AsyncClient) -> None:
    options: dict[str, Any] = {
        "retry_policy": POLICY,
        "run_timeout": 90,
        "progress_timeout": timedelta(seconds=1.5),
        "max_attempts": 7,
    }

    one = await client.jobs.submit("score", **options)
    [many] = await client.jobs.submit_many([Submission("score", **options)])
    async with client.jobs.submit_stream() as stream:
        streamed = await stream.submit("score", **options)

    for job in await client.jobs.get_jobs([one.id, many.id, streamed.job_id]):
        assert (job.retry_policy, job.max_attempts) == (POLICY, 7)
        assert (job.run_timeout, job.progress_timeout) == (timedelta(seconds=90), timedelta(seconds=1.5))


async def test_a_job_that_says_nothing_shows_the_documented_rules(client: AsyncClient) -> None:
    job = await client.jobs.submit("score")

    assert job.retry_policy == RetryPolicy(max_delay=timedelta(minutes=10))
    assert (job.max_attempts, job.run_timeout, job.progress_timeout) == (4, None, None)


async def test_a_first_delay_beyond_the_default_bound_is_the_bound(client: AsyncClient) -> None:
    job = await client.jobs.submit("score", retry_policy=IN_AN_HOUR)

    assert job.retry_policy == replace(IN_AN_HOUR, max_delay=timedelta(hours=1))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"retry_policy": RetryPolicy(jitter=1.5)}, "retry_policy.jitter"),
        ({"retry_policy": RetryPolicy(multiplier=0.5)}, "retry_policy.multiplier"),
        ({"retry_policy": RetryPolicy(max_delay=timedelta(0))}, "retry_policy.max_delay"),
        ({"retry_policy": RetryPolicy(initial_delay=timedelta(days=366))}, "retry_policy.initial_delay"),
        ({"retry_policy": RetryPolicy(non_retryable_codes=("x",) * 101)}, "retry_policy.non_retryable_codes"),
        ({"retry_policy": RetryPolicy(non_retryable_codes=("x" * 256,))}, "retry_policy.non_retryable_codes[0]"),
        ({"run_timeout": 0}, "run_timeout"),
        ({"progress_timeout": 0}, "progress_timeout"),
        ({"max_attempts": 1001}, "max_attempts"),
    ],
)
async def test_a_rule_that_cannot_be_is_refused_by_its_field_however_it_was_submitted(
    client: AsyncClient, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(FieldInvalidError) as single:
        await client.jobs.submit("score", **options)
    with pytest.raises(FieldInvalidError) as many:
        await client.jobs.submit_many([Submission("score"), Submission("score", **options)])
    async with client.jobs.submit_stream() as stream:
        with pytest.raises(FieldInvalidError) as streamed:
            await stream.submit("score", **options)

    assert [violation.field for violation in single.value.violations] == [f"job.{field}"]
    assert [violation.field for violation in many.value.violations] == [f"jobs[1].{field}"]
    assert [violation.field.partition(".")[2] for violation in streamed.value.violations] == [field]


# --- between two attempts ---


@pytest.mark.usefixtures("flaky")
async def test_a_job_between_two_attempts_shows_why_and_when(client: AsyncClient) -> None:
    submitted = await client.jobs.submit("third", retry_policy=IN_AN_HOUR)

    job = await in_state(client, submitted.id, JobState.SCHEDULED)

    assert job.error is not None
    assert (job.error.kind, job.error.code, job.error.message) == (FailureKind.APPLICATION, "EARLY", "not yet")
    assert (job.error.attempt, job.error.retryable, job.attempt, job.done) == (1, True, 1, False)
    assert job.scheduled_at is not None
    assert timedelta(minutes=59) < job.scheduled_at - datetime.now(UTC) <= timedelta(hours=1)


@pytest.mark.usefixtures("flaky")
async def test_a_job_is_tried_again_until_it_succeeds(client: AsyncClient) -> None:
    submitted = await client.jobs.submit("third", retry_policy=AT_ONCE)

    job = await client.jobs.wait_for_job(submitted.id, timeout=WAIT_SECONDS)

    assert (job.result, job.attempt, job.error) == (3, 3, None)


@pytest.mark.usefixtures("flaky")
@pytest.mark.parametrize(
    ("options", "attempt"),
    [
        ({"max_attempts": 2, "retry_policy": AT_ONCE}, 2),
        ({"max_attempts": 1}, 1),
        ({"retry_policy": replace(AT_ONCE, non_retryable_codes=("DECLINED",))}, 1),
    ],
)
async def test_a_job_is_tried_no_more_often_than_its_rules_say(
    client: AsyncClient, options: dict[str, Any], attempt: int
) -> None:
    submitted = await client.jobs.submit("third", "DECLINED", **options)

    with pytest.raises(JobFailedError, match="not yet") as caught:
        await client.jobs.wait_for_job(submitted.id, timeout=WAIT_SECONDS)

    assert caught.value.details["attempt"] == attempt
    assert caught.value.details["code"] == "DECLINED"


@pytest.mark.usefixtures("worker")
async def test_an_attempt_that_takes_too_long_has_timed_out(client: AsyncClient) -> None:
    long = await client.jobs.submit("hold", run_timeout=0.2, max_attempts=1)
    silent = await client.jobs.submit("hold", progress_timeout=0.2, max_attempts=1)

    for submitted in (long, silent):
        with pytest.raises(JobFailedError) as caught:
            await client.jobs.wait_for_job(submitted.id, timeout=WAIT_SECONDS)
        assert caught.value.details["kind"] == "TIMEOUT"


# --- retrying a job, and cancelling one in time ---


@pytest.mark.usefixtures("worker")
async def test_a_retried_job_begins_anew(client: AsyncClient) -> None:
    failed = await client.jobs.submit("decline")
    with pytest.raises(JobFailedError):
        await client.jobs.wait_for_job(failed.id, timeout=WAIT_SECONDS)

    retried = await client.jobs.retry_job(failed.id)

    assert (retried.state, retried.attempt, retried.worker_losses, retried.error) == (JobState.PENDING, 0, 0, None)
    with pytest.raises(JobFailedError, match="card declined") as again:
        await client.jobs.wait_for_job(failed.id, timeout=WAIT_SECONDS)
    assert again.value.details["attempt"] == 1


@pytest.mark.usefixtures("worker")
async def test_only_what_failed_or_was_cancelled_can_be_retried(client: AsyncClient) -> None:
    waiting = await client.jobs.submit("score")
    cancelled = await client.jobs.submit("score")
    await client.jobs.cancel_job(cancelled.id, reason="wrong file")
    completed = await client.jobs.submit("double", 1)
    await client.jobs.wait_for_job(completed.id, timeout=WAIT_SECONDS)

    same = await client.jobs.retry_job(waiting.id)
    back = await client.jobs.retry_job(cancelled.id)

    assert (same.state, same.revision) == (JobState.PENDING, waiting.revision)
    assert (back.state, back.cancel_reason, back.cancelled_by) == (JobState.PENDING, "", "")
    with pytest.raises(JobTerminalError) as ended:
        await client.jobs.retry_job(completed.id)
    assert ended.value.metadata["state"] == "COMPLETED"
    with pytest.raises(JobNotFoundError):
        await client.jobs.retry_job(NOBODY)


@pytest.mark.usefixtures("flaky")
async def test_a_worker_that_does_not_stop_has_the_grace_and_no_longer(client: AsyncClient) -> None:
    submitted = await client.jobs.submit("deaf")
    await in_state(client, submitted.id, JobState.RUNNING)

    stopping = await client.jobs.cancel_job(submitted.id, reason="enough", grace=0.3)
    job = await in_state(client, submitted.id, JobState.CANCELLED)

    assert stopping.state is JobState.CANCELLING
    assert (job.cancel_reason, job.error) == ("enough", None)


async def test_a_grace_beyond_a_year_is_refused_by_name(client: AsyncClient) -> None:
    job = await client.jobs.submit("score")

    with pytest.raises(FieldInvalidError) as caught:
        await client.jobs.cancel_job(job.id, grace=timedelta(days=366))

    assert [violation.field for violation in caught.value.violations] == ["grace"]
