"""The blocking client; `aio` is its twin, and what both do stands in `procedures` and `calls`."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

import grpc

from jobhall import calls_workers
from jobhall.channel import resolve_endpoint
from jobhall.client_admin import AdminApi
from jobhall.client_batches import BatchesApi
from jobhall.client_driver import Driver, open_channel
from jobhall.client_jobs import JobsApi
from jobhall.client_types import JobTypesApi
from jobhall.client_workers import WorkersApi
from jobhall.procedures import Procedures
from jobhall.retry import CallRetry
from jobhall.server_info import ServerInfo
from jobhall.spans import seconds
from jobhall.waiting import Waiting
from jobhall.waits import Waits


class Client:
    """A connection to a jobhall server, for any number of threads.

    `address` is `host:port` (default: JOBHALL_ADDRESS, else 127.0.0.1:50051; `https://` before it means TLS), `token`
    a bearer token (default: JOBHALL_TOKEN), or `api_key` what a program has in its place. `timeout` bounds each call
    with all its retries, in seconds. Calls raise the classes of `jobhall.errors`; ServerUnreachableError when nobody
    answers.

        with Client() as client:
            job = client.jobs.submit("resize", {"file": "cat.png"})
            print(client.jobs.wait_for_job(job.id, timeout=60).result)

    It belongs to the process that made it; after a fork make another. `channel`, `clock` (monotonic seconds) and
    `sleep` are for tests.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        api_key: str | None = None,
        timeout: float | timedelta = 30.0,
        retry: CallRetry | None = None,
        channel: grpc.Channel | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        endpoint = resolve_endpoint(address, token, api_key)
        policy = retry or CallRetry()
        self._driver = Driver(endpoint, channel or open_channel(endpoint), sleep)
        self._procedures = Procedures(policy, seconds(timeout, field="timeout"), clock)
        waiting = Waiting(self._procedures, Waits(policy))
        self.jobs = JobsApi(self._driver, self._procedures, waiting)
        self.batches = BatchesApi(self._driver, self._procedures, waiting)
        self.types = JobTypesApi(self._driver, self._procedures)
        self.workers = WorkersApi(self._driver, self._procedures)
        self.admin = AdminApi(self._driver, self._procedures)

    @property
    def address(self) -> str:
        """Where the server is."""
        return self._driver.endpoint.address

    def server_info(self) -> ServerInfo:
        """What the server says of itself: version, engine, schema.

        info = client.server_info()
        print(info.version, info.engine)
        """
        return self._driver.run(self._procedures.call(calls_workers.server_info()))

    def close(self) -> None:
        """Closes the connection; watches end, calls under way fail."""
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
