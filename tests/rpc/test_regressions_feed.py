"""Faults of the feed that were found by hunting, as another process's feed shows them: each test tells its story."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jobhall_server.domain.access import ANYBODY
from jobhall_server.hall import bookmarks
from jobhall_server.hall.feed import Feed
from jobhall_server.hall.hall import Hall
from jobhall_server.hall.store import Store as HallStore
from jobhall_server.hall.submits import Submission
from jobhall_server.hall.views import LogFilter, LogSlice
from jobhall_server.hall.watch_filter import WatchFilter
from jobhall_server.hall.watch_queue import STORED, Subscription
from tests.support.waiting import eventually_async

SOON_SECONDS = 5.0


async def submit(hall: Hall, count: int) -> list[str]:
    return [view.job_id for view, _ in await hall.jobs.submit_many(ANYBODY, [Submission("score")] * count)]


class Onlooker:
    """The store as another process sees it: nobody tells it of commits. It counts how often the log is read."""

    def __init__(self, store: HallStore) -> None:
        self._store = store
        self.log_place, self.job_keys_of = store.reads.log_place, store.reads.job_keys_of
        self.log_reads = 0

    @property
    def reads(self) -> Any:
        return self

    def on_commit(self, callback: object) -> None:
        pass

    def on_batch_end(self, callback: object) -> None:
        pass

    async def log(self, where: LogFilter, **place: int) -> LogSlice:
        self.log_reads += 1
        return await self._store.reads.log(where, **place)


@asynccontextmanager
async def onlooking(hall: Hall, job_ids: Sequence[str]) -> AsyncIterator[tuple[Onlooker, Subscription]]:
    """What is offered to a watcher of those jobs in another process, which looks when the block has ended."""
    store: Any = Onlooker(hall.store)
    feed = Feed(store, watchers_max=10)
    await feed.begin()
    where = WatchFilter(job_ids=frozenset(job_ids))
    with feed.subscribe(ANYBODY, where) as subscription:
        feed.find_jobs(where)
        await _run(feed, lambda: not feed._index.unknown(job_ids), what="the jobs' keys are known")
        yield store, subscription
        last = (await hall.store.reads.log_place()).last
        await _run(feed, lambda: feed.position >= last, what="the feed is at the log's end")


async def test_what_follows_a_deletion_in_what_another_process_wrote_is_told(hall: Hall) -> None:
    # Whose events another process had written, or a failed read had left behind, is not known, so all of the log is
    # read; the deletion of a watched job narrowed that to what was known, and the events of other jobs were lost.
    goes, ends = await submit(hall, 2)
    async with onlooking(hall, (goes, ends)) as (_, subscription):
        await hall.jobs.delete(ANYBODY, goes)
        await hall.jobs.cancel(ANYBODY, ends, reason="")

    told = [event.row.job_id for event in subscription.take()]
    assert told == [goes, ends]


async def test_the_deletion_of_many_watched_jobs_is_read_once_more_at_most(hall: Hall) -> None:
    # Each deletion of a job that was watched by name had the rest of the log read again, since its id may be another
    # job's in the next event: a purge of a thousand of them kept the loop busy for seconds.
    job_ids = await submit(hall, 200)
    async with onlooking(hall, job_ids) as (store, subscription):
        for job_id in job_ids:
            await hall.jobs.delete(ANYBODY, job_id)

    assert {event.row.job_id for event in subscription.take()} == set(job_ids)
    assert store.log_reads <= 2


async def test_a_key_that_was_asked_for_before_a_watcher_came_is_not_taken_for_its_own(hall: Hall) -> None:
    # Who had asked left, the job was deleted unwatched, and the old answer came to the next watcher of that id: the
    # events of another job that was submitted with it were never read.
    [job_id] = await submit(hall, 1)
    where = WatchFilter(job_ids=frozenset((job_id,)))
    asked, answered, told = asyncio.Event(), asyncio.Event(), asyncio.Event()
    store: Any = Onlooker(hall.store)
    find = store.job_keys_of

    async def find_slowly(job_ids: Sequence[str]) -> dict[str, int]:
        asked.set()
        await answered.wait()
        found: dict[str, int] = await find(job_ids)
        told.set()
        return found

    store.job_keys_of = find_slowly
    feed = Feed(store, watchers_max=10)
    await feed.begin()
    running = asyncio.create_task(feed.run())
    with feed.subscribe(ANYBODY, where):
        feed.find_jobs(where)
        await asked.wait()
    with feed.subscribe(ANYBODY, where):
        answered.set()
        await told.wait()
        assert feed._index.unknown([job_id])
    running.cancel()


async def test_who_does_not_read_takes_no_turns_among_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    # A watcher whose write waited stayed at the head of those to be told next, and was woken in vain at each tick: a
    # few of them took all the turns, and thousands of others were told at the last moment, all at once.
    monkeypatch.setattr(bookmarks, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(bookmarks, "QUIET_SECONDS_MIN", 0.0)
    told = bookmarks.Bookmarks()
    writes, waits = (Subscription(ANYBODY, WatchFilter(), since=0, wanted=STORED) for _ in range(2))
    told.told(writes)
    told.told(waits)

    async with asyncio.timeout(SOON_SECONDS):
        await waits.changed()
    assert writes not in told._told_at


async def _run(feed: Feed, until: Callable[[], bool], *, what: str) -> None:
    running = asyncio.create_task(feed.run())
    await eventually_async(until, within=SOON_SECONDS, what=what)
    running.cancel()
