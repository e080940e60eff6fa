"""The reader's part about what the server looks after: names, sessions, and what falls due."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from jobhall_server.hall.views import (
    Expired,
    HeldRow,
    JobTypeView,
    QueueView,
    SessionView,
)
from jobhall_server.storage import reader_rows, statements_read, statements_read_sessions
from jobhall_server.storage.connections import ReadConnections, Row
from jobhall_server.storage.dialect import keys
from jobhall_server.storage.reading import KEY_MAX, ROWS_MAX, Reading
from jobhall_server.storage.schema import Tables
from jobhall_server.storage.statements_write import PAUSE_US

Statement = Callable[[Tables], sa.Select[Any]]


class ServiceReads(Reading):
    """`replica_key` tells this process's own row. A SQLite file is served by one process, so there every other replica
    is gone, however lately it renewed its row.
    """

    def __init__(
        self,
        connections: ReadConnections,
        tables: Tables,
        *,
        now: Callable[[], int],
        replica_key: Callable[[], int],
    ) -> None:
        super().__init__(connections, tables, now=now)
        self._replica_key = replica_key

    async def job_types(self, namespace: str | None = None) -> list[JobTypeView]:
        statement = statements_read.job_types(self._tables, of_one_namespace=namespace is not None)
        found: list[JobTypeView] = []
        page: list[Row] | None = None
        while page is None or len(page) == ROWS_MAX:
            after = (found[-1].namespace, found[-1].name) if found else ("", "")
            values = {"namespace": namespace, "after_namespace": after[0], "after_name": after[1], "limit": ROWS_MAX}
            page = await self._connections.rows(statement, values)
            found += map(reader_rows.job_type, page)
        return found

    async def job_types_mark(self) -> tuple[int, int]:
        [(count, changes)] = await self._connections.rows(statements_read.job_types_mark(self._tables), {})
        return count, changes or 0

    async def schemas(self, job_type_key: int, version: int) -> tuple[str | None, str | None]:
        values = {"job_type_key": job_type_key, "version": version}
        rows = await self._connections.rows(statements_read.schemas(self._tables), values)
        return (rows[0][0], rows[0][1]) if rows else (None, None)

    async def type_of_queue(self, queue_key: int) -> int:
        values = {"queue_key": queue_key}
        [[key]] = await self._connections.rows(statements_read.type_of_queue(self._tables), values)
        found: int = key
        return found

    async def any_result_schema(self) -> bool:
        [[found]] = await self._connections.rows(statements_read.any_result_schema(self._tables), {})
        return bool(found)

    async def queues(self, *, after_key: int = 0) -> list[QueueView]:
        found: list[QueueView] = []
        page: list[Row] | None = None
        while page is None or len(page) == ROWS_MAX:
            values = {"after": found[-1].key if found else after_key, "limit": ROWS_MAX}
            page = await self._connections.rows(statements_read.queues(self._tables), values)
            found += [QueueView(*row) for row in page]
        return found

    async def expired(self, *, ttl_us: int) -> Expired:
        now = self._now()
        # On SQLite no row of another replica is young enough.
        elsewhere = {"replica_key": self._replica_key(), "renewed_after": now + ttl_us}
        over = {"now": now, "ttl": ttl_us, "heard_after": now - PAUSE_US}
        return Expired(
            sessions=await self._keys(statements_read_sessions.expired_sessions, over),
            held=tuple(
                (job, session) for job, session in await self._reap(statements_read_sessions.held_by_lost_sessions, {})
            ),
            stale=await self._keys(statements_read_sessions.stale_sessions, elsewhere),
            due=await self._keys(statements_read_sessions.due_jobs, over),
            drained=await self._keys(statements_read_sessions.drained_sessions, over),
        )

    async def held(self, session_keys: Sequence[int]) -> list[HeldRow]:
        found: list[HeldRow] = []
        after = (0, 0, 0)
        page: list[Row] | None = None
        while page is None or len(page) == ROWS_MAX:
            wanted = keys(key for key in session_keys if key >= after[0])
            place = dict(zip(("after_session", "after_lane", "after_key"), after, strict=True))
            values = {"keys": wanted, "limit": ROWS_MAX, **place}
            page = await self._connections.many_rows(statements_read_sessions.held(self._tables), values)
            if page:
                after = max((row[3], row[4], row[0]) for row in page)
            found += map(reader_rows.held, page)
        found.sort(key=lambda row: (row.session_key, row.lease.job_key))
        return found

    async def session(self, session_id: str) -> SessionView | None:
        values = {"session_id": session_id}
        rows = await self._connections.rows(statements_read_sessions.session(self._tables), values)
        return reader_rows.session(rows[0]) if rows else None

    async def sessions(self, *, after_key: int | None, limit: int) -> list[SessionView]:
        values = {"before_key": KEY_MAX if after_key is None else after_key, "limit": min(limit, ROWS_MAX)}
        rows = await self._connections.rows(statements_read_sessions.sessions(self._tables), values)
        return [reader_rows.session(row) for row in rows]

    async def _keys(self, statement: Statement, values: dict[str, Any]) -> tuple[int, ...]:
        """The keys that a statement of the reaper finds, at most ROWS_MAX."""
        return tuple(key for (key,) in await self._reap(statement, values))

    async def _reap(self, statement: Statement, values: dict[str, Any]) -> list[Row]:
        return await self._connections.rows(statement(self._tables), values | {"limit": ROWS_MAX})
