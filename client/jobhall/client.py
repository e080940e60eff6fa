"""The blocking client; `aio` is its twin, and what both do stands in `procedures` and `calls`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc

from jobhall import calls
from jobhall.calls import Call, Page, PageOptions, SubmitOptions
from jobhall.channel import CHANNEL_OPTIONS, Endpoint, resolve_endpoint
from jobhall.errors import ApiError
from jobhall.filters import WorkerSelection
from jobhall.model import ItemError, Job, JobPage, Jobs, JobType, LogEntry, ServerInfo, Submission, WatchUpdate
from jobhall.procedures import Pause, Procedure, Procedures, client_closed
from jobhall.retry import CallRetry
from jobhall.spans import seconds
from jobhall.v1 import job_service_pb2 as jobs_pb2
from jobhall.watching import WatchOptions, WatchPlace
from jobhall.wire_errors import error_from_call
from jobhall.worker_info import WorkerInfo

T = TypeVar("T")


class Client:
    """A connection to a jobhall server, for any number of threads.

    `address` is `host:port` (default: JOBHALL_ADDRESS, else 127.0.0.1:50051; `https://` before it means TLS), `token`
    a bearer token (default: JOBHALL_TOKEN), `timeout` bounds each call with all its retries, in seconds. Calls raise
    the classes of `jobhall.errors`; ServerUnreachableError when nobody answers.

        with Client() as client:
            job = client.jobs.submit("resize", {"file": "cat.png"})
            print(client.jobs.wait_for_job(job.id, timeout=60).result)

    `channel`, `clock` (monotonic seconds) and `sleep` are for tests.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        timeout: float | timedelta = 30.0,
        retry: CallRetry | None = None,
        channel: grpc.Channel | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        endpoint = resolve_endpoint(address, token)
        policy = retry or CallRetry()
        self._driver = _Driver(endpoint, channel or _open_channel(endpoint), sleep)
        self._procedures = Procedures(policy, seconds(timeout, field="timeout"), clock)
        self.jobs = JobsApi(self._driver, self._procedures)
        self.types = JobTypesApi(self._driver, self._procedures)
        self.workers = WorkersApi(self._driver, self._procedures)

    @property
    def address(self) -> str:
        """Where the server is."""
        return self._driver.endpoint.address

    def server_info(self) -> ServerInfo:
        """What the server says of itself: version, engine, schema."""
        return self._driver.run(self._procedures.call(calls.server_info()))

    def close(self) -> None:
        """Closes the connection; watches end, calls under way fail."""
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class JobsApi:
    """`client.jobs`: submits, reads, waits for, watches, cancels, retries and deletes jobs."""

    def __init__(self, driver: _Driver, procedures: Procedures) -> None:
        self._driver = driver
        self._procedures = procedures

    def submit(self, job_type: str, parameters: Any = None, **options: Unpack[SubmitOptions]) -> Job:
        """Submits a job; when this returns the job is durable.

        `parameters` is anything that JSON can say, or bytes. Without a `job_id` of your own a fresh one is chosen
        here, so that the retries of this call make one job. Raises JobTypeNotFoundError, which names the nearest
        type, FieldInvalidError and PayloadTooLargeError.
        """
        return self._call(calls.submit_job(Submission(job_type, parameters, **options)))

    def submit_many(self, submissions: Iterable[Submission]) -> list[Job]:
        """Submits up to 1000 jobs in one transaction: all or, with the first one's error, none."""
        return self._call(calls.submit_jobs(submissions))

    def get_job(self, job_id: str, *, include_errors: bool = False) -> Job:
        """Reads one job, with its first 100 item errors if asked; raises JobNotFoundError."""
        return self._call(calls.get_job(job_id, include_errors=include_errors))

    def get_jobs(self, job_ids: Sequence[str], *, include_errors: bool = False) -> Jobs:
        """Reads any number of jobs, in that order; `missing_ids` names those that are not to be found."""
        return self._driver.run(self._procedures.get_jobs(job_ids, include_errors=include_errors))

    def list_jobs(self, **options: Unpack[PageOptions]) -> Iterator[Job]:
        """Goes through all matching jobs, the newest first, briefly; reads the pages as it goes."""
        while True:
            page = self.list_page(**options)
            yield from page.jobs
            if not page.next_page_token:
                return
            options["page_token"] = page.next_page_token
            options.pop("skip", None)

    def list_page(self, **options: Unpack[PageOptions]) -> JobPage:
        """Reads one page of that list; a page may be short and yet not be the last."""
        return self._call(calls.list_jobs(options))

    def item_errors(self, job_id: str) -> Iterator[ItemError]:
        """Goes through the item errors of the latest attempt in their order, as many as the server kept."""
        return self._driver.pages(self._procedures, partial(calls.list_item_errors, job_id))

    def logs(self, job_id: str) -> Iterator[LogEntry]:
        """Goes through the log of the latest attempt in its order, as many lines as the server kept."""
        return self._driver.pages(self._procedures, partial(calls.list_job_logs, job_id))

    def wait_for_job(
        self,
        job_id: str,
        *,
        timeout: float | timedelta | None = None,
        poll_interval: float | timedelta | None = None,
    ) -> Job:
        """Waits until the job has completed, and returns it with its result.

        Raises JobFailedError when it failed or was cancelled, JobTimeoutError after `timeout` seconds (None: never).
        The server answers at the job's end; `poll_interval` is the longest to rely on that before asking again.
        """
        procedure = self._procedures.wait_for_job(
            job_id,
            timeout_seconds=None if timeout is None else seconds(timeout, field="timeout"),
            poll_seconds=None if poll_interval is None else seconds(poll_interval, field="poll_interval"),
        )
        return self._driver.run(procedure)

    def cancel_job(self, job_id: str, *, reason: str = "", grace: float | timedelta | None = None) -> Job:
        """Cancels a job: it is CANCELLED, or CANCELLING while its worker stops. Raises JobTerminalError.

        `grace` is how long the worker may take, in seconds or as a timedelta; None means what the server is set to.
        """
        return self._call(calls.cancel_job(job_id, reason=reason, grace=grace))

    def retry_job(self, job_id: str) -> Job:
        """Makes a FAILED or CANCELLED job PENDING again: its attempts and worker losses start from zero.

        One that has not ended is left as it is; raises JobTerminalError where it is COMPLETED.
        """
        return self._call(calls.retry_job(job_id))

    def delete_job(self, job_id: str) -> Job:
        """Deletes a job and returns it as it last was; raises JobRunningError while a worker holds it."""
        return self._call(calls.delete_job(job_id))

    def watch(self, **options: Unpack[WatchOptions]) -> Iterator[WatchUpdate]:
        """Streams what happens to jobs: every change of state, gap-free and in order, and progress at its best.

        After a disconnect it goes on from its cursor, for ever once it was answered. The first update comes at once,
        then at least one each 10 seconds, empty but for its cursor. Close the iterator to end the watch.
        """
        place = WatchPlace(options, self._procedures.policy)
        return self._driver.watch(place)

    def _call(self, call: Call[T]) -> T:
        return self._driver.run(self._procedures.call(call))


