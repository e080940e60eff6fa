"""`client.types` of the blocking client; `aio_types` is its twin, and the calls of both stand in `calls_types`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Unpack

from jobhall import calls_types
from jobhall.calls import Call
from jobhall.calls_types import Schema
from jobhall.client_driver import Driver
from jobhall.filters import TypeSelection
from jobhall.model_types import JobDefaults, JobType
from jobhall.procedures import Procedures


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
