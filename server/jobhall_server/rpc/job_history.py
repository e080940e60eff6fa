"""The methods of JobService that read what is kept of a job's past: its attempts, and the log of events."""

# The names and signatures of methods are those of the generated base class.
# ruff: noqa: N802, ARG002

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jobhall.errors import FieldInvalidError
from jobhall.limits import ATTEMPTS_MAX, INTEGER_MAX, SKIP_MAX
from jobhall.states import LogLevel
from jobhall.v1 import job_pb2, job_service_pb2
from jobhall.v1.job_service_pb2_grpc import JobServiceServicer
from jobhall_server.domain.job import AttemptView, ItemError
from jobhall_server.hall import checks
from jobhall_server.hall.hall import Hall
from jobhall_server.hall.history import ItemErrorPage, LogPage, Wanted
from jobhall_server.hall.views import LogLine
from jobhall_server.rpc.caller import principal
from jobhall_server.rpc.convert_attempts import attempt_out
from jobhall_server.rpc.convert_jobs import item_errors_out, log_line_out
from jobhall_server.rpc.interceptor import Context
from jobhall_server.rpc.pages import page_size_in, page_that_fits
from jobhall_server.rpc.watch import serve_events

_LEVELS = {int(level): level for level in LogLevel}


class JobHistory(JobServiceServicer):
    """Attempts, log lines, item errors and events."""

    _hall: Hall

    async def ListAttempts(
        self, request: job_service_pb2.ListAttemptsRequest, context: Context
    ) -> job_service_pb2.ListAttemptsResponse:
        _check_skip(request)

        async def ask(size: int) -> tuple[Sequence[AttemptView], str]:
            page = await self._hall.history.attempts(principal(), request.job_id, _wanted(request, size))
            return page.attempts, page.token

        async def encode(attempts: Sequence[AttemptView]) -> list[job_pb2.Attempt]:
            return [attempt_out(attempt) for attempt in attempts]

        attempts, token = await page_that_fits(ask, encode, page_size_in(request.page_size))
        return job_service_pb2.ListAttemptsResponse(attempts=attempts, next_page_token=token)

    async def ListJobLogs(
        self, request: job_service_pb2.ListJobLogsRequest, context: Context
    ) -> job_service_pb2.ListJobLogsResponse:
        _check_skip(request)
        checks.check_range(request.attempt, 0, ATTEMPTS_MAX, "attempt")
        checks.check_range(request.after_number, 0, INTEGER_MAX, "after_number")
        if request.min_level not in _LEVELS:
            raise FieldInvalidError("min_level", f"{request.min_level} is no level")
        page = LogPage()

        async def ask(size: int) -> tuple[Sequence[tuple[int, LogLine]], str]:
            nonlocal page
            page = await self._hall.history.log_lines(
                principal(),
                request.job_id,
                _wanted(request, size),
                attempt=request.attempt,
                min_level=_LEVELS[request.min_level],
                after_number=request.after_number,
            )
            return page.lines, page.token

        async def encode(lines: Sequence[tuple[int, LogLine]]) -> list[job_pb2.LogEntry]:
            return [log_line_out(line, number=number, attempt=page.attempt) for number, line in lines]

        entries, token = await page_that_fits(ask, encode, page_size_in(request.page_size))
        return job_service_pb2.ListJobLogsResponse(
            log_entries=entries, next_page_token=token, dropped_count=page.dropped_count
        )

    async def ListItemErrors(
        self, request: job_service_pb2.ListItemErrorsRequest, context: Context
    ) -> job_service_pb2.ListItemErrorsResponse:
        _check_skip(request)
        checks.check_range(request.attempt, 0, ATTEMPTS_MAX, "attempt")
        page = ItemErrorPage()

        async def ask(size: int) -> tuple[Sequence[ItemError], str]:
            nonlocal page
            page = await self._hall.history.item_errors(
                principal(), request.job_id, _wanted(request, size), attempt=request.attempt
            )
            return page.errors, page.token

        async def encode(errors: Sequence[ItemError]) -> list[job_pb2.ItemError]:
            return item_errors_out(errors)

        errors, token = await page_that_fits(ask, encode, page_size_in(request.page_size))
        return job_service_pb2.ListItemErrorsResponse(
            item_errors=errors, next_page_token=token, total_count=page.total_count
        )

    async def ListJobEvents(
        self, request: job_service_pb2.ListJobEventsRequest, context: Context
    ) -> job_service_pb2.ListJobEventsResponse:
        return await serve_events(self._hall, request)


class _Listed(Protocol):
    """What the requests for a page have in common."""

    page_token: str
    skip: int


def _check_skip(request: _Listed) -> None:
    checks.check_range(request.skip, 0, SKIP_MAX, "skip")


def _wanted(request: _Listed, size: int) -> Wanted:
    return Wanted(size, request.page_token, request.skip)
