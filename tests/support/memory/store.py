"""The store of one process over tables in memory: units wait, run as one commit group, and are answered after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, Protocol, TypeVar

from jobhall.errors import DatabaseBusyError, DrainingError, QueueFullError
from jobhall_server.hall.clock import Clock, WrittenTime
from jobhall_server.hall.reads import Reads
from jobhall_server.hall.store import Logged, Store, Unit
from jobhall_server.storage.statements_write import PAUSE_US
from jobhall_server.storage.writer import WAITING_MAX
from tests.support.memory.group import Group, Move
from tests.support.memory.reads import MemoryReads
from tests.support.memory.tables import ServedTime, Tables

T = TypeVar("T")

RENEWED_WITHIN_US = 10_000_000
"""A replica that was silent for longer counts as dead."""


class Disk(Protocol):
    """How long a commit takes, and whether it is made at all."""

    def before_commit(self) -> float:
        """Seconds until the group that is about to run is durable."""

    def before_answer(self) -> float:
        """Seconds from there until whoever waits is told."""

    def busy(self) -> bool:
        """Whether this group is refused as a whole."""


class _QuickDisk:
    def before_commit(self) -> float:
        return 0.0

    def before_answer(self) -> float:
        return 0.0

    def busy(self) -> bool:
        return False


class _Waiting(NamedTuple):
    unit: Unit[Any]
    answer: asyncio.Future[Any]


class MemoryStore(Store):
    """`hall.store.Store`. What is committed stays in the tables, whatever becomes of the process."""

    def __init__(
        self,
        tables: Tables,
        *,
        clock: Clock,
        disk: Disk | None = None,
        look_on: Callable[[Sequence[Move]], None] = lambda _: None,
        read_by: Callable[[Reads], Reads] = lambda reads: reads,
    ) -> None:
        self.tables = tables
        self._disk = disk or _QuickDisk()
        self._look_on = look_on
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting] = []
        self._in_flight = False
        self._closed = False
        self._listeners: list[Callable[[int, Logged], None]] = []
        self._batch_listeners: list[Callable[[Sequence[int]], None]] = []
        self._now = WrittenTime(clock, last_us=tables.served[None].last_at if tables.served else 0)
        self._replica_key = self._register()
        self._reads = read_by(MemoryReads(tables, now=self._now, replica_key=lambda: self._replica_key))

    @property
    def reads(self) -> Reads:
        return self._reads

    @property
    def replica_key(self) -> int:
        return self._replica_key

    def on_commit(self, callback: Callable[[int, Logged], None]) -> None:
        self._listeners.append(callback)

    def on_batch_end(self, callback: Callable[[Sequence[int]], None]) -> None:
        self._batch_listeners.append(callback)

    def run(self, unit: Unit[T], *, refusable: bool = False) -> asyncio.Future[T]:
        answer: asyncio.Future[T] = self._loop.create_future()
        if self._closed:
            answer.set_exception(DrainingError("the server is stopping"))
        elif refusable and len(self._waiting) >= WAITING_MAX:
            full = f"{len(self._waiting)} writes wait already"
            answer.set_exception(QueueFullError(full, retry_after=timedelta(seconds=1)))
        else:
            self._waiting.append(_Waiting(unit, answer))
            self._begin()
        return answer

    async def renew(self, *, ahead_us: int = 0) -> bool:
        renewal = _Renew(self, ahead_us)
        return await self.run(renewal)

    async def register_anew(self) -> None:
        self._replica_key = self._register()

    def close(self) -> None:
        """Write what waits, and take nothing more."""
        self._commit(self._take())()
        self._closed = True

    # --- in detail ---

    def now(self) -> int:
        """The clock's time, but never before one that was written already."""
        return self._now()

    def _register(self) -> int:
        key, now = self.tables.counters.get("replica", 0) + 1, self.now()
        self.tables.counters["replica"] = key
        self.tables.replicas[key] = now
        # What was away while nobody served has its whole time to come back.
        self.tables.served[None] = ServedTime(now, now)
        return key

    def serve_on(self, now: int, heard_at: int) -> None:
        """Keep the served time: after a pause it begins anew."""
        served = self.tables.served[None]
        resumed_at = now if served.last_at < now - PAUSE_US else served.resumed_at
        self.tables.served[None] = ServedTime(resumed_at, heard_at)

    def _begin(self) -> None:
        if not self._in_flight:
            self._in_flight = True
            self._loop.call_later(self._disk.before_commit(), self._run)

    def _take(self) -> list[_Waiting]:
        taken, self._waiting = self._waiting, []
        return taken

    def _run(self) -> None:
        answer = self._commit(self._take())
        self._loop.call_later(self._disk.before_answer(), answer)

    def _commit(self, waiting: Sequence[_Waiting]) -> Callable[[], None]:
        """One group; how to tell those who wait for it."""
        if not waiting or self._disk.busy():
            busy = DatabaseBusyError("the database is away", retry_after=timedelta(seconds=1))
            return lambda: self._settle([(one.answer, None, busy) for one in waiting], None, [], ended_batches=())
        group = Group(self.tables, [one.unit for one in waiting], now=self.now())
        in_order = [one for one in waiting if not one.unit.after_save] + [one for one in waiting if one.unit.after_save]
        settled = [(one.answer, *_decided(group, one.unit)) for one in in_order]
        group.finish()
        self._look_on(group.moves)
        return lambda: self._settle(settled, group.last_event, [group.logged], ended_batches=group.ended_batches)

    def _settle(
        self,
        settled: Sequence[tuple[asyncio.Future[Any], Any, Exception | None]],
        last_event: int | None,
        logged: Logged,
        *,
        ended_batches: Sequence[int],
    ) -> None:
        self._in_flight = False
        if self._waiting:
            self._begin()
        for answer, result, error in settled:
            if answer.done():
                continue
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)
        if last_event is not None:
            for listener in self._listeners:
                listener(last_event, logged)
        if ended_batches:
            for batch_listener in self._batch_listeners:
                batch_listener(ended_batches)


class _Renew(Unit[bool]):
    """Say that this process serves."""

    def __init__(self, store: MemoryStore, ahead_us: int) -> None:
        self._store = store
        self._ahead_us = ahead_us

    def decide(self, group: Any) -> bool:
        store, now = self._store, group.now
        renewed_at = store.tables.replicas.get(store.replica_key)
        if renewed_at is None or renewed_at < now - RENEWED_WITHIN_US:
            return False
        heard_at = now + self._ahead_us
        store.tables.replicas[store.replica_key] = heard_at
        store.serve_on(now, heard_at)
        return True


def _decided(group: Group, unit: Unit[Any]) -> tuple[Any, Exception | None]:
    try:
        return group.decide(unit), None
    except Exception as error:  # noqa: BLE001 - handed to whoever awaits the unit
        return None, error
