"""A few read connections to a SQLite file: a statement takes one hop to a thread and leaves nothing open behind it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import aiosqlite
import orjson
import sqlalchemy as sa

from jobhall.errors import DatabaseBusyError, DrainingError
from jobhall_server.storage.dialect import Prepared, as_json, prepared
from jobhall_server.storage.engines import BUSY_TIMEOUT_SECONDS, Database
from jobhall_server.storage.refusals import AWAY_RETRY, Refusal, refusal_of

READ_CONNECTIONS = 4
"""Statements that run at once; each connection has a thread of its own."""

Row = Sequence[Any]
"""The values of a row, in the order of the statement's columns."""

_PRAGMAS = ("query_only = ON", "temp_store = MEMORY")


class ReadConnections:
    """The pool. It is aiosqlite's own, not SQLAlchemy's: 20 µs a statement instead of 530 (four hops and a greenlet).

    A caller that is cancelled leaves its statement to end on its thread; the next one on that connection waits for it.
    """

    def __init__(self, connections: list[aiosqlite.Connection]) -> None:
        self._idle = list(connections)
        self._free = asyncio.Semaphore(len(connections))
        self._stopped = False

    async def rows(self, statement: sa.ClauseElement, values: dict[str, Any]) -> list[Row]:
        """Every row of the statement, as one snapshot of the database."""
        return await self._fetch(prepared(statement), values)

    async def many_rows(self, statement: sa.Select[Any], values: dict[str, Any]) -> list[Row]:
        """The same, in no order and with bytes as hex, for a thousand rows: 3 ms beside a busy loop, not 14 to 27.

        The driver asks for the interpreter's lock at each row that it fetches; here they come as one, in JSON.
        """
        found: list[Row] = orjson.loads((await self._fetch(_prepared_as_json(statement), values))[0][0])
        return found

    def stop(self) -> None:
        """Refuse new statements and those that still wait for a connection; what runs comes to its end."""
        self._stopped = True

    async def _fetch(self, ready: Prepared, values: dict[str, Any]) -> list[Row]:
        bound = ready.values(values)
        async with self._free:
            if self._stopped:
                raise DrainingError("the server is stopping")
            connection = self._idle.pop()
            try:
                return list(await connection.execute_fetchall(ready.text, bound))
            except sqlite3.OperationalError as error:
                if refusal_of(error) is not Refusal.AWAY:
                    raise
                busy = f"the database cannot be read now: {error}"
                raise DatabaseBusyError(busy, retry_after=AWAY_RETRY) from error
            finally:
                self._idle.append(connection)


@asynccontextmanager
async def open_connections(
    database: Database, *, count: int = READ_CONNECTIONS, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS
) -> AsyncIterator[ReadConnections]:
    """Read connections to a file that has its schema already."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(_connect(database, busy_timeout_seconds)) for _ in range(count)]
        connections = ReadConnections(opened)
        stack.callback(connections.stop)
        yield connections


@asynccontextmanager
async def _connect(database: Database, busy_timeout_seconds: float) -> AsyncIterator[aiosqlite.Connection]:
    # It leaves the context closed: an open one would keep the process from ending.
    address = f"file:{quote(str(database.path))}?mode=rw"
    async with aiosqlite.connect(address, uri=True, isolation_level=None, timeout=busy_timeout_seconds) as connection:
        await connection.executescript("".join(f"PRAGMA {pragma};" for pragma in _PRAGMAS))
        yield connection


@lru_cache(maxsize=256)
def _prepared_as_json(statement: sa.Select[Any]) -> Prepared:
    return Prepared(as_json(statement))
