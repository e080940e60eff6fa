"""The reader's part about the event log."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import orjson

from jobhall.errors import InternalError
from jobhall_server.hall.views import LogFilter, LogPlace, LogSlice
from jobhall_server.storage import reader_rows, statements_read_log
from jobhall_server.storage.codec import id_of_hex
from jobhall_server.storage.dialect import keys
from jobhall_server.storage.read_clauses import listed, listed_ids
from jobhall_server.storage.reading import KEY_MAX, ROWS_MAX, Reading
from jobhall_server.storage.statements_read_log import LogShape

_FIRST = itemgetter(0)

Gaps = list[tuple[int, int]]


class LogReads(Reading):
    """Where the log begins and ends, slices of it, and the keys by which its events name jobs."""

    async def log_place(self) -> LogPlace:
        rows = await self._connections.rows(statements_read_log.log_place(self._tables), {})
        if not rows:
            raise InternalError
        log_id, oldest, last, told = rows[0]
        gaps = _gaps(told)
        return LogPlace(log_id, _first(oldest, last, gaps), last, tuple(gaps))

    async def log(self, where: LogFilter, *, after: int, limit: int, until: int | None = None) -> LogSlice:
        shape = LogShape(*map(bool, (where.namespaces, where.queues, where.job_ids, where.job_keys, where.batch_keys)))
        values = {
            "after": after,
            "limit": (limit := min(limit, ROWS_MAX)),
            "until": KEY_MAX if until is None else until,
            "namespaces": listed(where.namespaces),
            "queues": listed(" ".join(pair) for pair in where.queues),
            "job_keys": keys(where.job_keys),
            "batch_keys": keys(where.batch_keys),
            **listed_ids(where.job_ids),
        }
        statement = statements_read_log.log_slice(self._tables, shape)
        [(oldest, last, told, end, events)] = await self._connections.rows(statement, values)
        found = orjson.loads(events)
        found.sort(key=_FIRST)
        rows = [reader_rows.event(row) for row in found]
        return LogSlice(_first(oldest, last, _gaps(told)), last, rows[-1].number if len(rows) == limit else end, rows)

    async def job_keys_of(self, job_ids: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        statement = statements_read_log.job_keys(self._tables)
        for start in range(0, len(job_ids), ROWS_MAX):
            wanted = listed_ids(job_ids[start : start + ROWS_MAX])
            rows = await self._connections.many_rows(statement, wanted)
            found |= {id_of_hex(job_id): key for key, job_id in rows}
        return found


def _gaps(told: str) -> Gaps:
    return sorted((after, until) for after, until in orjson.loads(told))


def _first(oldest: int | None, last: int, gaps: Gaps) -> int:
    """The oldest number that may be asked for: where only gaps lie before the first event, nothing is missing."""
    first = last + 1 if oldest is None else oldest
    for after, until in reversed(gaps):
        if until == first - 1:
            first = after + 1
    return first
