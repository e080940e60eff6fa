"""JobTypeService: registering, reading, listing, pausing and deleting job types."""

# The names and signatures of methods are those of the generated base class.
# ruff: noqa: N802, ARG002

from __future__ import annotations

from collections.abc import Sequence

from jobhall.limits import NAMESPACE_DEFAULT, SKIP_MAX
from jobhall.v1 import job_type_pb2
from jobhall.v1 import job_type_service_pb2 as pb
from jobhall.v1.job_type_service_pb2_grpc import JobTypeServiceServicer
from jobhall_server.hall.checks import check_range
from jobhall_server.hall.hall import Hall
from jobhall_server.hall.job_types import JobTypeReport
from jobhall_server.rpc.caller import principal
from jobhall_server.rpc.convert_job_types import filter_in, job_type_out, order_in, registration_in
from jobhall_server.rpc.interceptor import Context
from jobhall_server.rpc.pages import page_size_in, page_that_fits


class JobTypeServicer(JobTypeServiceServicer):
    """What clients do with job types."""

    def __init__(self, hall: Hall) -> None:
        self._job_types = hall.job_types

    async def RegisterJobType(self, request: pb.RegisterJobTypeRequest, context: Context) -> pb.RegisterJobTypeResponse:
        registration = registration_in(request.job_type)
        report, created = await self._job_types.register(principal(), registration, replace=request.replace)
        return pb.RegisterJobTypeResponse(job_type=job_type_out(report), created=created)

    async def GetJobType(self, request: pb.GetJobTypeRequest, context: Context) -> pb.GetJobTypeResponse:
        report = await self._job_types.get(principal(), request.namespace or NAMESPACE_DEFAULT, request.name)
        return pb.GetJobTypeResponse(job_type=job_type_out(report))

    async def ListJobTypes(self, request: pb.ListJobTypesRequest, context: Context) -> pb.ListJobTypesResponse:
        where, order, caller = filter_in(request.filter), order_in(request.order_by), principal()
        check_range(request.skip, 0, SKIP_MAX, "skip")

        async def ask(size: int) -> tuple[Sequence[JobTypeReport], str]:
            return await self._job_types.page(
                caller,
                request.namespace,
                where,
                order,
                page_size=size,
                page_token_text=request.page_token,
                skip=request.skip,
            )

        async def encode(reports: Sequence[JobTypeReport]) -> list[job_type_pb2.JobType]:
            return [job_type_out(report) for report in reports]

        job_types, token = await page_that_fits(ask, encode, page_size_in(request.page_size))
        return pb.ListJobTypesResponse(job_types=job_types, next_page_token=token)

    async def DeleteJobType(self, request: pb.DeleteJobTypeRequest, context: Context) -> pb.DeleteJobTypeResponse:
        report = await self._job_types.delete(principal(), request.namespace, request.name, etag=request.etag)
        return pb.DeleteJobTypeResponse(job_type=job_type_out(report))

    async def PauseJobType(self, request: pb.PauseJobTypeRequest, context: Context) -> pb.PauseJobTypeResponse:
        report = await self._job_types.pause(principal(), request.namespace, request.name)
        return pb.PauseJobTypeResponse(job_type=job_type_out(report))

    async def ResumeJobType(self, request: pb.ResumeJobTypeRequest, context: Context) -> pb.ResumeJobTypeResponse:
        report = await self._job_types.resume(principal(), request.namespace, request.name)
        return pb.ResumeJobTypeResponse(job_type=job_type_out(report))
