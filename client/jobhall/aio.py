"""The async client; `client` is its twin, and what both do stands in `procedures` and `calls`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc
import grpc.aio

from jobhall import calls
from jobhall.calls import Call, Page, PageOptions, SubmitOptions
from jobhall.channel import CHANNEL_OPTIONS, Endpoint, resolve_endpoint
from jobhall.errors import ApiError
from jobhall.filters import WorkerSelection
from jobhall.model import ItemError, Job, JobPage, Jobs, JobType, LogEntry, ServerInfo, Submission, WatchUpdate
from jobhall.procedures import Pause, Procedure, Procedures, client_closed
from jobhall.retry import CallRetry
from jobhall.spans import seconds
from jobhall.submit_stream import SubmitStream
from jobhall.v1 import job_service_pb2 as jobs_pb2
from jobhall.watching import WatchOptions, WatchPlace
from jobhall.wire_errors import error_from_call
from jobhall.worker_info import WorkerInfo

T = TypeVar("T")


class AsyncClient:
    """A connection to a jobhall server, for the tasks of one event loop; arguments and errors as those of `Client`.

        async with AsyncClient() as client:
            job = await client.jobs.submit("resize", {"file": "cat.png"})
            print((await client.jobs.wait_for_job(job.id, timeout=60)).result)

    The channel is opened by the first call, in the loop that makes it.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        timeout: float | timedelta = 30.0,
        retry: CallRetry | None = None,
        channel: grpc.aio.Channel | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        endpoint = resolve_endpoint(address, token)
        self._driver = _Driver(endpoint, channel, sleep)
        self._procedures = Procedures(retry or CallRetry(), seconds(timeout, field="timeout"), clock)
        self.jobs = AsyncJobsApi(self._driver, self._procedures)
        self.types = AsyncJobTypesApi(self._driver, self._procedures)
        self.workers = AsyncWorkersApi(self._driver, self._procedures)

    @property
    def address(self) -> str:
        """Where the server is."""
        return self._driver.endpoint.address

    async def server_info(self) -> ServerInfo:
        """What the server says of itself: version, engine, schema."""
        return await self._driver.run(self._procedures.call(calls.server_info()))

    async def close(self) -> None:
        """Closes the connection; watches end, calls under way fail."""
        await self._driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncJobsApi:
    """`client.jobs`: submits, reads, waits for, watches, cancels, retries and deletes jobs; see `JobsApi`."""

    def __init__(self, driver: _Driver, procedures: Procedures) -> None:
        self._driver = driver
        self._procedures = procedures

    async def submit(self, job_type: str, parameters: Any = None, **options: Unpack[SubmitOptions]) -> Job:
        """Submits a job; when this returns the job is durable."""
        return await self._call(calls.submit_job(Submission(job_type, parameters, **options)))

    async def submit_many(self, submissions: Iterable[Submission]) -> list[Job]:
        """Submits up to 1000 jobs in one transaction: all or, with the first one's error, none."""
        return await self._call(calls.submit_jobs(submissions))

    def submit_stream(self) -> SubmitStream:
        """The fast path for many single submits at once: what waits together travels together.

        async with client.jobs.submit_stream() as stream:
            submitted = await asyncio.gather(*(stream.submit("resize", file) for file in files))
        """
        return SubmitStream(self._driver.channel(), self._driver.endpoint, self._procedures.policy)

    async def get_job(self, job_id: str, *, include_errors: bool = False) -> Job:
        """Reads one job, with its first 100 item errors if asked; raises JobNotFoundError."""
        return await self._call(calls.get_job(job_id, include_errors=include_errors))

    async def get_jobs(self, job_ids: Sequence[str], *, include_errors: bool = False) -> Jobs:
        """Reads any number of jobs, in that order; `missing_ids` names those that are not to be found."""
        return await self._driver.run(self._procedures.get_jobs(job_ids, include_errors=include_errors))

    async def list_jobs(self, **options: Unpack[PageOptions]) -> AsyncIterator[Job]:
        """Goes through all matching jobs, the newest first, briefly; reads the pages as it goes."""
        while True:
            page = await self.list_page(**options)
            for job in page.jobs:
                yield job
            if not page.next_page_token:
                return
            options["page_token"] = page.next_page_token
            options.pop("skip", None)

    async def list_page(self, **options: Unpack[PageOptions]) -> JobPage:
        """Reads one page of that list; a page may be short and yet not be the last."""
        return await self._call(calls.list_jobs(options))

    def item_errors(self, job_id: str) -> AsyncIterator[ItemError]:
        """Goes through the item errors of the latest attempt in their order, as many as the server kept."""
        return self._driver.pages(self._procedures, partial(calls.list_item_errors, job_id))

    def logs(self, job_id: str) -> AsyncIterator[LogEntry]:
        """Goes through the log of the latest attempt in its order, as many lines as the server kept."""
        return self._driver.pages(self._procedures, partial(calls.list_job_logs, job_id))

    async def wait_for_job(
        self,
        job_id: str,
        *,
        timeout: float | timedelta | None = None,
        poll_interval: float | timedelta | None = None,
    ) -> Job:
        """Waits until the job has completed; raises JobFailedError, and JobTimeoutError after `timeout` seconds."""
        procedure = self._procedures.wait_for_job(
            job_id,
            timeout_seconds=None if timeout is None else seconds(timeout, field="timeout"),
            poll_seconds=None if poll_interval is None else seconds(poll_interval, field="poll_interval"),
        )
        return await self._driver.run(procedure)

    async def cancel_job(self, job_id: str, *, reason: str = "", grace: float | timedelta | None = None) -> Job:
        """Cancels a job: it is CANCELLED, or CANCELLING while its worker stops, for `grace` seconds at most."""
        return await self._call(calls.cancel_job(job_id, reason=reason, grace=grace))

    async def retry_job(self, job_id: str) -> Job:
        """Makes a FAILED or CANCELLED job PENDING again, with all its attempts; raises JobTerminalError."""
        return await self._call(calls.retry_job(job_id))

    async def delete_job(self, job_id: str) -> Job:
        """Deletes a job and returns it as it last was; raises JobRunningError while a worker holds it."""
        return await self._call(calls.delete_job(job_id))

    def watch(self, **options: Unpack[WatchOptions]) -> AsyncIterator[WatchUpdate]:
        """Streams what happens to jobs, gap-free and in order; resumes from its cursor after a disconnect."""
        return self._driver.watch(WatchPlace(options, self._procedures.policy))

    async def _call(self, call: Call[T]) -> T:
        return await self._driver.run(self._procedures.call(call))


