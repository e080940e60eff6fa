"""Calls for what is told about jobs beside the jobs themselves: attempts, item errors, logs, counts, explanations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from jobhall.calls import Call, Page, unary
from jobhall.filters import check_names, each
from jobhall.misfits import names_misfits
from jobhall.model import ItemError, LogPage
from jobhall.model_insight import JobAttempt, JobExplanation, JobStats
from jobhall.states import LogLevel
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as jobs_pb2
from jobhall.wire import item_error_from_wire, log_entry_from_wire
from jobhall.wire_insight import attempt_from_wire, explanation_from_wire, stats_from_wire
from jobhall.wire_values import int32, int64


class LogOptions(TypedDict, total=False):
    """Which lines of a job's log."""

    attempt: int
    """Of which attempt; the latest where it is left out."""
    min_level: LogLevel
    """Only lines of at least this level."""
    after_number: int
    """Only lines with a greater number."""


class LogPageOptions(LogOptions, total=False):
    """Which lines, and which page of them."""

    page_size: int
    """1 to 1000; 100 where it is left out."""
    page_token: str
    skip: int
    """How many to pass over first; 0 to 10,000."""


@names_misfits
def list_attempts(job_id: str, *, page_token: str) -> Call[Page[JobAttempt]]:
    """Reads one page of the attempts at a job."""
    return unary(
        "JobService",
        jobs_pb2.ListAttemptsRequest(job_id=job_id, page_token=page_token),
        jobs_pb2.ListAttemptsResponse,
        lambda answer: Page([attempt_from_wire(it) for it in answer.attempts], answer.next_page_token),
    )


@names_misfits
def list_item_errors(job_id: str, *, attempt: int, page_token: str) -> Call[Page[ItemError]]:
    """Reads one page of the item errors of an attempt."""
    return unary(
        "JobService",
        jobs_pb2.ListItemErrorsRequest(job_id=job_id, attempt=int32(attempt, field="attempt"), page_token=page_token),
        jobs_pb2.ListItemErrorsResponse,
        lambda answer: Page([item_error_from_wire(it) for it in answer.item_errors], answer.next_page_token),
    )


@names_misfits
def list_job_logs(job_id: str, options: LogPageOptions) -> Call[LogPage]:
    """Reads one page of the log of an attempt."""
    check_names(options, LogPageOptions)
    request = jobs_pb2.ListJobLogsRequest(
        job_id=job_id,
        page_size=int32(options.get("page_size", 0), field="page_size"),
        page_token=options.get("page_token", ""),
        skip=int32(options.get("skip", 0), field="skip"),
        attempt=int32(options.get("attempt", 0), field="attempt"),
        min_level=job_pb2.LogLevel.ValueType(int(options.get("min_level", 0))),
        after_number=int64(options.get("after_number", 0), field="after_number"),
    )
    return unary(
        "JobService",
        request,
        jobs_pb2.ListJobLogsResponse,
        lambda answer: LogPage(
            tuple(log_entry_from_wire(it) for it in answer.log_entries), answer.next_page_token, answer.dropped_count
        ),
    )


@names_misfits
def get_job_stats(*, namespace: str, job_types: Iterable[str], owner: str) -> Call[JobStats]:
    """Counts jobs by queue and state."""
    request = jobs_pb2.GetJobStatsRequest(
        namespace=namespace, job_types=each(job_types, field="job_types"), owner=owner
    )
    return unary("JobService", request, jobs_pb2.GetJobStatsResponse, stats_from_wire)


@names_misfits
def explain_job(job_id: str) -> Call[JobExplanation]:
    """Asks why a job is not running."""
    return unary(
        "JobService",
        jobs_pb2.ExplainJobRequest(job_id=job_id),
        jobs_pb2.ExplainJobResponse,
        lambda answer: explanation_from_wire(answer.explanation),
    )
