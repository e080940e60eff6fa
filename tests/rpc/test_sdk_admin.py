"""`client.admin` over a real server: what it tells of a job it takes back; and what it cannot do yet, it says."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from jobhall import AsyncClient, Client, ImportedJob, Job, JobState, Worker
from jobhall.errors import ApiError, Code, FieldInvalidError, JobFailedError, JobIdReusedError
from jobhall.ids import new_id
from tests.support.servers import Running

WAIT_SECONDS = 10.0


async def told(client: AsyncClient, job_id: str) -> ImportedJob:
    job = await client.jobs.get_job(job_id, include_checkpoint=True)
    return ImportedJob(
        job=job,
        attempts=tuple([attempt async for attempt in client.jobs.attempts(job_id)]),
        log_entries=tuple([entry async for entry in client.jobs.logs(job_id)]),
        item_errors=tuple([error async for error in client.jobs.item_errors(job_id)]),
    )


@pytest.mark.parametrize(("job_type", "parameters"), [("grumble", 3), ("decline", None), ("score", {"rows": [1]})])
async def test_a_job_that_went_comes_back_as_it_was(
    client: AsyncClient, worker: Worker, job_type: str, parameters: object
) -> None:
    job = await client.jobs.submit(job_type, parameters, labels={"team": "risk"})
    if job_type != "score":
        with suppress(JobFailedError):
            await client.jobs.wait_for_job(job.id, timeout=WAIT_SECONDS)
    before = await told(client, job.id)
    await client.jobs.delete_job(job.id)

    [brief] = await client.admin.import_jobs([before])

    after = await told(client, job.id)
    changed = {"revision": brief.revision, "etag": brief.etag, "updated_at": brief.updated_at}
    unlike: dict[str, Any] = {"purge_at": after.job.purge_at, "timing": after.job.timing, **changed}
    assert after.job == replace(before.job, **unlike)
    assert (after.log_entries, after.item_errors) == (before.log_entries, before.item_errors)
    assert after.attempts == tuple(replace(attempt, session_id="") for attempt in before.attempts)
    assert (brief.state, brief.revision) == (before.job.state, before.job.revision + 1)


async def test_the_blocking_client_brings_jobs_in_too(server: Running, client: AsyncClient) -> None:
    made = Job(id=new_id(), namespace="default", job_type="score", state=JobState.PENDING, labels={"from": "afar"})

    def bring() -> list[Job]:
        with Client(server.address) as blocking:
            blocking.admin.import_jobs([ImportedJob(job=made)], validate_only=True)
            return blocking.admin.import_jobs([ImportedJob(job=made)])

    [brief] = await asyncio.to_thread(bring)

    assert (brief.id, (await client.jobs.get_job(made.id)).labels) == (made.id, {"from": "afar"})
    with pytest.raises(JobIdReusedError, match=made.id):
        await client.admin.import_jobs([ImportedJob(job=made)])


async def test_what_cannot_have_been_so_is_named(client: AsyncClient) -> None:
    ended = Job(id=new_id(), namespace="default", job_type="score", state=JobState.CANCELLED)

    with pytest.raises(FieldInvalidError, match=r"jobs\[0\]\.job\.end_time: is required: the job is CANCELLED"):
        await client.admin.import_jobs([ImportedJob(job=ended)])


async def test_a_server_without_keys_and_audit_says_so(client: AsyncClient) -> None:
    with pytest.raises(ApiError, match="this server has no API keys yet") as of_create:
        await client.admin.create_api_key("gpu")
    with pytest.raises(ApiError, match="this server has no API keys yet"):
        _ = [key async for key in client.admin.list_api_keys()]
    with pytest.raises(ApiError, match="this server has no API keys yet"):
        await client.admin.revoke_api_key("k")
    with pytest.raises(ApiError, match="this server has no audit yet"):
        _ = [entry async for entry in client.admin.audit_entries()]

    assert of_create.value.code is Code.UNIMPLEMENTED
