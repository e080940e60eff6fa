"""AsyncClient's watches and its submit stream over the real server: nothing missing, nothing twice."""

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from jobhall import AsyncClient, CallRetry, EventType, JobEvent, JobState, Submission, Submitted, WatchUpdate
from jobhall.errors import (
    ApiError,
    Code,
    CursorExpiredError,
    CursorMismatchError,
    FieldInvalidError,
    FieldNotSupportedError,
    JobIdReusedError,
    JobTypeNotFoundError,
    PayloadTooLargeError,
)
from tests.support.ports import free_port
from tests.support.servers import Running, running_server
from tests.support.waiting import eventually_async

PATIENT = CallRetry(attempts_max=1000, delay_max=timedelta(seconds=0.2))
IN_FLIGHT = 64
STATE_EVENTS = [EventType.SUBMITTED, EventType.CLAIMED, EventType.RUNNING, EventType.COMPLETED]

Watch = AsyncIterator[WatchUpdate]


async def opened(watch: Watch) -> WatchUpdate:
    """The first update, which comes at once; what happens after it is watched."""
    return await asyncio.wait_for(anext(watch), 5)


async def events(watch: Watch, count: int) -> list[JobEvent]:
    """The next so many events, without those that are but best effort."""
    found: list[JobEvent] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            update = await anext(watch)
            found.extend(event for event in update.events if event.event_type is not EventType.PROGRESS)
    return found


# --- watching ---


@pytest.mark.usefixtures("worker")
async def test_a_watch_tells_each_change_of_a_job_in_order(client: AsyncClient) -> None:
    watch = client.jobs.watch()
    first = await opened(watch)

    job = await client.jobs.submit("double", 2, labels={"team": "red"})
    seen = await events(watch, 4)

    assert first.cursor
    assert [event.event_type for event in seen] == STATE_EVENTS
    assert [event.revision for event in seen] == [1, 2, 3, 4]
    assert {(event.job_id, event.job_type, event.namespace, event.owner) for event in seen} == {
        (job.id, "double", "default", "anonymous")
    }
    assert (seen[0].labels, seen[0].state, seen[1].worker_name) == ({"team": "red"}, JobState.PENDING, "tester")


async def test_a_snapshot_comes_first_and_then_what_follows(client: AsyncClient) -> None:
    waiting = [job.id for job in await client.jobs.submit_many([Submission("score")] * 150)]
    over = await client.jobs.cancel_job((await client.jobs.submit("score")).id)
    watch = client.jobs.watch(include_snapshot=True)
    found: list[str] = []
    async for update in watch:
        found.extend(job.id for job in update.jobs)
        if update.snapshot_complete:
            break

    await client.jobs.cancel_job(waiting[0])
    (event,) = await events(watch, 1)

    assert sorted(found) == sorted(waiting)
    assert over.id not in found
    assert (event.job_id, event.event_type) == (waiting[0], EventType.CANCELLED)


async def test_a_watch_tells_of_nothing_but_what_it_names(client: AsyncClient) -> None:
    await client.types.register("paint")
    red = client.jobs.watch(labels={"team": "red"}, job_types=["score"], owner="anonymous", namespace="default")
    ends = client.jobs.watch(event_types=[EventType.CANCELLED], namespace="-")
    await opened(red)
    await opened(ends)

    await client.jobs.submit("score", labels={"team": "blue"})
    await client.jobs.submit("paint", labels={"team": "red"})
    job = await client.jobs.submit("score", labels={"team": "red"})
    await client.jobs.cancel_job(job.id)

    assert [(e.job_id, e.event_type) for e in await events(red, 2)] == [
        (job.id, EventType.SUBMITTED),
        (job.id, EventType.CANCELLED),
    ]
    assert [event.job_id for event in await events(ends, 1)] == [job.id]


async def test_a_cursor_goes_on_where_another_watch_was(client: AsyncClient) -> None:
    cursor = (await opened(client.jobs.watch())).cursor
    jobs = [(await client.jobs.submit("score")).id for _ in range(5)]
    watch = client.jobs.watch(cursor=cursor)
    update = await opened(watch)
    seen = [event.job_id for event in update.events]
    while len(seen) < 2:
        update = await anext(watch)
        seen.extend(event.job_id for event in update.events)

    rest = client.jobs.watch(cursor=update.cursor, job_ids=jobs, stop_when_terminal=True)
    for job_id in jobs:
        await client.jobs.cancel_job(job_id)
    after = [event async for update in rest for event in update.events]

    assert [event.job_id for event in after if event.event_type is EventType.SUBMITTED] == jobs[len(seen) :]
    assert [event.job_id for event in after if event.event_type is EventType.CANCELLED] == jobs


