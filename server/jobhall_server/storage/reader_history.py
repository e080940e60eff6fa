"""The reader's part about what the attempts at a job left behind."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from jobhall.limits import LOG_LINES_KEPT_MAX
from jobhall.states import LogLevel
from jobhall_server.domain.job import AttemptView, ItemError, Payload
from jobhall_server.hall.views import LogLine
from jobhall_server.storage import reader_rows, statements_read_history
from jobhall_server.storage.connections import Row
from jobhall_server.storage.reading import ROWS_MAX, Reading


class HistoryReads(Reading):
    """Attempts, checkpoints, item errors and log lines."""

    async def checkpoint(self, job_key: int) -> Payload | None:
        rows = await self._of_job(statements_read_history.checkpoint(self._tables), job_key)
        return reader_rows.payload(*rows[0]) if rows else None

    async def attempts(self, job_key: int, *, after_fence: int, limit: int) -> list[AttemptView]:
        place = {"after": after_fence, "limit": min(limit, ROWS_MAX)}
        rows = await self._of_job(statements_read_history.attempts(self._tables), job_key, **place)
        return [reader_rows.attempt(row) for row in rows]

    async def attempt_fence(self, job_key: int, attempt: int) -> int | None:
        [[fence]] = await self._of_job(statements_read_history.attempt_fence(self._tables), job_key, attempt=attempt)
        found: int | None = fence
        return found

    async def item_errors(
        self, job_key: int, *, fence: int, after_number: int, limit: int
    ) -> list[tuple[int, ItemError]]:
        place = {"fence": fence, "after": after_number, "limit": min(limit, ROWS_MAX)}
        rows = await self._of_job(statements_read_history.item_errors(self._tables), job_key, **place)
        return [reader_rows.item_error(row) for row in rows]

    async def log_lines(
        self, job_key: int, *, fence: int, after_number: int, limit: int, min_level: LogLevel = LogLevel.UNSPECIFIED
    ) -> list[tuple[int, LogLine]]:
        place = {"fence": fence, "after": after_number, "limit": min(limit, ROWS_MAX), "min_level": min_level}
        rows = await self._of_job(statements_read_history.log_lines(self._tables), job_key, **place)
        return [reader_rows.log_line(row) for row in rows]

    async def log_lines_dropped(self, job_key: int, *, fence: int) -> int:
        rows = await self._of_job(statements_read_history.log_lines_dropped(self._tables), job_key, fence=fence)
        # What never came below the bound was not dropped here.
        return max(0, rows[0][0] - LOG_LINES_KEPT_MAX) if rows else 0

    async def _of_job(self, statement: sa.Select[Any], job_key: int, **values: int) -> list[Row]:
        return await self._connections.rows(statement, {"job_key": job_key, **values})
