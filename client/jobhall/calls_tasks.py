"""Calls of a worker without a stream: it claims, reports and says that it lives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from jobhall.calls import Call, unary
from jobhall.filters import each
from jobhall.misfits import names_misfits
from jobhall.model_tasks import Claim, HeartbeatAnswer, ReportAnswer
from jobhall.reports import TaskReport
from jobhall.v1 import worker_service_pb2 as workers_pb2
from jobhall.wire_tasks import claim_from_wire, heartbeat_from_wire, report_answer_from_wire, reports_to_wire
from jobhall.wire_values import int32, span_to_wire
from jobhall.wire_workers import runtime_to_wire
from jobhall.worker_info import RuntimeInfo

T = TypeVar("T")

# --- as a program without a stream says it, in dataclasses ---


@names_misfits
def claim(
    job_types: Iterable[str],
    *,
    job_ids: Iterable[str],
    namespaces: Iterable[str],
    session_id: str,
    worker_name: str,
    tasks_max: int,
    timeout: float | timedelta | None,
    lease: float | timedelta | None,
    accept: bool,
    labels: Mapping[str, str],
    runtime: RuntimeInfo | None,
) -> Call[Claim]:
    """Claims tasks, waiting for the first one as long as it is told."""
    request = workers_pb2.ClaimTasksRequest(
        session_id=session_id,
        namespaces=each(namespaces, field="namespaces"),
        worker_name=worker_name,
        job_types=each(job_types, field="job_types"),
        job_ids=each(job_ids, field="job_ids"),
        tasks_max=int32(tasks_max, field="tasks_max"),
        timeout=span_to_wire(timeout, field="timeout"),
        lease_duration=span_to_wire(lease, field="lease"),
        accept=accept,
        labels=labels,
        runtime=None if runtime is None else runtime_to_wire(runtime),
    )
    return _claim(request, claim_from_wire)


@names_misfits
def report(session_id: str, reports: Iterable[TaskReport]) -> Call[ReportAnswer]:
    """Reports on tasks; the answer names what was not taken."""
    said = tuple(reports)
    return _report(reports_to_wire(session_id, said), lambda it: report_answer_from_wire(it, said))


@names_misfits
def beat(session_id: str, lease_tokens: Iterable[bytes]) -> Call[HeartbeatAnswer]:
    """Says that a session lives and what it holds; the answer names what it does not hold any more."""
    request = workers_pb2.HeartbeatRequest(session_id=session_id, lease_tokens=lease_tokens)
    return _beat(request, heartbeat_from_wire)


# --- on the wire, where tasks live as messages ---


def claim_tasks(request: workers_pb2.ClaimTasksRequest) -> Call[workers_pb2.ClaimTasksResponse]:
    """Claims tasks, waiting for the first one as long as the request says."""
    return _claim(request, lambda it: it)


def report_tasks(request: workers_pb2.ReportTasksRequest) -> Call[workers_pb2.ReportTasksResponse]:
    """Reports on tasks; the answer names what was not taken."""
    return _report(request, lambda it: it)


def heartbeat(request: workers_pb2.HeartbeatRequest) -> Call[workers_pb2.HeartbeatResponse]:
    """Says that a session lives and what it holds; the answer names what it does not hold any more."""
    return _beat(request, lambda it: it)


def _claim(request: workers_pb2.ClaimTasksRequest, decode: Callable[[Any], T]) -> Call[T]:
    held_seconds = request.timeout.ToTimedelta().total_seconds()
    return unary("WorkerService", request, workers_pb2.ClaimTasksResponse, decode, held_seconds=held_seconds)


def _report(request: workers_pb2.ReportTasksRequest, decode: Callable[[Any], T]) -> Call[T]:
    return unary("WorkerService", request, workers_pb2.ReportTasksResponse, decode)


def _beat(request: workers_pb2.HeartbeatRequest, decode: Callable[[Any], T]) -> Call[T]:
    return unary("WorkerService", request, workers_pb2.HeartbeatResponse, decode)
