"""Calls of JobTypeService."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from jobhall.calls import Call, Page, unary
from jobhall.filters import TypeSelection, check_names, type_filter_text
from jobhall.misfits import names_misfits
from jobhall.model_types import JobDefaults, JobType
from jobhall.v1 import job_type_pb2
from jobhall.v1 import job_type_service_pb2 as types_pb2
from jobhall.wire_types import defaults_to_wire, job_type_from_wire, schema_to_wire

Schema = Mapping[str, Any] | bool | str | None
"""A JSON Schema: decoded, or as JSON text; None: anything goes."""


@names_misfits
def register_job_type(
    name: str,
    *,
    namespace: str,
    description: str,
    parameters_schema: Schema,
    result_schema: Schema,
    defaults: JobDefaults | None,
    replace: bool,
) -> Call[JobType]:
    """Registers a job type."""
    message = job_type_pb2.JobType(
        name=name,
        namespace=namespace,
        description=description,
        parameters_schema=schema_to_wire(parameters_schema, field="job_type.parameters_schema"),
        result_schema=schema_to_wire(result_schema, field="job_type.result_schema"),
        defaults=defaults_to_wire(defaults, field="job_type.defaults"),
    )
    request = types_pb2.RegisterJobTypeRequest(job_type=message, replace=replace)
    return _job_type_call(request, types_pb2.RegisterJobTypeResponse)


@names_misfits
def get_job_type(name: str, *, namespace: str) -> Call[JobType]:
    """Reads one job type."""
    return _job_type_call(types_pb2.GetJobTypeRequest(namespace=namespace, name=name), types_pb2.GetJobTypeResponse)


@names_misfits
def list_job_types(selection: TypeSelection, *, page_token: str) -> Call[Page[JobType]]:
    """Reads one page of the job types that may be submitted in the namespace."""
    check_names(selection, TypeSelection)
    request = types_pb2.ListJobTypesRequest(
        namespace=selection.get("namespace", ""),
        filter=type_filter_text(selection),
        order_by=selection.get("order_by", ""),
        page_token=page_token,
    )
    return unary(
        "JobTypeService",
        request,
        types_pb2.ListJobTypesResponse,
        lambda answer: Page([job_type_from_wire(it) for it in answer.job_types], answer.next_page_token),
    )


@names_misfits
def delete_job_type(name: str, *, namespace: str, etag: str) -> Call[JobType]:
    """Deletes a job type; the answer is the type as it last was."""
    request = types_pb2.DeleteJobTypeRequest(namespace=namespace, name=name, etag=etag)
    return _job_type_call(request, types_pb2.DeleteJobTypeResponse)


@names_misfits
def pause_job_type(name: str, *, namespace: str) -> Call[JobType]:
    """Stops handing jobs of the type out."""
    request = types_pb2.PauseJobTypeRequest(namespace=namespace, name=name)
    return _job_type_call(request, types_pb2.PauseJobTypeResponse)


@names_misfits
def resume_job_type(name: str, *, namespace: str) -> Call[JobType]:
    """Hands jobs of the type out again."""
    request = types_pb2.ResumeJobTypeRequest(namespace=namespace, name=name)
    return _job_type_call(request, types_pb2.ResumeJobTypeResponse)


def _job_type_call(request: Message, response: type[Message]) -> Call[JobType]:
    return unary("JobTypeService", request, response, lambda answer: job_type_from_wire(answer.job_type))
