"""Waits of one client over the real server: however many there are, they share a watch, each with its own answer."""

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from jobhall import (
    AsyncClient,
    BatchState,
    CallRetry,
    Client,
    JobFailedError,
    JobState,
    JobTimeoutError,
    Submission,
)
from jobhall.channel import CHANNEL_OPTIONS
from jobhall.errors import ApiError, Code, FieldInvalidError, JobNotFoundError
from jobhall_server import app
from tests.support.counted import CountedChannel
from tests.support.ports import free_port
from tests.support.servers import Running, settings_in
from tests.support.waiting import eventually, eventually_async

PATIENT = CallRetry(attempts_max=1000, delay_max=timedelta(seconds=0.2))
WAIT_SECONDS = 30


@asynccontextmanager
async def counting(address: str) -> AsyncIterator[tuple[AsyncClient, CountedChannel]]:
    """A client, and what it calls."""
    channel = CountedChannel(grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS))
    async with AsyncClient(address, channel=cast("Any", channel), retry=PATIENT) as client:
        yield client, channel


@contextmanager
def counting_blocking(address: str) -> Iterator[tuple[Client, CountedChannel]]:
    """The same of the blocking client."""
    channel = CountedChannel(grpc.insecure_channel(address, options=CHANNEL_OPTIONS))
    with Client(address, channel=cast("Any", channel), retry=PATIENT) as client:
        yield client, channel


async def submitted(client: AsyncClient, count: int, job_type: str = "score") -> list[str]:
    return [job.id for job in await client.jobs.submit_many([Submission(job_type, number) for number in range(count)])]


# --- one watch ---


@pytest.mark.usefixtures("worker")
async def test_a_thousand_waits_at_once_open_one_watch(server: Running) -> None:
    async with counting(server.address) as (client, channel):
        jobs = await submitted(client, 1000, "double")

        done = await asyncio.gather(*(client.jobs.wait_for_job(job_id, timeout=WAIT_SECONDS) for job_id in jobs))

        assert [job.result for job in done] == [2 * number for number in range(1000)]
        assert channel.calls["WatchJobs"] == 1
        assert channel.calls["WaitJob"] == 1
        await eventually_async(lambda: not channel.open_streams, within=5, what="the watch is closed")


@pytest.mark.usefixtures("worker")
async def test_a_lone_wait_is_one_call(server: Running) -> None:
    async with counting(server.address) as (client, channel):
        job = await client.jobs.submit("double", 4)

        assert (await client.jobs.wait_for_job(job.id)).result == 8
        assert channel.calls == {"SubmitJob": 1, "WaitJob": 1}


async def test_a_wait_for_many_is_one_watch_and_reads_the_jobs_whole(server: Running, client: AsyncClient) -> None:
    async with counting(server.address) as (other, channel):
        jobs = await submitted(client, 20)
        waiting = asyncio.create_task(other.jobs.wait_for_jobs([*jobs, jobs[0]]))
        await eventually_async(lambda: channel.open_streams, within=5, what="the watch is open")

        for job_id in jobs:
            await client.jobs.cancel_job(job_id, reason="enough")

        with pytest.raises(JobFailedError, match="enough"):
            await waiting
        assert channel.calls["WatchJobs"] == 1
        assert channel.calls["WaitJob"] == 0


@pytest.mark.usefixtures("worker")
async def test_the_jobs_come_in_the_order_of_the_ids_however_these_are_written(client: AsyncClient) -> None:
    jobs = await submitted(client, 5, "double")
    asked = [jobs[3].upper(), jobs[0], jobs[4].replace("-", ""), jobs[0]]

    done = await client.jobs.wait_for_jobs(asked, timeout=WAIT_SECONDS)

    assert [job.result for job in done] == [6, 0, 8, 0]
    assert done.jobs[1] == await client.jobs.get_job(jobs[0])
    assert len(await client.jobs.wait_for_jobs([])) == 0


async def test_waits_that_are_given_up_close_their_watch(server: Running, client: AsyncClient) -> None:
    async with counting(server.address) as (other, channel):
        waiting = [asyncio.create_task(other.jobs.wait_for_job(job_id)) for job_id in await submitted(client, 10)]
        await eventually_async(lambda: channel.open_streams, within=5, what="the watch is open")

        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)

        assert all(task.cancelled() for task in waiting)
        await eventually_async(lambda: not channel.open_streams, within=5, what="the watch is closed")
        job = await client.jobs.submit("score")
        with pytest.raises(JobTimeoutError):
            await other.jobs.wait_for_jobs([job.id], timeout=0.1)


