"""JobTypeService and AdminService: registering, looking up, listing, and what the server says of itself."""

import sqlite3

import jobhall
from jobhall.errors import Code
from jobhall.limits import PAYLOAD_BYTES_MAX
from jobhall.v1 import admin_service_pb2
from jobhall.v1 import job_type_service_pb2 as pb
from jobhall_server.storage.migrations import REVISIONS
from tests.support.calls import RawWorker, refusal, register
from tests.support.servers import Running


async def get(server: Running, name: str, namespace: str = "") -> pb.GetJobTypeResponse:
    return await server.job_types.GetJobType(pb.GetJobTypeRequest(name=name, namespace=namespace))


async def test_a_registered_type_is_found_by_its_name_and_registering_again_changes_nothing(server: Running) -> None:
    await register(server, "risk:score")
    first = (await get(server, "risk:score")).job_type
    await register(server, "risk:score")

    assert (first.namespace, first.name, first.version) == ("default", "risk:score", 1)
    assert (await get(server, "risk:score")).job_type == first
    assert (await get(server, "private:risk:score")).job_type == first


async def test_a_global_type_is_there_for_every_namespace(server: Running) -> None:
    await register(server, "resize", "@global")

    assert (await get(server, "resize", "team-a")).job_type.namespace == "@global"
    assert (await get(server, "public:resize", "team-a")).job_type.namespace == "@global"
    missing = await refusal(get(server, "private:resize", "team-a"))
    assert (missing.code, missing.reason) == (Code.NOT_FOUND, "JOB_TYPE_NOT_FOUND")


async def test_types_are_listed_in_pages_with_the_global_ones(server: Running) -> None:
    for name, namespace in (("a", ""), ("b", ""), ("c", "@global"), ("d", "elsewhere")):
        await register(server, name, namespace)

    first = await server.job_types.ListJobTypes(pb.ListJobTypesRequest(page_size=2))
    rest = await server.job_types.ListJobTypes(pb.ListJobTypesRequest(page_size=2, page_token=first.next_page_token))
    everywhere = await server.job_types.ListJobTypes(pb.ListJobTypesRequest(namespace="-"))

    assert {job_type.name for job_type in [*first.job_types, *rest.job_types]} == {"a", "b", "c"}
    assert not rest.next_page_token
    assert {job_type.name for job_type in everywhere.job_types} == {"a", "b", "c", "d"}


async def test_a_worker_registers_what_it_serves(server: Running) -> None:
    worker = RawWorker(server, "report:build")

    await worker.hello(namespaces=["team-a"])

    assert (await get(server, "report:build", "team-a")).job_type.name == "report:build"
    await worker.end()


async def test_what_is_not_built_yet_or_malformed_is_refused_by_its_field(server: Running) -> None:
    bad = {
        "job_type.parameters_schema": ("FIELD_NOT_SUPPORTED", {"name": "a", "parameters_schema": "{}"}),
        "job_type.description": ("FIELD_NOT_SUPPORTED", {"name": "a", "description": "x"}),
        "job_type.defaults": ("FIELD_NOT_SUPPORTED", {"name": "a", "defaults": {"priority": 1}}),
        "job_type.name": ("FIELD_INVALID", {"name": ""}),
        "name": ("FIELD_INVALID", {"name": "a b"}),
        "namespace": ("FIELD_INVALID", {"name": "a", "namespace": "A"}),
    }

    found = {}
    for job_type in bad.values():
        request = pb.RegisterJobTypeRequest(job_type=job_type[1])  # type: ignore[arg-type]
        error = await refusal(server.job_types.RegisterJobType(request))
        found[error.violations[0].field] = (error.reason, job_type[1])

    assert found == bad


async def test_a_bad_page_token_and_an_unknown_order_are_refused(server: Running) -> None:
    token = await refusal(server.job_types.ListJobTypes(pb.ListJobTypesRequest(page_token="x")))
    order = await refusal(server.job_types.ListJobTypes(pb.ListJobTypesRequest(order_by="worker_count")))

    assert (token.reason, token.violations[0].field) == ("FIELD_INVALID", "page_token")
    assert (order.reason, order.violations[0].field) == ("FILTER_UNSUPPORTED", "order_by")


async def test_the_server_says_what_it_is(server: Running) -> None:
    info = (await server.admin.GetServerInfo(admin_service_pb2.GetServerInfoRequest())).server_info

    assert (info.version, info.engine) == (jobhall.__version__, "sqlite")
    assert (info.protocol_version_min, info.protocol_version_max) == (1, 1)
    assert info.engine_version == sqlite3.sqlite_version
    assert info.schema_revision == REVISIONS[-1]
    assert list(info.features) == ["sqlite.synchronous=FULL"]
    assert info.limits.payload_bytes_max == PAYLOAD_BYTES_MAX
    assert [replica.id for replica in info.replicas] == [info.replica_id]
    assert info.server_time.seconds >= info.replicas[0].start_time.seconds > 0