class JobTypesApi:
    """`client.types`: registers and reads job types."""

    def __init__(self, driver: _Driver, procedures: Procedures) -> None:
        self._driver = driver
        self._procedures = procedures

    def register(self, name: str, *, namespace: str = "", description: str = "") -> JobType:
        """Registers a job type, so that jobs of it may be submitted before any worker serves it."""
        call = calls.register_job_type(name, namespace=namespace, description=description)
        return self._driver.run(self._procedures.call(call))

    def get(self, name: str, *, namespace: str = "") -> JobType:
        """Reads one job type; raises JobTypeNotFoundError."""
        return self._driver.run(self._procedures.call(calls.get_job_type(name, namespace=namespace)))

    def list(self, *, namespace: str = "") -> Iterator[JobType]:
        """Goes through the job types of the namespace and those of `@global`, by name."""
        return self._driver.pages(self._procedures, partial(calls.list_job_types, namespace=namespace))


class WorkersApi:
    """`client.workers`: lists the workers that are there, and sends one away."""

    def __init__(self, driver: _Driver, procedures: Procedures) -> None:
        self._driver = driver
        self._procedures = procedures

    def list(self, **selection: Unpack[WorkerSelection]) -> Iterator[WorkerInfo]:
        """Goes through the matching workers, the newest first; those that have left are not there."""
        return self._driver.pages(self._procedures, partial(calls.list_workers, selection))

    def get(self, worker_id: str) -> WorkerInfo:
        """Reads one worker by its id, which is its session's; raises WorkerNotFoundError."""
        return self._driver.run(self._procedures.call(calls.get_worker(worker_id)))

    def drain(self, worker_id: str, *, timeout: float | timedelta | None = None, reason: str = "") -> WorkerInfo:
        """Lets a worker finish what it holds, and leave: it gets no more tasks, and its program is told to stop.

        What it still holds after `timeout`, seconds or a timedelta (None: what the server is set to), is taken from
        it and runs elsewhere. Answers at once, with the worker DRAINING; raises WorkerNotFoundError.
        """
        call = calls.drain_worker(worker_id, timeout=timeout, reason=reason)
        return self._driver.run(self._procedures.call(call))


