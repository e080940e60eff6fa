"""The fast path of submitting, for threads: concurrent submits merged into few messages; `aio_submit_stream` is its
twin.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from types import TracebackType
from typing import Any, Self, Unpack

import grpc

from jobhall.calls import SUBMIT_STREAM, SubmitOptions
from jobhall.channel import Endpoint
from jobhall.errors import ApiError, Code
from jobhall.limits import STREAM_SUBMIT_UNACKED_MAX
from jobhall.retry import CallRetry
from jobhall.submission import Submission, Submitted
from jobhall.submit_queue import SubmitQueue, settle, stream_closed
from jobhall.v1 import job_service_pb2 as jobs_pb2
from jobhall.wire_errors import error_from_call
from jobhall.wire_submissions import submission_to_wire


class SubmitStream:
    """Submits jobs one by one, from any number of threads, over one stream.

    What is submitted while a message is on its way travels in the next one. After a disconnect whatever was not
    answered is sent again, under the same ids. Leaving the block waits for all answers.
    """

    def __init__(self, channel: grpc.Channel, endpoint: Endpoint, policy: CallRetry) -> None:
        self._open = channel.stream_stream(
            SUBMIT_STREAM,
            request_serializer=jobs_pb2.SubmitJobStreamRequest.SerializeToString,
            response_deserializer=jobs_pb2.SubmitJobStreamResponse.FromString,
        )
        self._endpoint = endpoint
        self._policy = policy
        self._changed = threading.Condition()
        """Guards the queue; told when there is something to send, room for more, or an end."""
        self._filled = threading.Event()
        self._queue: SubmitQueue[Future[Submitted]] = SubmitQueue(self._filled)
        self._closed = threading.Event()
        self._stream: Any = None
        self._runner: threading.Thread | None = None

    def submit(self, job_type: str, parameters: Any = None, **options: Unpack[SubmitOptions]) -> Submitted:
        """Submits a job; when this returns the job is durable. Arguments and errors as those of `jobs.submit`.

        It waits for the answer: to be quick, submit from many threads, or use `submit_soon`.
        """
        self._check_thread()
        return self.submit_soon(Submission(job_type, parameters, **options)).result()

    def submit_soon(self, submission: Submission) -> Future[Submitted]:
        """Queues a submit; the future tells when the job is durable, or why it was refused.

        It returns at once, unless 10,000 submits wait for their answers; then it waits for room.
        """
        message = submission_to_wire(submission)
        future: Future[Submitted] = Future()
        # What is on its way cannot be called back.
        future.set_running_or_notify_cancel()
        if self._runner is not None and not self._runner.is_alive() and not self._closed.is_set():
            raise RuntimeError("the submit stream is in another process, which this one was forked from; open another")
        with self._changed:
            if threading.current_thread() is not self._runner:
                # A callback of a future submits from the thread that makes the room.
                self._changed.wait_for(self._has_room)
            if self._runner is None or self._closed.is_set():
                raise RuntimeError("the submit stream is not open: use it in `with`")
            self._queue.put(message, future)
            self._changed.notify_all()
        return future

    def drain(self) -> None:
        """Waits until every submit so far is answered, well or badly."""
        self._check_thread()
        with self._changed:
            pending = self._queue.futures()
        wait(pending)

    def __enter__(self) -> Self:
        self._closed.clear()
        self._runner = threading.Thread(target=self._run, name="jobhall-submits", daemon=True)
        self._runner.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        try:
            if error is None:
                self.drain()
        finally:
            self._closed.set()
            self._wake()
            if (stream := self._stream) is not None:
                stream.cancel()
            self._runner.join()

    def _run(self) -> None:
        """Keeps a stream open while there is something to send; one that broke is opened again after a while."""
        failures = 0
        try:
            while self._something_to_send(self._closed):
                answered = self._queue.answered
                error = self._run_one_stream()
                failures = 1 if self._queue.answered > answered else failures + 1
                with self._changed:
                    self._queue.rewind()
                delay = self._policy.delay_seconds(error, attempt=failures, remaining_seconds=None)
                if delay is None:
                    self._give_up(error)
                    failures = 0
                else:
                    self._closed.wait(delay)
        finally:
            # Nobody waits for an answer that cannot come, whatever ended the thread.
            self._closed.set()
            self._give_up(stream_closed())

    def _run_one_stream(self) -> ApiError:
        over = threading.Event()
        try:
            self._stream = stream = self._open(self._requests(over), metadata=self._endpoint.metadata)
        except ValueError:
            # What gRPC says of a channel that was closed, and with it the client.
            self._closed.set()
            return stream_closed()
        if self._closed.is_set():
            stream.cancel()
        try:
            for response in stream:
                with self._changed:
                    answers = self._queue.take(response.outcomes)
                    self._changed.notify_all()
                settle(answers)
        except grpc.RpcError as failure:
            return error_from_call(failure, address=self._endpoint.address)
        finally:
            over.set()
            self._wake()
            stream.cancel()
        return ApiError("the server ended the submit stream", code=Code.UNAVAILABLE)

    def _requests(self, over: threading.Event) -> Iterator[jobs_pb2.SubmitJobStreamRequest]:
        """What gRPC's own thread writes, message by message, until the stream is over."""
        while self._something_to_send(over):
            with self._changed:
                request = None if over.is_set() else self._queue.next_request()
            if request is not None:
                yield request

    def _something_to_send(self, end: threading.Event) -> bool:
        """Waits for it; False where the end came first."""
        with self._changed:
            self._changed.wait_for(lambda: end.is_set() or self._filled.is_set())
        return not end.is_set()

    def _has_room(self) -> bool:
        return len(self._queue) < STREAM_SUBMIT_UNACKED_MAX or self._closed.is_set()

    def _give_up(self, error: ApiError) -> None:
        with self._changed:
            futures = self._queue.give_up()
            self._changed.notify_all()
        for future in futures:
            future.set_exception(error)

    def _check_thread(self) -> None:
        if threading.current_thread() is self._runner:
            raise RuntimeError(
                "a callback of a submit cannot wait for an answer, as it runs where they come: submit_soon"
            )

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
