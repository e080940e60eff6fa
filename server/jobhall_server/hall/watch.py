"""One WatchJobs call: a snapshot if asked for, then every event after its cursor, in order and without a gap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from jobhall.errors import CursorExpiredError, FieldNotSupportedError
from jobhall.limits import WATCH_BOOKMARK_INTERVAL
from jobhall.states import EventType, JobState
from jobhall_server.domain.access import Principal
from jobhall_server.domain.job import JobView
from jobhall_server.hall import tokens
from jobhall_server.hall.feed import LIVE, READ_AT_ONCE, Feed, Subscription, WatchEvent, matches, visible
from jobhall_server.hall.reads import Reads
from jobhall_server.hall.views import EventRow, JobFilter, LogPlace, Page

LIVE_EVERY_SECONDS = 0.1
"""How often a watcher is told of progress and log lines; what comes between is merged, the latest wins."""


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """What a caller watches; see WatchJobsRequest in the protos."""

    where: JobFilter
    event_types: frozenset[EventType] = frozenset()
    cursor: str = ""
    include_snapshot: bool = False
    reset_when_expired: bool = False
    stop_when_terminal: bool = False


@dataclass(frozen=True, slots=True)
class WatchUpdate:
    """One response: `cursor` is the place right after everything in it."""

    cursor: str
    events: Sequence[WatchEvent] = ()
    jobs: Sequence[JobView] = ()
    snapshot_complete: bool = False
    reset: bool = False


async def watch(feed: Feed, reads: Reads, principal: Principal, request: WatchRequest) -> AsyncIterator[WatchUpdate]:
    """The responses of one WatchJobs call, the first at once. Ends by itself only with `stop_when_terminal`."""
    feed.check()
    if request.stop_when_terminal and not request.where.job_ids:
        raise FieldNotSupportedError("stop_when_terminal", "only together with job_ids")
    place = await reads.log_place()
    after, reset = _start(request, place)
    types = request.event_types
    live = LIVE & types if types else frozenset({EventType.PROGRESS})
    with feed.subscribe(principal, request.where, live=live) as subscription:
        watcher = _Watcher(feed, reads, principal, request, subscription, place, after)
        yield WatchUpdate(tokens.cursor(place, after), reset=reset)
        if request.include_snapshot or reset:
            async for update in watcher.snapshot():
                yield update
        async for update in watcher.follow():
            yield update


class _Watcher:
    """One WatchJobs call: first the log from its cursor, then its queue; the log again when that overflowed."""

    def __init__(
        self,
        feed: Feed,
        reads: Reads,
        principal: Principal,
        request: WatchRequest,
        subscription: Subscription,
        place: LogPlace,
        after: int,
    ) -> None:
        self._feed = feed
        self._reads = reads
        self._principal = principal
        self._request = request
        self._subscription = subscription
        self._place = place
        self._after = after
        self._live_at = 0.0
        self._open = set(request.where.job_ids) if request.stop_when_terminal else set()

    async def snapshot(self) -> AsyncIterator[WatchUpdate]:
        """The jobs that match and are not over, and the named ones, in pages; the cursor stays where it was noted."""
        where = self._request.where
        if where.job_ids:
            jobs = await self._reads.jobs_by_id(self._principal, sorted(where.job_ids))
            yield self._update(jobs=[job for job in jobs if _job_matches(where, job)], snapshot_complete=True)
            return
        place = None
        while True:
            found = await self._reads.jobs(self._principal, _unfinished(where), Page(READ_AT_ONCE // 4, place))
            place = found.next
            if place is None:
                yield self._update(jobs=found.jobs, snapshot_complete=True)
                return
            if found.jobs:
                yield self._update(jobs=found.jobs)

    async def follow(self) -> AsyncIterator[WatchUpdate]:
        """Events after the cursor, and a bookmark when there were none for a while."""
        if self._request.stop_when_terminal and await self._all_over():
            # How they came to their end may lie between the cursor and now.
            async for update in self._catch_up((await self._reads.log_place()).last):
                yield update
            yield self._update()
            return
        async for update in self._catch_up(self._subscription.since):
            yield update
        bookmark_seconds = WATCH_BOOKMARK_INTERVAL.total_seconds()
        while not (self._request.stop_when_terminal and not self._open):
            self._feed.check()
            subscription = self._subscription
            # Again and again: the queue may overflow once more while the log is read.
            while subscription.overflowed:
                subscription.overflowed = False
                async for update in self._catch_up(self._feed.position):
                    yield update
            rows = [row for row in subscription.rows if row.number > self._after]
            subscription.rows.clear()
            subscription.wake.clear()
            live = self._live(rows)
            if rows or live:
                yield self._tell(rows, live)
            elif subscription.live:
                await _pause(subscription, self._live_at - asyncio.get_running_loop().time())
            else:
                try:
                    await asyncio.wait_for(subscription.wake.wait(), bookmark_seconds)
                except TimeoutError:
                    if not subscription.rows and not subscription.overflowed:
                        self._after = max(self._after, self._feed.position)
                        yield self._update()

    def _live(self, rows: Sequence[EventRow]) -> list[WatchEvent]:
        """Progress and log lines that may be told again; those of a job that ends, with its end."""
        if not self._subscription.live:
            return []
        now = asyncio.get_running_loop().time()
        if now >= self._live_at:
            self._live_at = now + LIVE_EVERY_SECONDS
            return self._subscription.take_live()
        ended = {row.job_key for row in rows if row.state.terminal}
        return self._subscription.take_live(of_jobs=ended) if ended else []

    async def _catch_up(self, until: int) -> AsyncIterator[WatchUpdate]:
        """Read the log from the watcher's own place up to event `until`."""
        while self._after < until:
            rows = await self._reads.events(after=self._after, limit=READ_AT_ONCE)
            if not rows or rows[0].number != self._after + 1:
                # The log was cut meanwhile; its numbers have no other gap.
                raise CursorExpiredError
            wanted = [row for row in rows if matches(self._request.where, row) and visible(self._principal, row)]
            if wanted:
                yield self._tell(wanted, [])
            self._after = max(self._after, rows[-1].number)

    def _tell(self, rows: Sequence[EventRow], live: Sequence[WatchEvent]) -> WatchUpdate:
        if rows:
            self._after = rows[-1].number
        for row in rows:
            if row.state.terminal or row.event_type is EventType.DELETED:
                self._open.discard(row.job_id)
        types = self._request.event_types
        events = [WatchEvent(row) for row in rows if not types or row.event_type in types]
        return self._update(events=[*events, *live])

    def _update(
        self, *, events: Sequence[WatchEvent] = (), jobs: Sequence[JobView] = (), snapshot_complete: bool = False
    ) -> WatchUpdate:
        return WatchUpdate(tokens.cursor(self._place, self._after), events, jobs, snapshot_complete)

    async def _all_over(self) -> bool:
        jobs = await self._reads.jobs_by_id(self._principal, sorted(self._open))
        self._open = {job.job_id for job in jobs if not job.state.terminal}
        return not self._open


async def _pause(subscription: Subscription, seconds: float) -> None:
    """Wait, but not longer than until the next state event."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not subscription.rows and (left := deadline - asyncio.get_running_loop().time()) > 0:
        subscription.wake.clear()
        try:
            await asyncio.wait_for(subscription.wake.wait(), left)
        except TimeoutError:
            return


def _start(request: WatchRequest, place: LogPlace) -> tuple[int, bool]:
    """The event to go on after, and whether that is a reset since the cursor is too old."""
    if not request.cursor:
        return place.last, False
    number = tokens.cursor_number(request.cursor, place)
    if number >= place.first - 1:
        return number, False
    if request.reset_when_expired:
        return place.last, True
    raise CursorExpiredError


def _job_matches(where: JobFilter, job: JobView) -> bool:
    return (
        (where.namespace is None or job.namespace == where.namespace)
        and (not where.job_types or job.job_type in where.job_types)
        and (not where.owners or job.owner in where.owners)
        and all(job.labels.get(key) == value for key, value in where.labels)
    )


def _unfinished(where: JobFilter) -> JobFilter:
    return replace(where, states=where.states or frozenset(state for state in JobState if state and not state.terminal))
