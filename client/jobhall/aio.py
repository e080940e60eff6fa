"""The async client; `client` is its twin, and what both do stands in `procedures` and `calls`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

import grpc.aio

from jobhall import calls_workers
from jobhall.aio_admin import AsyncAdminApi
from jobhall.aio_batches import AsyncBatchesApi
from jobhall.aio_driver import AsyncDriver
from jobhall.aio_jobs import AsyncJobsApi
from jobhall.aio_types import AsyncJobTypesApi
from jobhall.aio_workers import AsyncWorkersApi
from jobhall.channel import resolve_endpoint
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
