"""What is old is removed at the log's old end only, in small steps, and nothing that still counts."""

from datetime import timedelta

import pytest

from jobhall.errors import CursorExpiredError
from jobhall.limits import EVENT_LOG_AGE
from jobhall_server.domain.access import ANYBODY
from jobhall_server.hall import tokens
from jobhall_server.hall.feed import Feed
from jobhall_server.hall.retention import ROWS_PER_STEP, cut_what_is_old
from jobhall_server.hall.store import Group
from jobhall_server.hall.views import JobFilter, Page, Retention
from jobhall_server.hall.watch import WatchRequest, watch
from jobhall_server.hall.watch_filter import WatchFilter
from tests.support.stores import Act, Floor, SetClock, sql_only

KEEP = Retention()


def pass_time(clock: SetClock, time: timedelta) -> None:
    clock.at += int(time.total_seconds() * 1_000_000)


async def test_events_older_than_a_day_go_and_the_numbers_go_on(floor: Floor, clock: SetClock) -> None:
    await floor.submit(2 * ROWS_PER_STEP + 5)
    before = await floor.store.reads.log_place()
    pass_time(clock, EVENT_LOG_AGE + timedelta(seconds=1))
    await floor.submit(3)

    removed = await cut_what_is_old(floor.store, KEEP)

    after = await floor.store.reads.log_place()
    assert removed == 2 * ROWS_PER_STEP + 5
    assert (after.first, after.last) == (before.last + 1, before.last + 3)
    assert len((await floor.store.reads.jobs(ANYBODY, JobFilter(), Page(10))).jobs) == 10


async def test_nothing_younger_than_a_day_goes_though_all_of_it_is_asked_for(floor: Floor, clock: SetClock) -> None:
    await floor.submit(10)
    pass_time(clock, EVENT_LOG_AGE)

    assert await cut_what_is_old(floor.store, KEEP) == 0


async def test_of_more_events_than_are_kept_the_oldest_go_however_young_they_are(floor: Floor) -> None:
    await floor.submit(2 * ROWS_PER_STEP + 5)

    removed = await cut_what_is_old(floor.store, Retention(events_max=1500))

    place = await floor.store.reads.log_place()
    assert removed == 2 * ROWS_PER_STEP + 5 - 1500
    assert place.last - place.first + 1 == 1500


async def test_a_cursor_from_before_the_cut_is_told_so_or_begins_anew(floor: Floor, clock: SetClock) -> None:
    await floor.submit(5)
    old = tokens.cursor((await floor.store.reads.log_place()).log_id, 2)
    pass_time(clock, EVENT_LOG_AGE * 2)
    await floor.submit(1)
    await cut_what_is_old(floor.store, KEEP)
    feed = Feed(floor.store, watchers_max=10)
    await feed.begin()

    with pytest.raises(CursorExpiredError):
        await anext(watch(feed, floor.store.reads, ANYBODY, WatchRequest(WatchFilter(), cursor=old)))
    resetting = WatchRequest(WatchFilter(), cursor=old, reset_when_expired=True)
    assert (await anext(watch(feed, floor.store.reads, ANYBODY, resetting))).reset


@sql_only
async def test_a_session_that_is_over_goes_but_not_one_that_still_holds_a_job(floor: Floor, clock: SetClock) -> None:
    await floor.submit(1)
    holding, idle = await floor.session(), await floor.session()
    await floor.claim(floor.want(holding, 1))

    def end(group: Group) -> None:
        for session in (holding, idle):
            group.save_session(session.lost(group.now))

    await floor.store.run(Act(end, session_keys=[holding.key, idle.key]))
    pass_time(clock, EVENT_LOG_AGE * 2)

    await cut_what_is_old(floor.store, KEEP)

    assert floor.rows("SELECT key FROM jobhall_sessions") == [(holding.key,)]