class AsyncJobTypesApi:
    """`client.types`: registers and reads job types."""

    def __init__(self, driver: _Driver, procedures: Procedures) -> None:
        self._driver = driver
        self._procedures = procedures

    async def register(self, name: str, *, namespace: str = "", description: str = "") -> JobType:
        """Registers a job type, so that jobs of it may be submitted before any worker serves it."""
        call = calls.register_job_type(name, namespace=namespace, description=description)
        return await self._driver.run(self._procedures.call(call))

    async def get(self, name: str, *, namespace: str = "") -> JobType:
        """Reads one job type; raises JobTypeNotFoundError."""
        return await self._driver.run(self._procedures.call(calls.get_job_type(name, namespace=namespace)))

    def list(self, *, namespace: str = "") -> AsyncIterator[JobType]:
        """Goes through the job types of the namespace and those of `@global`, by name."""
        return self._driver.pages(self._procedures, partial(calls.list_job_types, namespace=namespace))


class AsyncWorkersApi:
    """`client.workers`: lists the workers that are there, and sends one away."""

    def __init__(self, driver: _Driver, procedures: Procedures) -> None:
        self._driver = driver
        self._procedures = procedures

    def list(self, **selection: Unpack[WorkerSelection]) -> AsyncIterator[WorkerInfo]:
        """Goes through the matching workers, the newest first; those that have left are not there."""
        return self._driver.pages(self._procedures, partial(calls.list_workers, selection))

    async def get(self, worker_id: str) -> WorkerInfo:
        """Reads one worker by its id, which is its session's; raises WorkerNotFoundError."""
        return await self._driver.run(self._procedures.call(calls.get_worker(worker_id)))

    async def drain(self, worker_id: str, *, timeout: float | timedelta | None = None, reason: str = "") -> WorkerInfo:
        """Lets a worker finish what it holds, and leave; what it holds after `timeout` runs elsewhere."""
        call = calls.drain_worker(worker_id, timeout=timeout, reason=reason)
        return await self._driver.run(self._procedures.call(call))


