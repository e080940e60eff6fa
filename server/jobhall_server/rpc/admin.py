"""AdminService: what this server is, and jobs from elsewhere."""

# The names and signatures of methods are those of the generated base class.
# ruff: noqa: N802, ARG002

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jobhall
from jobhall.errors import ApiError, Code
from jobhall.limits import (
    BATCH_SUBMIT_MAX,
    MESSAGE_BYTES_MAX,
    PAGE_SIZE_MAX,
    PAYLOAD_BYTES_MAX,
    PROTOCOL_VERSION,
    WAIT_TIMEOUT_MAX,
)
from jobhall.v1 import admin_service_pb2
from jobhall.v1.admin_service_pb2_grpc import AdminServiceServicer
from jobhall_server.hall.hall import Hall
from jobhall_server.hall.views import Retention
from jobhall_server.rpc.caller import principal
from jobhall_server.rpc.convert import duration, timestamp
from jobhall_server.rpc.convert_imports import imported_job_in
from jobhall_server.rpc.convert_jobs import basic_job_out
from jobhall_server.rpc.interceptor import Context


@dataclass(frozen=True, slots=True)
class About:
    """What the composition root knows of the process and its database."""

    started_at: int
    engine: str
    engine_version: str
    schema_revision: str
    features: tuple[str, ...] = ()


class AdminServicer(AdminServiceServicer):
    """What this server cannot do yet, it says in so many words."""

    def __init__(self, about: About, hall: Hall) -> None:
        self._about = about
        self._hall = hall

    async def ImportJobs(
        self, request: admin_service_pb2.ImportJobsRequest, context: Context
    ) -> admin_service_pb2.ImportJobsResponse:
        read = partial(imported_job_in, request.jobs, principal=principal(), now_us=self._hall.clock.now_us())
        imports, count = self._hall.imports, len(request.jobs)
        jobs = await imports.import_jobs(principal(), count, read, validate_only=request.validate_only)
        return admin_service_pb2.ImportJobsResponse(jobs=[basic_job_out(job) for job in jobs])

    async def GetServerInfo(
        self, request: admin_service_pb2.GetServerInfoRequest, context: Context
    ) -> admin_service_pb2.GetServerInfoResponse:
        about, now = self._about, timestamp(self._hall.clock.now_us())
        replica_id = str(self._hall.store.replica_key)
        replica = admin_service_pb2.Replica(
            id=replica_id,
            version=jobhall.__version__,
            start_time=timestamp(about.started_at),
            last_seen_time=now,
        )
        info = admin_service_pb2.ServerInfo(
            version=jobhall.__version__,
            protocol_version_min=PROTOCOL_VERSION,
            protocol_version_max=PROTOCOL_VERSION,
            engine=about.engine,
            engine_version=about.engine_version,
            schema_revision=about.schema_revision,
            replica_id=replica_id,
            replicas=[replica],
            server_time=now,
            features=(*about.features, *self._hall.repairs.features()),
            limits=_limits(self._hall.settings.retention),
        )
        return admin_service_pb2.GetServerInfoResponse(server_info=info)

    async def CreateApiKey(
        self, request: admin_service_pb2.CreateApiKeyRequest, context: Context
    ) -> admin_service_pb2.CreateApiKeyResponse:
        raise _without("API keys")

    async def ListApiKeys(
        self, request: admin_service_pb2.ListApiKeysRequest, context: Context
    ) -> admin_service_pb2.ListApiKeysResponse:
        raise _without("API keys")

    async def RevokeApiKey(
        self, request: admin_service_pb2.RevokeApiKeyRequest, context: Context
    ) -> admin_service_pb2.RevokeApiKeyResponse:
        raise _without("API keys")

    async def ListAuditEntries(
        self, request: admin_service_pb2.ListAuditEntriesRequest, context: Context
    ) -> admin_service_pb2.ListAuditEntriesResponse:
        raise _without("audit")


def _without(what: str) -> ApiError:
    return ApiError(f"this server has no {what} yet", code=Code.UNIMPLEMENTED)


def _limits(keep: Retention) -> admin_service_pb2.ServerLimits:
    return admin_service_pb2.ServerLimits(
        payload_bytes_max=PAYLOAD_BYTES_MAX,
        message_bytes_max=MESSAGE_BYTES_MAX,
        batch_submit_max=BATCH_SUBMIT_MAX,
        page_size_max=PAGE_SIZE_MAX,
        wait_max=duration(WAIT_TIMEOUT_MAX.total_seconds()),
        event_retention=duration(keep.events_us / 1e6),
    )
