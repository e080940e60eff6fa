"""The reader's part about jobs that are named: for callers by id, for the server by key."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from jobhall.states import JobState
from jobhall_server.domain.access import Principal
from jobhall_server.domain.job import JobView
from jobhall_server.hall.views import PurgeStep, Retention
from jobhall_server.storage import reader_rows, statements_read_jobs
from jobhall_server.storage.dialect import keys
from jobhall_server.storage.read_clauses import Sight, caller, listed_ids, stored_id
from jobhall_server.storage.reading import ROWS_MAX, Reading


class JobReads(Reading):
    """Jobs, and what is asked of a few of them."""

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

    async def jobs_ahead(self, job_key: int, *, limit: int) -> int:
        values = {"job_key": job_key, "limit": limit}
        [[ahead]] = await self._connections.rows(statements_read_jobs.jobs_ahead(self._tables), values)
        return int(ahead)

    async def excluded_sessions(self, job_key: int) -> frozenset[int]:
        statement = statements_read_jobs.excluded_sessions(self._tables)
        return frozenset(key for (key,) in await self._connections.rows(statement, {"job_key": job_key}))

    async def type_versions(self, job_keys: Sequence[int]) -> dict[int, tuple[int, int]]:
        statement = statements_read_jobs.type_versions(self._tables)
        rows = await self._connections.rows(statement, {"keys": keys(job_keys)})
        return {key: (queue_key, version) for key, queue_key, version in rows}

    async def jobs_to_purge(self, keep: Retention, *, after_key: int) -> PurgeStep:
        values = {"after": after_key, "limit": ROWS_MAX + 1}
        rows = await self._connections.many_rows(statements_read_jobs.ends(self._tables), values)
        rows.sort(key=itemgetter(0))
        kept_us = {
            JobState.COMPLETED: keep.completed_us,
            JobState.FAILED: keep.failed_us,
            JobState.CANCELLED: keep.cancelled_us,
        }
        now = self._now()
        over = []
        for key, state, terminal_at, own_us in rows[:ROWS_MAX]:
            if terminal_at is not None:
                retention_us = kept_us[state] if own_us is None else own_us
                if retention_us is not None and terminal_at + retention_us <= now:
                    over.append(key)
        return PurgeStep(tuple(over), rows[ROWS_MAX - 1][0] if len(rows) > ROWS_MAX else None)
