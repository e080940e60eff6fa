"""The blocking client; `aio` is its twin, and what both do stands in `procedures` and `calls`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self, Unpack

import grpc

from jobhall import calls_types, calls_workers
from jobhall.calls import Call
from jobhall.calls_types import Schema
from jobhall.channel import resolve_endpoint
from jobhall.client_admin import AdminApi
from jobhall.client_batches import BatchesApi
from jobhall.client_driver import Driver, open_channel
from jobhall.client_jobs import JobsApi
from jobhall.client_workers import WorkersApi
from jobhall.filters import TypeSelection
from jobhall.model_types import JobDefaults, JobType
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


class JobTypesApi:
    """`client.types`: registers, reads, pauses and deletes job types."""

    def __init__(self, driver: Driver, procedures: Procedures) -> None:
        self._driver = driver
        self._procedures = procedures

    def register(
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

        With a JSON Schema (2020-12; a dict, or its text) the server checks parameters at submit, results at completion.
        The same schemas again are the same registration, and take description and defaults over; others are refused
        with JobTypeSchemaConflictError, whose `violations` say where they differ, unless `replace` makes them the next
        version. A namespace of `@global` means all.

            client.types.register("resize", parameters_schema={"type": "object", "required": ["file"]})
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
        return self._call(call)

    def get(self, name: str, *, namespace: str = "") -> JobType:
        """Reads one job type, the namespace's own or else the one of `@global`; raises JobTypeNotFoundError.

        print(client.types.get("resize").parameters_schema)
        """
        return self._call(calls_types.get_job_type(name, namespace=namespace))

    def list(self, **selection: Unpack[TypeSelection]) -> Iterator[JobType]:
        """Goes through the job types of the namespace and those of `@global`, by name.

        print([job_type.name for job_type in client.types.list()])
        """
        return self._driver.pages(self._procedures, partial(calls_types.list_job_types, selection))

    def delete(self, name: str, *, namespace: str = "", etag: str = "") -> JobType:
        """Deletes a job type and returns it as it last was; raises JobTypeInUseError while jobs of it wait or run.

        A worker that serves it registers it again when it next connects.

            client.types.delete("resize")
        """
        return self._call(calls_types.delete_job_type(name, namespace=namespace, etag=etag))

    def pause(self, name: str, *, namespace: str = "") -> JobType:
        """Hands out no more jobs of the type; submits are accepted, and what runs goes on.

        client.types.pause("resize")
        """
        return self._call(calls_types.pause_job_type(name, namespace=namespace))

    def resume(self, name: str, *, namespace: str = "") -> JobType:
        """Ends a pause.

        client.types.resume("resize")
        """
        return self._call(calls_types.resume_job_type(name, namespace=namespace))

    def _call(self, call: Call[JobType]) -> JobType:
        return self._driver.run(self._procedures.call(call))
