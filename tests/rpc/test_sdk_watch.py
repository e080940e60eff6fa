"""Watches and the event log through both clients: nothing missing, nothing twice, whoever stops and whatever breaks."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager, closing
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest

from jobhall import AsyncClient, CallRetry, Client, EventType, JobEvent, JobState, Submission, WatchUpdate
from jobhall.errors import BatchNotFoundError, CursorMismatchError
from jobhall.v1 import event_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall_server import app
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.servers import Running, settings_in
from tests.support.waiting import eventually_async

PATIENT = CallRetry(attempts_max=1000, delay_max=timedelta(seconds=0.2))
WAIT_SECONDS = 20
STATE_EVENTS = [kind for kind in EventType if EventType.SUBMITTED <= kind <= EventType.IMPORTED]

Told = list[tuple[str, int, EventType]]


def told(events: Iterable[JobEvent]) -> Told:
    return [(event.job_id, event.revision, event.event_type) for event in events]


async def first(client: AsyncClient, **options: Any) -> WatchUpdate:
    """The first update of a watch that ends with it."""
    async with aclosing(client.jobs.watch(**options)) as watch, asyncio.timeout(WAIT_SECONDS):
        return await anext(watch)


async def make_history(client: AsyncClient, count: int) -> None:
    """Something of many things happens to so many jobs, one after the other."""
    for _ in range(count):
        jobs = await client.jobs.submit_many([Submission("score", labels={"team": "red"})] * 2)
        await client.jobs.update_job(jobs[0].id, labels={"team": "blue"})
        await client.jobs.cancel_job(jobs[0].id)
        await client.jobs.retry_job(jobs[0].id)
        await client.jobs.delete_job(jobs[1].id)


# --- who stops and comes back ---


@pytest.mark.parametrize("seed", range(3))
async def test_a_consumer_that_is_killed_between_any_two_updates_resumes_the_exact_sequence(
    client: AsyncClient, seed: int
) -> None:
    """It keeps the cursor of the last update that it worked off, as a program does that stores it with its work."""
    draw = random.Random(seed)
    start = cursor = (await first(client)).cursor
    history = asyncio.create_task(make_history(client, 30))
    seen: Told = []

    async with asyncio.timeout(WAIT_SECONDS):
        while len(seen) < 30 * 6:
            left = draw.randrange(4)
            async with aclosing(client.jobs.watch(cursor=cursor, event_types=STATE_EVENTS)) as watch:
                async for update in watch:
                    seen.extend(told(update.events))
                    cursor = update.cursor
                    left -= 1
                    if left < 0 or len(seen) >= 30 * 6:
                        break
        await history

    assert seen == told([event async for event in client.jobs.events(cursor=start)])


async def test_a_snapshot_and_what_follows_make_one_history_of_each_job(client: AsyncClient) -> None:
    """A watch with a snapshot is opened again and again while jobs change: no event is older than its job."""
    enough = asyncio.Event()

    async def go_on() -> None:
        while not enough.is_set():
            await make_history(client, 1)

    async with asyncio.TaskGroup() as changing:
        changing.create_task(go_on())
        for _ in range(10):
            known: dict[str, int] = {}
            async with aclosing(client.jobs.watch(include_snapshot=True, event_types=STATE_EVENTS)) as watch:
                async for update in islice_async(watch, 6):
                    for event in update.events:
                        # Of a job that had ended, and was retried after the snapshot, nothing is known before.
                        assert known.get(event.job_id, event.revision - 1) == event.revision - 1
                        known[event.job_id] = event.revision
                    known.update((job.id, job.revision) for job in update.jobs)
        enough.set()


async def islice_async(updates: AsyncIterator[WatchUpdate], count: int) -> AsyncIterator[WatchUpdate]:
    left = count
    async for update in updates:
        yield update
        left -= 1
        if not left:
            return


# --- what may break ---


async def test_a_watch_whose_connections_are_cut_again_and_again_tells_everything_once(
    server: Running, client: AsyncClient
) -> None:
    seen: Told = []
    start = (await first(client)).cursor

    def follow(address: str) -> None:
        with Client(address, retry=PATIENT) as following, closing(following.jobs.watch(cursor=start)) as watch:
            for update in watch:
                seen.extend(told(update.events))
                if len(seen) >= 20 * 6:
                    return

    with Proxy(server.address) as proxy:
        following = asyncio.create_task(asyncio.to_thread(follow, proxy.address))
        for _ in range(20):
            await make_history(client, 1)
            proxy.drop_connections()
        await asyncio.wait_for(following, WAIT_SECONDS)

    assert seen == told([event async for event in client.jobs.events(cursor=start)])
    assert proxy.accepted_count > 1


class Silent:
    """Says one thing on each stream, and then nothing more, as a proxy does that lost its upstream."""

    def __init__(self) -> None:
        self.cursors: list[str] = []

    async def watch(self, request: pb.WatchJobsRequest, _context: object) -> AsyncIterator[pb.WatchJobsResponse]:
        self.cursors.append(request.cursor)
        event = event_pb2.JobEvent(job_id="a", revision=len(self.cursors))
        yield pb.WatchJobsResponse(cursor=str(len(self.cursors)), events=[event])
        await asyncio.Event().wait()


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[Silent, str]]:
    silent, server = Silent(), grpc.aio.server()
    handler = grpc.unary_stream_rpc_method_handler(
        silent.watch,
        request_deserializer=pb.WatchJobsRequest.FromString,
        response_serializer=pb.WatchJobsResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("jobhall.v1.JobService", {"WatchJobs": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield silent, f"127.0.0.1:{port}"
    await server.stop(0)


async def test_a_watch_that_hears_nothing_is_opened_again_by_both_clients() -> None:
    policy = CallRetry(silence_max=timedelta(seconds=0.1), delay_max=timedelta(seconds=0.01))

    def follow(address: str) -> list[str]:
        with Client(address, retry=policy) as client, closing(client.jobs.watch()) as watch:
            return [update.cursor for update in islice(watch, 3)]

    async with silent_server() as (silent, address), AsyncClient(address, retry=policy) as client:
        async with aclosing(client.jobs.watch()) as watch, asyncio.timeout(WAIT_SECONDS):
            heard = [update.cursor async for update in islice_async(watch, 3)]
        heard += await asyncio.wait_for(asyncio.to_thread(follow, address), WAIT_SECONDS)

    assert heard == ["1", "2", "3", "4", "5", "6"]
    assert silent.cursors == ["", "1", "2", "", "4", "5"]


async def test_a_watch_of_a_database_that_was_put_back_begins_anew_and_says_so(tmp_path: Path) -> None:
    """While the server is away its database is replaced: the cursor is of none of its events."""
    address = f"127.0.0.1:{free_port()}"
    folders = [tmp_path / "before", tmp_path / "after"]
    updates: list[WatchUpdate] = []
    strict: list[str] = []
    for folder in folders:
        folder.mkdir()

    async def follow() -> None:
        async for update in client.jobs.watch(reset_when_expired=True):
            updates.append(update)  # noqa: PERF401 - each as it comes

    async def follow_strictly() -> None:
        try:
            async for update in client.jobs.watch():
                strict.append(update.cursor)  # noqa: PERF401 - each as it comes
        except CursorMismatchError as error:
            strict.append(error.reason)

    async with AsyncClient(address, retry=PATIENT) as client:
        async with app.build(settings_in(folders[0], listen=address)):
            await client.types.register("score")
            following = [asyncio.create_task(follow()), asyncio.create_task(follow_strictly())]
            await eventually_async(lambda: updates and strict, within=WAIT_SECONDS, what="both watches are open")
            lost = await client.jobs.submit("score")
            await eventually_async(lambda: len(updates) > 1, within=WAIT_SECONDS, what="the first job is seen")
        async with app.build(settings_in(folders[1], listen=address)):
            await client.types.register("score")
            job = await client.jobs.submit("score")
            await eventually_async(
                lambda: any(it.snapshot_complete for it in updates), within=WAIT_SECONDS, what="the snapshot is told"
            )
            await client.jobs.cancel_job(job.id)
            await eventually_async(lambda: updates[-1].events, within=WAIT_SECONDS, what="the cancel is seen")
            await asyncio.wait_for(following[1], WAIT_SECONDS)
        following[0].cancel()
        await asyncio.wait(following)

    place = next(number for number, update in enumerate(updates) if update.reset)
    assert [event.job_id for update in updates[:place] for event in update.events] == [lost.id]
    assert sum(update.reset for update in updates) == 1
    assert updates[-1].events[-1].event_type is EventType.CANCELLED
    assert strict[-1] == "CURSOR_MISMATCH"


# --- what may be watched and read ---


async def test_a_batch_is_watched_to_its_end(client: AsyncClient) -> None:
    batch = await client.batches.create(jobs=[Submission("score")] * 2)
    await client.jobs.submit("score")
    seen: Told = []

    async def follow() -> None:
        async for update in client.jobs.watch(batch_id=batch.id, include_snapshot=True, stop_when_terminal=True):
            snapshot.extend(job.id for job in update.jobs)
            batches.update(event.batch_id for event in update.events)
            seen.extend(told(update.events))

    snapshot: list[str] = []
    batches: set[str] = set()
    following = asyncio.create_task(follow())
    await eventually_async(lambda: len(snapshot) == 2, within=WAIT_SECONDS, what="the snapshot is told")
    for job_id in batch.job_ids:
        await client.jobs.cancel_job(job_id)
    await client.batches.close(batch.id)
    await asyncio.wait_for(following, WAIT_SECONDS)

    assert sorted(snapshot) == sorted(batch.job_ids)
    assert [(job_id, kind) for job_id, _, kind in seen] == [(it, EventType.CANCELLED) for it in batch.job_ids]
    assert batches == {batch.id}
    with pytest.raises(BatchNotFoundError):
        await first(client, batch_id=snapshot[0])


async def test_an_event_tells_what_its_change_was(client: AsyncClient) -> None:
    job = await client.jobs.submit("score", labels={"team": "red"}, path="/files/1")
    await client.jobs.update_job(job.id, labels={"team": "blue"})

    submitted, updated = [event async for event in client.jobs.events(job_ids=[job.id])]

    assert (submitted.labels, submitted.path, submitted.owner) == ({"team": "red"}, "/files/1", "anonymous")
    assert submitted.previous is None
    assert updated.labels == {"team": "blue"}
    assert updated.previous is not None
    assert updated.previous.labels == {"team": "red"}
    assert updated.state is JobState.PENDING


async def test_the_log_is_read_page_by_page_and_leads_on_to_a_watch(server: Running, client: AsyncClient) -> None:
    await make_history(client, 10)
    cancels = client.jobs.events(event_types=[EventType.CANCELLED], job_types=["score"])
    everything = [event async for event in client.jobs.events()]

    page = await client.jobs.events_page(page_size=7)
    rest = [event async for event in client.jobs.events(cursor=page.cursor)]
    last = await client.jobs.events_page(cursor=page.cursor, page_size=1000)
    job = await client.jobs.submit("score")
    async with aclosing(client.jobs.watch(cursor=last.cursor)) as watch, asyncio.timeout(WAIT_SECONDS):
        while not (update := await anext(watch)).events:
            pass

    assert len(everything) == 60
    assert (len(page.events), page.end_reached) == (7, False)
    assert told(page.events) + told(rest) == told(everything)
    assert last.end_reached
    assert [event.job_id for event in update.events] == [job.id]
    assert [event.revision async for event in cancels] == [3] * 10
    with pytest.raises(CursorMismatchError):
        await client.jobs.events_page(cursor="Yzk5LmVsc2V3aGVyZQ")

    def read() -> Told:
        with Client(server.address) as blocking:
            return told(blocking.jobs.events(cursor=page.cursor, event_types=STATE_EVENTS))

    assert (await asyncio.to_thread(read))[:-1] == told(rest)