async def test_a_watch_until_the_end_ends_when_every_job_has_ended_or_is_gone(client: AsyncClient) -> None:
    ended, deleted, unknown = (
        (await client.jobs.submit("score")).id,
        (await client.jobs.submit("score")).id,
        uuid.uuid4(),
    )
    watch = client.jobs.watch(job_ids=[ended, deleted, str(unknown)], include_snapshot=True, stop_when_terminal=True)
    await opened(watch)

    await client.jobs.cancel_job(ended)
    await client.jobs.delete_job(deleted)
    async with asyncio.timeout(10):
        seen = [(event.job_id, event.event_type) async for update in watch for event in update.events]

    assert seen == [(ended, EventType.CANCELLED), (deleted, EventType.DELETED)]
    with pytest.raises(FieldNotSupportedError, match="stop_when_terminal"):
        await opened(client.jobs.watch(stop_when_terminal=True))


async def test_a_cursor_from_elsewhere_is_refused_and_one_watch_too_many_ids_too(client: AsyncClient) -> None:
    with pytest.raises(CursorMismatchError):
        await opened(client.jobs.watch(cursor="Yzk5LmVsc2V3aGVyZQ"))
    with pytest.raises(FieldInvalidError, match="job_ids"):
        await opened(client.jobs.watch(job_ids=[str(uuid.uuid4())] * 1001))


async def test_a_watch_whose_cursor_is_too_old_starts_anew_with_a_snapshot_where_it_may(tmp_path: Path) -> None:
    """The old part of the log is cut off while the server is away."""
    async with running_server(tmp_path) as server, AsyncClient(server.address) as client:
        await client.types.register("score")
        cursor = (await opened(client.jobs.watch())).cursor
        jobs = [(await client.jobs.submit("score")).id for _ in range(3)]
    with closing(sqlite3.connect(tmp_path / "jobhall.db")) as database, database:
        database.execute("DELETE FROM jobhall_events WHERE number < 3")

    async with running_server(tmp_path) as server, AsyncClient(server.address) as client:
        with pytest.raises(CursorExpiredError):
            await opened(client.jobs.watch(cursor=cursor))
        watch = client.jobs.watch(cursor=cursor, reset_when_expired=True)
        first = await opened(watch)
        snapshot = [job.id for job in first.jobs]
        while not (update := await anext(watch)).snapshot_complete:
            snapshot.extend(job.id for job in update.jobs)
        snapshot.extend(job.id for job in update.jobs)
        await client.jobs.cancel_job(jobs[0])
        (event,) = await events(watch, 1)

    assert first.reset
    assert not update.reset
    assert sorted(snapshot) == sorted(jobs)
    assert (event.job_id, event.event_type) == (jobs[0], EventType.CANCELLED)


