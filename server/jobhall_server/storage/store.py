"""The store of one process: the writer and the reader over one database, opened and closed together."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import sqlalchemy as sa
import structlog

from jobhall.ids import new_id
from jobhall_server.hall.clock import Clock, SystemClock, WrittenTime
from jobhall_server.hall.store import Group, Logged, Unit
from jobhall_server.hall.store import Store as StoreProtocol
from jobhall_server.storage import schema, statements_write
from jobhall_server.storage.checkpoints import Checkpoints
from jobhall_server.storage.connections import open_connections
from jobhall_server.storage.engines import (
    SQLITE_VERSION,
    Database,
    Synchronous,
    clearly_refused,
    open_write_engine,
    parse_database_url,
    serving,
    serving_in_turn,
    synced,
)
from jobhall_server.storage.errors import DatabaseUrlError
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.group import Group as SqlGroup
from jobhall_server.storage.migrations import migrate
from jobhall_server.storage.numbers import give
from jobhall_server.storage.reader import Reader
from jobhall_server.storage.schema import tables
from jobhall_server.storage.schema_groups import LAST_EVENT, LAST_REPLICA
from jobhall_server.storage.writer import Writer

T = TypeVar("T")

log = structlog.get_logger(__name__)

LOG_GAP = 1_000_000_000
"""More events than a power cut can take: what the system has not written to the disk within minutes."""


def end_process(error: BaseException) -> None:
    """What happens when the writer cannot go on: nothing of this process may answer any more."""
    log.critical("writer_failed", exc_info=error)
    os._exit(os.EX_IOERR)


@dataclass(frozen=True, slots=True)
class Engine:
    """What keeps the jobs, as it tells of itself."""

    name: str
    version: str
    schema_revision: str
    synchronous: Synchronous


class Store(StoreProtocol):
    """`hall.store.Store` over a SQLite file."""

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        replica: _Replica,
        listeners: _Listeners,
        engine: Engine,
    ) -> None:
        self.engine = engine
        self._writer = writer
        self._reader = reader
        self._replica = replica
        self._listeners = listeners

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        prefix: str = schema.PREFIX_DEFAULT,
        clock: Clock | None = None,
        synchronous: Synchronous = Synchronous.FULL,
        wait: bool = False,
        on_fatal: Callable[[BaseException], None] = end_process,
    ) -> AsyncIterator[Store]:
        """A store that this process alone serves, its schema brought up to date; DatabaseError says what is wrong.

        With `wait` it opens when no other process serves the file any more, without it that is DatabaseLockedError.
        `on_fatal` is called on the writer's thread when it cannot go on; by default it ends the process.
        """
        database = parse_database_url(url)
        if database.path is None:
            raise DatabaseUrlError("this version keeps its jobs in SQLite only: write sqlite:///jobhall.db")
        clock = clock or SystemClock()
        known = tables(prefix)
        async with AsyncExitStack() as stack:
            if wait:
                await stack.enter_async_context(serving_in_turn(database))
            else:
                stack.enter_context(serving(database))
            with clearly_refused(database):
                connection, revision = await asyncio.to_thread(_connect, database, prefix, synchronous)
                stack.callback(connection.close)
                execution = Execution(connection, known)
                now = WrittenTime(clock, last_us=execution.scalar(statements_write.last_served(known)) or 0)
                with synced(connection) as level:
                    replica = _Replica(_register(execution, now(), level))
            reads = await stack.enter_async_context(open_connections(database))
            reader = Reader(reads, known, now=now, replica_key=lambda: replica.key)
            listeners = _Listeners()
            writer = Writer(
                execution,
                Checkpoints(connection),
                now=now,
                on_event=listeners.tell_event,
                on_batch_end=listeners.tell_batch_end,
                on_fatal=on_fatal,
            )
            writer.start()
            stack.push_async_callback(writer.stop)
            engine = Engine("sqlite", SQLITE_VERSION, revision, level)
            yield cls(writer, reader, replica, listeners, engine)

    @property
    def reads(self) -> Reader:
        return self._reader

    def run(self, unit: Unit[T], *, refusable: bool = False) -> Awaitable[T]:
        return self._writer.run(unit, refusable=refusable)

    def on_commit(self, callback: Callable[[int, Logged], None]) -> None:
        self._listeners.of_events.append(callback)

    def on_batch_end(self, callback: Callable[[Sequence[int]], None]) -> None:
        self._listeners.of_batch_ends.append(callback)

    @property
    def replica_key(self) -> int:
        return self._replica.key

    async def renew(self, *, ahead_us: int = 0) -> bool:
        return await self.run(_Renew(self._replica.key, ahead_us))

    async def register_anew(self) -> None:
        self._replica.key = await self.run(_Register(new_id()))


class _Listeners:
    """Who is told of what was committed."""

    def __init__(self) -> None:
        self.of_events: list[Callable[[int, Logged], None]] = []
        self.of_batch_ends: list[Callable[[Sequence[int]], None]] = []

    def tell_event(self, number: int, logged: Logged) -> None:
        """That of the last event, and whose they were."""
        for listener in self.of_events:
            listener(number, logged)

    def tell_batch_end(self, batch_keys: Sequence[int]) -> None:
        """The last jobs of those closed batches ended."""
        for listener in self.of_batch_ends:
            listener(batch_keys)


class _Replica:
    """Which replica this process is."""

    def __init__(self, key: int) -> None:
        self.key = key


class _Renew(Unit[bool]):
    """Say that this process serves."""

    def __init__(self, replica_key: int, ahead_us: int) -> None:
        self._replica_key = replica_key
        self._ahead_us = ahead_us

    def decide(self, group: Group) -> bool:
        execution = cast("SqlGroup", group).execution
        at = {"now": group.now, "heard_at": group.now + self._ahead_us}
        renewal = statements_write.renew_replica(execution.tables)
        renewed = execution.write(renewal, replica_key=self._replica_key, **at) == 1
        if renewed:
            execution.write(statements_write.serve_on(execution.tables), **at)
        return renewed


class _Register(Unit[int]):
    """Give this process a new row among the replicas; answers its key."""

    def __init__(self, replica_id: str) -> None:
        self._replica_id = replica_id

    def decide(self, group: Group) -> int:
        execution = cast("SqlGroup", group).execution
        return _add_replica(execution, self._replica_id, group.now)


def _connect(database: Database, prefix: str, synchronous: Synchronous) -> tuple[sqlite3.Connection, str]:
    """The writer's connection to a database whose schema is up to date, and the revision it is at."""
    engine = open_write_engine(database, synchronous=synchronous)
    revision = migrate(engine, prefix=prefix)
    opened = engine.raw_connection()
    connection = cast("sqlite3.Connection", opened.driver_connection)
    opened.detach()
    return connection, revision


