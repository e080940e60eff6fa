"""ListJobEvents: pages of the event log, for whoever would rather ask than watch."""

from __future__ import annotations

from dataclasses import dataclass

from jobhall.errors import CursorExpiredError
from jobhall.states import EventType
from jobhall_server.domain.access import Principal
from jobhall_server.hall import tokens
from jobhall_server.hall.feed import READ_AT_ONCE, Feed
from jobhall_server.hall.reads import Reads
from jobhall_server.hall.watch import settled
from jobhall_server.hall.watch_filter import WatchFilter
from jobhall_server.hall.watch_queue import WatchEvent

SLICES_MAX = 20
"""Parts of the log that one call reads at most: a page of a rare filter comes short rather than late."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page: `cursor` is the place after all that was looked at for it, `start` the one before."""

    events: list[WatchEvent]
    start: str
    cursor: str
    end_reached: bool


async def list_events(
    feed: Feed,
    reads: Reads,
    principal: Principal,
    *,
    where: WatchFilter,
    event_types: frozenset[EventType],
    cursor: str,
    size: int,
) -> EventPage:
    """The next page after the cursor, or from the log's old end; the errors of a watch."""
    where = await settled(reads, principal, where)
    begin = after = await feed.start(cursor) if cursor else (await reads.log_place()).first - 1
    events: list[WatchEvent] = []
    end_reached, limit = False, size
    for _ in range(SLICES_MAX):
        try:
            part = await feed.read(where.read, after=after, limit=limit)
        except CursorExpiredError:
            if after > begin:
                break  # The log was cut meanwhile: the next call is told.
            if cursor:
                raise
            begin = after = (await reads.log_place()).first - 1
            continue
        # Ever larger parts: most pages take one small read, and those of a filter that few match a few large ones.
        limit = min(4 * limit, READ_AT_ONCE)
        for row in part.rows:
            kind = where.seen_as(principal, row)
            if kind in event_types:
                events.append(WatchEvent(row).seen_as(kind))
                if len(events) == size:
                    break
        full = len(events) == size
        after = events[-1].row.number if full else part.until
        end_reached = after >= part.last
        if full or end_reached:
            break
    return EventPage(events, tokens.cursor(feed.log_id, begin), tokens.cursor(feed.log_id, after), end_reached)