# --- how they end ---


async def test_the_first_that_fails_ends_the_wait_for_many(client: AsyncClient) -> None:
    jobs = await submitted(client, 3)
    waiting = asyncio.create_task(client.jobs.wait_for_jobs(jobs))
    await client.jobs.cancel_job(jobs[1], reason="not this one")

    with pytest.raises(JobFailedError, match="not this one") as caught:
        await waiting

    assert caught.value.details["job_id"] == jobs[1]
    assert (await client.jobs.get_job(jobs[0])).state is JobState.PENDING


@pytest.mark.usefixtures("worker")
async def test_a_wait_for_many_that_is_over_names_who_was_late_and_holds_the_others(client: AsyncClient) -> None:
    quick, slow = (await client.jobs.submit("double", 3)).id, (await client.jobs.submit("hold")).id

    with pytest.raises(JobTimeoutError, match=rf"1 of 2 jobs had not ended after 0\.5 s.*{slow}, RUNNING") as caught:
        await client.jobs.wait_for_jobs([slow, quick], timeout=0.5)

    details = caught.value.details
    assert (details["job_id"], details["timeout"], details["state"]) == (slow, 0.5, "RUNNING")
    assert details["pending_ids"] == [slow]
    assert [job.result for job in details["finished_jobs"]] == [6]


@pytest.mark.usefixtures("worker")
async def test_a_shared_wait_that_is_over_says_what_a_lone_one_says(client: AsyncClient) -> None:
    first, second = (await client.jobs.submit("hold")).id, (await client.jobs.submit("hold")).id

    ends = await asyncio.gather(
        *(client.jobs.wait_for_job(job_id, timeout=0.5) for job_id in (first, second)), return_exceptions=True
    )

    assert [end.details for end in ends if isinstance(end, JobTimeoutError)] == [
        {"job_id": job_id, "timeout": 0.5, "state": "RUNNING"} for job_id in (first, second)
    ]


async def test_among_many_waits_each_has_its_own_answer(client: AsyncClient) -> None:
    ended = (await client.jobs.cancel_job((await client.jobs.submit("score")).id, reason="before")).id
    deleted, cancelled, unknown = (
        (await client.jobs.submit("score")).id,
        (await client.jobs.submit("score")).id,
        str(uuid.uuid4()),
    )
    others = [asyncio.create_task(client.jobs.wait_for_job(job_id)) for job_id in await submitted(client, 3)]
    waiting = [
        asyncio.create_task(client.jobs.wait_for_job(it)) for it in (ended, deleted, cancelled, unknown, "report-7")
    ]
    await asyncio.wait(waiting[:1], timeout=5)
    await client.jobs.delete_job(deleted)
    await client.jobs.cancel_job(cancelled, reason="meanwhile")

    ends = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), WAIT_SECONDS)

    assert [type(end) for end in ends] == [
        JobFailedError,
        JobNotFoundError,
        JobFailedError,
        JobNotFoundError,
        FieldInvalidError,
    ]
    assert [str(ends[0])[-6:], str(ends[2])[-9:]] == ["before", "meanwhile"]
    assert not any(task.done() for task in others)
    for task in others:
        task.cancel()
    with pytest.raises(JobNotFoundError, match=unknown):
        await client.jobs.wait_for_jobs([unknown])
    with pytest.raises(FieldInvalidError, match="report-7"):
        await client.jobs.wait_for_jobs(["report-7"])


async def test_a_poll_interval_asks_besides(server: Running, client: AsyncClient) -> None:
    async with counting(server.address) as (other, channel):
        jobs = await submitted(client, 2)
        waiting = [asyncio.create_task(other.jobs.wait_for_job(job_id, poll_interval=0.05)) for job_id in jobs]

        await eventually_async(lambda: channel.calls["WaitJob"] >= 8, within=10, what="both ask every now and then")

        assert channel.calls["WatchJobs"] == 1
        for task in waiting:
            task.cancel()


# --- when something is wrong ---


