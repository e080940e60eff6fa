"""Calls by the bare stubs: what they answer, what they are refused with, and a worker's end of the Work stream."""

from collections.abc import Awaitable
from typing import Any

import grpc

from jobhall.errors import ApiError
from jobhall.v1 import job_pb2, job_service_pb2, job_type_service_pb2, worker_service_pb2
from jobhall.wire_errors import error_from_call
from tests.support.servers import Running

ANSWER_SECONDS = 10.0


async def refusal(call: Awaitable[object]) -> ApiError:
    """The error that the call ends with, as the SDK's class; a call that succeeds fails the test."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error_from_call(error, address="the server")
    raise AssertionError(f"answered instead of refusing: {answer}")


async def register(server: Running, name: str = "score", namespace: str = "", *, metadata: Any = ()) -> None:
    request = job_type_service_pb2.RegisterJobTypeRequest()
    request.job_type.name = name
    request.job_type.namespace = namespace
    await server.job_types.RegisterJobType(request, metadata=metadata)


def submission(job_type: str = "score", *, json: str | None = None, **fields: Any) -> job_pb2.JobSubmission:
    message = job_pb2.JobSubmission(job_type=job_type, **fields)
    if json is not None:
        message.parameters.json = json
    return message


async def submit(server: Running, job_type: str = "score", *, json: str | None = None, **fields: Any) -> job_pb2.Job:
    request = job_service_pb2.SubmitJobRequest(job=submission(job_type, json=json, **fields))
    return (await server.jobs.SubmitJob(request)).job


async def get(server: Running, job_id: str, **fields: Any) -> job_pb2.Job:
    return (await server.jobs.GetJob(job_service_pb2.GetJobRequest(job_id=job_id, **fields))).job


def untimed(job: job_pb2.Job) -> job_pb2.Job:
    """The job without what grows while one looks at it."""
    untimed = job_pb2.Job()
    untimed.CopyFrom(job)
    untimed.ClearField("timing")
    return untimed


class RawWorker:
    """A worker that speaks the protocol by hand: no threads, no reconnecting, one message at a time."""

    def __init__(self, server: Running, *job_types: str, tasks_max: int = 10) -> None:
        self._stream = server.workers.Work(timeout=30)
        self._job_types = job_types or ("score",)
        self._tasks_max = tasks_max
        self._seq = 0
        self._beats = 0
        self.assignments_seen = 0

    async def hello(self, **fields: Any) -> worker_service_pb2.Welcome:
        hello = worker_service_pb2.Hello(
            **{"worker_name": "by-hand", "job_types": self._job_types, "protocol_version": 1, **fields}
        )
        hello.capacity.tasks_max = self._tasks_max
        await self.send(hello=hello)
        return (await self.next("welcome")).welcome

    async def send(self, **message: Any) -> None:
        await self._stream.write(worker_service_pb2.WorkRequest(**message))

    async def beat(self, *tokens: bytes) -> worker_service_pb2.HeartbeatReply:
        self._beats += 1
        beat = worker_service_pb2.Heartbeat(
            number=self._beats, lease_tokens=tokens, assignments_seen=self.assignments_seen
        )
        await self.send(heartbeat=beat)
        return (await self.next("heartbeat_reply")).heartbeat_reply

    async def report(self, token: bytes, **update: Any) -> worker_service_pb2.Ack:
        """Send one numbered report and wait until it is acked."""
        self._seq += 1
        updates = [{"seq": self._seq, "lease_token": token, **update}]
        await self.send(task_updates={"updates": updates})
        while (ack := (await self.next("ack")).ack).through_seq < self._seq:
            pass
        return ack

    async def log(self, token: bytes, first_number: int, *lines: str) -> worker_service_pb2.Ack:
        self._seq += 1
        entries = [{"message": line} for line in lines]
        log = {"seq": self._seq, "lease_token": token, "first_number": first_number, "log_entries": entries}
        await self.send(task_logs={"logs": [log]})
        return (await self.next("ack")).ack

    async def tasks(self) -> list[Any]:
        """The tasks of the next assignment."""
        message = (await self.next("task_assignments")).task_assignments
        self.assignments_seen = message.assignments_seq
        return list(message.tasks)

    async def next(self, kind: str) -> worker_service_pb2.WorkResponse:
        """The next message of that kind; others are passed over."""
        while True:
            message: Any = await self._stream.read()
            assert message is not grpc.aio.EOF, f"the stream ended OK while {kind} was awaited"
            if message.WhichOneof("response") == kind:
                return message  # type: ignore[no-any-return]

    def cut(self) -> None:
        """Go away without a word."""
        self._stream.cancel()

    async def end(self) -> ApiError | None:
        """Half-close, and answer what the stream ends with: None is OK."""
        await self._stream.done_writing()
        return await self.ended()

    async def ended(self) -> ApiError | None:
        """What the stream ends with, by itself."""
        try:
            while await self._stream.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError as error:
            return error_from_call(error, address="the server")
        return None
