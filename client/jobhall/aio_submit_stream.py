"""The fast path of submitting, async: concurrent submits merged into few messages; `submit_stream` is its twin."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self, Unpack

import grpc.aio

from jobhall.calls import SUBMIT_STREAM, SubmitOptions
from jobhall.channel import Endpoint
from jobhall.errors import ApiError, Code
from jobhall.retry import CallRetry
from jobhall.submission import Submission, Submitted
from jobhall.submit_queue import SubmitQueue, settle, stream_closed
from jobhall.v1 import job_service_pb2 as jobs_pb2
from jobhall.wire_errors import error_from_call
from jobhall.wire_submissions import submission_to_wire

_Stream = grpc.aio.StreamStreamCall[Any, Any]


class AsyncSubmitStream:
    """Submits jobs one by one, from any number of tasks of one loop, over one stream.

    What is submitted in one turn of the loop travels in one message. After a disconnect whatever was not answered is
    sent again, under the same ids. Leaving the block waits for all answers.
    """

    def __init__(self, channel: grpc.aio.Channel, endpoint: Endpoint, policy: CallRetry) -> None:
        self._open = channel.stream_stream(
            SUBMIT_STREAM,
            request_serializer=jobs_pb2.SubmitJobStreamRequest.SerializeToString,
            response_deserializer=jobs_pb2.SubmitJobStreamResponse.FromString,
        )
        self._endpoint = endpoint
        self._policy = policy
        self._filled = asyncio.Event()
        self._queue: SubmitQueue[asyncio.Future[Submitted]] = SubmitQueue(self._filled)
        self._runner: asyncio.Task[None] | None = None

    async def submit(self, job_type: str, parameters: Any = None, **options: Unpack[SubmitOptions]) -> Submitted:
        """Submits a job; when this returns the job is durable. Arguments and errors as those of `jobs.submit`."""
        return await self.submit_soon(Submission(job_type, parameters, **options))

    def submit_soon(self, submission: Submission) -> asyncio.Future[Submitted]:
        """Queues a submit and returns at once; the future tells when the job is durable, or why it was refused."""
        if self._runner is None or self._runner.done():
            raise RuntimeError("the submit stream is not open: use it in `async with`")
        message = submission_to_wire(submission)
        future: asyncio.Future[Submitted] = asyncio.get_running_loop().create_future()
        self._queue.put(message, future)
        return future

    async def drain(self) -> None:
        """Waits until every submit so far is answered, well or badly."""
        if pending := self._queue.futures():
            await asyncio.wait(pending)

    async def __aenter__(self) -> Self:
        self._runner = asyncio.create_task(self._run(), name="jobhall submit stream")
        # Nobody waits for an answer that cannot come, whatever ended the task, and be it before its first step.
        self._runner.add_done_callback(lambda _: self._give_up(stream_closed()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        try:
            if error is None:
                await self.drain()
        finally:
            self._runner.cancel()
            await asyncio.wait([self._runner])

    async def _run(self) -> None:
        """Keeps a stream open while there is something to send; one that broke is opened again after a while."""
        failures = 0
        while True:
            await self._filled.wait()
            answered = self._queue.answered
            error = await self._run_one_stream()
            failures = 1 if self._queue.answered > answered else failures + 1
            self._queue.rewind()
            delay = self._policy.delay_seconds(error, attempt=failures, remaining_seconds=None)
            if delay is None:
                self._give_up(error)
                failures = 0
            else:
                await asyncio.sleep(delay)

    async def _run_one_stream(self) -> ApiError:
        stream = self._open(metadata=self._endpoint.metadata)
        writer = asyncio.create_task(self._write(stream), name="jobhall submit writer")
        try:
            async for response in stream:
                settle(self._queue.take(response.outcomes))
        except grpc.aio.AioRpcError as failure:
            return error_from_call(failure, address=self._endpoint.address)
        finally:
            writer.cancel()
            stream.cancel()
            await asyncio.wait([writer])
        return ApiError("the server ended the submit stream", code=Code.UNAVAILABLE)

    async def _write(self, stream: _Stream) -> None:
        while True:
            await self._filled.wait()
            request = self._queue.next_request()
            if request is None:
                continue
            try:
                await stream.write(request)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # The stream broke, and its reader is told why.

    def _give_up(self, error: ApiError) -> None:
        for future in self._queue.give_up():
            future.set_exception(error)