class _Driver:
    """Does the I/O of the procedures over one channel."""

    def __init__(
        self, endpoint: Endpoint, channel: grpc.aio.Channel | None, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self.endpoint = endpoint
        self._channel = channel
        self._sleep = sleep
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable[Any, Any]] = {}
        self._closed = asyncio.Event()

    def channel(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = _open_channel(self.endpoint)
        return self._channel

    async def run(self, procedure: Procedure[T]) -> T:
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
                await self._sleep(step.seconds)
                outcome = None
            else:
                outcome = await self._send(step.call, step.timeout_seconds)

    async def pages(self, procedures: Procedures, page_call: Callable[..., Call[Page[T]]]) -> AsyncIterator[T]:
        """All entries of a list, page by page; the call takes the page_token."""
        page_token = ""
        while True:
            page = await self.run(procedures.call(page_call(page_token=page_token)))
            for entry in page.entries:
                yield entry
            page_token = page.next_page_token
            if not page_token:
                return

    async def watch(self, place: WatchPlace) -> AsyncIterator[WatchUpdate]:
        open_stream = self.channel().unary_stream(
            calls.WATCH,
            request_serializer=jobs_pb2.WatchJobsRequest.SerializeToString,
            response_deserializer=jobs_pb2.WatchJobsResponse.FromString,
        )
        while not self._closed.is_set():
            error: ApiError | None = None
            stream = open_stream(place.request(), metadata=self.endpoint.metadata)
            try:
                async for response in stream:
                    yield place.take(response)
            except grpc.aio.AioRpcError as failure:
                error = error_from_call(failure, address=self.endpoint.address)
            except asyncio.CancelledError:
                if not self._closed_meanwhile():
                    raise
            finally:
                stream.cancel()
            if self._closed.is_set() or (error is None and place.ends):
                return
            await self._sleep(place.delay_seconds(error))

    async def close(self) -> None:
        self._closed.set()
        if self._channel is not None:
            await self._channel.close()

    async def _send(self, call: Call[Any], timeout_seconds: float) -> Any:
        method = self._methods.get(call.path)
        if method is None:
            method = self._methods[call.path] = self.channel().unary_unary(
                call.path,
                request_serializer=type(call.request).SerializeToString,
                response_deserializer=call.response.FromString,
            )
        try:
            return await method(call.request, timeout=timeout_seconds, metadata=self.endpoint.metadata)
        except grpc.aio.AioRpcError as failure:
            return error_from_call(failure, address=self.endpoint.address)
        except asyncio.CancelledError:
            if not self._closed_meanwhile():
                raise
            return client_closed()

    def _closed_meanwhile(self) -> bool:
        """Whether a CancelledError is of the closed channel, which cancels its calls, and not meant for the task."""
        return self._closed.is_set() and not _cancelling()


def _cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _open_channel(endpoint: Endpoint) -> grpc.aio.Channel:
    if endpoint.secure:
        return grpc.aio.secure_channel(endpoint.address, grpc.ssl_channel_credentials(), options=CHANNEL_OPTIONS)
    return grpc.aio.insecure_channel(endpoint.address, options=CHANNEL_OPTIONS)
