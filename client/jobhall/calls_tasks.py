"""Calls of a worker without a stream: it claims, reports and says that it lives."""

from __future__ import annotations

from jobhall.calls import Call, unary
from jobhall.v1 import worker_service_pb2 as workers_pb2


def claim_tasks(request: workers_pb2.ClaimTasksRequest) -> Call[workers_pb2.ClaimTasksResponse]:
    """Claims tasks, waiting for the first one as long as the request says."""
    held_seconds = request.timeout.ToTimedelta().total_seconds()
    return unary("WorkerService", request, workers_pb2.ClaimTasksResponse, lambda it: it, held_seconds=held_seconds)


def report_tasks(request: workers_pb2.ReportTasksRequest) -> Call[workers_pb2.ReportTasksResponse]:
    """Reports on tasks; the answer names what was not taken."""
    return unary("WorkerService", request, workers_pb2.ReportTasksResponse, lambda it: it)


def heartbeat(request: workers_pb2.HeartbeatRequest) -> Call[workers_pb2.HeartbeatResponse]:
    """Says that a session lives and what it holds; the answer names what it does not hold any more."""
    return unary("WorkerService", request, workers_pb2.HeartbeatResponse, lambda it: it)
