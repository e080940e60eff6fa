"""AsyncClient over the real server: what each method answers, and as which class each refusal arrives."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobhall import (
    ApiError,
    AsyncClient,
    FailureKind,
    FileInfo,
    Job,
    JobFailedError,
    JobState,
    JobTimeoutError,
    ServerUnreachableError,
    Submission,
    __version__,
)
from jobhall.errors import (
    Code,
    FieldInvalidError,
    JobIdReusedError,
    JobNotFoundError,
    JobRunningError,
    JobTerminalError,
    JobTypeNotFoundError,
    PayloadTooLargeError,
)
from tests.support.ports import free_port
from tests.support.waiting import eventually_async

NOBODY = "0190a0b0-0000-7000-8000-000000000000"
WAIT_SECONDS = 10.0


async def in_state(client: AsyncClient, job_id: str, state: JobState) -> Job:
    async def job_there() -> Job | None:
        job = await client.jobs.get_job(job_id)
        return job if job.state is state else None

    job = await eventually_async(job_there, within=WAIT_SECONDS, what=f"the job is {state.name}")
    assert job is not None
    return job


# --- submitting and reading ---


async def test_a_job_is_read_back_as_it_was_submitted(client: AsyncClient) -> None:
    job_id = str(uuid.uuid4())
    submitted = await client.jobs.submit(
        "score",
        {"rows": [1, 2.5, None, "ä"]},
        labels={"team": "red"},
        path="/files/1",
        file_info=FileInfo("annual.csv", 10),
        priority=7,
        job_id=job_id,
        max_attempts=2,
    )
    job = await client.jobs.get_job(job_id)

    assert (job.id, job.state, job.parameters) == (job_id, JobState.PENDING, {"rows": [1, 2.5, None, "ä"]})
    assert (job.labels, job.path, job.priority, job.max_attempts) == ({"team": "red"}, "/files/1", 7, 2)
    assert (job.file_info, job.owner, job.namespace) == (FileInfo("annual.csv", 10), "anonymous", "default")
    assert job.created_at is not None
    assert abs(datetime.now(UTC) - job.created_at) < timedelta(minutes=1)
    assert (submitted.id, submitted.parameters, submitted.revision) == (job_id, job.parameters, 1)


async def test_bytes_are_read_back_as_bytes_with_their_type(client: AsyncClient) -> None:
    submitted = await client.jobs.submit("score", b"\x00\xff", content_type="image/png")

    job = await client.jobs.get_job(submitted.id)

    assert (job.parameters, job.parameters_content_type) == (b"\x00\xff", "image/png")


async def test_a_submit_under_a_known_id_is_the_same_job_or_refused(client: AsyncClient) -> None:
    job_id = str(uuid.uuid4())
    first = await client.jobs.submit("score", 1, job_id=job_id)

    again = await client.jobs.submit("score", 1, job_id=job_id)

    assert (again.id, again.created_at) == (first.id, first.created_at)
    with pytest.raises(JobIdReusedError):
        await client.jobs.submit("score", 2, job_id=job_id)


async def test_many_are_submitted_in_their_order_all_or_none(client: AsyncClient) -> None:
    jobs = await client.jobs.submit_many(Submission("score", number, priority=number) for number in range(20))

    with pytest.raises(JobTypeNotFoundError) as caught:
        await client.jobs.submit_many([Submission("score"), Submission("scroe")])

    assert [job.priority for job in await client.jobs.get_jobs([job.id for job in jobs])] == list(range(20))
    assert [job.id async for job in client.jobs.list_jobs()] == [job.id for job in reversed(jobs)]
    assert caught.value.metadata["nearest"] == "score"
    with pytest.raises(FieldInvalidError, match="1001"):
        await client.jobs.submit_many([Submission("score")] * 1001)


async def test_any_number_of_jobs_of_any_size_is_read_in_the_order_asked(client: AsyncClient) -> None:
    """More than one call may ask for, and more than one answer can hold."""
    large = [(await client.jobs.submit("score", "x" * 900_000)).id for _ in range(6)]
    small = [job.id for job in await client.jobs.submit_many([Submission("score")] * 1000)]

    found = await client.jobs.get_jobs([*large, NOBODY, *small])

    assert [job.id for job in found] == [*large, *small]
    assert len(found[0].parameters) == 900_000
    assert found.missing_ids == (NOBODY,)
    assert len(await client.jobs.get_jobs([])) == 0


@pytest.mark.parametrize(
    ("submit", "error", "field"),
    [
        ({"job_type": "score", "priority": 101}, FieldInvalidError, "job.priority"),
        ({"job_type": "score", "job_id": "mine"}, FieldInvalidError, "job.job_id"),
        ({"job_type": "score", "parameters": "x" * 1024 * 1024}, PayloadTooLargeError, "job.parameters"),
        ({"job_type": "score", "namespace": "Not A Name"}, FieldInvalidError, "job.namespace"),
    ],
)
async def test_a_refused_submit_names_its_field(
    client: AsyncClient, submit: dict[str, Any], error: type[ApiError], field: str
) -> None:
    with pytest.raises(error) as caught:
        await client.jobs.submit(**submit)

    assert caught.type is error
    assert [violation.field for violation in caught.value.violations] == [field]


# --- waiting, cancelling, deleting ---


@pytest.mark.usefixtures("worker")
async def test_a_wait_answers_the_completed_job(client: AsyncClient) -> None:
    submitted = await client.jobs.submit("double", 21)

    job = await client.jobs.wait_for_job(submitted.id, timeout=timedelta(seconds=WAIT_SECONDS))

    assert (job.state, job.result, job.parameters, job.attempt) == (JobState.COMPLETED, 42, 21, 1)
    assert job == await client.jobs.wait_for_job(submitted.id)


@pytest.mark.usefixtures("worker")
async def test_a_wait_for_a_job_that_fails_raises_all_of_its_failure(client: AsyncClient) -> None:
    submitted = await client.jobs.submit("decline")

    with pytest.raises(JobFailedError, match="is FAILED: card declined") as caught:
        await client.jobs.wait_for_job(submitted.id, timeout=WAIT_SECONDS)

    assert caught.value.details == {
        "job_id": submitted.id,
        "state": "FAILED",
        "failure_reason": "card declined",
        "kind": "APPLICATION",
        "code": "DECLINED",
        "attempt": 1,
        "error_details": {"limit": 5},
    }
    assert caught.value.job is not None
    assert caught.value.job.error is not None
    assert caught.value.job.error.kind is FailureKind.APPLICATION


async def test_a_wait_that_is_over_before_the_job_says_where_the_job_is(client: AsyncClient) -> None:
    submitted = await client.jobs.submit("score")

    with pytest.raises(JobTimeoutError, match=r"still PENDING after 0\.2 s") as caught:
        await client.jobs.wait_for_job(submitted.id, timeout=0.2, poll_interval=0.05)

    assert caught.value.details == {"job_id": submitted.id, "timeout": 0.2, "state": "PENDING"}
    assert (await client.jobs.get_job(submitted.id)).state is JobState.PENDING


async def test_a_wait_for_a_job_that_is_cancelled_meanwhile_raises_the_reason(client: AsyncClient) -> None:
    submitted = await client.jobs.submit("score")
    waiting = asyncio.create_task(client.jobs.wait_for_job(submitted.id, timeout=WAIT_SECONDS))
    await asyncio.sleep(0)

    cancelled = await client.jobs.cancel_job(submitted.id, reason="not needed")

    assert (cancelled.state, cancelled.cancel_reason) == (JobState.CANCELLED, "not needed")
    with pytest.raises(JobFailedError, match="not needed") as caught:
        await waiting
    assert caught.value.details == {"job_id": submitted.id, "state": "CANCELLED", "failure_reason": "not needed"}


@pytest.mark.usefixtures("worker")
async def test_a_running_job_can_be_cancelled_and_not_deleted(client: AsyncClient) -> None:
    submitted = await client.jobs.submit("hold")
    running = await in_state(client, submitted.id, JobState.RUNNING)

    with pytest.raises(JobRunningError):
        await client.jobs.delete_job(submitted.id)
    stopping = await client.jobs.cancel_job(submitted.id)

    assert running.current_task is not None
    assert running.current_task.worker_name == "tester"
    assert stopping.state in (JobState.CANCELLING, JobState.CANCELLED)
    await in_state(client, submitted.id, JobState.CANCELLED)


@pytest.mark.usefixtures("worker")
async def test_a_deleted_job_is_answered_for_the_last_time(client: AsyncClient) -> None:
    submitted = await client.jobs.submit("double", 4)
    await client.jobs.wait_for_job(submitted.id, timeout=WAIT_SECONDS)

    with pytest.raises(JobTerminalError):
        await client.jobs.cancel_job(submitted.id)
    deleted = await client.jobs.delete_job(submitted.id)

    assert (deleted.id, deleted.state, deleted.result) == (submitted.id, JobState.COMPLETED, 8)
    for call in (client.jobs.get_job, client.jobs.cancel_job, client.jobs.delete_job, client.jobs.wait_for_job):
        with pytest.raises(JobNotFoundError, match=submitted.id):
            await call(submitted.id)


# --- the server and the connection ---


async def test_the_server_says_what_it_is(client: AsyncClient) -> None:
    info = await client.server_info()

    assert (info.version, info.engine) == (__version__, "sqlite")
    assert info.protocol_version_min == info.protocol_version_max == 1


async def test_nobody_there_is_an_error_that_says_what_to_do() -> None:
    address = f"127.0.0.1:{free_port()}"

    async with AsyncClient(address, timeout=0.3) as client:
        with pytest.raises(
            ServerUnreachableError, match=f"no jobhall server answers at {address}.*jobhall-server serve"
        ):
            await client.server_info()


async def test_closing_ends_watches_fails_calls_under_way_and_cancels_no_task(client: AsyncClient) -> None:
    job = await client.jobs.submit("score")
    watch = client.jobs.watch()
    await anext(watch)
    waiting = asyncio.create_task(client.jobs.wait_for_job(job.id))
    following = asyncio.create_task(anext(watch, None))
    await client.jobs.get_job(job.id)

    await client.close()

    assert await following is None
    for call in (waiting, client.jobs.get_job(job.id)):
        with pytest.raises(ApiError, match="the client was closed") as caught:
            await call
        assert caught.value.code is Code.CANCELLED
