"""The store's queries: each runs named statements on a read connection, every one of them a snapshot of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from jobhall.errors import InternalError
from jobhall_server.domain.access import Principal
from jobhall_server.domain.job import ItemError, JobView
from jobhall_server.hall.reads import Reads
from jobhall_server.hall.views import (
    EventRow,
    Expired,
    HeldRow,
    JobFilter,
    JobTypeView,
    LogLine,
    LogPlace,
    Page,
    QueueView,
    SessionView,
)
from jobhall_server.storage import reader_rows, statements_read, statements_read_jobs, statements_read_sessions
from jobhall_server.storage.connections import ReadConnections, Row
from jobhall_server.storage.dialect import keys
from jobhall_server.storage.read_clauses import Sight, caller, listed, listed_ids, stored_id
from jobhall_server.storage.schema import Tables
from jobhall_server.storage.statements_read_jobs import ListShape
from jobhall_server.storage.statements_write import PAUSE_US

ROWS_MAX = 1000
"""Rows of one read: the bound on how long it holds a snapshot, and the checkpoint back."""

_FIRST = itemgetter(0)
_KEY_MAX = 2**63 - 1

Statement = Callable[[Tables], sa.Select[Any]]


class Reader(Reads):
    """`hall.store.Reads` over a pool of read connections.

    `now` is the database's time in microseconds UTC; `replica_key` tells this process's own row. A SQLite file is
    served by one process, so there every other replica is gone, however lately it renewed its row.
    """

    def __init__(
        self,
        connections: ReadConnections,
        tables: Tables,
        *,
        now: Callable[[], int],
        replica_key: Callable[[], int],
    ) -> None:
        self._connections = connections
        self._tables = tables
        self._now = now
        self._replica_key = replica_key

    async def job(self, principal: Principal, job_id: str, *, full: bool = True) -> JobView | None:
        stored = stored_id(job_id)
        if stored is None:
            return None
        statement = statements_read_jobs.job(self._tables, Sight.of(principal), full=full)
        rows = await self._connections.rows(statement, caller(principal) | {"job_id": stored})
        return reader_rows.job_view(rows[0]) if rows else None

    async def jobs_by_id(self, principal: Principal, job_ids: Sequence[str], *, full: bool = False) -> list[JobView]:
        if not job_ids:
            return []
        statement = statements_read_jobs.jobs_by_id(self._tables, Sight.of(principal), full=full)
        values = caller(principal) | listed_ids(job_ids)
        fetch = self._connections.rows if full else self._connections.many_rows
        rows = await fetch(statement, values)
        return [reader_rows.job_view(row) for row in rows]

    async def jobs(self, principal: Principal, where: JobFilter, page: Page) -> list[JobView]:
        shape, values = _shape(where, page)
        statement = statements_read_jobs.jobs(self._tables, Sight.of(principal), shape)
        rows = await self._connections.many_rows(statement, caller(principal) | values)
        rows.sort(key=_FIRST, reverse=True)
        return [reader_rows.job_view(row) for row in rows]

    async def item_errors(self, job_key: int, *, after_number: int, limit: int) -> list[tuple[int, ItemError]]:
        values = {"job_key": job_key, "after": after_number, "limit": min(limit, ROWS_MAX)}
        rows = await self._connections.rows(statements_read.item_errors(self._tables), values)
        return [reader_rows.item_error(row) for row in rows]

    async def log_lines(self, job_key: int, *, after_number: int, limit: int) -> list[tuple[int, LogLine]]:
        values = {"job_key": job_key, "after": after_number, "limit": min(limit, ROWS_MAX)}
        rows = await self._connections.rows(statements_read.log_lines(self._tables), values)
        return [reader_rows.log_line(row) for row in rows]

    async def log_place(self) -> LogPlace:
        rows = await self._connections.rows(statements_read.log_place(self._tables), {})
        if not rows:
            raise InternalError
        log_id, first, last = rows[0]
        return LogPlace(log_id, last + 1 if first is None else first, last)

    async def events(self, *, after: int, limit: int) -> list[EventRow]:
        values = {"after": after, "limit": min(limit, ROWS_MAX)}
        rows = await self._connections.many_rows(statements_read.events(self._tables), values)
        rows.sort(key=_FIRST)
        return [reader_rows.event(row) for row in rows]

    async def job_types(self, namespace: str | None = None) -> list[JobTypeView]:
        statement = statements_read.job_types(self._tables, of_one_namespace=namespace is not None)
        found: list[JobTypeView] = []
        page: list[Row] | None = None
        while page is None or len(page) == ROWS_MAX:
            after = (found[-1].namespace, found[-1].name) if found else ("", "")
            values = {"namespace": namespace, "after_namespace": after[0], "after_name": after[1], "limit": ROWS_MAX}
            page = await self._connections.rows(statement, values)
            found += [JobTypeView(*row) for row in page]
        return found

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
        values = {"before_key": _KEY_MAX if after_key is None else after_key, "limit": min(limit, ROWS_MAX)}
        rows = await self._connections.rows(statements_read_sessions.sessions(self._tables), values)
        return [reader_rows.session(row) for row in rows]

    async def _keys(self, statement: Statement, values: dict[str, Any]) -> tuple[int, ...]:
        """The keys that a statement of the reaper finds, at most ROWS_MAX."""
        return tuple(key for (key,) in await self._reap(statement, values))

    async def _reap(self, statement: Statement, values: dict[str, Any]) -> list[Row]:
        return await self._connections.rows(statement(self._tables), values | {"limit": ROWS_MAX})


def _shape(where: JobFilter, page: Page) -> tuple[ListShape, dict[str, Any]]:
    """The conditions that are set, and their values."""
    shape = ListShape(
        namespace=where.namespace is not None,
        job_ids=bool(where.job_ids),
        job_types=bool(where.job_types),
        states=bool(where.states),
        owners=bool(where.owners),
        labels=len(where.labels),
        path=where.path is not None,
        created_after=where.created_after is not None,
        created_before=where.created_before is not None,
        before_key=page.before_key is not None,
        skip=page.skip > 0,
    )
    values: dict[str, Any] = {
        "namespace": where.namespace,
        "job_types": listed(where.job_types),
        "states": keys(where.states),
        "owners": listed(where.owners),
        "path": where.path,
        "created_after": where.created_after,
        "created_before": where.created_before,
        "before_key": page.before_key,
        "limit": min(page.size, ROWS_MAX),
        "skip": page.skip,
        **listed_ids(where.job_ids),
    }
    for number, (key, value) in enumerate(where.labels):
        values[f"label_key_{number}"], values[f"label_value_{number}"] = key, value
    return shape, values
