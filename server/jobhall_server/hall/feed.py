"""Every change, to whoever watches: one tail of the event log, and a private bounded queue per watcher."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from jobhall.errors import ApiError, DrainingError, WatcherLimitError
from jobhall.states import EventType, FailureKind, JobState
from jobhall_server.domain.access import Principal, may_touch
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.frames import LogsBody
from jobhall_server.hall.store import Claimed, Store
from jobhall_server.hall.views import EventRow, HeldRow, JobFilter, LogLine, QueueView

K = TypeVar("K")

log = structlog.get_logger(__name__)

READ_AT_ONCE = 1000
QUEUED_MAX = 2000
"""Events that wait for one watcher; one that is further behind reads the log at its own cursor."""


LIVE = frozenset({EventType.PROGRESS, EventType.LOG})
"""Events that are never stored: best effort, for who watches now."""
LOG_LINES_TOLD_MAX = 100
LOG_LENGTH_TOLD_MAX = 256 * 1024
"""What one LOG event holds at most; of more that comes meanwhile the oldest lines are left out. Their numbers show the
gap, and ListJobLogs has them.
"""
LIVE_LOG_LENGTH_MAX = 16 * LOG_LENGTH_TOLD_MAX
"""The same of all that wait for one watcher: of those that have waited longest it is not told."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event for a watcher; `progress` only in PROGRESS, numbered `lines` only in LOG. Their rows have number 0."""

    row: EventRow
    progress: Progress | None = None
    lines: tuple[tuple[int, LogLine], ...] = ()


class Subscription:
    """What waits for one watcher. `since` is the event after which the queue tells everything; `live` are those of LIVE
    that it wants.
    """

    def __init__(self, principal: Principal, where: JobFilter, since: int, live: frozenset[EventType] = LIVE) -> None:
        self.principal = principal
        self.where = where
        self.since = since
        self.rows: deque[EventRow] = deque()
        self.live: dict[tuple[EventType, int, int], WatchEvent] = {}
        """By type, job and attempt."""
        self.overflowed = False
        self.wake = asyncio.Event()
        self._wants = live
        self._log_length = 0

    def offer(self, row: EventRow) -> None:
        """Queue an event that the filter and the access rules let through."""
        if self.overflowed or not matches(self.where, row) or not visible(self.principal, row):
            return
        if len(self.rows) >= QUEUED_MAX:
            self.overflowed = True
            self.rows.clear()
        else:
            self.rows.append(row)
        self.wake.set()

    def offer_live(self, event: WatchEvent) -> None:
        """Keep the newest progress of a job and its newest lines, of so many jobs at most: a watcher that does not read
        hears of no more.
        """
        row = event.row
        if row.event_type not in self._wants or not matches(self.where, row) or not visible(self.principal, row):
            return
        place = (row.event_type, row.job_key, row.attempt)
        known = self.live.get(place)
        if known is None and len(self.live) >= QUEUED_MAX:
            return
        newest = self.live[place] = event if known is None or not event.lines else _merged(known, event)
        self._log_length += _length(newest.lines) - (0 if known is None else _length(known.lines))
        while self._log_length > LIVE_LOG_LENGTH_MAX:
            self._pop(next(place for place in self.live if place[0] is EventType.LOG))
        self.wake.set()

    def take_live(self, *, of_jobs: Collection[int] | None = None) -> list[WatchEvent]:
        """What waits of LIVE, of those jobs only or of all; it waits no more."""
        return [self._pop(place) for place in [*self.live] if of_jobs is None or place[1] in of_jobs]

    def _pop(self, place: tuple[EventType, int, int]) -> WatchEvent:
        event = self.live.pop(place)
        self._log_length -= _length(event.lines)
        return event


@dataclass(slots=True)
class _Index:
    """Subscriptions by the narrowest thing that each one names."""

    jobs: dict[str, set[Subscription]] = field(default_factory=dict)
    queues: dict[tuple[str, str], set[Subscription]] = field(default_factory=dict)
    namespaces: dict[str, set[Subscription]] = field(default_factory=dict)
    rest: set[Subscription] = field(default_factory=set)

    def places(self, where: JobFilter) -> list[set[Subscription]]:
        """The sets that a subscription with this filter belongs to."""
        if where.job_ids:
            return [self.jobs.setdefault(job_id, set()) for job_id in where.job_ids]
        if where.namespace is None:
            return [self.rest]
        if where.job_types:
            return [self.queues.setdefault((where.namespace, name), set()) for name in where.job_types]
        return [self.namespaces.setdefault(where.namespace, set())]

    def prune(self, where: JobFilter) -> None:
        """Forget the places that nobody stands in any more."""
        _forget_empty(self.jobs, where.job_ids)
        if where.namespace is not None:
            _forget_empty(self.queues, [(where.namespace, name) for name in where.job_types])
            _forget_empty(self.namespaces, [where.namespace])

    def find(self, row: EventRow) -> Iterator[Subscription]:
        """Those that the event may concern."""
        yield from self.jobs.get(row.job_id, ())
        yield from self.queues.get((row.namespace, row.job_type), ())
        yield from self.namespaces.get(row.namespace, ())
        yield from self.rest


