"""`client.types` of the async client; `client_types` is its twin, and says more of each method."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Unpack

from jobhall import calls_types
from jobhall.aio_driver import AsyncDriver
from jobhall.calls import Call
from jobhall.calls_types import Schema
from jobhall.filters import TypeSelection
from jobhall.model_types import JobDefaults, JobType
from jobhall.procedures import Procedures


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
