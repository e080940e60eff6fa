"""WatchJobs: first the cursor, then the snapshot, then every event after the cursor, from the log and as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from jobhall.errors import BatchNotFoundError, CursorExpiredError, FieldNotSupportedError
from jobhall.states import EventType
from jobhall_server.domain.access import Principal
from jobhall_server.domain.job import JobView
from jobhall_server.hall.feed import Feed
from jobhall_server.hall.reads import Reads
from jobhall_server.hall.views import Page
from jobhall_server.hall.watch_filter import WatchFilter
from jobhall_server.hall.watch_queue import ENDS, STORED, Subscription, WatchEvent

SNAPSHOT_PAGE = 250
_TURNS = ENDS | {EventType.SUBMITTED, EventType.RETRIED}
"""What opens a job, or ends it."""


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """What a caller watches; see WatchJobsRequest in the protos."""

    where: WatchFilter
    event_types: frozenset[EventType] = STORED | {EventType.PROGRESS}
    cursor: str = ""
    include_snapshot: bool = False
    reset_when_expired: bool = False
    stop_when_terminal: bool = False


@dataclass(frozen=True, slots=True)
class WatchUpdate:
    """What is told at once; `before` and `after` are the places in the log before and after all of it."""

    before: int
    after: int
    events: Sequence[WatchEvent] = ()
    jobs: Sequence[JobView] = ()
    snapshot_complete: bool = False
    reset: bool = False


async def watch(
    feed: Feed, reads: Reads, principal: Principal, request: WatchRequest
) -> AsyncGenerator[WatchUpdate, None]:
    """The updates of one WatchJobs call, the first at once. Ends by itself only with `stop_when_terminal`."""
    feed.check()
    where = await settled(reads, principal, request.where)
    if request.stop_when_terminal and not (where.job_ids or where.batch_id):
        raise FieldNotSupportedError("stop_when_terminal", "only together with job_ids or batch_id")
    try:
        after, reset = await feed.start(request.cursor), False
    except CursorExpiredError:
        if not request.reset_when_expired:
            raise
        after, reset = feed.head, True
    wanted = request.event_types | _TURNS if request.stop_when_terminal else request.event_types
    with feed.subscribe(principal, where, wanted=wanted) as subscription:
        watcher = _Watcher(feed, reads, principal, request, subscription, after)
        yield watcher.place(reset=reset)
        await feed.find_jobs(where)
        while True:
            if request.include_snapshot or reset:
                async for update in watcher.snapshot():
                    yield update
            try:
                async with aclosing(watcher.follow()) as updates:
                    async for update in updates:
                        yield update
            except CursorExpiredError:
                # The log was cut under a watcher that reads slowly.
                if not request.reset_when_expired:
                    raise
                reset = True
                watcher.begin_anew()
                yield watcher.place(reset=True)
            else:
                return


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

    __slots__ = ("_after", "_feed", "_open", "_principal", "_reads", "_request", "_subscription", "_until")

    def __init__(
        self,
        feed: Feed,
        reads: Reads,
        principal: Principal,
        request: WatchRequest,
        subscription: Subscription,
        after: int,
    ) -> None:
        self._feed = feed
        self._reads = reads
        self._principal = principal
        self._request = request
        self._subscription = subscription
        self._after = after
        """Everything up to here has been told."""
        self._until = subscription.since
        """Up to here nothing is in its queue, and the log is to be read."""
        self._open: set[str] = set()
        """Of the named jobs those that have not ended, where the watch is to stop when none is left."""

    def place(self, *, reset: bool = False) -> WatchUpdate:
        """A word that says nothing but where the watcher is."""
        return WatchUpdate(self._after, self._after, reset=reset)

    def begin_anew(self) -> None:
        """Let go of what is behind, and go on from now."""
        self._subscription.forget()
        self._after = self._feed.position
        self._until = max(self._after, self._subscription.since)

    async def snapshot(self) -> AsyncGenerator[WatchUpdate, None]:
        """The jobs that match and are not over, and the named ones, in pages; the cursor stays where it was noted."""
        where = self._subscription.where
        if where.job_ids:
            jobs = await self._reads.jobs_by_id(self._principal, sorted(where.job_ids))
            yield self._page([job for job in jobs if where.matches_job(job)], complete=True)
            return
        place = None
        while True:
            found = await self._reads.jobs(self._principal, where.unfinished, Page(SNAPSHOT_PAGE, place))
            place = found.next
            if place is None:
                yield self._page(found.jobs, complete=True)
                return
            if found.jobs:
                yield self._page(found.jobs, complete=False)

    async def follow(self) -> AsyncGenerator[WatchUpdate, None]:
        """Events after the cursor, and a bookmark when there were none for a while."""
        subscription, stops = self._subscription, self._request.stop_when_terminal
        over = stops and await self._all_over()
        while True:
            if over:
                # How they came to their end may lie between the cursor and now.
                self._until = (await self._reads.log_place()).last
            elif subscription.overflowed:
                subscription.overflowed = False
                self._until = self._feed.position
            while self._after < self._until:
                yield await self._read_on()
            if events := self._take():
                yield self._tell(events)
            if over or (stops and subscription.where.job_ids and not self._open):
                yield self._tell([])
                return
            if subscription.idle and not await self._changed():
                self._after = max(self._after, self._feed.position)
                yield self._tell([])
            if subscription.look:
                subscription.look = False
                self._feed.check()
                over = stops and await self._all_over()

    async def _changed(self) -> bool:
        """Wait; whether there is something now, or it is only time for a bookmark."""
        self._subscription.told_at = asyncio.get_running_loop().time()
        await self._subscription.changed()
        return not self._subscription.idle

    async def _read_on(self) -> WatchUpdate:
        """The next part of the log from the watcher's own place."""
        where = self._subscription.where
        part = await self._feed.read(where.read, after=self._after, until=self._until)
        seen = ((row, where.seen_as(self._principal, row)) for row in part.rows)
        events = [WatchEvent(row).seen_as(kind) for row, kind in seen if kind is not None]
        return self._tell(events, after=part.until)

    def _take(self) -> list[WatchEvent]:
        """What waits in the queue, and has not been read from the log."""
        return [event for event in self._subscription.take() if event.row.number > self._after or not event.row.number]

    def _tell(self, events: Sequence[WatchEvent], *, after: int | None = None) -> WatchUpdate:
        before = self._after
        if after is not None:
            self._after = after
        elif events:
            self._after = max(before, events[-1].row.number)
        if self._request.stop_when_terminal:
            for event in events:
                self._note(event)
        types = self._request.event_types
        return WatchUpdate(before, self._after, [event for event in events if event.row.event_type in types])

    def _note(self, event: WatchEvent) -> None:
        row = event.row
        if row.event_type in _TURNS:
            if row.state.terminal or row.event_type is EventType.DELETED:
                self._open.discard(row.job_id)
            else:
                self._open.add(row.job_id)

    def _page(self, jobs: Sequence[JobView], *, complete: bool) -> WatchUpdate:
        return WatchUpdate(self._after, self._after, jobs=jobs, snapshot_complete=complete)

    async def _all_over(self) -> bool:
        """Whether no job that it names is open, or its batch has ended."""
        where = self._subscription.where
        if where.batch_id:
            batch = await self._reads.batch(self._principal, where.batch_id)
            return batch is None or batch.record.ended_at is not None
        jobs = await self._reads.jobs_by_id(self._principal, sorted(where.job_ids))
        self._open = {job.job_id for job in jobs if not job.state.terminal}
        return not self._open