async def test_shared_waits_outlive_their_server(tmp_path: Path) -> None:
    """Fifty jobs are waited for; half of them end while the server is another one, the rest after that."""
    address = f"127.0.0.1:{free_port()}"
    settings = settings_in(tmp_path, listen=address)

    async def wait(number: int) -> str:
        with pytest.raises(JobFailedError) as caught:
            await (client.jobs.wait_for_job(jobs[number]) if number else client.jobs.wait_for_jobs(jobs[:1]))
        return str(caught.value)

    async with counting(address) as (client, channel):
        async with app.build(settings):
            await client.types.register("score")
            jobs = await submitted(client, 50)
            waiting = [asyncio.create_task(wait(number)) for number in range(50)]
            await eventually_async(lambda: channel.open_streams == 1, within=5, what="the watch is open")
            await client.jobs.get_job(jobs[0])
        for some, expected in ((jobs[25:], 25), (jobs[:25], 50)):
            async with app.build(settings), AsyncClient(address, retry=PATIENT) as other:
                for job_id in some:
                    await other.jobs.cancel_job(job_id, reason="at last")
                await eventually_async(
                    partial(heard, waiting, expected), within=WAIT_SECONDS, what=f"{expected} have heard of it"
                )

    assert {it.result()[-7:] for it in waiting} == {"at last"}


def heard(waiting: list[asyncio.Task[str]], count: int) -> bool:
    return sum(it.done() for it in waiting) >= count


async def test_closing_the_client_ends_the_waits_that_share_a_watch(server: Running, client: AsyncClient) -> None:
    async with counting(server.address) as (other, channel):
        jobs = await submitted(client, 5)
        calls = [other.jobs.wait_for_jobs(jobs), *(other.jobs.wait_for_job(job_id) for job_id in jobs)]
        waiting = [asyncio.ensure_future(call) for call in calls]
        await eventually_async(lambda: channel.open_streams, within=5, what="the watch is open")

        await other.close()

        for task in waiting:
            with pytest.raises(ApiError, match="the client was closed") as caught:
                await asyncio.wait_for(task, 5)
            assert caught.value.code is Code.CANCELLED
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "jobhall-waits"]


# --- the blocking client ---


@pytest.mark.usefixtures("worker")
async def test_threads_that_wait_share_a_few_watches_and_leave_no_thread(server: Running) -> None:
    def wait() -> list[int]:
        with counting_blocking(server.address) as (client, channel), ThreadPoolExecutor(50) as pool:
            jobs = [job.id for job in client.jobs.submit_many([Submission("double", number) for number in range(50)])]
            results = [job.result for job in pool.map(lambda it: client.jobs.wait_for_job(it, timeout=30), jobs)]
            results += [job.result for job in client.jobs.wait_for_jobs(jobs, timeout=30)]
            open_most.append(channel.calls["WatchJobs"])
        return results

    open_most: list[int] = []
    results = await asyncio.to_thread(wait)

    assert results == [2 * number for number in range(50)] * 2
    assert open_most[0] < 15
    assert not [it.name for it in threading.enumerate() if it.name in ("jobhall-waits", "jobhall-silence")]


async def test_closing_the_blocking_client_ends_its_shared_waits(server: Running, client: AsyncClient) -> None:
    jobs = await submitted(client, 3)
    ends: list[str] = []

    def wait(waiting_client: Client) -> None:
        try:
            waiting_client.jobs.wait_for_jobs(jobs)
        except ApiError as error:
            ends.append(str(error))

    def play() -> None:
        with counting_blocking(server.address) as (waiting_client, channel):
            threads = [threading.Thread(target=wait, args=(waiting_client,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            eventually(lambda: channel.open_streams == 1, within=5, what="the watch is open")
        for thread in threads:
            thread.join(5)

    began = time.monotonic()
    await asyncio.to_thread(play)

    assert ends == ["the client was closed [CANCELLED]"] * 3
    assert time.monotonic() - began < 5
    assert not [it.name for it in threading.enumerate() if it.name in ("jobhall-waits", "jobhall-silence")]


# --- batches ---


async def test_a_wait_for_a_batch_ends_with_it_and_not_at_the_next_look(client: AsyncClient) -> None:
    batch = await client.batches.create(jobs=[Submission("score")] * 2, closed=True)
    looks: list[BatchState] = []
    waiting = asyncio.create_task(
        client.batches.wait(batch.id, poll_interval=600, on_update=lambda seen: looks.append(seen.state))
    )
    await eventually_async(lambda: len(looks) >= 3, within=5, what="it has looked a few times")

    for job_id in batch.job_ids:
        await client.jobs.cancel_job(job_id)
    ended = await asyncio.wait_for(waiting, 5)

    assert ended.state is BatchState.FAILED
    assert len(looks) < 20
