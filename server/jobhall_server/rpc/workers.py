"""WorkerService: the Work stream, one task that reads and one that writes over a connection of the hall."""

# The names and signatures of methods are those of the generated base class.
# ruff: noqa: N802

from __future__ import annotations

import grpc

from jobhall.errors import ProtocolViolationError
from jobhall.v1.worker_service_pb2 import WorkRequest
from jobhall.v1.worker_service_pb2_grpc import WorkerServiceServicer
from jobhall_server.hall.frames import FrameIn, Reports
from jobhall_server.hall.workers import Connection, Workers
from jobhall_server.rpc.caller import principal
from jobhall_server.rpc.convert_work_in import capacity_in, drain_in, heartbeat_in, hello_in, logs_in, updates_in
from jobhall_server.rpc.convert_work_out import FrameWriter
from jobhall_server.rpc.streams import Stream, until_either_ends


class WorkerServicer(WorkerServiceServicer):
    """What is not here, the generated base class answers: UNIMPLEMENTED."""

    def __init__(self, workers: Workers, *, replica_id: str) -> None:
        self._workers = workers
        self._replica_id = replica_id

    async def Work(self, _requests: object, stream: Stream) -> None:  # type: ignore[override]  # it writes itself
        work = _WorkStream(self._workers.connect(principal()), stream, FrameWriter(replica_id=self._replica_id))
        await work.run()


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
                return Reports(updates_in(request.task_updates, self._writer.malformed), request.ByteSize())
            case "task_logs":
                return Reports(logs_in(request.task_logs, self._writer.malformed), request.ByteSize())
            case "heartbeat":
                beat = request.heartbeat
                return heartbeat_in(beat, assignments_seen=self._writer.numbering.seen(beat.assignments_seen))
            case "capacity":
                return capacity_in(request.capacity)
            case "hello":
                return hello_in(request.hello)
            case "drain":
                return drain_in(request.drain)
            case _:
                raise ProtocolViolationError("a message of the stream is empty: one of its kinds must be set")
