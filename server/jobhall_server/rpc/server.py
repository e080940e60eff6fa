"""The grpc.aio server: options, services, health and reflection, and the address it listens on."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, cast

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from jobhall.errors import JobhallError
from jobhall.limits import KEEPALIVE_INTERVAL_ACCEPTED, MESSAGE_BYTES_RECEIVED_MAX
from jobhall.v1 import admin_service_pb2 as admin_pb2
from jobhall.v1 import admin_service_pb2_grpc as admin_grpc
from jobhall.v1 import batch_service_pb2 as batch_pb2
from jobhall.v1 import batch_service_pb2_grpc as batch_grpc
from jobhall.v1 import job_service_pb2 as jobs_pb2
from jobhall.v1 import job_service_pb2_grpc as jobs_grpc
from jobhall.v1 import job_type_service_pb2 as types_pb2
from jobhall.v1 import job_type_service_pb2_grpc as types_grpc
from jobhall.v1 import worker_service_pb2 as workers_pb2
from jobhall.v1 import worker_service_pb2_grpc as workers_grpc
from jobhall_server.hall.hall import Hall
from jobhall_server.rpc.admin import About, AdminServicer
from jobhall_server.rpc.batches import BatchServicer
from jobhall_server.rpc.caller import Authenticator
from jobhall_server.rpc.interceptor import Edge
from jobhall_server.rpc.job_types import JobTypeServicer
from jobhall_server.rpc.jobs import JobServicer
from jobhall_server.rpc.policy import check_complete
from jobhall_server.rpc.workers import WorkerServicer

_PENDING_CALLS_MAX = 20_000
_LAST_WORDS_SECONDS = 5.0
"""For handlers that were cancelled at the end of the grace to detach their sessions."""
_FILES = (jobs_pb2, types_pb2, workers_pb2, batch_pb2, admin_pb2)
_REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"

OPTIONS: tuple[tuple[str, int], ...] = (
    # On by default, and then a second server binds the same port silently.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_RECEIVED_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_RECEIVED_MAX),
    # The default of 300 s answers healthy clients, which ping each 30 s, with GOAWAY.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", int(KEEPALIVE_INTERVAL_ACCEPTED.total_seconds() * 1000)),
    ("grpc.keepalive_permit_without_calls", 1),
    # With the defaults more than about 1,000 calls that arrive at once are cancelled at random.
    ("grpc.server.max_pending_requests", _PENDING_CALLS_MAX),
    ("grpc.server.max_pending_requests_hard_limit", _PENDING_CALLS_MAX),
    # Half-open connections are found by pings of our own.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # What counts for a ping that is under way already, of whichever kind; the default of 60 s would outlast the other.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)


class ListenError(JobhallError):
    """The address cannot be listened on; the message says which and what to do."""


class RpcServer:
    """The gRPC side of the server, from `start` to `stop`."""

    def __init__(self, hall: Hall, about: About, *, authenticator: Authenticator, with_reflection: bool) -> None:
        self._edge = Edge(authenticator)
        self._server = grpc.aio.server(interceptors=[self._edge], options=OPTIONS)
        self._health = health.aio.HealthServicer()
        self._services = [file.DESCRIPTOR.services_by_name.values() for file in _FILES]
        self.names = tuple(service.full_name for services in self._services for service in services)
        self._add_services(hall, about)
        methods = [method for services in self._services for service in services for method in service.methods]
        check_complete(f"/{method.containing_service.full_name}/{method.name}" for method in methods)
        if with_reflection:
            self._add_reflection()

    async def start(self, listen: str) -> str:
        """Listen, and answer the address with the port that it has now; ListenError when that cannot be."""
        host, _, _ = listen.rpartition(":")
        _check_free(listen)
        port = self._server.add_insecure_port(listen)
        await self._server.start()
        for name in ("", *self.names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return f"{host}:{port}"

    async def leave(self) -> None:
        """Health says NOT_SERVING from here on, so that nobody sends new calls."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_seconds: float) -> None:
        """End what only waits, let the rest end within the grace, cancel what is left."""
        # A turn of the loop first: watchers of the health service see NOT_SERVING before their stream ends.
        await asyncio.sleep(0)
        self._edge.drain()
        stopping = asyncio.ensure_future(self._server.stop(grace_seconds))
        deserted = asyncio.ensure_future(self._edge.deserted())
        await asyncio.wait({stopping, deserted}, return_when=asyncio.FIRST_COMPLETED)
        deserted.cancel()
        if not stopping.done():
            await self._server.stop(0)
        await stopping
        await self._edge.emptied(within_seconds=_LAST_WORDS_SECONDS)

    def _add_services(self, hall: Hall, about: About) -> None:
        server = self._server
        jobs_grpc.add_JobServiceServicer_to_server(JobServicer(hall), server)
        types_grpc.add_JobTypeServiceServicer_to_server(JobTypeServicer(hall), server)
        workers = WorkerServicer(hall)
        workers_grpc.add_WorkerServiceServicer_to_server(workers, server)
        batch_grpc.add_BatchServiceServicer_to_server(BatchServicer(hall), server)
        admin = AdminServicer(about, hall)
        admin_grpc.add_AdminServiceServicer_to_server(admin, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)

    def _add_reflection(self) -> None:
        names = (*self.names, health.SERVICE_NAME, reflection.SERVICE_NAME, _REFLECTION_V1)
        servicer = reflection.aio.ReflectionServicer(names, pool=cast("Any", _Symbols()))
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, self._server)
        # The package ships v1alpha only; v1 has the same messages under another name.
        handler = grpc.stream_stream_rpc_method_handler(
            cast("Any", servicer.ServerReflectionInfo),
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        handlers = {"ServerReflectionInfo": handler}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_REFLECTION_V1, handlers),))


class _Symbols:
    """The pool of the generated code, which of itself knows no file of a method: `grpcurl describe` asks for those."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:  # noqa: N802 - the pool's name
        for name in (symbol, symbol.rpartition(".")[0]):
            with suppress(KeyError):
                return self._pool.FindFileContainingSymbol(name)
        raise KeyError(symbol)


def _check_free(listen: str) -> None:
    """Ask the kernel first: it says why an address cannot be had, and gRPC writes to stderr by itself."""
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, place = found[0]
        with socket.socket(family, kind, protocol) as probe:
            # As gRPC does: connections of a server that has just ended do not stand in the way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen()
    except OSError as error:
        raise ListenError(
            f"cannot listen on {listen} ({error.strerror}): stop the program that does, or name another address "
            "with --listen or JOBHALL_LISTEN"
        ) from None
