"""The unary twins of the worker stream, pb2 ↔ hall: ClaimTasks, ReportTasks and Heartbeat."""

from __future__ import annotations

from collections.abc import Sequence

from jobhall.errors import FieldInvalidError
from jobhall.limits import (
    BATCH_GET_MAX,
    CAPACITY_MAX,
    CLAIM_TASKS_MAX,
    CLAIM_TIMEOUT_MAX,
    LEASE_DURATION_MAX,
    LEASE_DURATION_MIN,
    MESSAGE_BYTES_MAX,
    NAMESPACE_ANY,
    NAMESPACE_DEFAULT,
    WORKER_JOB_TYPES_MAX,
    WORKER_NAME_BYTES_MAX,
    WORKER_NAMESPACES_MAX,
)
from jobhall.v1 import task_pb2, worker_service_pb2
from jobhall.wire_errors import status_from_error
from jobhall_server.hall import checks
from jobhall_server.hall.frames import Cancel, Rejection
from jobhall_server.hall.unary import Asked, Unary
from jobhall_server.rpc.caller import principal
from jobhall_server.rpc.convert import seconds_of, timestamp
from jobhall_server.rpc.convert_work_in import logs_in, runtime_in, updates_in
from jobhall_server.rpc.convert_work_out import cancel_out, task_out

_REPORTS_MAX = 5000
"""Of one call, so that the answer can be received though every one of them is refused."""
_WORKER_NAME = "unary"
"""Of a worker that does not say its name."""


async def claim_tasks(
    unary: Unary, request: worker_service_pb2.ClaimTasksRequest
) -> worker_service_pb2.ClaimTasksResponse:
    """Decode, claim, encode; FieldInvalidError names what is out of bounds."""
    asked = _asked(request)
    given = await unary.claim(principal(), asked, bytes_max=MESSAGE_BYTES_MAX)
    response = worker_service_pb2.ClaimTasksResponse(
        session_id=given.session_id, tasks=[task_out(task) for task in given.tasks]
    )
    if given.expires_at is not None:
        response.expire_time.CopyFrom(timestamp(given.expires_at))
    return response


async def report_tasks(
    unary: Unary, request: worker_service_pb2.ReportTasksRequest
) -> worker_service_pb2.ReportTasksResponse:
    """Decode, report, encode; what is malformed is rejected alone."""
    checks.check_count(len(request.updates) + len(request.logs), _REPORTS_MAX, "updates")
    session_id = checks.job_id(request.session_id, "session_id") if request.session_id else ""
    # A caller may give several the same number: inside, each has its own.
    said: list[task_pb2.TaskLog | task_pb2.TaskUpdate] = [*request.logs, *request.updates]
    seqs = [item.seq for item in said]
    for place, item in enumerate(said):
        item.seq = place
    malformed: list[Rejection] = []
    # Logs first: after its outcome a task has no more to say.
    reports = [*logs_in(request.logs, malformed), *updates_in(request.updates, malformed)]
    reported = await unary.report(session_id, reports)
    # What was malformed counted as a sign of life, which may have come too late as well: once is enough.
    rejections = {report.seq: Rejection(report.seq, report.token, error) for report, error in reported.refused}
    rejections |= {item.seq: item for item in malformed}
    response = worker_service_pb2.ReportTasksResponse(
        rejections=[
            task_pb2.Rejection(seq=seqs[place], lease_token=item.token, status=status_from_error(item.error))
            for place, item in sorted(rejections.items())
        ],
        dropped_progress_lease_tokens=reported.bad_progress,
        cancels=_cancels_out(reported.cancels),
    )
    if reported.expires_at is not None:
        response.expire_time.CopyFrom(timestamp(reported.expires_at))
    return response


async def beat(unary: Unary, request: worker_service_pb2.HeartbeatRequest) -> worker_service_pb2.HeartbeatResponse:
    """Decode, beat, encode."""
    checks.check_count(len(request.lease_tokens), CAPACITY_MAX, "lease_tokens")
    beaten = await unary.beat(checks.job_id(request.session_id, "session_id"), tuple(request.lease_tokens))
    response = worker_service_pb2.HeartbeatResponse(lost_lease_tokens=beaten.lost, cancels=_cancels_out(beaten.cancels))
    if beaten.expires_at is not None:
        response.expire_time.CopyFrom(timestamp(beaten.expires_at))
    return response


def _asked(request: worker_service_pb2.ClaimTasksRequest) -> Asked:
    checks.check_range(request.tasks_max, 0, CLAIM_TASKS_MAX, "tasks_max")
    checks.check_count(len(request.job_ids), BATCH_GET_MAX, "job_ids")
    checks.check_count(len(request.job_types), WORKER_JOB_TYPES_MAX, "job_types")
    checks.check_count(len(request.namespaces), WORKER_NAMESPACES_MAX, "namespaces")
    checks.check_text(request.worker_name, WORKER_NAME_BYTES_MAX, "worker_name")
    checks.check_labels(request.labels, "labels")
    if not request.job_types and not request.job_ids:
        raise FieldInvalidError("job_types", "name at least one, or job_ids: else there is nothing to claim")
    for place, job_type in enumerate(request.job_types):
        checks.check_job_type(job_type, f"job_types[{place}]")
    for place, namespace in enumerate(request.namespaces):
        if namespace != NAMESPACE_ANY:
            checks.one_namespace(namespace, f"namespaces[{place}]", or_global=True)
    return Asked(
        session_id=checks.job_id(request.session_id, "session_id") if request.session_id else "",
        namespaces=tuple(request.namespaces) or (NAMESPACE_DEFAULT,),
        worker_name=request.worker_name or _WORKER_NAME,
        job_types=tuple(request.job_types),
        job_ids=tuple(checks.job_id(job_id, f"job_ids[{place}]") for place, job_id in enumerate(request.job_ids)),
        tasks_max=request.tasks_max or 1,
        timeout_seconds=_timeout(request),
        lease_us=_lease_us(request),
        accept=request.accept,
        labels=dict(request.labels),
        runtime=runtime_in(request.runtime),
    )


def _timeout(request: worker_service_pb2.ClaimTasksRequest) -> float:
    seconds, longest = seconds_of(request.timeout, "timeout"), CLAIM_TIMEOUT_MAX.total_seconds()
    if seconds > longest:
        raise FieldInvalidError("timeout", f"is {seconds:g} s; the longest is {longest:g} s: claim again after it")
    return seconds


def _lease_us(request: worker_service_pb2.ClaimTasksRequest) -> int | None:
    if not request.HasField("lease_duration"):
        return None
    seconds = seconds_of(request.lease_duration, "lease_duration")
    shortest, longest = LEASE_DURATION_MIN.total_seconds(), LEASE_DURATION_MAX.total_seconds()
    if not shortest <= seconds <= longest:
        raise FieldInvalidError("lease_duration", f"is {seconds:g} s; it must lie in {shortest:g}..{longest:g} s")
    return round(seconds * 1e6)


def _cancels_out(cancels: Sequence[Cancel]) -> list[task_pb2.CancelTask]:
    return [cancel_out(cancel) for cancel in cancels]
