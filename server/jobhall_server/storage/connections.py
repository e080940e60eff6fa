"""A few read connections to a SQLite file: a statement takes one hop to a thread and leaves nothing open behind it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

import aiosqlite
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from jobhall.errors import DatabaseBusyError, DrainingError
from jobhall_server.storage.engines import BUSY_TIMEOUT_SECONDS, Database

READ_CONNECTIONS = 4
"""Statements that run at once; each connection has a thread of its own."""

Row = Sequence[Any]
"""The values of a row, in the order of the statement's columns."""

_PRAGMAS = ("query_only = ON", "temp_store = MEMORY", "cache_size = -4096", "mmap_size = 0")
_AWAY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
_DIALECT = sqlite.dialect(paramstyle="qmark")


class ReadConnections:
    """The pool. It is aiosqlite's own, not SQLAlchemy's: 20 µs a statement instead of 530 (four hops and a greenlet).

    A caller that is cancelled leaves its statement to end on its thread; the next one on that connection waits for it.
    """

    def __init__(self, connections: list[aiosqlite.Connection]) -> None:
        self._idle = list(connections)
        self._free = asyncio.Semaphore(len(connections))
        self._stopped = False

    async def rows(self, statement: sa.Select[Any], values: Mapping[str, Any]) -> list[Row]:
        """Every row of the statement, as one snapshot of the database."""
        text, names, constants = compiled(statement)
        bound = {**constants, **values}
        async with self._free:
            if self._stopped:
                raise DrainingError("the server is stopping")
            connection = self._idle.pop()
            try:
                return list(await connection.execute_fetchall(text, [bound[name] for name in names]))
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _AWAY:
                    raise
                busy = f"the database cannot be read now: {error}"
                raise DatabaseBusyError(busy, retry_after=timedelta(seconds=1)) from error
            finally:
                self._idle.append(connection)

    def stop(self) -> None:
        """Refuse new statements and those that still wait for a connection; what runs comes to its end."""
        self._stopped = True


@asynccontextmanager
async def open_connections(database: Database, *, count: int = READ_CONNECTIONS) -> AsyncIterator[ReadConnections]:
    """Read connections to a file that has its schema already."""
    opened: list[aiosqlite.Connection] = []
    try:
        for _ in range(count):
            address = f"file:{quote(str(database.path))}?mode=rw"
            connecting = aiosqlite.connect(address, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_SECONDS)
            opened.append(await connecting)
            await opened[-1].executescript("".join(f"PRAGMA {pragma};" for pragma in _PRAGMAS))
        connections = ReadConnections(opened)
        yield connections
        connections.stop()
    finally:
        # One left open would keep the process from ending.
        for connection in opened:
            await connection.close()


class Compiled(NamedTuple):
    """A statement as SQLite takes it: names in the order of the question marks, constants that it came with."""

    text: str
    names: tuple[str, ...]
    constants: dict[str, Any]


@lru_cache(maxsize=512)
def compiled(statement: sa.Select[Any]) -> Compiled:
    """Compiled once for each statement object; the functions that make statements keep them."""
    made = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    return Compiled(str(made), tuple(made.positiontup or ()), dict(made.params))
