"""Workers and the server itself on the wire: what is told of them, as dataclasses."""

from __future__ import annotations

from jobhall.server_info import ServerInfo
from jobhall.states import WorkerState
from jobhall.v1 import admin_service_pb2, worker_pb2
from jobhall.wire_values import enum_from_wire, time_from_wire
from jobhall.worker_info import RuntimeInfo, WorkerInfo


def worker_from_wire(message: worker_pb2.Worker) -> WorkerInfo:
    """The worker as the server sees it."""
    return WorkerInfo(
        id=message.id,
        name=message.name,
        state=enum_from_wire(WorkerState, message.state),
        namespaces=tuple(message.namespaces),
        job_types=tuple(message.job_types),
        labels=dict(message.labels),
        capacity=message.capacity.tasks_max,
        capacity_by_type={bound.job_type: bound.tasks_max for bound in message.capacity.types},
        held_count=message.held_count,
        last_seen_at=time_from_wire(message, "last_seen_time"),
        created_at=time_from_wire(message, "create_time"),
        expires_at=time_from_wire(message, "expire_time"),
        runtime=_runtime_from_wire(message.runtime),
        epoch=message.epoch,
        replica_id=message.replica_id,
        unary=message.unary,
    )


def server_info_from_wire(message: admin_service_pb2.ServerInfo) -> ServerInfo:
    """What a server says of itself."""
    return ServerInfo(
        version=message.version,
        protocol_version_min=message.protocol_version_min,
        protocol_version_max=message.protocol_version_max,
        engine=message.engine,
        engine_version=message.engine_version,
        schema_revision=message.schema_revision,
        replica_id=message.replica_id,
        features=tuple(message.features),
        server_time=time_from_wire(message, "server_time"),
    )


def runtime_to_wire(runtime: RuntimeInfo) -> worker_pb2.RuntimeInfo:
    """What a worker says that it runs on."""
    return worker_pb2.RuntimeInfo(
        language=runtime.language,
        language_version=runtime.language_version,
        sdk_name=runtime.sdk_name,
        sdk_version=runtime.sdk_version,
        hostname=runtime.hostname,
        process_id=runtime.process_id,
        platform=runtime.platform,
    )


def _runtime_from_wire(message: worker_pb2.RuntimeInfo) -> RuntimeInfo:
    return RuntimeInfo(
        language=message.language,
        language_version=message.language_version,
        sdk_name=message.sdk_name,
        sdk_version=message.sdk_version,
        hostname=message.hostname,
        process_id=message.process_id,
        platform=message.platform,
    )