async def test_a_watch_outlives_its_server_without_gap_or_repetition(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    seen: list[tuple[str, EventType]] = []
    opened_once = asyncio.Event()

    async def follow(client: AsyncClient) -> None:
        async for update in client.jobs.watch():
            opened_once.set()
            seen.extend((event.job_id, event.event_type) for event in update.events)

    async def seen_all(expected: int) -> None:
        await eventually_async(lambda: len(seen) >= expected, within=10, what=f"the watch has seen {expected} events")

    async with AsyncClient(address, retry=PATIENT) as client:
        following = asyncio.create_task(follow(client))
        async with running_server(tmp_path, listen=address):
            await client.types.register("score")
            await eventually_async(opened_once.is_set, within=10, what="the watch is open")
            jobs = [(await client.jobs.submit("score")).id for _ in range(5)]
            await seen_all(5)
        async with running_server(tmp_path, listen=address):
            jobs += [(await client.jobs.submit("score")).id for _ in range(5)]
            await client.jobs.cancel_job(jobs[0])
        async with running_server(tmp_path, listen=address):
            jobs += [(await client.jobs.submit("score")).id for _ in range(5)]
            await seen_all(16)
        following.cancel()
        await asyncio.wait([following])

    submitted = [(job_id, EventType.SUBMITTED) for job_id in jobs]
    assert seen == [*submitted[:10], (jobs[0], EventType.CANCELLED), *submitted[10:]]


# --- the submit stream ---


async def test_64_in_flight_are_each_answered_and_stand_in_their_order(client: AsyncClient) -> None:
    answered: list[str] = []

    async def submit(number: int) -> Submitted:
        submitted = await stream.submit("score", number, job_id=ids[number], priority=number % 100)
        answered.append(submitted.job_id)
        return submitted

    ids = [str(uuid.uuid4()) for _ in range(IN_FLIGHT)]
    async with client.jobs.submit_stream() as stream:
        submitted = await asyncio.gather(*(submit(number) for number in range(IN_FLIGHT)))

    assert [it.job_id for it in submitted] == answered == ids
    assert {(it.revision, it.existing) for it in submitted} == {(1, False)}
    assert [job.id async for job in client.jobs.list_jobs()] == ids[::-1]
    assert [job.parameters for job in await client.jobs.get_jobs(ids)] == list(range(IN_FLIGHT))


async def test_a_refused_submit_is_refused_alone_and_as_its_class(client: AsyncClient) -> None:
    known = await client.jobs.submit("score", 1)

    async with client.jobs.submit_stream() as stream:
        outcomes = await asyncio.gather(
            stream.submit("score", 1),
            stream.submit("scroe"),
            stream.submit("score", priority=101),
            stream.submit("score", 1, job_id=known.id),
            stream.submit("score", 2, job_id=known.id),
            stream.submit("score", "x" * 2**20),
            stream.submit("score", float("nan")),
            stream.submit("score", 3),
            return_exceptions=True,
        )

    good = [outcome for outcome in outcomes if isinstance(outcome, Submitted)]
    assert [type(outcome) for outcome in outcomes] == [
        Submitted,
        JobTypeNotFoundError,
        FieldInvalidError,
        Submitted,
        JobIdReusedError,
        PayloadTooLargeError,
        FieldInvalidError,
        Submitted,
    ]
    assert [it.existing for it in good] == [False, True, False]
    assert good[1].job_id == known.id
    assert len([job async for job in client.jobs.list_jobs()]) == 3
    for outcome in outcomes:
        if isinstance(outcome, FieldInvalidError | PayloadTooLargeError):
            assert outcome.violations[0].field.startswith("job.")


async def test_what_is_queued_is_answered_before_the_block_ends(client: AsyncClient) -> None:
    async with client.jobs.submit_stream() as stream:
        futures = [stream.submit_soon(Submission("score", number)) for number in range(2500)]

    assert len({future.result().job_id for future in futures}) == 2500
    with pytest.raises(RuntimeError, match="not open"):
        await stream.submit("score")


async def test_a_block_that_fails_waits_for_nothing_and_leaves_nobody_waiting(client: AsyncClient) -> None:
    async def fail() -> None:
        async with client.jobs.submit_stream() as stream:
            futures.extend(stream.submit_soon(Submission("score")) for _ in range(3))
            raise ZeroDivisionError

    futures: list[asyncio.Future[Submitted]] = []
    with pytest.raises(ZeroDivisionError):
        await fail()

    for future in futures:
        with pytest.raises(ApiError, match="closed") as caught:
            await asyncio.wait_for(future, 5)
        assert caught.value.code is Code.CANCELLED


async def test_a_stream_outlives_its_server_and_every_acknowledged_job_is_there_once(tmp_path: Path) -> None:
    """64 submitters without pause; the server goes away in the middle, and comes back on its file and port."""
    address = f"127.0.0.1:{free_port()}"
    acknowledged: list[str] = []
    numbers = count()
    begin, enough = asyncio.Event(), asyncio.Event()

    async def submit_on() -> None:
        await begin.wait()
        while not enough.is_set():
            acknowledged.append((await stream.submit("score", next(numbers))).job_id)

    async def more(wanted: int) -> None:
        before = len(acknowledged)
        await eventually_async(
            lambda: len(acknowledged) >= before + wanted, within=10, what=f"{wanted} more are acknowledged"
        )

    async with AsyncClient(address, retry=PATIENT) as client, client.jobs.submit_stream() as stream:
        submitters = [asyncio.create_task(submit_on()) for _ in range(IN_FLIGHT)]
        for _ in range(2):
            async with running_server(tmp_path, listen=address):
                await client.types.register("score")
                begin.set()
                await more(300)
        async with running_server(tmp_path, listen=address):
            await more(300)
            enough.set()
            await asyncio.gather(*submitters)
            stored = [job.id async for job in client.jobs.list_jobs(page_size=1000)]
            jobs = await client.jobs.get_jobs(stored)

    assert sorted(acknowledged) == sorted(stored)
    assert sorted(job.parameters for job in jobs) == list(range(len(acknowledged)))


async def test_a_closed_client_ends_its_stream(server: Running, client: AsyncClient) -> None:
    other = AsyncClient(server.address)
    async with other.jobs.submit_stream() as stream:
        await stream.submit("score")
        await other.close()
        with pytest.raises((ApiError, RuntimeError), match=r"closed|not open"):
            await asyncio.wait_for(stream.submit("score"), 5)

    assert len([job async for job in client.jobs.list_jobs()]) == 1
