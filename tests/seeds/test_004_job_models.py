"""Seed 004, models of jobs and batches: its entities with all their fields, in its own order, by both clients."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from jobhall import (
    AccessControl,
    Batch,
    BatchState,
    Job,
    JobState,
    LogEntry,
    LogLevel,
    ProcessingStatus,
    Progress,
    Submission,
    Task,
    TaskFailed,
    Visibility,
    Worker,
)
from jobhall.errors import PlainFormError
from tests.support.clients import everything, open_client
from tests.support.processes import Server
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

WITHIN = 20.0
PARAMETERS = {"filename": "/path/to/file.pdf", "extraction_method": "combined"}
HALFWAY = Progress(step="extracting_text", percent=50, message="Extracting text from PDF...")


@pytest.fixture
async def client(kind: str, server: Server) -> AsyncIterator[Any]:
    async with open_client(kind, server.address) as client:
        yield client


@pytest.fixture
async def go_on(server: Server, room: str) -> AsyncIterator[asyncio.Event]:
    """A worker that stops halfway until this is set: it extracts what is a PDF, and fails with what is not."""
    on = asyncio.Event()
    loop = asyncio.get_running_loop()
    worker = Worker(server.address, name="extractor", namespace=room, drain_seconds=0)

    @worker.handler("pdf")
    async def extract(task: Task) -> dict[str, Any]:
        for level in ("debug", "info", "warning", "error", "critical"):
            task.log(f"said as {level}", level=level)
        task.progress(step="extracting_text", percent=50, message="Extracting text from PDF...")
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(on.wait(), loop))
        if not task.parameters["filename"].endswith(".pdf"):
            raise TaskFailed("is no PDF", code="NO_PDF", retryable=False, details={"pages": 0})
        return {"text": "Lorem ipsum", "pages": 2}

    async with worker:
        await eventually_async(lambda: worker.connected, within=WITHIN, what="the worker is connected")
        yield on
        on.set()


async def seen(client: Any, job_id: str, status: ProcessingStatus) -> Job:
    """The job, as soon as it has that status, halfway where it is at work."""

    async def there() -> Job | None:
        job: Job = await client.jobs.get_job(job_id)
        halfway = status is not ProcessingStatus.PROCESSING or job.progress.percent == 50
        return job if ProcessingStatus.of(job) is status and halfway else None

    found = await eventually_async(there, within=WITHIN, what=f"job {job_id} is {status}")
    assert found is not None
    return found


# --- JobStatus ---


async def test_a_job_goes_through_the_four_statuses(client: Any, room: str, go_on: asyncio.Event) -> None:
    await client.types.register("later", namespace=room)
    waiting = await client.jobs.submit("later", PARAMETERS, namespace=room)
    assert ProcessingStatus.of(waiting) is ProcessingStatus.PENDING

    good = await client.jobs.submit("pdf", PARAMETERS, namespace=room)
    bad = await client.jobs.submit("pdf", {"filename": "cat.png"}, namespace=room)
    await seen(client, good.id, ProcessingStatus.PROCESSING)
    go_on.set()

    assert (await seen(client, good.id, ProcessingStatus.COMPLETED)).state is JobState.COMPLETED
    assert (await seen(client, bad.id, ProcessingStatus.FAILED)).state is JobState.FAILED
    assert [status.value for status in ProcessingStatus] == ["PENDING", "PROCESSING", "COMPLETED", "FAILED"]


async def test_jobs_are_listed_by_their_status(client: Any, room: str, go_on: asyncio.Event) -> None:
    bad = await client.jobs.submit("pdf", {"filename": "cat.png"}, namespace=room)
    good = await client.jobs.submit("pdf", PARAMETERS, namespace=room)
    go_on.set()
    await seen(client, good.id, ProcessingStatus.COMPLETED)
    await seen(client, bad.id, ProcessingStatus.FAILED)

    failed = await everything(client.jobs.list_jobs(namespace=room, status=ProcessingStatus.FAILED))

    assert [job.id for job in failed] == [bad.id]


# --- the job ---


def test_a_job_is_made_of_its_fields_and_of_their_plain_dict() -> None:
    job = Job(
        id="job-123",
        namespace="default",
        job_type="pdf",
        state=JobState.RUNNING,
        parameters=PARAMETERS,
        progress=HALFWAY,
    )

    said = json.loads(json.dumps(job.to_dict()))

    assert (said["id"], said["job_type"], said["parameters"]) == ("job-123", "pdf", PARAMETERS)
    assert (said["progress"]["step"], said["progress"]["percent"]) == ("extracting_text", 50)
    assert Job.from_dict(said) == job
    assert ProcessingStatus.of(job) is ProcessingStatus.PROCESSING


async def test_a_job_at_work_tells_its_type_parameters_times_and_progress(
    client: Any, room: str, go_on: asyncio.Event
) -> None:
    before = datetime.now(UTC)
    submitted = await client.jobs.submit("pdf", PARAMETERS, namespace=room)

    job = await seen(client, submitted.id, ProcessingStatus.PROCESSING)

    assert (job.id, job.job_type, job.parameters) == (submitted.id, "pdf", PARAMETERS)
    assert job.created_at is not None
    assert job.updated_at is not None
    assert before <= job.created_at <= job.updated_at
    assert (job.progress.step, job.progress.percent, job.progress.message) == (
        HALFWAY.step,
        HALFWAY.percent,
        HALFWAY.message,
    )
    assert (job.result, job.error) == (None, None)
    assert not go_on.is_set()


async def test_a_completed_job_has_results_and_a_failed_one_an_error(
    client: Any, room: str, go_on: asyncio.Event
) -> None:
    go_on.set()
    good = await client.jobs.submit("pdf", PARAMETERS, namespace=room)
    bad = await client.jobs.submit("pdf", {"filename": "cat.png"}, namespace=room)

    good = await seen(client, good.id, ProcessingStatus.COMPLETED)
    bad = await seen(client, bad.id, ProcessingStatus.FAILED)

    assert (good.result, good.error) == ({"text": "Lorem ipsum", "pages": 2}, None)
    assert bad.result is None
    assert bad.error is not None
    assert (bad.error.code, bad.error.message, bad.error.details) == ("NO_PDF", "is no PDF", {"pages": 0})
    for job in (good, bad):
        assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job


async def test_what_is_unknown_or_missing_in_a_plain_dict_is_reported_together(client: Any, room: str) -> None:
    await client.types.register("later", namespace=room)
    said = (await client.jobs.submit("later", PARAMETERS, namespace=room)).to_dict()
    del said["id"]
    said["results"] = {}
    said["progress"]["percentage"] = 50

    with pytest.raises(PlainFormError) as caught:
        Job.from_dict(said)

    assert [it.field for it in caught.value.violations] == ["results", "id", "progress.percentage"]


async def test_logs_are_read_when_they_are_asked_for(client: Any, room: str, go_on: asyncio.Event) -> None:
    go_on.set()
    job = await client.jobs.submit("pdf", PARAMETERS, namespace=room)
    await seen(client, job.id, ProcessingStatus.COMPLETED)

    entries = await everything(client.jobs.logs(job.id))

    assert [entry.message for entry in entries] == [f"said as {level.name.lower()}" for level in LogLevel if level]


# --- the batch ---


async def test_a_batch_tells_its_name_status_times_and_jobs(client: Any, room: str, go_on: asyncio.Event) -> None:
    jobs = [Submission("pdf", PARAMETERS), Submission("pdf", {"filename": "cat.png"})]
    batch = await client.batches.create("scans", jobs=jobs, namespace=room, closed=True)
    members = await client.jobs.get_jobs(batch.job_ids)

    assert (batch.name, batch.active, len(batch.job_ids)) == ("scans", True, 2)
    assert [job.batch_id for job in members] == [batch.id, batch.id]
    assert batch.state is BatchState.PENDING
    go_on.set()
    ended = await client.batches.wait(batch.id, timeout=WITHIN)

    assert ended.state is BatchState.FAILED
    assert (ended.counts.completed, ended.counts.failed) == (1, 1)
    assert ended.created_at == batch.created_at
    assert ended.updated_at is not None
    assert {job.id for job in await everything(client.jobs.list_jobs(batch_id=batch.id, namespace=room))} == set(
        batch.job_ids
    )
    assert Batch.from_dict(json.loads(json.dumps(ended.to_dict()))) == ended


async def test_a_batch_that_is_not_active_holds_its_jobs_back(client: Any, room: str, go_on: asyncio.Event) -> None:
    go_on.set()
    held = await client.batches.create("held", jobs=[Submission("pdf", PARAMETERS)], namespace=room, active=False)
    free = await client.jobs.submit("pdf", PARAMETERS, namespace=room)
    await seen(client, free.id, ProcessingStatus.COMPLETED)

    assert ProcessingStatus.of(await client.jobs.get_job(held.job_ids[0])) is ProcessingStatus.PENDING

    assert (await client.batches.update(held.id, active=True)).active
    await seen(client, held.job_ids[0], ProcessingStatus.COMPLETED)


# --- progress, logs, access ---


def test_progress_has_a_step_a_percentage_and_a_message_that_may_be_left_out() -> None:
    assert Progress.from_dict({"step": "extracting_text", "percent": 50}) == Progress(
        step="extracting_text", percent=50
    )
    assert Progress.from_dict(HALFWAY.to_dict()) == HALFWAY
    assert Progress(step="extracting_text", percent=50).message == ""


async def test_a_log_entry_has_its_time_level_and_message(client: Any, room: str, go_on: asyncio.Event) -> None:
    go_on.set()
    job = await client.jobs.submit("pdf", PARAMETERS, namespace=room)
    await seen(client, job.id, ProcessingStatus.COMPLETED)

    entries = await everything(client.jobs.logs(job.id))
    grave = await everything(client.jobs.logs(job.id, min_level=LogLevel.ERROR))

    assert [entry.to_dict()["level"] for entry in entries] == ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    assert [entry.level for entry in grave] == [LogLevel.ERROR, LogLevel.CRITICAL]
    assert all(entry.written_at is not None and entry.written_at.tzinfo is UTC for entry in entries)
    assert [LogEntry.from_dict(json.loads(json.dumps(entry.to_dict()))) for entry in entries] == entries


@pytest.mark.parametrize("visibility", [Visibility.PRIVATE, Visibility.PUBLIC])
async def test_an_object_has_its_visibility_and_three_lists_of_subjects(
    client: Any, room: str, visibility: Visibility
) -> None:
    await client.types.register("later", namespace=room)
    access = AccessControl(
        visibility=visibility, read_access=("ann", "ben"), write_access=("cy",), admin_access=("di",)
    )

    job = await client.jobs.submit("later", PARAMETERS, namespace=room, access_control=access)
    batch = await client.batches.create("shared", namespace=room, access_control=access)

    assert (await client.jobs.get_job(job.id)).access_control == access
    assert (await client.batches.get(batch.id)).access_control == access
    assert access.to_dict() == {
        "visibility": visibility.name,
        "read_access": ["ann", "ben"],
        "write_access": ["cy"],
        "admin_access": ["di"],
    }
    assert AccessControl.from_dict(access.to_dict()) == access
    assert (await client.jobs.get_job((await client.jobs.submit("later", namespace=room)).id)).access_control == (
        AccessControl(visibility=Visibility.PRIVATE)
    )
