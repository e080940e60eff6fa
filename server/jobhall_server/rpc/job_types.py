"""JobTypeService: registering, reading and listing job types."""

# The names and signatures of methods are those of the generated base class.
# ruff: noqa: N802, ARG002

from __future__ import annotations

from jobhall.errors import FilterUnsupportedError
from jobhall.limits import NAMESPACE_DEFAULT
from jobhall.v1 import job_type_service_pb2
from jobhall.v1.job_type_service_pb2_grpc import JobTypeServiceServicer
from jobhall_server.hall.hall import Hall
from jobhall_server.rpc.caller import principal
from jobhall_server.rpc.convert import refuse_set
from jobhall_server.rpc.convert_jobs import job_type_in, job_type_out
from jobhall_server.rpc.interceptor import Context
from jobhall_server.rpc.pages import page_size_in

_BY_NAME = ("", "name")


class JobTypeServicer(JobTypeServiceServicer):
    """What is not here, the generated base class answers: UNIMPLEMENTED."""

    def __init__(self, hall: Hall) -> None:
        self._job_types = hall.job_types

    async def RegisterJobType(
        self, request: job_type_service_pb2.RegisterJobTypeRequest, context: Context
    ) -> job_type_service_pb2.RegisterJobTypeResponse:
        namespace, name = job_type_in(request.job_type)
        view, created = await self._job_types.register(principal(), namespace, name)
        return job_type_service_pb2.RegisterJobTypeResponse(job_type=job_type_out(view), created=created)

    async def GetJobType(
        self, request: job_type_service_pb2.GetJobTypeRequest, context: Context
    ) -> job_type_service_pb2.GetJobTypeResponse:
        view = await self._job_types.get(principal(), request.namespace or NAMESPACE_DEFAULT, request.name)
        return job_type_service_pb2.GetJobTypeResponse(job_type=job_type_out(view))

    async def ListJobTypes(
        self, request: job_type_service_pb2.ListJobTypesRequest, context: Context
    ) -> job_type_service_pb2.ListJobTypesResponse:
        refuse_set(request, ("skip", "filter"))
        if request.order_by not in _BY_NAME:
            raise FilterUnsupportedError("only `name` is supported yet", field="order_by")
        views, token = await self._job_types.page(
            principal(),
            request.namespace,
            page_size=page_size_in(request.page_size),
            page_token_text=request.page_token,
        )
        return job_type_service_pb2.ListJobTypesResponse(
            job_types=[job_type_out(view) for view in views], next_page_token=token
        )