class _Driver:
    """Does the I/O of the procedures over one channel."""

    def __init__(self, endpoint: Endpoint, channel: grpc.Channel, sleep: Callable[[float], None]) -> None:
        self.endpoint = endpoint
        self._channel = channel
        self._sleep = sleep
        self._methods: dict[str, grpc.UnaryUnaryMultiCallable[Any, Any]] = {}
        self._closed = threading.Event()

    def run(self, procedure: Procedure[T]) -> T:
        outcome: Any = None
        while True:
            try:
                step = procedure.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if self._closed.is_set():
                raise client_closed()
            if isinstance(step, Pause):
                self._sleep(step.seconds)
                outcome = None
            else:
                outcome = self._send(step.call, step.timeout_seconds)

    def pages(self, procedures: Procedures, page_call: Callable[..., Call[Page[T]]]) -> Iterator[T]:
        """All entries of a list, page by page; the call takes the page_token."""
        page_token = ""
        while True:
            page = self.run(procedures.call(page_call(page_token=page_token)))
            yield from page.entries
            page_token = page.next_page_token
            if not page_token:
                return

    def watch(self, place: WatchPlace) -> Iterator[WatchUpdate]:
        open_stream = self._channel.unary_stream(
            calls.WATCH,
            request_serializer=jobs_pb2.WatchJobsRequest.SerializeToString,
            response_deserializer=jobs_pb2.WatchJobsResponse.FromString,
        )
        while not self._closed.is_set():
            error: ApiError | None = None
            stream: Any = open_stream(place.request(), metadata=self.endpoint.metadata)
            try:
                for response in stream:
                    yield place.take(response)
            except grpc.RpcError as failure:
                error = error_from_call(failure, address=self.endpoint.address)
            finally:
                stream.cancel()
            if self._closed.is_set() or (error is None and place.ends):
                return
            self._sleep(place.delay_seconds(error))

    def close(self) -> None:
        self._closed.set()
        self._channel.close()

    def _send(self, call: Call[Any], timeout_seconds: float) -> Any:
        method = self._methods.get(call.path)
        if method is None:
            method = self._methods[call.path] = self._channel.unary_unary(
                call.path,
                request_serializer=type(call.request).SerializeToString,
                response_deserializer=call.response.FromString,
            )
        try:
            return method(call.request, timeout=timeout_seconds, metadata=self.endpoint.metadata)
        except grpc.RpcError as failure:
            return error_from_call(failure, address=self.endpoint.address)
        except ValueError:
            # What gRPC says of a channel that another thread closed meanwhile.
            if not self._closed.is_set():
                raise
            return client_closed()


def _open_channel(endpoint: Endpoint) -> grpc.Channel:
    if endpoint.secure:
        return grpc.secure_channel(endpoint.address, grpc.ssl_channel_credentials(), options=CHANNEL_OPTIONS)
    return grpc.insecure_channel(endpoint.address, options=CHANNEL_OPTIONS)
