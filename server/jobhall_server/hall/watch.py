"""WatchJobs: first the cursor, then the snapshot, then every event after the cursor, from the log and as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from jobhall.errors import BatchNotFoundError, CursorExpiredError, FieldNotSupportedError
from jobhall.states import EventType
from jobhall_server.domain.access import Principal
from jobhall_server.domain.job import JobView
from jobhall_server.hall.bookmarks import QUIET_SECONDS
from jobhall_server.hall.feed import Feed
from jobhall_server.hall.reads import Reads
from jobhall_server.hall.views import Page, Place
from jobhall_server.hall.watch_filter import WatchFilter
from jobhall_server.hall.watch_queue import ENDS, STORED, Subscription, WatchEvent

SNAPSHOT_PAGE = 250
_GONE = frozenset((EventType.DELETED, EventType.LEFT))
_TURNS = ENDS | _GONE | {EventType.SUBMITTED, EventType.RETRIED, EventType.ENTERED}
"""What opens a job, or ends it, or its part in the watch."""


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """What a caller watches; see WatchJobsRequest in the protos."""

    where: WatchFilter
    event_types: frozenset[EventType] = STORED | {EventType.PROGRESS}
    cursor: str = ""
    include_snapshot: bool = False
    reset_when_expired: bool = False
    stop_when_terminal: bool = False


class WatchUpdate(NamedTuple):
    """What is told at once; `before` and `after` are the places in the log before and after all of it."""

    before: int
    after: int
    events: Sequence[WatchEvent] = ()
    jobs: Sequence[JobView] = ()
    snapshot_complete: bool = False
    reset: bool = False


def watch(feed: Feed, reads: Reads, principal: Principal, request: WatchRequest) -> AsyncGenerator[WatchUpdate, None]:
    """The updates of one WatchJobs call, the first at once. Ends by itself only with `stop_when_terminal`."""
    return _Watcher(feed, reads, principal, request).updates()


async def settled(reads: Reads, principal: Principal, where: WatchFilter) -> WatchFilter:
    """The filter with the key of its batch; BatchNotFoundError."""
    if not where.batch_id:
        return where
    batch = await reads.batch(principal, where.batch_id)
    if batch is None:
        raise BatchNotFoundError(where.batch_id)
    return replace(where, batch_key=batch.record.key)


class _Watcher:
    """One WatchJobs call: first the log from its cursor, then its queue; the log again when that overflowed."""

    __slots__ = ("_after", "_feed", "_open", "_principal", "_reads", "_request", "_reset", "_subscription", "_until")

    _subscription: Subscription

    def __init__(self, feed: Feed, reads: Reads, principal: Principal, request: WatchRequest) -> None:
        self._feed = feed
        self._reads = reads
        self._principal = principal
        self._request = request
        self._after = self._until = 0
        """Everything up to `_after` has been told; up to `_until` nothing is queued, and the log is to be read."""
        self._reset = False
        """Whether it has lost its place, and begins anew."""
        self._open: set[str] = set()
        """Of the named jobs that match those that have not ended, where the watch is to stop when none is left."""

    async def updates(self) -> AsyncGenerator[WatchUpdate, None]:
        """All that is told. One generator, since its frames are what an open watch costs."""
        where, stops = await self._find_place(), self._request.stop_when_terminal
        wanted = self._request.event_types | _TURNS if stops else self._request.event_types
        with self._feed.subscribe(self._principal, where, wanted=wanted) as subscription:
            self._subscription, self._until = subscription, subscription.since
            # Only now: whoever subscribes after the drain began is not told of it.
            self._feed.check()
            async for update in self._begin():
                yield update
            over = stops and await self._all_over()
            while True:
                if over:
                    # How they came to their end may lie between the cursor and now.
                    self._until = (await self._reads.log_place()).last
                elif subscription.overflowed:
                    subscription.overflowed = False
                    self._until = self._feed.position
                if self._after < self._until:
                    async for update in self._read_up():
                        yield update
                if events := self._take():
                    yield self._tell(events)
                if over or (stops and where.job_ids and not self._open):
                    yield self._tell([])
                    return
                if subscription.idle:
                    self._feed.bookmarks.told(subscription)
                    await subscription.changed()
                    if subscription.idle:
                        self._after = max(self._after, self._feed.position)
                        yield self._tell([])
                if subscription.look:
                    subscription.look = False
                    self._feed.check()
                    over = stops and await self._all_over()

    async def _find_place(self) -> WatchFilter:
        """What it watches, with its place noted; no await lies between that and the subscription."""
        where = await settled(self._reads, self._principal, self._request.where)
        if self._request.stop_when_terminal and not (where.job_ids or where.batch_id):
            raise FieldNotSupportedError("stop_when_terminal", "only together with job_ids or batch_id")
        try:
            self._after = await self._feed.start(self._request.cursor)
        except CursorExpiredError:
            if not self._request.reset_when_expired:
                raise
            self._after, self._reset = self._feed.head, True
        return where

    async def _begin(self) -> AsyncGenerator[WatchUpdate, None]:
        """Where it is and, where that is wanted, the jobs as they are."""
        reset, self._reset = self._reset, False
        yield WatchUpdate(self._after, self._after, reset=reset)
        self._feed.find_jobs(self._subscription.where)
        if self._request.include_snapshot or reset:
            async for update in self._snapshot():
                yield update

    async def _snapshot(self) -> AsyncGenerator[WatchUpdate, None]:
        """The jobs that match and are not over, and the named ones, in pages; the cursor stays where it was noted."""
        place = None
        while True:
            reading = asyncio.create_task(self._read_jobs(place))
            async for word in self._meanwhile(reading):
                yield word
            jobs, place = reading.result()
            if jobs or place is None:
                yield WatchUpdate(self._after, self._after, jobs=jobs, snapshot_complete=place is None)
            if place is None:
                return

    async def _read_jobs(self, place: Place | None) -> tuple[Sequence[JobView], Place | None]:
        """A page of the snapshot, and where the next one begins."""
        where = self._subscription.where
        async with self._feed.turn():
            if where.job_ids:
                named = await self._reads.jobs_by_id(self._principal, sorted(where.job_ids))
                return [job for job in named if where.matches_job(job)], None
            found = await self._reads.jobs(self._principal, where.unfinished, Page(SNAPSHOT_PAGE, place))
            return found.jobs, found.next

    async def _read_up(self) -> AsyncGenerator[WatchUpdate, None]:
        """The log from the watcher's own place, up to where its queue begins."""
        while self._after < self._until:
            reading = asyncio.create_task(self._read_on())
            async for word in self._meanwhile(reading):
                yield word
            if (read := reading.result()) is not None:
                yield read
                continue
            async for update in self._begin():
                yield update

    async def _meanwhile(self, reading: asyncio.Task[Any]) -> AsyncGenerator[WatchUpdate, None]:
        """Bookmarks while its turn to read has not come, so that it knows it is not forgotten."""
        try:
            while not (await asyncio.wait({reading}, timeout=QUIET_SECONDS))[0]:
                yield self._tell([])
        finally:
            reading.cancel()

    async def _read_on(self) -> WatchUpdate | None:
        """The next part of the log from the watcher's own place; None when it is there no more, and it begins anew."""
        where = self._subscription.where
        try:
            part = await self._feed.read(where.read, after=self._after, until=self._until)
        except CursorExpiredError:
            # The log was cut under a watcher that reads slowly.
            if not self._request.reset_when_expired:
                raise
            self._subscription.forget()
            # Ends may lie in what it missed, and what it was to look at is forgotten too.
            self._subscription.look = True
            self._reset, self._after = True, self._feed.position
            self._until = max(self._after, self._subscription.since)
            return None
        seen = ((row, where.seen_as(self._principal, row)) for row in part.rows)
        events = [WatchEvent(row).seen_as(kind) for row, kind in seen if kind is not None]
        return self._tell(events, after=part.until)

    def _take(self) -> list[WatchEvent]:
        """What waits in the queue, and has not been read from the log."""
        return [event for event in self._subscription.take() if event.row.number > self._after or not event.row.number]

    def _tell(self, events: list[WatchEvent], *, after: int = 0) -> WatchUpdate:
        before = self._after
        if events:
            after = max(after, events[-1].row.number)
            if self._request.stop_when_terminal:
                for event in events:
                    self._note(event)
            types = self._request.event_types
            events = [event for event in events if event.row.event_type in types]
        self._after = max(before, after)
        return WatchUpdate(before, self._after, events)

    def _note(self, event: WatchEvent) -> None:
        row = event.row
        if row.event_type in _TURNS:
            if row.state.terminal or row.event_type in _GONE:
                self._open.discard(row.job_id)
            else:
                self._open.add(row.job_id)

    async def _all_over(self) -> bool:
        """Whether no job that it names is open or, where it names none, its batch has ended."""
        where = self._subscription.where
        if not where.job_ids:
            batch = await self._reads.batch(self._principal, where.batch_id)
            return batch is None or batch.record.ended_at is not None
        jobs = await self._reads.jobs_by_id(self._principal, sorted(where.job_ids))
        self._open = {job.job_id for job in jobs if not job.state.terminal and where.matches_job(job)}
        return not self._open
