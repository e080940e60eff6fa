"""What the server tells a worker, frames → pb2. Assignments are the hot path."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import Any

import jobhall
from jobhall.limits import (
    CAPACITY_MAX,
    ITEM_ERRORS_KEPT_MAX,
    LOG_LINE_BYTES_MAX,
    LOG_LINES_KEPT_MAX,
    MESSAGE_BYTES_MAX,
    NAMESPACE_DEFAULT,
    PAYLOAD_BYTES_MAX,
    PROTOCOL_VERSION,
    STREAM_MESSAGE_BYTES_TARGET,
)
from jobhall.v1 import task_pb2, worker_service_pb2
from jobhall.v1.worker_service_pb2 import WorkResponse
from jobhall.wire_errors import status_from_error
from jobhall_server.domain.rules import Rules, rules_of
from jobhall_server.domain.session import Disposition
from jobhall_server.hall.frames import (
    Ack,
    Assignment,
    Assignments,
    Cancel,
    CancelCause,
    Cancels,
    DrainReason,
    FrameOut,
    HeartbeatReply,
    HeldDecision,
    Rejection,
    ServerDrain,
    StreamSettings,
    Welcome,
)
from jobhall_server.rpc.convert import duration, payload_out, progress_out, timestamp
from jobhall_server.rpc.convert_jobs import file_out, trace_out

_PROGRESS_INTERVAL_SECONDS = 0.1
_REJECTION_BYTES_ABOUT = 400
_DISPOSITIONS = MappingProxyType(
    {
        Disposition.KEEP: worker_service_pb2.HELD_TASK_DISPOSITION_KEEP,
        Disposition.LOST: worker_service_pb2.HELD_TASK_DISPOSITION_LOST,
        Disposition.CANCEL: worker_service_pb2.HELD_TASK_DISPOSITION_CANCEL,
    }
)
_CAUSES = MappingProxyType(
    {
        CancelCause.REQUESTED: task_pb2.CANCEL_CAUSE_REQUESTED,
        CancelCause.RUN_TIMEOUT: task_pb2.CANCEL_CAUSE_RUN_TIMEOUT,
        CancelCause.PROGRESS_TIMEOUT: task_pb2.CANCEL_CAUSE_PROGRESS_TIMEOUT,
    }
)
_DRAIN_REASONS = MappingProxyType(
    {
        DrainReason.SERVER_STOPPING: worker_service_pb2.DRAIN_REASON_SERVER_STOPPING,
        DrainReason.REAUTHENTICATE: worker_service_pb2.DRAIN_REASON_REAUTHENTICATE,
        DrainReason.WORKER_DRAIN: worker_service_pb2.DRAIN_REASON_WORKER_DRAIN,
    }
)


class FrameWriter:
    """Turns the frames of one stream into messages. `malformed` are items that `convert_work_in` refused."""

    def __init__(self, *, server_version: str = jobhall.__version__, replica_id: str = "") -> None:
        self.malformed: list[Rejection] = []
        self._server_version = server_version
        self._replica_id = replica_id

    def messages(self, frames: Iterable[FrameOut]) -> Iterator[WorkResponse]:
        """The messages for these frames, in their order."""
        for frame in frames:
            match frame:
                case Assignments():
                    yield WorkResponse(task_assignments=_assignments(frame))
                case Ack():
                    yield from self._ack(frame)
                case HeartbeatReply():
                    yield WorkResponse(heartbeat_reply=_heartbeat_reply(frame))
                case Cancels():
                    yield WorkResponse(cancel_tasks=_cancels(frame.tasks))
                case Welcome():
                    yield WorkResponse(welcome=self._welcome(frame))
                case ServerDrain():
                    yield WorkResponse(drain=_server_drain(frame))

    def _welcome(self, frame: Welcome) -> worker_service_pb2.Welcome:
        return worker_service_pb2.Welcome(
            session_id=frame.session_id,
            resume_token=frame.resume_token,
            epoch=frame.epoch,
            held_tasks=[_decision(decision) for decision in frame.held],
            settings=_settings(frame.settings),
            server_version=self._server_version,
            replica_id=self._replica_id,
            server_time=timestamp(time.time_ns() // 1000),
            protocol_version=PROTOCOL_VERSION,
        )

    def _ack(self, frame: Ack) -> Iterator[WorkResponse]:
        rejections = [*frame.rejections]
        if self.malformed:
            rejections.extend(item for item in self.malformed if item.seq <= frame.through_seq)
            self.malformed = [item for item in self.malformed if item.seq > frame.through_seq]
        ack = worker_service_pb2.Ack(dropped_progress_lease_tokens=frame.bad_progress)
        size = 0
        for rejection in rejections:
            if size and size + _REJECTION_BYTES_ABOUT > STREAM_MESSAGE_BYTES_TARGET:
                # What it rejects is dealt with; `through_seq` follows with the last part.
                yield WorkResponse(ack=ack)
                ack, size = worker_service_pb2.Ack(), 0
            ack.rejections.add(
                seq=rejection.seq, lease_token=rejection.token, status=status_from_error(rejection.error)
            )
            size += _REJECTION_BYTES_ABOUT
        ack.through_seq = frame.through_seq
        yield WorkResponse(ack=ack)


def _assignments(frame: Assignments) -> worker_service_pb2.TaskAssignments:
    message = worker_service_pb2.TaskAssignments(assignments_seq=frame.number)
    for assignment in frame.tasks:
        _add_task(message.tasks, assignment)
    return message


def task_out(assignment: Assignment) -> task_pb2.TaskAssignment:
    """The task, alone."""
    response = worker_service_pb2.TaskAssignments()
    _add_task(response.tasks, assignment)
    return response.tasks[0]


def _add_task(tasks: Any, assignment: Assignment) -> None:
    job = assignment.claimed
    task = tasks.add()
    # Field by field: keywords take half as long again.
    task.lease_token = assignment.token
    task.job_id = job.job_id
    task.job_type = assignment.job_type
    task.attempt = job.attempt
    task.max_attempts = job.max_attempts
    task.fence = job.lease.fence
    task.owner = job.owner
    created = task.create_time
    created.seconds, rest = divmod(job.created_at, 1_000_000)
    created.nanos = rest * 1000
    parameters = job.parameters
    if parameters is not None:
        if type(parameters.content) is str and not parameters.content_type:
            task.parameters.json = parameters.content
        else:
            task.parameters.CopyFrom(payload_out(parameters))
    if assignment.namespace != NAMESPACE_DEFAULT:
        task.namespace = assignment.namespace
    if job.priority:
        task.priority = job.priority
    if job.organization_id:
        task.organization_id = job.organization_id
    if job.labels:
        task.labels.update(json.loads(job.labels))
    if job.path:
        task.path = job.path
    if job.file_name is not None or job.file_size is not None:
        task.file_info.CopyFrom(file_out(job.file_name, job.file_size))
    if job.checkpoint is not None:
        task.checkpoint.CopyFrom(payload_out(job.checkpoint))
        if job.progress is not None:
            task.progress.CopyFrom(progress_out(job.progress, as_reported=True))
    if job.rules is not None:
        _add_timeouts(task, rules_of(job.rules))
    if job.batch_id:
        task.batch_id = job.batch_id
    if job.trace is not None:
        task.trace_context.CopyFrom(trace_out(job.trace))


def _add_timeouts(task: task_pb2.TaskAssignment, rules: Rules) -> None:
    if rules.run_timeout_us is not None:
        task.run_timeout.CopyFrom(duration(rules.run_timeout_us / 1e6))
    if rules.progress_timeout_us is not None:
        task.progress_timeout.CopyFrom(duration(rules.progress_timeout_us / 1e6))


def _decision(decision: HeldDecision) -> worker_service_pb2.HeldTaskDecision:
    cancel = decision.cancel
    return worker_service_pb2.HeldTaskDecision(
        lease_token=decision.token,
        disposition=_DISPOSITIONS[decision.disposition],
        cancel=cancel_out(cancel) if cancel is not None else None,
    )


def _cancels(cancels: Iterable[Cancel]) -> worker_service_pb2.CancelTasks:
    return worker_service_pb2.CancelTasks(cancels=[cancel_out(cancel) for cancel in cancels])


def _heartbeat_reply(frame: HeartbeatReply) -> worker_service_pb2.HeartbeatReply:
    return worker_service_pb2.HeartbeatReply(
        number=frame.number,
        lost_lease_tokens=frame.lost,
        cancels=[cancel_out(cancel) for cancel in frame.cancels],
        server_time=timestamp(time.time_ns() // 1000),
    )


def _server_drain(frame: ServerDrain) -> worker_service_pb2.ServerDrain:
    return worker_service_pb2.ServerDrain(
        reason=_DRAIN_REASONS[frame.reason],
        reconnect_within=duration(frame.within_seconds),
        message=frame.message,
    )


def cancel_out(cancel: Cancel) -> task_pb2.CancelTask:
    """The word to stop a task."""
    return task_pb2.CancelTask(
        lease_token=cancel.token,
        cause=_CAUSES[cancel.cause],
        reason=cancel.reason,
        grace=duration(cancel.grace_seconds),
    )


def _settings(settings: StreamSettings) -> worker_service_pb2.WorkSettings:
    return worker_service_pb2.WorkSettings(
        heartbeat_interval=duration(settings.heartbeat_seconds),
        session_ttl=duration(settings.session_ttl_seconds),
        accept_timeout=duration(settings.accept_seconds),
        cancel_grace=duration(settings.cancel_grace_seconds),
        drain_timeout=duration(settings.drain_seconds),
        progress_interval=duration(_PROGRESS_INTERVAL_SECONDS),
        unacked_items_max=settings.unacked_items_max,
        unacked_bytes_max=settings.unacked_bytes_max,
        message_bytes_max=MESSAGE_BYTES_MAX,
        message_bytes_target=settings.message_bytes,
        payload_bytes_max=PAYLOAD_BYTES_MAX,
        tasks_max=CAPACITY_MAX,
        item_errors_max=ITEM_ERRORS_KEPT_MAX,
        log_entries_max=LOG_LINES_KEPT_MAX,
        log_entry_bytes_max=LOG_LINE_BYTES_MAX,
    )
