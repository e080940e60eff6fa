"""Seed 000, the models of a jobs API: its calls in the order of its own examples, by both clients."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from examples.monitoring.analysis import analysis
from examples.monitoring.monitor import monitor
from jobhall import ApiError, Client, Job, JobFailedError, JobTimeoutError, OperationStatus, Task, TaskFailed, Worker
from jobhall.api_error import Code
from jobhall.errors import FieldInvalidError
from jobhall.ids import new_id
from tests.support.clients import everything, open_client
from tests.support.processes import Server
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

PATH = "/workspaces/1/projects/1/files"
WITHIN = 20.0


@pytest.fixture
async def client(kind: str, server: Server) -> AsyncIterator[Any]:
    async with open_client(kind, server.address, api_key="key") as client:
        yield client


@pytest.fixture(autouse=True)
async def worker(server: Server, room: str) -> AsyncIterator[Worker]:
    """Makes datasets of files, refuses those that are no tables, and never ends with the others."""
    worker = Worker(server.address, name="uploader", namespace=room, drain_seconds=0)

    @worker.handler("file_upload")
    async def upload(task: Task) -> dict[str, Any]:
        file = task.parameters["file"]
        if file.endswith(".csv"):
            return {"ds_id": 456, "file_id": file}
        if file.endswith(".txt"):
            return {"file_id": file}
        if file.endswith(".png"):
            raise TaskFailed("is no table", code="FILE_INVALID", retryable=False, details={"file": file})
        await asyncio.Event().wait()
        raise AssertionError

    async with worker:
        await eventually_async(lambda: worker.connected, within=WITHIN, what="the worker is connected")
        yield worker


@pytest.fixture
def upload(client: Any, room: str) -> Any:
    async def started(file: str = "data.csv", **options: Any) -> Job:
        job: Job = await client.jobs.submit("file_upload", {"file": file}, namespace=room, path=PATH, **options)
        return job

    return started


async def ended(client: Any, job_id: str) -> Job:
    with suppress(JobFailedError):
        await client.jobs.wait_for_job(job_id, timeout=WITHIN)
    job: Job = await client.jobs.get_job(job_id)
    return job


# --- core models ---


async def test_a_job_has_its_id_status_response_times_path_and_operation(client: Any, upload: Any) -> None:
    before = datetime.now(UTC)
    submitted = await upload()
    job = await ended(client, submitted.id)

    assert job.id == submitted.id
    assert OperationStatus.of(job) is OperationStatus.SUCCESS
    assert job.response == {"ds_id": 456, "file_id": "data.csv"}
    assert (job.path, job.operation) == (PATH, "file_upload")
    assert job.created_at is not None
    assert job.last_updated_at is not None
    assert abs(job.created_at - before) < timedelta(seconds=10)
    assert job.created_at < job.last_updated_at == job.ended_at
    assert await client.jobs.get_job(job.id) == job


async def test_jobs_are_read_together_as_a_sequence_that_has_jobs(client: Any, upload: Any) -> None:
    ids = [(await upload(file)).id for file in ("a.csv", "b.png", "c.txt")]
    unknown = new_id()

    found = await client.jobs.get_jobs([*ids, unknown])

    assert [job.id for job in found.jobs] == [job.id for job in found] == ids
    assert len(found) == 3
    assert found[0].id == ids[0]
    assert found.missing_ids == (unknown,)


async def test_the_answer_to_a_submit_has_a_status_code_and_a_job_id_or_a_failure_reason(
    client: Any, room: str
) -> None:
    taken = await client.jobs.try_submit("file_upload", {"file": "data.csv"}, namespace=room)
    again = await client.jobs.try_submit("file_upload", {"file": "data.csv"}, namespace=room, job_id=taken.job_id)
    unknown = await client.jobs.try_submit("file_uplaod", {"file": "data.csv"}, namespace=room)
    bad = await client.jobs.try_submit("file_upload", {"file": float("nan")}, namespace=room)

    assert (taken.status_code, taken.failure_reason, taken.existing) == (200, None, False)
    assert (await client.jobs.get_job(taken.job_id)).parameters == {"file": "data.csv"}
    assert (again.status_code, again.job_id, again.existing) == (200, taken.job_id, True)
    assert (unknown.status_code, unknown.job_id) == (404, None)
    assert "did you mean 'file_upload'?" in unknown.failure_reason
    assert (bad.status_code, bad.job_id) == (400, None)
    assert "NaN" in bad.failure_reason


# --- enums ---


async def test_each_of_the_four_statuses_is_that_of_some_jobs_and_finds_them_in_lists(
    client: Any, room: str, upload: Any
) -> None:
    success, failure = (await upload("a.csv")).id, (await upload("b.png")).id
    timed_out = (await upload("c.slow", run_timeout=0.1, max_attempts=1)).id
    cancelled = (await upload("d.slow", schedule_time=timedelta(hours=1))).id
    processing = (await upload("e.slow")).id
    await client.jobs.cancel_job(cancelled)
    for job_id in (success, failure, timed_out):
        await ended(client, job_id)
    wanted = {
        OperationStatus.SUCCESS: [success],
        OperationStatus.FAILURE: [failure],
        OperationStatus.ERROR: [cancelled, timed_out],
        OperationStatus.PROCESSING: [processing],
    }

    for status, ids in wanted.items():
        jobs = await client.jobs.get_jobs(ids)
        assert [OperationStatus.of(job) for job in jobs] == [status] * len(ids)
        assert [job.id for job in await everything(client.jobs.list_jobs(namespace=room, status=status))] == ids
    bad = {"namespace": room, "status": [OperationStatus.FAILURE, OperationStatus.ERROR]}
    assert [job.id for job in await everything(client.jobs.list_jobs(**bad))] == [cancelled, timed_out, failure]
    assert (await client.jobs.purge_jobs(min_age=0, dry_run=True, **bad)).count == 3
    assert (await client.jobs.retry_jobs(namespace=room, status=OperationStatus.ERROR)).count == 2
    assert [job.id for job in await everything(client.jobs.list_jobs(**bad))] == [failure]
    assert [str(status) for status in OperationStatus] == ["processing", "success", "failure", "error"]


# --- basic job tracking ---


async def test_a_job_that_nobody_waits_for_is_tracked(client: Any, upload: Any) -> None:
    job = await upload("data.slow", wait_for_completion=False)

    seen = await client.jobs.get_job(job.id)

    assert OperationStatus.of(seen) is OperationStatus.PROCESSING
    assert seen.response == {}
    assert (seen.operation, seen.created_at) == ("file_upload", job.created_at)
    assert seen.last_updated_at is not None


async def test_a_job_that_failed_says_why_in_its_response(client: Any, upload: Any) -> None:
    job = await client.jobs.get_job((await ended(client, (await upload("data.png")).id)).id)

    assert OperationStatus.of(job) in [OperationStatus.FAILURE, OperationStatus.ERROR]
    assert job.response == {"failure_reason": "is no table", "error_details": {"file": "data.png"}}


async def test_a_submit_that_waits_for_completion_gives_the_finished_job(client: Any, upload: Any) -> None:
    job = await upload(wait_for_completion=True, timeout=WITHIN)

    assert (OperationStatus.of(job), job.response["ds_id"]) == (OperationStatus.SUCCESS, 456)
    with pytest.raises(JobFailedError, match="is no table"):
        await upload("data.png", wait_for_completion=True)
    with pytest.raises(JobTimeoutError):
        await upload("data.slow", wait_for_completion=True, timeout=0.2)
    with pytest.raises(FieldInvalidError, match="wait_for_completion=True"):
        await upload(timeout=5)


# --- waiting for job completion ---


async def test_a_job_is_waited_for(client: Any, upload: Any) -> None:
    completed = await client.jobs.wait_for_job(job_id=(await upload()).id, timeout=300, poll_interval=5)

    assert OperationStatus.of(completed) == "success"
    assert completed.response["ds_id"] == 456


async def test_a_wait_that_was_too_short_tells_its_job_and_its_timeout(client: Any, upload: Any) -> None:
    job_id = (await upload("data.slow")).id

    with pytest.raises(JobTimeoutError) as caught:
        await client.jobs.wait_for_job(job_id, timeout=0.3)

    details = caught.value.details
    assert (details["job_id"], details["timeout"]) == (job_id, 0.3)
    assert f"job {job_id} was still" in caught.value.message


async def test_a_job_that_failed_or_was_cancelled_tells_its_id_and_the_reason(client: Any, upload: Any) -> None:
    failed, cancelled = (await upload("data.png")).id, (await upload(schedule_time=timedelta(hours=1))).id
    await client.jobs.cancel_job(cancelled, reason="not needed any more")

    for job_id, reason, details in [
        (failed, "is no table", {"file": "data.png"}),
        (cancelled, "not needed any more", None),
    ]:
        with pytest.raises(JobFailedError) as caught:
            await client.jobs.wait_for_job(job_id, timeout=WITHIN)
        assert (caught.value.details["job_id"], caught.value.details["failure_reason"]) == (job_id, reason)
        assert caught.value.details.get("error_details") == details
        assert caught.value.job is not None
        assert caught.value.job.response["failure_reason"] == reason


# --- multiple job management ---


async def test_many_jobs_are_started_seen_waited_for_and_their_dataset_ids_extracted(client: Any, upload: Any) -> None:
    ids = [(await upload(file)).id for file in ("file1.csv", "file2.txt", "file3.csv")]

    jobs = await client.jobs.get_jobs(ids)
    assert [job.id for job in jobs] == ids
    completed = await client.jobs.wait_for_jobs(job_ids=ids, timeout=600)

    assert [job.id for job in completed] == ids
    assert await everything(client.jobs.extract_results(completed, "ds_id")) == [456, None, 456]
    assert await everything(client.jobs.extract_results(completed.jobs, "file_id")) == [
        "file1.csv",
        "file2.txt",
        "file3.csv",
    ]


async def test_a_wait_for_many_that_was_too_short_tells_which_are_pending_and_holds_the_finished(
    client: Any, upload: Any
) -> None:
    finished, pending = (await upload(wait_for_completion=True)).id, (await upload("data.slow")).id

    with pytest.raises(JobTimeoutError) as caught:
        await client.jobs.wait_for_jobs([finished, pending], timeout=0.5)

    details = caught.value.details
    assert (details["job_id"], details["timeout"], details["pending_ids"]) == (pending, 0.5, [pending])
    assert [(job.id, job.response["ds_id"]) for job in details["finished_jobs"]] == [(finished, 456)]


async def test_a_wait_for_many_ends_at_the_first_failure_and_names_it(client: Any, upload: Any) -> None:
    pending, failing = (await upload("data.slow")).id, (await upload("data.png")).id

    with pytest.raises(JobFailedError) as caught:
        await client.jobs.wait_for_jobs([pending, failing], timeout=WITHIN)

    assert (caught.value.details["job_id"], caught.value.details["failure_reason"]) == (failing, "is no table")


# --- job response analysis ---


async def test_what_jobs_answered_is_analysed(client: Any, upload: Any) -> None:
    good, bad = [await ended(client, (await upload(file)).id) for file in ("data.csv", "data.png")]
    stopped = await client.jobs.cancel_job((await upload(schedule_time=timedelta(hours=1))).id)

    lines = list(analysis(good))
    assert lines[:4] == [f"=== Job {good.id} ===", "Operation: file_upload", "Status: success", f"Path: {PATH}"]
    assert lines[4].startswith("Duration: 0:00:")
    assert lines[-5:] == [
        "Response data:",
        "  ds_id: 456",
        "  file_id: data.csv",
        "✓ Created dataset: 456",
        "✓ Created file: data.csv",
    ]
    assert list(analysis(bad))[-2:] == ["✗ Failure reason: is no table", "✗ Error details: {'file': 'data.png'}"]
    assert list(analysis(stopped))[-1] == "✗ Failure reason: cancelled"


# --- custom job monitoring ---


async def test_jobs_are_monitored_with_progress(
    server: Server, client: Any, upload: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [(await upload(file)).id for file in ("a.csv", "b.png")]
    for job_id in ids:
        await ended(client, job_id)

    with Client(server.address) as own:
        jobs = await asyncio.to_thread(monitor, own, ids)

    said = capsys.readouterr().out
    assert {job.id for job in jobs} == set(ids)
    assert f"✓ file_upload {ids[0]}: success" in said
    assert f"✗ file_upload {ids[1]}: failure" in said
    assert said.endswith("Progress: 2/2 (100.0%) completed\nAll jobs completed!\n")


# --- error handling ---


async def test_an_error_of_the_api_has_a_message_a_code_a_reason_and_a_status_code(client: Any) -> None:
    unknown = new_id()

    with pytest.raises(ApiError) as caught:
        await client.jobs.get_job(unknown)

    error = caught.value
    assert unknown in error.message
    assert (error.code, error.reason, error.status_code) == (Code.NOT_FOUND, "JOB_NOT_FOUND", 404)
