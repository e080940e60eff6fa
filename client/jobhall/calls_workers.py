"""Calls about workers, and about the server itself."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.message import Message

from jobhall.calls import Call, Page, unary
from jobhall.filters import WorkerSelection, check_names, worker_filter_text
from jobhall.misfits import names_misfits
from jobhall.server_info import ServerInfo
from jobhall.v1 import admin_service_pb2 as admin_pb2
from jobhall.v1 import worker_service_pb2 as workers_pb2
from jobhall.wire_values import span_to_wire
from jobhall.wire_workers import server_info_from_wire, worker_from_wire
from jobhall.worker_info import WorkerInfo


@names_misfits
def get_worker(worker_id: str) -> Call[WorkerInfo]:
    """Reads one worker."""
    return _worker_call(workers_pb2.GetWorkerRequest(worker_id=worker_id), workers_pb2.GetWorkerResponse)


@names_misfits
def list_workers(selection: WorkerSelection, *, page_token: str) -> Call[Page[WorkerInfo]]:
    """Reads one page of the workers that are there."""
    check_names(selection, WorkerSelection)
    request = workers_pb2.ListWorkersRequest(
        namespace=selection.get("namespace", ""), page_token=page_token, filter=worker_filter_text(selection)
    )
    return unary(
        "WorkerService",
        request,
        workers_pb2.ListWorkersResponse,
        lambda answer: Page([worker_from_wire(worker) for worker in answer.workers], answer.next_page_token),
    )


@names_misfits
def drain_worker(worker_id: str, *, timeout: float | timedelta | None, reason: str) -> Call[WorkerInfo]:
    """Lets a worker finish what it holds, and leave; the answer is the worker, DRAINING."""
    request = workers_pb2.DrainWorkerRequest(
        worker_id=worker_id, timeout=span_to_wire(timeout, field="timeout"), reason=reason
    )
    return _worker_call(request, workers_pb2.DrainWorkerResponse)


def server_info() -> Call[ServerInfo]:
    """Asks the server what it is."""
    return unary(
        "AdminService",
        admin_pb2.GetServerInfoRequest(),
        admin_pb2.GetServerInfoResponse,
        lambda answer: server_info_from_wire(answer.server_info),
    )


def _worker_call(request: Message, response: type[Message]) -> Call[WorkerInfo]:
    return unary("WorkerService", request, response, lambda answer: worker_from_wire(answer.worker))
