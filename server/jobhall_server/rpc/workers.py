"""WorkerService: the Work stream, one task that reads and one that writes; its unary twins; workers for operators."""

# The names and signatures of methods are those of the generated base class.
# ruff: noqa: N802, ARG002

from __future__ import annotations

from collections.abc import Sequence

import grpc

from jobhall.errors import FilterUnsupportedError, ProtocolViolationError
from jobhall.limits import SKIP_MAX
from jobhall.v1 import worker_pb2, worker_service_pb2
from jobhall.v1.worker_service_pb2 import WorkRequest
from jobhall.v1.worker_service_pb2_grpc import WorkerServiceServicer
from jobhall_server.hall import checks
from jobhall_server.hall.connection import Connection
from jobhall_server.hall.frames import FrameIn, Reports
from jobhall_server.hall.hall import Hall
from jobhall_server.hall.views import SessionView
from jobhall_server.rpc.caller import principal
from jobhall_server.rpc.convert_rules import span_in
from jobhall_server.rpc.convert_work_in import capacity_in, drain_in, heartbeat_in, hello_in, logs_in, updates_in
from jobhall_server.rpc.convert_work_out import FrameWriter
from jobhall_server.rpc.convert_workers import worker_out
from jobhall_server.rpc.interceptor import Context
from jobhall_server.rpc.pages import page_size_in, page_that_fits
from jobhall_server.rpc.streams import Stream, until_either_ends
from jobhall_server.rpc.unary import beat, claim_tasks, report_tasks
from jobhall_server.rpc.worker_filters import parse_worker_filter

_NEWEST_FIRST = ("", "create_time desc")


class WorkerServicer(WorkerServiceServicer):
    """What is not here, the generated base class answers: UNIMPLEMENTED."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall

    async def Work(self, _requests: object, stream: Stream) -> None:  # type: ignore[override]  # it writes itself
        connection = self._hall.workers.connect(principal())
        await _WorkStream(connection, stream, FrameWriter(replica_id=str(self._hall.store.replica_key))).run()

    async def ClaimTasks(
        self, request: worker_service_pb2.ClaimTasksRequest, context: Context
    ) -> worker_service_pb2.ClaimTasksResponse:
        return await claim_tasks(self._hall.unary, request)

    async def ReportTasks(
        self, request: worker_service_pb2.ReportTasksRequest, context: Context
    ) -> worker_service_pb2.ReportTasksResponse:
        return await report_tasks(self._hall.unary, request)

    async def Heartbeat(
        self, request: worker_service_pb2.HeartbeatRequest, context: Context
    ) -> worker_service_pb2.HeartbeatResponse:
        return await beat(self._hall.unary, request)

    async def GetWorker(
        self, request: worker_service_pb2.GetWorkerRequest, context: Context
    ) -> worker_service_pb2.GetWorkerResponse:
        session = await self._hall.roster.get(request.worker_id)
        return worker_service_pb2.GetWorkerResponse(worker=self._worker(session))

    async def ListWorkers(
        self, request: worker_service_pb2.ListWorkersRequest, context: Context
    ) -> worker_service_pb2.ListWorkersResponse:
        if request.order_by not in _NEWEST_FIRST:
            raise FilterUnsupportedError("only `create_time desc` is supported yet", field="order_by")
        where = parse_worker_filter(request.filter, checks.listed_namespace(request.namespace, "namespace"))
        checks.check_range(request.skip, 0, SKIP_MAX, "skip")

        async def ask(size: int) -> tuple[list[SessionView], str]:
            return await self._hall.roster.page(
                where, page_size=size, page_token_text=request.page_token, skip=request.skip
            )

        async def encode(sessions: Sequence[SessionView]) -> list[worker_pb2.Worker]:
            return [self._worker(session) for session in sessions]

        workers, token = await page_that_fits(ask, encode, page_size_in(request.page_size))
        return worker_service_pb2.ListWorkersResponse(workers=workers, next_page_token=token)

    async def DrainWorker(
        self, request: worker_service_pb2.DrainWorkerRequest, context: Context
    ) -> worker_service_pb2.DrainWorkerResponse:
        timeout = span_in(request.timeout, "timeout") / 1e6 if request.HasField("timeout") else None
        session = await self._hall.roster.drain(request.worker_id, timeout_seconds=timeout, reason=request.reason)
        return worker_service_pb2.DrainWorkerResponse(worker=self._worker(session))

    def _worker(self, session: SessionView) -> worker_pb2.Worker:
        return worker_out(session, ttl_us=round(self._hall.settings.stream.session_ttl_seconds * 1e6))


class _WorkStream:
    def __init__(self, connection: Connection, stream: Stream, writer: FrameWriter) -> None:
        self._connection = connection
        self._stream = stream
        self._writer = writer

    async def run(self) -> None:
        """Until the worker half-closes, the hall ends the stream, or either side fails."""
        try:
            await until_either_ends(self._stream, self._write(), self._read())
        finally:
            await self._connection.close()

    async def _read(self) -> None:
        while (request := await self._stream.read()) is not grpc.aio.EOF:
            self._connection.receive(self._frame(request))

    async def _write(self) -> None:
        while frames := await self._connection.outgoing():
            for message in self._writer.messages(frames):
                await self._stream.write(message)

    def _frame(self, request: WorkRequest) -> FrameIn:
        match request.WhichOneof("request"):
            case "task_updates":
                updates = request.task_updates
                reports = updates_in(updates.updates, self._writer.malformed)
                return Reports(reports, request.ByteSize(), updates.assignments_seen)
            case "task_logs":
                return Reports(logs_in(request.task_logs.logs, self._writer.malformed), request.ByteSize())
            case "heartbeat":
                return heartbeat_in(request.heartbeat)
            case "capacity":
                return capacity_in(request.capacity)
            case "hello":
                return hello_in(request.hello)
            case "drain":
                return drain_in(request.drain)
            case _:
                raise ProtocolViolationError("a message of the stream is empty: one of its kinds must be set")
