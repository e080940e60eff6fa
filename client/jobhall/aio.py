"""The async client; `client` is its twin, and what both do stands in `procedures` and `calls`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self, Unpack

import grpc.aio

from jobhall import calls_types, calls_workers
from jobhall.aio_admin import AsyncAdminApi
from jobhall.aio_batches import AsyncBatchesApi
from jobhall.aio_driver import AsyncDriver
from jobhall.aio_jobs import AsyncJobsApi
from jobhall.aio_workers import AsyncWorkersApi
from jobhall.calls import Call
from jobhall.calls_types import Schema
from jobhall.channel import resolve_endpoint
from jobhall.filters import TypeSelection
from jobhall.model_types import JobDefaults, JobType
from jobhall.procedures import Procedures
from jobhall.retry import CallRetry
from jobhall.server_info import ServerInfo
from jobhall.spans import seconds
from jobhall.waiting import Waiting
from jobhall.waits import Waits


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
        api_key: str | None = None,
        timeout: float | timedelta = 30.0,
        retry: CallRetry | None = None,
        channel: grpc.aio.Channel | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        endpoint = resolve_endpoint(address, token, api_key)
        policy = retry or CallRetry()
        self._driver = AsyncDriver(endpoint, channel, sleep)
        self._procedures = Procedures(policy, seconds(timeout, field="timeout"), clock)
        waiting = Waiting(self._procedures, Waits(policy))
        self.jobs = AsyncJobsApi(self._driver, self._procedures, waiting)
        self.batches = AsyncBatchesApi(self._driver, self._procedures, waiting)
        self.types = AsyncJobTypesApi(self._driver, self._procedures)
        self.workers = AsyncWorkersApi(self._driver, self._procedures)
        self.admin = AsyncAdminApi(self._driver, self._procedures)

    @property
    def address(self) -> str:
        """Where the server is."""
        return self._driver.endpoint.address

    async def server_info(self) -> ServerInfo:
        """What the server says of itself: version, engine, schema.

        info = await client.server_info()
        print(info.version, info.engine)
        """
        return await self._driver.run(self._procedures.call(calls_workers.server_info()))

    async def close(self) -> None:
        """Closes the connection; watches end, calls under way fail."""
        await self._driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncJobTypesApi:
    """`client.types`: registers, reads, pauses and deletes job types."""

    def __init__(self, driver: AsyncDriver, procedures: Procedures) -> None:
        self._driver = driver
        self._procedures = procedures

    async def register(
        self,
        name: str,
        *,
        namespace: str = "",
        description: str = "",
        parameters_schema: Schema = None,
        result_schema: Schema = None,
        defaults: JobDefaults | None = None,
        replace: bool = False,
    ) -> JobType:
        """Registers a job type, so that jobs of it may be submitted before any worker serves it.

        await client.types.register("resize", parameters_schema={"type": "object", "required": ["file"]})
        """
        call = calls_types.register_job_type(
            name,
            namespace=namespace,
            description=description,
            parameters_schema=parameters_schema,
            result_schema=result_schema,
            defaults=defaults,
            replace=replace,
        )
        return await self._call(call)

    async def get(self, name: str, *, namespace: str = "") -> JobType:
        """Reads one job type, the namespace's own or else the one of `@global`; raises JobTypeNotFoundError.

        print((await client.types.get("resize")).parameters_schema)
        """
        return await self._call(calls_types.get_job_type(name, namespace=namespace))

    def list(self, **selection: Unpack[TypeSelection]) -> AsyncIterator[JobType]:
        """Goes through the job types of the namespace and those of `@global`, by name.

        print([job_type.name async for job_type in client.types.list()])
        """
        return self._driver.pages(self._procedures, partial(calls_types.list_job_types, selection))

    async def delete(self, name: str, *, namespace: str = "", etag: str = "") -> JobType:
        """Deletes a job type and returns it as it last was; raises JobTypeInUseError while jobs of it wait or run.

        await client.types.delete("resize")
        """
        return await self._call(calls_types.delete_job_type(name, namespace=namespace, etag=etag))

    async def pause(self, name: str, *, namespace: str = "") -> JobType:
        """Hands out no more jobs of the type; submits are accepted, and what runs goes on.

        await client.types.pause("resize")
        """
        return await self._call(calls_types.pause_job_type(name, namespace=namespace))

    async def resume(self, name: str, *, namespace: str = "") -> JobType:
        """Ends a pause.

        await client.types.resume("resize")
        """
        return await self._call(calls_types.resume_job_type(name, namespace=namespace))

    async def _call(self, call: Call[JobType]) -> JobType:
        return await self._driver.run(self._procedures.call(call))
