"""The queries on what a job's attempts left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from jobhall.limits import LOG_LINES_KEPT_MAX
from jobhall.states import AttemptOutcome, FailureKind, JobState, LogLevel
from jobhall_server.domain.job import AttemptView, ItemError, JobFailure, Payload
from jobhall_server.hall.views import LogLine
from tests.support.memory.tables import ClosedAttempt, Place, Row, Tables

T = TypeVar("T")

_OUTCOMES = {
    JobState.COMPLETED: AttemptOutcome.COMPLETED,
    JobState.FAILED: AttemptOutcome.FAILED,
    JobState.CANCELLED: AttemptOutcome.CANCELLED,
}


class HistoryReads:
    """Attempts, item errors, log lines and checkpoints."""

    def __init__(self, tables: Tables, now: Callable[[], int]) -> None:
        self._tables = tables
        self._now = now

    async def checkpoint(self, job_key: int) -> Payload | None:
        return self._tables.checkpoints.get(job_key, (None, None))[0]

    async def attempts(self, job_key: int, *, after_fence: int, limit: int) -> list[AttemptView]:
        found = self._attempts(job_key)
        return [found[fence] for fence in sorted(found) if fence > after_fence][:limit]

    async def attempt_fence(self, job_key: int, attempt: int) -> int | None:
        fences = [fence for fence, one in self._attempts(job_key).items() if attempt in (0, one.attempt)]
        return max(fences, default=None)

    async def item_errors(
        self, job_key: int, *, fence: int, after_number: int, limit: int
    ) -> list[tuple[int, ItemError]]:
        return _of_lease(self._tables.item_errors, job_key, fence, after_number)[:limit]

    async def log_lines(
        self, job_key: int, *, fence: int, after_number: int, limit: int, min_level: LogLevel = LogLevel.UNSPECIFIED
    ) -> list[tuple[int, LogLine]]:
        found = _of_lease(self._tables.logs, job_key, fence, after_number)
        return [(number, line) for number, line in found if line.level >= min_level][:limit]

    async def log_lines_dropped(self, job_key: int, *, fence: int) -> int:
        through = self._tables.log_drops.get((job_key, fence), 0)
        return max(0, through - LOG_LINES_KEPT_MAX)

    def _attempts(self, job_key: int) -> dict[int, AttemptView]:
        row = self._tables.jobs.get(job_key)
        if row is None:
            return {}
        kept = {fence: one for (key, fence), one in self._tables.attempts.items() if key == job_key}
        found = {fence: self._kept(job_key, fence, one) for fence, one in kept.items()}
        if row["started_at"] is not None and row["fence"] not in found:
            found[row["fence"]] = self._present(row)
        return found

    def _present(self, row: Row) -> AttemptView:
        key, fence, state = row["key"], row["fence"], row["state"]
        failed = state is JobState.FAILED
        kind = FailureKind(row["failure_kind"]) if failed else FailureKind.UNSPECIFIED
        return AttemptView(
            attempt=row["attempt"],
            fence=fence,
            worker=row["worker"],
            session_id=self._session_id(row["session_key"]),
            claimed_at=row["claimed_at"],
            started_at=row["started_at"],
            ended_at=row["ended_at"],
            outcome=_OUTCOMES.get(state, AttemptOutcome.UNSPECIFIED),
            failure=self._failure(key, fence, kind, row["failure_code"], row["attempt"]),
            progress=self._tables.progress.get((key, fence)),
            item_error_count=row["item_error_count"],
        )

    def _kept(self, job_key: int, fence: int, one: ClosedAttempt) -> AttemptView:
        kind = FailureKind(one.failure_kind)
        return AttemptView(
            attempt=one.attempt,
            fence=fence,
            worker=one.worker,
            session_id=self._session_id(one.session_key),
            claimed_at=one.claimed_at,
            started_at=one.started_at,
            ended_at=one.ended_at,
            outcome=one.outcome,
            failure=self._failure(job_key, fence, kind, one.failure_code, one.attempt),
            progress=self._tables.progress.get((job_key, fence)),
            item_error_count=one.item_error_count,
        )

    def _failure(self, key: int, fence: int, kind: FailureKind, code: str, attempt: int) -> JobFailure | None:
        if not kind:
            return None
        known = self._tables.failures.get((key, fence))
        if known is not None and (known.kind, known.code) == (kind, code):
            return known
        return JobFailure(kind, "", code, attempt=attempt)

    def _session_id(self, key: int) -> str:
        session = self._tables.sessions.get(key)
        return "" if session is None else session.record.session_id


def _of_lease(table: dict[Place, T], job_key: int, fence: int, after: int) -> list[tuple[int, T]]:
    found = [(place[2], item) for place, item in table.items() if place[:2] == (job_key, fence)]
    return sorted([pair for pair in found if pair[0] > after], key=lambda pair: pair[0])
