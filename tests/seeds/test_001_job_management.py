"""Seed 001, the management of upload jobs: its calls in the order of its own examples, by both clients.

Who may see and do what comes with the security of the server; here everybody may do all.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import grpc.aio
import pytest

from jobhall import FileInfo, Job, JobState, Task, TaskFailed, UploadStatus, Worker
from jobhall.errors import FieldInvalidError, JobNotFoundError, JobRunningError, JobTerminalError
from jobhall.ids import new_id
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall.v1.job_service_pb2_grpc import JobServiceStub
from tests.support.clients import everything, open_client
from tests.support.processes import Server
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

FILE = FileInfo("annual_predictions_1000_rows.csv", 2_048_576)
WITHIN = 20.0


@pytest.fixture
async def client(kind: str, server: Server) -> AsyncIterator[Any]:
    async with open_client(kind, server.address) as client:
        yield client


@pytest.fixture(autouse=True)
async def worker(server: Server, room: str) -> AsyncIterator[Worker]:
    """Predicts for the rows that it is told, of which some are bad; with `halt` it never comes to an end."""
    worker = Worker(server.address, name="predictor", namespace=room, drain_seconds=0)

    @worker.handler("annual")
    async def predict(task: Task) -> None:
        asked = task.parameters
        bad = asked.get("bad", [])
        for row in bad:
            task.item_error(index=row, key=f"COMPANY{row}", code="INVALID", message="Invalid market cap value")
        task.progress(
            total=1000,
            processed=asked["rows"],
            succeeded=asked["rows"] - len(bad),
            failed=len(bad),
            unit="rows",
            details={"model": "v3"},
        )
        if asked.get("broken"):
            raise TaskFailed("the model is gone", code="MODEL_GONE", retryable=False, details={"model": "v3"})
        await asyncio.sleep(asked.get("seconds", 0))  # sleeps: that is how long its rows take
        if asked.get("halt"):
            await asyncio.Event().wait()

    async with worker:
        await eventually_async(lambda: worker.connected, within=WITHIN, what="the worker is connected")
        yield worker


@pytest.fixture
def upload(client: Any, room: str) -> Any:
    async def started(rows: int = 1000, *, within_reach: bool = True, **parameters: Any) -> str:
        later = {} if within_reach else {"schedule_time": timedelta(hours=1)}
        asked = {"rows": rows, **parameters}
        return str((await client.jobs.submit("annual", asked, namespace=room, file_info=FILE, **later)).id)

    return started


async def seen(client: Any, job_id: str, there: Callable[[Job], object], *, include_errors: bool = False) -> Job:
    """The job, as soon as it is so."""

    async def look() -> Job | None:
        job: Job = await client.jobs.get_job(job_id, include_errors=include_errors)
        return job if there(job) else None

    job = await eventually_async(look, within=WITHIN, what=f"job {job_id} is so")
    assert job is not None
    return job


async def running(client: Any, job_id: str) -> Job:
    return await seen(client, job_id, lambda job: job.state is JobState.RUNNING and job.progress.items_processed)


def ended(job: Job) -> bool:
    return job.done


# --- job details ---


async def test_the_details_of_a_completed_job(client: Any, upload: Any) -> None:
    job_id = await upload(bad=[45, 123], seconds=0.3)
    job = await seen(client, job_id, ended, include_errors=True)

    assert (job.id, UploadStatus.of(job), job.job_type) == (job_id, UploadStatus.COMPLETED, "annual")

    file = job.file_info
    assert file is not None
    assert (file.name, file.size_bytes) == ("annual_predictions_1000_rows.csv", 2_048_576)
    assert file.size_mb == pytest.approx(1.95, abs=0.01)

    rows = job.progress
    assert (rows.items_total, rows.items_processed, rows.items_succeeded, rows.items_failed) == (1000, 1000, 998, 2)
    assert (rows.percent, rows.items_remaining, rows.unit) == (100.0, 0, "rows")
    assert rows.error_rate == 0.002

    assert job.created_at is not None
    assert job.started_at is not None
    assert job.ended_at is not None
    assert job.created_at <= job.started_at <= job.ended_at == job.updated_at
    spent = job.timing.run_duration
    assert spent == job.ended_at - job.started_at
    assert job.timing.items_per_second == pytest.approx(1000 / spent.total_seconds(), rel=0.01)
    assert (job.timing.estimated_remaining, job.timing.estimated_completion_at) == (None, None)

    assert (job.owner, job.organization_id, job.created_by) == ("anonymous", "", "anonymous")
    assert job.current_task is None


async def test_errors_are_told_on_demand(client: Any, upload: Any) -> None:
    job_id = await upload(bad=[45, 123])
    job = await seen(client, job_id, ended, include_errors=True)
    without = await client.jobs.get_job(job_id)

    assert (job.has_errors, job.error_message, job.error_count) == (True, None, 2)
    assert job.error_details == {
        "errors": [
            {"index": 45, "key": "COMPANY45", "code": "INVALID", "message": "Invalid market cap value"},
            {"index": 123, "key": "COMPANY123", "code": "INVALID", "message": "Invalid market cap value"},
        ]
    }
    assert (without.has_errors, without.error_details, without.error_count) == (True, None, 2)
    assert [error.index for error in await everything(client.jobs.item_errors(job_id))] == [45, 123]


async def test_a_failed_job_has_a_message_and_the_details_of_its_failure(client: Any, upload: Any) -> None:
    job = await seen(client, await upload(3, broken=True, bad=[1]), ended, include_errors=True)

    assert (UploadStatus.of(job), job.has_errors) == (UploadStatus.FAILED, True)
    assert (job.error_message, job.error_count) == ("the model is gone", 1)
    assert job.error_details is not None
    assert job.error_details["model"] == "v3"
    assert [error["index"] for error in job.error_details["errors"]] == [1]


async def test_an_active_job_is_told_with_its_estimates_and_the_task_that_runs_it(
    client: Any, upload: Any, worker: Worker
) -> None:
    job_id = await upload(250, halt=True)
    job = await seen(client, job_id, lambda job: job.timing.estimated_remaining, include_errors=True)

    assert UploadStatus.of(job) is UploadStatus.PROCESSING
    assert (job.progress.percent, job.progress.items_remaining) == (25.0, 750)
    timing = job.timing
    assert timing.run_duration is not None
    assert timing.items_per_second is not None
    assert timing.items_per_second == pytest.approx(250 / timing.run_duration.total_seconds(), rel=0.05)
    assert timing.estimated_remaining is not None
    assert timing.estimated_remaining.total_seconds() == pytest.approx(750 / timing.items_per_second, rel=0.05)
    assert timing.remaining_text.endswith("s")
    assert timing.estimated_completion_at is not None
    assert (job.ended_at, job.has_errors, job.error_details) == (None, False, None)

    assert job.progress.details == {"model": "v3"}
    task = job.current_task
    assert task is not None
    assert (task.worker_name, task.attempt) == ("predictor", 1)
    assert task.started_at == job.started_at
    assert (await client.workers.get(task.session_id)).name == worker.name


# --- delete a job ---


@pytest.mark.parametrize("state", ["pending", "queued", "completed", "failed"])
async def test_a_job_can_be_deleted_in_every_status_but_processing(
    client: Any, upload: Any, room: str, state: str
) -> None:
    if state == "completed":
        job_id = (await seen(client, await upload(), ended)).id
    elif state == "failed":
        job_id = (await seen(client, await upload(broken=True), ended)).id
    elif state == "queued":
        await client.types.register("quarterly", namespace=room)
        job_id = (await client.jobs.submit("quarterly", namespace=room, file_info=FILE)).id
    else:
        job_id = await upload(within_reach=False)

    deleted = await client.jobs.delete_job(job_id)

    assert (deleted.id, UploadStatus.of(deleted), deleted.file_info) == (job_id, UploadStatus(state), FILE)
    with pytest.raises(JobNotFoundError):
        await client.jobs.get_job(job_id)


async def test_a_job_that_is_processing_cannot_be_deleted(client: Any, upload: Any) -> None:
    job_id = await upload(1, halt=True)
    await running(client, job_id)

    with pytest.raises(JobRunningError, match="is RUNNING: cancel it first, or wait for its end"):
        await client.jobs.delete_job(job_id)

    await client.jobs.cancel_job(job_id)
    await seen(client, job_id, ended)
    assert (await client.jobs.delete_job(job_id)).id == job_id


async def test_a_job_that_is_not_there_is_not_found(client: Any) -> None:
    for verb in (client.jobs.get_job, client.jobs.delete_job, client.jobs.cancel_job):
        with pytest.raises(JobNotFoundError, match="that you may see"):
            await verb(new_id())


# --- cancel a job ---


async def test_to_cancel_a_running_job_tells_its_worker(client: Any, upload: Any) -> None:
    job_id = await upload(1, halt=True)
    await running(client, job_id)

    answer = await client.jobs.cancel_job(job_id, reason="wrong quarter")
    job = await seen(client, job_id, ended)

    assert answer.worker_told
    assert answer.id == job_id
    assert answer.file_info == FILE
    assert (job.state, UploadStatus.of(job)) == (JobState.CANCELLED, UploadStatus.FAILED)
    assert (job.error_message, job.cancelled_by) == ("wrong quarter", "anonymous")
    assert job.has_errors
    assert job.ended_at is not None
    assert not (await client.jobs.cancel_job(job_id)).worker_told


async def test_to_cancel_a_job_that_waits_tells_nobody(client: Any, upload: Any) -> None:
    answer = await client.jobs.cancel_job(await upload(within_reach=False))

    assert (answer.state, answer.worker_told) == (JobState.CANCELLED, False)
    assert (UploadStatus.of(answer), answer.error_message) == (UploadStatus.FAILED, "cancelled")
    assert answer.ended_at is not None


@pytest.mark.parametrize(("broken", "state"), [(False, "COMPLETED"), (True, "FAILED")])
async def test_a_job_that_has_ended_cannot_be_cancelled(client: Any, upload: Any, broken: bool, state: str) -> None:
    job = await seen(client, await upload(broken=broken), ended)

    with pytest.raises(JobTerminalError, match=f"is already {state}") as caught:
        await client.jobs.cancel_job(job.id)

    assert caught.value.metadata["state"] == state


# --- usage examples: clean-up ---


async def test_completed_jobs_are_cleaned_up_one_by_one(client: Any, upload: Any, room: str) -> None:
    completed = [(await seen(client, await upload(), ended)).id for _ in range(2)]
    failed = (await seen(client, await upload(broken=True), ended)).id
    asked = {"namespace": room, "status": UploadStatus.COMPLETED}

    found = await client.jobs.list_page(**asked, page_size=100)
    for job in found.jobs:
        await client.jobs.delete_job(job.id)

    assert [job.id for job in found.jobs] == completed[::-1]
    assert [job.id for job in await everything(client.jobs.list_jobs(namespace=room))] == [failed]


async def test_completed_jobs_are_cleaned_up_at_once(client: Any, upload: Any, room: str) -> None:
    completed = (await seen(client, await upload(), ended)).id
    others = [await upload(within_reach=False), (await seen(client, await upload(broken=True), ended)).id]
    asked = {"namespace": room, "status": UploadStatus.COMPLETED}

    early = await client.jobs.purge_jobs(min_age=timedelta(days=7), **asked)
    purged = await client.jobs.purge_jobs(min_age=0, **asked)

    assert (early.count, purged.count) == (0, 1)
    left = [job.id for job in await everything(client.jobs.list_jobs(namespace=room))]
    assert left == others[::-1]
    assert completed not in left


# --- the whole workflow ---


async def test_jobs_are_listed_by_status_and_by_what_else_is_known_of_them(client: Any, upload: Any, room: str) -> None:
    waiting, halted = await upload(within_reach=False), await upload(1, halt=True)
    await running(client, halted)
    failed = (await seen(client, await upload(broken=True), ended)).id
    cancelled = (await client.jobs.cancel_job(await upload(within_reach=False))).id

    async def ids(*statuses: UploadStatus, **conditions: Any) -> list[str]:
        found = await everything(client.jobs.list_jobs(namespace=room, status=statuses, **conditions))
        return [job.id for job in found]

    assert await ids(UploadStatus("queued")) == [waiting]
    assert await ids(UploadStatus.PROCESSING) == [halted]
    assert await ids(UploadStatus.FAILED) == [cancelled, failed]
    assert await ids(UploadStatus.PENDING, UploadStatus.PROCESSING, job_types=["annual"]) == [halted, waiting]
    assert await ids(UploadStatus.FAILED, error_code="MODEL_GONE") == [failed]
    assert await ids(*UploadStatus, skip=1, page_size=1) == [failed, halted, waiting]
    with pytest.raises(FieldInvalidError, match="status"):
        await ids()


async def test_the_quick_status_of_a_job_is_small_however_large_the_job_is(
    client: Any, upload: Any, server: Server
) -> None:
    job_id = await upload(250, halt=True, notes="x" * 100_000)
    await running(client, job_id)

    quick, whole = await client.jobs.get_job(job_id, brief=True), await client.jobs.get_job(job_id)
    [listed] = await client.jobs.get_jobs([job_id], brief=True)

    assert (quick.id, UploadStatus.of(quick), quick.progress.percent) == (job_id, UploadStatus.PROCESSING, 25.0)
    assert (quick.state, quick.created_at, quick.started_at) == (whole.state, whole.created_at, whole.started_at)
    assert (quick.parameters, listed.parameters, len(whole.parameters["notes"])) == (None, None, 100_000)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = JobServiceStub(channel)
        small = await stub.GetJob(pb.GetJobRequest(job_id=job_id, view=job_pb2.JOB_VIEW_BASIC))
        large = await stub.GetJob(pb.GetJobRequest(job_id=job_id))
    assert small.ByteSize() < 400
    assert large.ByteSize() > 100_000


async def test_a_job_is_started_monitored_and_deleted_when_it_is_done(client: Any, upload: Any, room: str) -> None:
    job_id = await upload()
    listed = [job.id for job in await everything(client.jobs.list_jobs(namespace=room))]
    job = await client.jobs.wait_for_job(job_id, timeout=WITHIN, poll_interval=5)
    deleted = await client.jobs.delete_job(job_id)

    assert listed == [job_id]
    assert (UploadStatus.of(job), job.progress.percent) == (UploadStatus.COMPLETED, 100.0)
    assert (deleted.id, UploadStatus.of(deleted)) == (job_id, UploadStatus.COMPLETED)
    assert not await everything(client.jobs.list_jobs(namespace=room))