class Feed:
    """The process's one reader of new events, and its watchers. With none of them no event is read."""

    def __init__(self, store: Store, *, watchers_max: int) -> None:
        self._store = store
        self._watchers_max = watchers_max
        self._index = _Index()
        self._count = 0
        self._log_watchers = 0
        self._head = 0
        self._position = 0
        self._stirred = asyncio.Event()
        self._draining = False

    async def begin(self) -> None:
        """Find the log's end. Whoever subscribed before that would miss what lies between their cursor and it."""
        self._store.on_commit(self._stir)
        self._head = max(self._head, (await self._store.reads.log_place()).last)
        self._position = self._head

    async def run(self) -> None:
        """Follow the log until cancelled: after each commit, and once a second for what other processes wrote."""
        while True:
            self._stirred.clear()
            if self._count:
                try:
                    await self._tail()
                except ApiError as error:
                    # The log waits: what could not be read just now comes with the next turn.
                    log.debug("feed_waits", error=str(error))
            else:
                self._position = self._head
            try:
                await asyncio.wait_for(self._stirred.wait(), 1.0)
            except TimeoutError:
                continue

    def _stir(self, last: int) -> None:
        self._head = max(self._head, last)
        if self._count:
            self._stirred.set()
        else:
            self._position = self._head

    async def _tail(self) -> None:
        while rows := await self._store.reads.events(after=self._position, limit=READ_AT_ONCE):
            for row in rows:
                for subscription in self._index.find(row):
                    subscription.offer(row)
            self._position = rows[-1].number
            self._head = max(self._head, self._position)
            if len(rows) < READ_AT_ONCE:
                break

    def publish_progress(self, task: Claimed | HeldRow, queue: QueueView, progress: Progress) -> None:
        """Tell watchers how far a running task is; best effort."""
        if self._count:
            self._publish(WatchEvent(_live_row(EventType.PROGRESS, task, queue, progress.reported_at or 0), progress))

    @property
    def logs_wanted(self) -> bool:
        """Whether anybody follows logs here."""
        return self._log_watchers > 0

    def publish_logs(self, task: Claimed | HeldRow, queue: QueueView, log: LogsBody, *, at: int) -> None:
        """Tell watchers what a running task has written to its log, as far as it is kept; best effort."""
        lines = _newest(tuple(enumerate(log.kept, log.first_number)))
        if lines:
            self._publish(WatchEvent(_live_row(EventType.LOG, task, queue, at), lines=lines))

    def _publish(self, event: WatchEvent) -> None:
        for subscription in self._index.find(event.row):
            subscription.offer_live(event)

    @contextmanager
    def subscribe(
        self, principal: Principal, where: JobFilter, *, live: frozenset[EventType] = frozenset()
    ) -> Iterator[Subscription]:
        """Everything after `since` is queued until the context ends, and what comes of `live`; WatcherLimitError when
        there are too many.
        """
        if self._count >= self._watchers_max:
            raise WatcherLimitError(f"{self._count} watches are open, the limit; close some, or ask another replica")
        subscription = Subscription(principal, where, self._position, live)
        places = self._index.places(where)
        for place in places:
            place.add(subscription)
        self._count += 1
        self._log_watchers += EventType.LOG in live
        try:
            yield subscription
        finally:
            self._count -= 1
            self._log_watchers -= EventType.LOG in live
            for place in places:
                place.discard(subscription)
            self._index.prune(where)

    def drain(self) -> None:
        """End every watch: its client resumes elsewhere, at its cursor."""
        self._draining = True
        for subscription in self._everybody():
            subscription.wake.set()

    def check(self) -> None:
        """DrainingError when the server is going."""
        if self._draining:
            raise DrainingError("this server is stopping; resume at your cursor")

    def _everybody(self) -> Iterable[Subscription]:
        places = [*self._index.jobs.values(), *self._index.queues.values(), *self._index.namespaces.values()]
        return {subscription for place in [*places, self._index.rest] for subscription in place}

    @property
    def position(self) -> int:
        """The event up to which every subscription has been offered everything."""
        return self._position


def _forget_empty(places: dict[K, set[Subscription]], names: Iterable[K]) -> None:
    for name in names:
        if not places.get(name):
            places.pop(name, None)


def matches(where: JobFilter, row: EventRow) -> bool:
    """Whether the event is of a job that the filter names. States and times do not count: an event is a change."""
    if where.job_ids and row.job_id not in where.job_ids:
        return False
    if where.namespace is not None and row.namespace != where.namespace:
        return False
    if where.job_types and row.job_type not in where.job_types:
        return False
    if where.owners and row.owner not in where.owners:
        return False
    if where.labels:
        labels = json.loads(row.labels) if row.labels else {}
        return all(labels.get(key) == value for key, value in where.labels)
    return True


def visible(principal: Principal, row: EventRow) -> bool:
    return may_touch(principal, owner=row.owner, organization_id=row.organization_id)


def _merged(known: WatchEvent, event: WatchEvent) -> WatchEvent:
    return WatchEvent(event.row, lines=_newest(known.lines + event.lines))


def _newest(lines: tuple[tuple[int, LogLine], ...]) -> tuple[tuple[int, LogLine], ...]:
    """Those of the lines that one event holds; at least the last."""
    size, first = 0, len(lines)
    while first and len(lines) - first < LOG_LINES_TOLD_MAX:
        size += _length(lines[first - 1 : first])
        if size > LOG_LENGTH_TOLD_MAX and first < len(lines):
            break
        first -= 1
    return lines[first:]


def _length(lines: tuple[tuple[int, LogLine], ...]) -> int:
    return sum(len(line.text) + len(line.fields or "") + len(line.raw or b"") for _, line in lines)


def _live_row(event_type: EventType, job: Claimed | HeldRow, queue: QueueView, at: int) -> EventRow:
    return EventRow(
        number=0,
        job_key=job.lease.job_key,
        job_id=job.job_id,
        namespace=queue.namespace,
        job_type=queue.job_type,
        event_type=event_type,
        state=JobState.RUNNING,
        revision=0,
        attempt=job.attempt,
        worker="",
        failure_kind=FailureKind.UNSPECIFIED,
        failure_code="",
        owner=job.owner,
        organization_id=job.organization_id,
        labels=job.labels,
        at=at,
    )
