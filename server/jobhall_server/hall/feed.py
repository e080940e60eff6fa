"""Every change, to whoever watches: one tail of the event log for the process, and a private queue per watcher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import chain

import structlog

from jobhall.errors import ApiError, CursorExpiredError, CursorMismatchError, DrainingError, WatcherLimitError
from jobhall.states import EventType, FailureKind, JobState
from jobhall_server.domain.access import Principal
from jobhall_server.domain.progress import Progress
from jobhall_server.hall import tokens
from jobhall_server.hall.bookmarks import Bookmarks
from jobhall_server.hall.frames import LogsBody
from jobhall_server.hall.live import Throttle
from jobhall_server.hall.store import Claimed, Logged, Store
from jobhall_server.hall.views import EventRow, HeldRow, LogFilter, LogPlace, LogSlice, QueueView
from jobhall_server.hall.watch_filter import WatchFilter
from jobhall_server.hall.watch_index import WatchIndex
from jobhall_server.hall.watch_queue import STORED, Subscription, WatchEvent, newest

log = structlog.get_logger(__name__)

READ_AT_ONCE = 1000
READERS_MAX = 2
"""Watchers that read the log at their own cursors, or a snapshot, at the same time; the others wait for their turn.
Fewer than there are connections to read by: the tail, and all other calls, have theirs at any time.
"""
POLL_SECONDS = 1.0
"""How often the tail looks for what other processes wrote."""


class Feed:
    """The process's one reader of new events, and its watchers. What nobody watches is not read."""

    def __init__(self, store: Store, *, watchers_max: int) -> None:
        self._store = store
        self._watchers_max = watchers_max
        self._index = WatchIndex()
        self._watchers: set[Subscription] = set()
        self._log_watchers = 0
        self.bookmarks = Bookmarks()
        self._throttle = Throttle(self._tell_live)
        self._place = LogPlace("", 1, 0)
        self._head = 0
        """Up to here the log is known to be written, and it is known which watched jobs that concerns."""
        self._position = 0
        """Up to here every watcher was offered everything."""
        self._concerned: set[int] = set()
        """Jobs watched by name that have events between the two."""
        self._unexplained = False
        """Whether between the two there may be events of which nobody said whose they are."""
        self._sought: set[str] = set()
        """Jobs whose keys are to be learnt: those of all watches that begin at the same time by one query."""
        self._stirred = asyncio.Event()
        self._readers = asyncio.Semaphore(READERS_MAX)
        self._draining = False

    async def begin(self) -> None:
        """Find the log's end. Whoever subscribed before that would miss what lies between their cursor and it."""
        self._store.on_commit(self._stir)
        self._store.on_batch_end(self._batches_ended)
        self._place = await self._store.reads.log_place()
        self._head = self._position = max(self._head, self._place.last)

    async def run(self) -> None:
        """Follow the log until cancelled: after each commit, and once a second for what other processes wrote."""
        looked_at = 0.0
        loop = asyncio.get_running_loop()
        while True:
            self._stirred.clear()
            try:
                await self._tail()
                if self._sought:
                    await self._seek()
                if self._watchers and loop.time() >= looked_at + POLL_SECONDS:
                    looked_at = loop.time()
                    await self._look_around()
                    continue
            except ApiError as error:
                # The log waits: what could not be read just now comes with the next turn.
                log.debug("feed_waits", error=str(error))
            # By `wait_for` a cancellation is lost (in Python 3.11) that comes with the stirring.
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._stirred.wait()

    # --- what watchers ask ---

    @contextmanager
    def subscribe(
        self, principal: Principal, where: WatchFilter, *, wanted: frozenset[EventType] = STORED
    ) -> Iterator[Subscription]:
        """Everything of the `wanted` types after `since` is queued until the context ends; WatcherLimitError when there
        are too many.
        """
        if len(self._watchers) >= self._watchers_max:
            full = f"{len(self._watchers)} watches are open, the limit; close some, or ask another replica"
            raise WatcherLimitError(full)
        # What was written up to now may have been found to concern nobody: from here on it concerns this one.
        subscription = Subscription(principal, where, since=self._head, wanted=wanted)
        follows_logs = EventType.LOG in wanted
        self._index.add(subscription)
        self._watchers.add(subscription)
        self._log_watchers += follows_logs
        try:
            yield subscription
        finally:
            self._log_watchers -= follows_logs
            self._watchers.discard(subscription)
            self.bookmarks.forget(subscription)
            self._index.remove(subscription)

    def find_jobs(self, where: WatchFilter) -> None:
        """Learn the keys of the named jobs soon, so that of other jobs nothing need be read for their sake."""
        if unknown := self._index.unknown(where.job_ids):
            self._sought.update(unknown)
            self._stirred.set()

    def know(self, keys: Mapping[str, int]) -> None:
        """The same, of jobs that their watcher has read."""
        for job_id, key in keys.items():
            self._index.learn(job_id, key)
        if self._position == self._head:
            self._index.settle(self._index.learned())

    async def start(self, cursor: str) -> int:
        """The event after which a watch with this cursor begins; without one it is now. CursorMismatchError,
        CursorExpiredError.
        """
        if not cursor:
            return self._head
        try:
            number = tokens.cursor_number(cursor, self._place._replace(last=max(self._head, self._place.last)))
        except CursorMismatchError:
            # Another process may be ahead of what this one has heard of.
            self._place = await self._store.reads.log_place()
            number = tokens.cursor_number(cursor, self._place)
        if number < self._place.first - 1:
            raise CursorExpiredError
        return number

    async def read(
        self, where: LogFilter, *, after: int, until: int | None = None, limit: int = READ_AT_ONCE
    ) -> LogSlice:
        """A part of the log, for one watcher; CursorExpiredError when it no longer reaches back to `after`."""
        async with self.turn():
            part = await self._store.reads.log(where, after=after, until=until, limit=limit)
        if after < part.first - 1:
            raise CursorExpiredError
        return part

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Within it one of those reads that catch up: few at a time, so that all others are read for at any time."""
        async with self._readers:
            # Only now: thousands may have waited for their turn when the drain began.
            self.check()
            yield

    def check(self) -> None:
        """DrainingError when the server is going."""
        if self._draining:
            raise DrainingError("this server is stopping; resume at your cursor")

    @property
    def position(self) -> int:
        """The event up to which every subscription has been offered everything."""
        return self._position

    @property
    def head(self) -> int:
        """The last event that this process knows of."""
        return self._head

    @property
    def log_id(self) -> str:
        """Of which database the log is."""
        return self._place.log_id

    @property
    def watching(self) -> int:
        """How many watch now."""
        return len(self._watchers)

    # --- what others tell ---

    def publish_progress(
        self, task: Claimed | HeldRow, queue: QueueView, progress: Progress, *, cancelling: bool = False
    ) -> None:
        """Tell watchers how far a running task is; best effort."""
        if self._watchers:
            at = progress.reported_at or 0
            row = self._live_row(EventType.PROGRESS, task, queue, at=at, cancelling=cancelling)
            self._throttle.publish(WatchEvent(row, progress))

    @property
    def logs_wanted(self) -> bool:
        """Whether anybody follows logs here."""
        return self._log_watchers > 0

    def publish_logs(
        self, task: Claimed | HeldRow, queue: QueueView, logs: LogsBody, *, at: int, cancelling: bool = False
    ) -> None:
        """Tell watchers what a running task has written to its log, as far as it is kept; best effort."""
        lines = newest([*enumerate(logs.kept, logs.first_number)])
        if lines:
            row = self._live_row(EventType.LOG, task, queue, at=at, cancelling=cancelling)
            self._throttle.publish(WatchEvent(row, lines=lines))

    def drain(self) -> None:
        """End every watch: its client resumes elsewhere, at its cursor."""
        self._draining = True
        for subscription in self._watchers:
            subscription.look = True
            subscription.wake()

    # --- the tail ---

    def _stir(self, last: int, logged: Logged) -> None:
        self._head = max(self._head, last)
        if not self._watchers:
            self._position = self._head
            return
        for keys in logged:
            self._concerned |= self._index.watched(keys)
        self._stirred.set()

    def _batches_ended(self, batch_keys: Sequence[int]) -> None:
        for subscription in chain.from_iterable(map(self._index.of_batch, batch_keys)):
            subscription.look = True
            subscription.wake()

    async def _seek(self) -> None:
        sought, self._sought = self._index.unknown(self._sought), set()
        self._index.newcomers.clear()
        try:
            found = await self._store.reads.job_keys_of(sought)
        except BaseException:
            self._sought.update(sought)
            raise
        # The job may be deleted since, and watched by none as it was: who came meanwhile waits for another one.
        self.know({job_id: key for job_id, key in found.items() if job_id not in self._index.newcomers})

    async def _look_around(self) -> None:
        """Whether other processes have written."""
        self._place = await self._store.reads.log_place()
        if self._place.last > self._head:
            self._head, self._unexplained = self._place.last, True

    async def _tail(self) -> None:
        while self._position < self._head:
            until, learned = self._head, self._index.learned()
            concerned, self._concerned = frozenset(self._concerned), set()
            everything, self._unexplained = self._unexplained, False
            try:
                while self._watchers and self._position < until:
                    where = LogFilter() if everything else self._index.read(concerned)
                    if where is None:
                        break
                    await self._offer(where, until)
            except BaseException:
                self._unexplained = True
                raise
            self._position = until
            self._index.settle(learned)

    async def _offer(self, where: LogFilter, until: int) -> None:
        """Tell of the next part of the log; of nothing yet where it has to be read by another filter."""
        part = await self._store.reads.log(where, after=self._position, until=until, limit=READ_AT_ONCE)
        if self._index.frees(part.rows) and where != LogFilter():
            return
        if self._position < part.first - 1:
            # The log was cut before it was read here: each watcher is to find that out at its own cursor.
            for subscription in self._watchers:
                subscription.overflowed = True
                subscription.wake()
        for row in part.rows:
            event = WatchEvent(row)
            if row.state.terminal:
                self._throttle.flush(row.job_key, row.attempt)
            for subscription in self._index.find(row):
                subscription.offer(event)
        self._position = max(part.until, part.first - 1)

    def _tell_live(self, event: WatchEvent) -> None:
        for subscription in self._index.find(event.row):
            subscription.offer_live(event)

    def _live_row(
        self, event_type: EventType, job: Claimed | HeldRow, queue: QueueView, *, at: int, cancelling: bool
    ) -> EventRow:
        return EventRow(
            number=0,
            job_key=job.lease.job_key,
            job_id=job.job_id,
            namespace=queue.namespace,
            job_type=queue.job_type,
            event_type=event_type,
            state=JobState.CANCELLING if cancelling else JobState.RUNNING,
            revision=0,
            attempt=job.attempt,
            worker="",
            failure_kind=FailureKind.UNSPECIFIED,
            failure_code="",
            owner=job.owner,
            organization_id=job.organization_id,
            labels=job.labels,
            at=at,
            batch_id=job.batch_id,
            batch_key=self._index.batch_key(job.batch_id),
            fence=job.lease.fence,
        )