def _register(execution: Execution, now: int, level: Synchronous) -> int:
    """Give this process its row among the replicas, and the service its one row; answers the replica's key."""
    known = execution.tables
    execution.begin()
    if execution.scalar(statements_write.last_served(known)) is None:
        birth = {"log_id": new_id(), "created_at": now, "resumed_at": now, "last_at": now}
        _insert(execution, known.service, {"key": 1, **birth})
    elif not execution.scalar(statements_write.last_run_synced(known)):
        _leave_gap(execution)
    execution.write(statements_write.set_synced(known), synced=int(level.every_commit))
    key = _add_replica(execution, new_id(), now)
    execution.commit()
    return key


def _leave_gap(execution: Execution) -> None:
    """Number on from far ahead: the last run's newest events may be lost with the power, and watchers saw them."""
    until = give(execution, LAST_EVENT, LOG_GAP)
    _insert(execution, execution.tables.log_gaps, {"after_number": until - LOG_GAP, "until_number": until})


def _add_replica(execution: Execution, replica_id: str, now: int) -> int:
    known = execution.tables
    execution.write(statements_write.begin_serving(known), now=now)
    key = give(execution, LAST_REPLICA, 1)
    _insert(execution, known.replicas, {"key": key, "replica_id": replica_id, "started_at": now, "renewed_at": now})
    return key


def _insert(execution: Execution, table: sa.Table, row: dict[str, object]) -> None:
    execution.write_rows(statements_write.insert(table, (), tuple(row)), [tuple(row.values())])
