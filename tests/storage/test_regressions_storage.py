"""Faults below the calls that were found by hunting: each test opens with what went wrong before it was mended."""

import asyncio
import contextlib
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobhall.errors import CursorExpiredError, DatabaseBusyError
from jobhall.limits import EVENT_LOG_AGE
from jobhall.states import JobState
from jobhall_server.domain.access import ANYBODY
from jobhall_server.hall import tokens
from jobhall_server.hall.feed import Feed
from jobhall_server.hall.leases import LoseTasks
from jobhall_server.hall.retention import cut_what_is_old
from jobhall_server.hall.store import Group, Store
from jobhall_server.hall.views import LogFilter, LogSlice, Retention
from jobhall_server.hall.watch import WatchRequest, watch
from jobhall_server.hall.watch_filter import WatchFilter
from jobhall_server.hall.watch_queue import WatchEvent
from jobhall_server.storage.checkpoints import LOG_PAGES, Checkpoints
from tests.support.disks import no_file_longer_than
from tests.support.stores import Act, Floor, SetClock
from tests.support.waiting import eventually_async


async def test_a_job_claimed_by_a_session_that_was_closed_is_moved_on(floor: Floor) -> None:
    # A claim that crossed the end of its session, and could not be given back since the disk was full or the process
    # died, left its job CLAIMED by a closed session for ever: only what lost sessions hold was looked for.
    (key,) = await floor.submit(1)
    session = await floor.session()
    await floor.claim(floor.want(session, 1))

    def close(group: Group) -> None:
        group.save_session(session.closed(group.now))

    await floor.store.run(Act(close, session_keys=[session.key]))

    held = dict((await floor.store.reads.expired(ttl_us=15_000_000)).held)
    await floor.store.run(LoseTasks(held, confirmed=set()))

    record = await floor.record(key)
    assert held == {key: session.key}
    assert record is not None
    assert (record.state, record.worker_losses) == (JobState.PENDING, 0)


def test_a_checkpoint_that_finds_no_room_waits_and_ends_nothing(tmp_path: Path) -> None:
    # On a full disk a checkpoint ended the whole server, though every commit was answered DATABASE_FULL as it should.
    path = tmp_path / "full.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE rows (text TEXT)")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("INSERT INTO rows VALUES (?)", ["x" * 200_000])
        before = path.stat().st_size
        checkpoints = Checkpoints(connection)

        with no_file_longer_than(before):
            checkpoints.after_group(2 * LOG_PAGES)
        without_room = path.stat().st_size
        checkpoints.after_group(2 * LOG_PAGES)

        assert without_room == before
        assert path.stat().st_size >= 200_000


class AwayOnce:
    """A store whose log cannot be read the first time that it is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.on_commit, self.on_batch_end = store.on_commit, store.on_batch_end
        self.log_place = store.reads.log_place
        self.failures = 0

    @property
    def reads(self) -> Any:
        return self

    async def log(self, where: LogFilter, **place: int) -> LogSlice:
        if not self.failures:
            self.failures += 1
            raise DatabaseBusyError("the database cannot be read now", retry_after=timedelta(seconds=1))
        return await self._store.reads.log(where, **place)


async def test_the_feed_outlives_a_database_that_cannot_be_read_for_a_moment(floor: Floor) -> None:
    # One read of the event log that found the database busy ended the feed, and with it the server.
    store: Any = AwayOnce(floor.store)
    feed = Feed(store, watchers_max=10)
    await feed.begin()
    with feed.subscribe(ANYBODY, WatchFilter()) as subscription:
        running = asyncio.create_task(feed.run())
        await floor.submit(3)
        told: list[WatchEvent] = []

        def all_told() -> bool:
            told.extend(subscription.take())
            return len(told) == 3

        await eventually_async(all_told, within=5, what="the watcher is told")
        assert store.failures == 1
        running.cancel()
        await asyncio.wait([running])


async def test_a_feed_that_has_begun_stands_at_the_logs_end_before_anybody_can_subscribe(floor: Floor) -> None:
    """It found the end while the server already answered: who asked in that moment stood at event 0, and was never
    offered what had been committed between their cursor and the end. The simulation found it.
    """
    await floor.submit(3)
    feed = Feed(floor.store, watchers_max=10)

    await feed.begin()

    with feed.subscribe(ANYBODY, WatchFilter()) as subscription:
        assert subscription.since == feed.position == 3


async def test_a_watcher_whose_place_is_cut_off_under_it_is_told_so(floor: Floor, clock: SetClock) -> None:
    # A watcher that read the log slowly while its old end was cut went on behind the cut, events lost without a word.
    feed = Feed(floor.store, watchers_max=10)
    await feed.begin()
    running = asyncio.create_task(feed.run())
    await floor.submit(1500)
    await floor.submit(1)
    last = (await floor.store.reads.log_place()).last
    await eventually_async(lambda: feed.position >= last, within=5, what="the feed is at the log's end")
    start = tokens.cursor((await floor.store.reads.log_place()).log_id, 0)
    updates: Any = watch(feed, floor.store.reads, ANYBODY, WatchRequest(WatchFilter(), cursor=start))
    await anext(updates)
    assert len((await anext(updates)).events) == 1000

    clock.at += int(EVENT_LOG_AGE.total_seconds() * 1_000_000) * 2
    await cut_what_is_old(floor.store, Retention())

    with pytest.raises(CursorExpiredError):
        await anext(updates)
    running.cancel()
    await asyncio.wait([running])
