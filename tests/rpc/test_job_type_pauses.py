"""Pausing a job type: submits are taken, nothing is handed out, what runs goes on; and the sweep of orphaned types."""

import asyncio
from pathlib import Path
from typing import Any

from jobhall.states import JobState
from jobhall.v1 import job_service_pb2, job_type_pb2
from jobhall.v1 import job_type_service_pb2 as pb
from tests.support.calls import RawWorker, get, register, submission, submit
from tests.support.job_types import listed, register_type, the_type
from tests.support.servers import Running, running_server
from tests.support.unary_calls import SOON, claim
from tests.support.waiting import eventually_async

SHORTLY: Any = {"nanos": 300_000_000}


async def pause(server: Running, name: str = "score", namespace: str = "") -> job_type_pb2.JobType:
    return (await server.job_types.PauseJobType(pb.PauseJobTypeRequest(name=name, namespace=namespace))).job_type


async def resume(server: Running, name: str = "score", namespace: str = "") -> job_type_pb2.JobType:
    return (await server.job_types.ResumeJobType(pb.ResumeJobTypeRequest(name=name, namespace=namespace))).job_type


async def held(server: Running) -> int:
    counts = (await the_type(server)).counts
    return counts.claimed + counts.running


async def submit_many(server: Running, count: int, **fields: Any) -> None:
    jobs = [submission(**fields) for _ in range(count)]
    await server.jobs.BatchSubmitJobs(job_service_pb2.BatchSubmitJobsRequest(jobs=jobs))


async def test_pausing_and_resuming_twice_is_fine(server: Running) -> None:
    await register(server)

    first = await pause(server)
    again = await pause(server)
    resumed = await resume(server)

    assert (first.paused, again, resumed.paused) == (True, first, False)
    assert (await resume(server)).etag == resumed.etag
    assert not (await the_type(server)).paused


async def test_of_a_thousand_jobs_none_is_handed_out_after_the_answer(server: Running) -> None:
    """Two workers are hungry all the time: what they have when PauseJobType answers is all that they get."""
    await register(server)
    workers = [RawWorker(server, tasks_max=400) for _ in range(2)]
    for worker in workers:
        await worker.hello()
    submitting = asyncio.create_task(submit_many(server, 1000))

    await pause(server)
    await submitting
    at_the_answer = await held(server)
    await submit_many(server, 100)
    await claim(server, timeout=SHORTLY)

    assert await held(server) == at_the_answer
    assert not (await claim(server, tasks_max=1000, timeout=SHORTLY)).tasks

    await resume(server)
    await eventually_async(lambda: _all_busy(server, 800), within=10, what="both workers have all that they want")
    for worker in workers:
        worker.cut()


async def _all_busy(server: Running, count: int) -> bool:
    return await held(server) == count


async def test_what_runs_goes_on_while_its_type_is_paused(server: Running) -> None:
    await register(server)
    worker = RawWorker(server, tasks_max=1)
    await worker.hello()
    job = await submit(server)
    [task] = await worker.tasks()
    await worker.report(task.lease_token, accepted={})

    await pause(server)
    ack = await worker.report(task.lease_token, completed={})

    assert not ack.rejections
    assert JobState((await get(server, job.id)).state) is JobState.COMPLETED
    await worker.end()


async def test_a_claim_by_name_gets_nothing_of_a_paused_type_until_it_is_resumed(server: Running) -> None:
    await register(server)
    job = await submit(server)
    await pause(server)

    assert not (await claim(server, job_ids=[job.id], timeout=SHORTLY)).tasks
    waiting = asyncio.create_task(claim(server, job_ids=[job.id], timeout=SOON))
    await resume(server)

    [task] = (await waiting).tasks
    assert task.job_id == job.id


async def test_other_types_of_the_same_worker_are_handed_out(server: Running) -> None:
    await register(server)
    await register(server, "other")
    worker = RawWorker(server, "score", "other")
    await worker.hello()
    await pause(server)
    await submit(server)
    other = await submit(server, "other")

    [task] = await worker.tasks()

    assert task.job_id == other.id
    await worker.end()


async def test_a_paused_global_type_is_paused_in_every_namespace_and_its_namesake_is_not(server: Running) -> None:
    await register(server, "score", "@global")
    await register(server, "score", "team-a")
    worker = RawWorker(server)
    await worker.hello(namespaces=["team-a", "team-b"])
    await pause(server, namespace="@global")
    await submit(server, namespace="team-b")
    own = await submit(server, namespace="team-a")

    [task] = await worker.tasks()

    assert task.job_id == own.id
    await worker.end()


async def test_a_pause_outlives_the_server_and_a_hello(tmp_path: Path, server_log: object) -> None:
    async with running_server(tmp_path) as before:
        await register(before)
        await pause(before)

    async with running_server(tmp_path) as after:
        worker = RawWorker(after)
        await worker.hello()
        await submit(after)
        await claim(after, timeout=SHORTLY)
        assert (await the_type(after)).paused
        assert await held(after) == 0
        await worker.end()


async def test_a_registration_leaves_a_pause_as_it_is(server: Running) -> None:
    await register(server)
    await pause(server)

    again = await register_type(server, name="score", replace=True, parameters_schema="{}")

    assert again.job_type.paused


async def test_types_that_nobody_needs_are_swept_when_that_is_asked_for(tmp_path: Path, server_log: object) -> None:
    """Only what a Hello registered, and only without worker, waiting job and pause."""
    hasty: dict[str, Any] = {"heartbeat_seconds": 0.5, "session_ttl_seconds": 1.0, "reaper_seconds": 0.05}
    async with running_server(tmp_path, sweep_job_types_after_seconds=0.2, **hasty) as server:
        await register(server, "kept:by-hand")
        worker = RawWorker(server, "kept:waiting", "kept:paused", "swept")
        await worker.hello()
        await submit(server, "kept:waiting")
        await worker.tasks()
        await pause(server, "kept:paused")
        given = await claim(server, job_types=["kept:served"], lease_duration={"seconds": 60}, timeout=SHORTLY)
        worker.cut()

        async def swept() -> bool:
            return "swept" not in {known.name for known in await listed(server)}

        await eventually_async(swept, within=10, what="the type without a worker is swept")
        names = {known.name for known in await listed(server)}
        assert names == {"kept:by-hand", "kept:waiting", "kept:paused", "kept:served"}
        assert given.session_id
