"""Job types by the bare stubs: registering with all there is to say, reading, listing."""

from typing import Any

from jobhall.v1 import job_type_pb2
from jobhall.v1 import job_type_service_pb2 as pb
from tests.support.servers import Running


async def register_type(server: Running, *, replace: bool = False, **job_type: Any) -> pb.RegisterJobTypeResponse:
    request = pb.RegisterJobTypeRequest(job_type=job_type_pb2.JobType(**job_type), replace=replace)
    answer: pb.RegisterJobTypeResponse = await server.job_types.RegisterJobType(request)
    return answer


async def the_type(server: Running, name: str = "score", namespace: str = "") -> job_type_pb2.JobType:
    return (await server.job_types.GetJobType(pb.GetJobTypeRequest(name=name, namespace=namespace))).job_type


async def listed(server: Running, **fields: Any) -> list[job_type_pb2.JobType]:
    return list((await server.job_types.ListJobTypes(pb.ListJobTypesRequest(**fields))).job_types)
