"""SubmitJobStream: one task reads, one writes, and messages in flight run side by side so that commits are shared."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc

from jobhall.errors import ApiError, FieldInvalidError, PayloadTooLargeError, ProtocolViolationError
from jobhall.limits import STREAM_SUBMIT_MAX, STREAM_SUBMIT_UNACKED_MAX
from jobhall.v1 import job_pb2
from jobhall.v1.job_service_pb2 import SubmitJobStreamRequest, SubmitJobStreamResponse
from jobhall.wire_errors import status_from_error
from jobhall_server.domain.access import Principal
from jobhall_server.hall.jobs import Jobs
from jobhall_server.hall.submits import Submission, Submitted
from jobhall_server.rpc.caller import principal
from jobhall_server.rpc.convert_submissions import submission_in
from jobhall_server.rpc.streams import Stream, cancel_all, until_either_ends

IN_FLIGHT_MAX = 16
"""Messages whose submits wait for their commit; the next one is read when one of them is done."""


async def serve_submits(jobs: Jobs, stream: Stream) -> None:
    """Serve the stream until the client half-closes and everything is answered."""
    submits = _SubmitStream(jobs, stream, principal())
    try:
        await until_either_ends(stream, submits.write(), submits.read())
    finally:
        await submits.close()


class _SubmitStream:
    def __init__(self, jobs: Jobs, stream: Stream, caller: Principal) -> None:
        self._jobs = jobs
        self._stream = stream
        self._caller = caller
        self._next_seq = 1
        self._unanswered = 0
        self._in_flight: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._answers: asyncio.Queue[SubmitJobStreamResponse | Exception] = asyncio.Queue()

    async def read(self) -> None:
        """Read messages; each becomes a task that submits its list. Ends when the last answer is written."""
        while (request := await self._stream.read()) is not grpc.aio.EOF:
            self._check(request)
            while len(self._in_flight) >= IN_FLIGHT_MAX or self._unanswered >= STREAM_SUBMIT_UNACKED_MAX:
                self._room.clear()
                await self._room.wait()
            self._unanswered += len(request.jobs)
            task = asyncio.create_task(self._submit(request), name="submit-stream")
            self._in_flight.add(task)
            task.add_done_callback(self._done)
        if self._in_flight:
            await asyncio.wait(self._in_flight)
        await self._answers.join()

    async def write(self) -> None:
        """Send the answers as they come."""
        while True:
            answer = await self._answers.get()
            if isinstance(answer, Exception):
                raise answer
            await self._stream.write(answer)
            # Only what is written is answered: a client that reads nothing is read no further.
            self._unanswered -= len(answer.outcomes)
            self._room.set()
            self._answers.task_done()

    async def close(self) -> None:
        """Leave nothing running; what was handed to the hall may still be committed, and the client asks again."""
        await cancel_all(self._in_flight)

    def _check(self, request: SubmitJobStreamRequest) -> None:
        if request.first_seq != self._next_seq:
            raise ProtocolViolationError(f"submit {self._next_seq} expected next, {request.first_seq} came")
        if not 1 <= len(request.jobs) <= STREAM_SUBMIT_MAX:
            raise ProtocolViolationError(f"a message has {len(request.jobs)} submits; 1 to {STREAM_SUBMIT_MAX} may be")
        self._next_seq += len(request.jobs)

    async def _submit(self, request: SubmitJobStreamRequest) -> None:
        try:
            answers = await self._answer_each([_read(job) for job in request.jobs])
            self._answers.put_nowait(_response(request.first_seq, answers))
        except Exception as bug:  # noqa: BLE001 - raised again by the writer, which ends the stream
            self._answers.put_nowait(bug)

    def _done(self, task: asyncio.Task[None]) -> None:
        # Room is told of when it is there: a task that does so itself wakes the reader while it still counts.
        self._in_flight.discard(task)
        self._room.set()

    async def _answer_each(self, submissions: Sequence[Submission | ApiError]) -> Sequence[Submitted | ApiError]:
        """A full queue or a busy database refuses these submits, not the stream."""
        try:
            return await self._jobs.submit_each(self._caller, submissions)
        except ApiError as error:
            return [submission if isinstance(submission, ApiError) else error for submission in submissions]


def _read(job: job_pb2.JobSubmission) -> Submission | ApiError:
    try:
        return submission_in(job, "job")
    except (FieldInvalidError, PayloadTooLargeError) as error:
        return error


def _response(first_seq: int, answers: Sequence[Submitted | ApiError]) -> SubmitJobStreamResponse:
    response = SubmitJobStreamResponse()
    add = response.outcomes.add
    for seq, answer in enumerate(answers, first_seq):
        outcome = add(seq=seq)
        if isinstance(answer, ApiError):
            outcome.error.CopyFrom(status_from_error(answer))
        else:
            submitted = outcome.submitted
            submitted.job_id = answer.job_id
            submitted.revision = answer.revision
            if answer.existing:
                submitted.existing = True
    return response
