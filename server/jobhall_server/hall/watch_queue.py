"""What waits for one watcher: a bounded queue of its own, of events that all watchers share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jobhall.states import EventType
from jobhall_server.domain.access import Principal
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.views import EventRow, LogLine
from jobhall_server.hall.watch_filter import WatchFilter

QUEUED_MAX = 2000
"""Events that wait for one watcher; one that is further behind reads the log at its own cursor."""
LIVE = frozenset({EventType.PROGRESS, EventType.LOG})
"""Events that are never stored: best effort, for who watches now."""
STORED = frozenset(kind for kind in EventType if kind) - LIVE
"""All others, as each watcher sees them."""
ENDS = frozenset((EventType.COMPLETED, EventType.FAILED, EventType.CANCELLED, EventType.DELETED, EventType.IMPORTED))
"""Those with which a job may have come to its end."""
LOG_LINES_TOLD_MAX = 100
LOG_LENGTH_TOLD_MAX = 256 * 1024
"""What one LOG event holds at most; of more that comes meanwhile the oldest lines are left out. Their numbers show the
gap, and ListJobLogs has them.
"""
LIVE_LOG_LENGTH_MAX = 16 * LOG_LENGTH_TOLD_MAX
"""The same of all that wait in one place: of those that have waited longest nobody is told."""

Lines = tuple[tuple[int, LogLine], ...]


class WatchEvent:
    """One event, the same object for all its watchers; `progress` only in PROGRESS, numbered `lines` only in LOG, whose
    rows have number 0.
    """

    __slots__ = ("_seen", "lines", "progress", "row", "wire")

    def __init__(self, row: EventRow, progress: Progress | None = None, lines: Lines = ()) -> None:
        self.row = row
        self.progress = progress
        self.lines = lines
        self.wire = b""
        """As it is sent: kept here by whoever sends it first."""
        self._seen: dict[EventType, WatchEvent] | None = None

    def seen_as(self, event_type: EventType) -> WatchEvent:
        """The same event as those see it for whom it is ENTERED or LEFT."""
        if event_type is self.row.event_type:
            return self
        if self._seen is None:
            self._seen = {}
        if event_type not in self._seen:
            self._seen[event_type] = WatchEvent(self.row._replace(event_type=event_type))
        return self._seen[event_type]


class Place(NamedTuple):
    """What the newest live event takes the place of."""

    event_type: EventType
    job_key: int
    attempt: int

    @classmethod
    def of(cls, row: EventRow) -> Place:
        return cls(row.event_type, row.job_key, row.attempt)


class LiveEvents:
    """Live events that wait: the newest progress of a job, and its newest lines; of so many jobs at most."""

    __slots__ = ("_events", "_log_length")

    def __init__(self) -> None:
        self._events: dict[Place, WatchEvent] = {}
        self._log_length = 0

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[Place]:
        return iter(self._events)

    def put(self, event: WatchEvent) -> None:
        """Take the place of what waits of this job; of a new one nothing is told where there are too many."""
        place = Place.of(event.row)
        known = self._events.get(place)
        if known is None and len(self._events) >= QUEUED_MAX:
            return
        newest = self._events[place] = event if known is None or not event.lines else _merged(known, event)
        if newest.lines:
            self._log_length += _length(newest.lines) - (0 if known is None else _length(known.lines))
            while self._log_length > LIVE_LOG_LENGTH_MAX:
                self.pop(next(place for place in self._events if place.event_type is EventType.LOG))

    def pop(self, place: Place) -> WatchEvent | None:
        """What waits there, no more."""
        event = self._events.pop(place, None)
        if event is not None and event.lines:
            self._log_length -= _length(event.lines)
        return event

    def take(self) -> list[WatchEvent]:
        """All of it."""
        events = list(self._events.values())
        self._events.clear()
        self._log_length = 0
        return events


class Subscription:
    """One watcher's place in the feed: everything after event `since` that it wants is offered to it."""

    __slots__ = ("_live", "_rows", "_waiter", "_wanted", "_who", "look", "overflowed", "since", "where")

    def __init__(self, principal: Principal, where: WatchFilter, *, since: int, wanted: frozenset[EventType]) -> None:
        self.where = where
        self.since = since
        self.overflowed = False
        self.look = False
        """Something is to be looked at that no event tells: the end of a batch, or of the server."""
        self._who = principal
        self._wanted = wanted
        self._rows: list[WatchEvent] = []
        self._live: LiveEvents | None = None
        self._waiter: asyncio.Future[None] | None = None

    def offer(self, event: WatchEvent) -> None:
        """Queue an event of the log that the filter and the access rules let through; in the log's order."""
        if self.overflowed or event.row.number <= self.since:
            return
        seen = self.where.seen_as(self._who, event.row)
        if seen is None or seen not in self._wanted:
            return
        # One that is found by several of its labels is offered, and refused, once more.
        self.since = event.row.number
        if len(self._rows) >= QUEUED_MAX:
            self.overflowed = True
            self._rows = []
        else:
            self._rows.append(event.seen_as(seen))
        self.wake()

    def offer_live(self, event: WatchEvent) -> None:
        """Keep it as the newest of its kind."""
        row = event.row
        if row.event_type not in self._wanted or self.where.seen_as(self._who, row) is None:
            return
        if self._live is None:
            self._live = LiveEvents()
        self._live.put(event)
        self.wake()

    def take(self) -> list[WatchEvent]:
        """All that waits; the live events first, since those of a job that ended are older than its end."""
        rows, self._rows = self._rows, []
        if not self._live:
            return rows
        return [*self._live.take(), *rows]

    def forget(self) -> None:
        """Let go of all that waits: its watcher is about to look for itself."""
        self._rows, self._live = [], None
        self.overflowed = self.look = False

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not (self._rows or self._live or self.overflowed or self.look)

    def wake(self) -> None:
        """End the wait for a change."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def changed(self) -> None:
        """Wait until there may be something; at once if there is."""
        if not self.idle:
            return
        # A bare future: an event and a timer for each would be most of what an idle watch costs.
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


def _merged(known: WatchEvent, event: WatchEvent) -> WatchEvent:
    return WatchEvent(event.row, lines=newest(known.lines + event.lines))


def newest(lines: Sequence[tuple[int, LogLine]]) -> Lines:
    """Those of the lines that one event holds; at least the last."""
    size, first = 0, len(lines)
    while first and len(lines) - first < LOG_LINES_TOLD_MAX:
        size += _length(lines[first - 1 : first])
        if size > LOG_LENGTH_TOLD_MAX and first < len(lines):
            break
        first -= 1
    return tuple(lines[first:])


def _length(lines: Sequence[tuple[int, LogLine]]) -> int:
    return sum(len(line.text) + len(line.fields or "") + len(line.raw or b"") for _, line in lines)
