"""What is kept of a job's attempts: how each began and ended, its log and its item errors, read in pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from jobhall.errors import JobNotFoundError
from jobhall.states import AttemptOutcome, LogLevel
from jobhall_server.domain.access import Principal
from jobhall_server.domain.job import AttemptView, ItemError, JobView
from jobhall_server.hall import checks
from jobhall_server.hall.tokens import page_place, page_token
from jobhall_server.hall.views import LogLine, Place

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall

T = TypeVar("T")
Read = Callable[[int, int], Awaitable[list[tuple[int, T]]]]
"""Numbered entries after that number, at most so many, in order."""

_READ_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which page of a list; `skip` counts only without a token."""

    size: int
    token: str = ""
    skip: int = 0


@dataclass(frozen=True, slots=True)
class AttemptPage:
    """Attempts at a job, the oldest first, and the token of the next page (empty at the end)."""

    attempts: Sequence[AttemptView]
    token: str


@dataclass(frozen=True, slots=True)
class LogPage:
    """Numbered log lines of one attempt in order, the token of the next page, and how many lines were not kept."""

    lines: Sequence[tuple[int, LogLine]] = ()
    token: str = ""
    attempt: int = 0
    dropped_count: int = 0


@dataclass(frozen=True, slots=True)
class ItemErrorPage:
    """Item errors of one attempt in order, the token of the next page, and how many were reported, kept or not."""

    errors: Sequence[ItemError] = ()
    token: str = ""
    total_count: int = 0


class History:
    """What clients read of attempts: 0 is the latest one, and one that was not made has nothing. JobNotFoundError."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._reads = hall.store.reads

    async def attempts(self, principal: Principal, job_id: str, wanted: Wanted) -> AttemptPage:
        """The attempts at a job, with what the present one has told last."""
        job = await self._job(principal, job_id)

        async def read(after: int, limit: int) -> list[tuple[int, AttemptView]]:
            found = await self._reads.attempts(job.key, after_fence=after, limit=limit)
            return [(attempt.fence, attempt) for attempt in found]

        request = ("attempts", job.job_id)
        place = page_place(wanted.token, *request)
        found, last = await _page(read, wanted, 0 if place is None else place.key)
        attempts = [attempt for _, attempt in found]
        if attempts and attempts[-1].fence == job.fence and attempts[-1].outcome is AttemptOutcome.UNSPECIFIED:
            attempts[-1] = replace(attempts[-1], progress=self._hall.shown(job).progress)
        return AttemptPage(attempts, "" if last is None else page_token(Place(0, last), *request))

    async def log_lines(
        self,
        principal: Principal,
        job_id: str,
        wanted: Wanted,
        *,
        attempt: int = 0,
        min_level: LogLevel = LogLevel.UNSPECIFIED,
        after_number: int = 0,
    ) -> LogPage:
        """Log lines of an attempt, of at least that level, with greater numbers."""
        job = await self._job(principal, job_id)
        request = ("logs", job.job_id, attempt, int(min_level), after_number)
        begin = await self._begin(job, attempt, wanted, *request)
        if begin is None:
            return LogPage()
        fence, after = begin

        async def read(after: int, limit: int) -> list[tuple[int, LogLine]]:
            return await self._reads.log_lines(
                job.key, fence=fence, after_number=after, limit=limit, min_level=min_level
            )

        lines, last = await _page(read, wanted, max(after, after_number))
        token = "" if last is None else page_token(Place(fence, last), *request)
        shown = await self._attempt(job, fence)
        dropped = await self._reads.log_lines_dropped(job.key, fence=fence)
        return LogPage(lines, token, 0 if shown is None else shown.attempt, dropped)

    async def item_errors(
        self, principal: Principal, job_id: str, wanted: Wanted, *, attempt: int = 0
    ) -> ItemErrorPage:
        """Item errors of an attempt."""
        job = await self._job(principal, job_id)
        request = ("item_errors", job.job_id, attempt)
        begin = await self._begin(job, attempt, wanted, *request)
        if begin is None:
            return ItemErrorPage()
        fence, after = begin

        async def read(after: int, limit: int) -> list[tuple[int, ItemError]]:
            return await self._reads.item_errors(job.key, fence=fence, after_number=after, limit=limit)

        found, last = await _page(read, wanted, after)
        token = "" if last is None else page_token(Place(fence, last), *request)
        shown = await self._attempt(job, fence)
        return ItemErrorPage([error for _, error in found], token, 0 if shown is None else shown.item_error_count)

    async def _job(self, principal: Principal, job_id: str) -> JobView:
        job = await self._reads.job(principal, checks.job_id(job_id), full=False)
        if job is None:
            raise JobNotFoundError(job_id)
        return job

    async def _begin(self, job: JobView, attempt: int, wanted: Wanted, *request: object) -> tuple[int, int] | None:
        """The attempt's fence and the number to go on after. Further pages stay with the attempt of the first one,
        though another may be the latest by now.
        """
        place = page_place(wanted.token, *request)
        if place is not None:
            return place
        fence = await self._reads.attempt_fence(job.key, attempt)
        return None if fence is None else (fence, 0)

    async def _attempt(self, job: JobView, fence: int) -> AttemptView | None:
        found = await self._reads.attempts(job.key, after_fence=fence - 1, limit=1)
        return found[0] if found and found[0].fence == fence else None


async def _page(read: Read[T], wanted: Wanted, after: int) -> tuple[list[tuple[int, T]], int | None]:
    """The entries of a page with their numbers, and the last one's where there may be more."""
    skip = 0 if wanted.token else wanted.skip
    while skip:
        passed = await read(after, min(skip, _READ_AT_ONCE))
        if not passed:
            return [], None
        after = passed[-1][0]
        skip -= len(passed)
    found = await read(after, wanted.size)
    return found, found[-1][0] if len(found) == wanted.size else None
