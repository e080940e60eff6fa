"""JobTypeService and AdminService: registering, looking up, listing, pausing, deleting, and what the server says of
itself.
"""

import json
import sqlite3
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

import jobhall
from jobhall.errors import Code
from jobhall.limits import PAYLOAD_BYTES_MAX
from jobhall.v1 import admin_service_pb2, job_pb2, job_type_pb2
from jobhall.v1 import job_type_service_pb2 as pb
from jobhall_server.storage.migrations import REVISIONS
from tests.support.calls import RawWorker, get, refusal, register, submit
from tests.support.job_types import listed, register_type, the_type
from tests.support.servers import Running


async def test_a_registered_type_is_found_by_its_name_and_registering_again_changes_nothing(server: Running) -> None:
    await register(server, "risk:score")
    first = await the_type(server, "risk:score")
    await register(server, "risk:score")

    assert (first.namespace, first.name, first.version) == ("default", "risk:score", 1)
    assert await the_type(server, "risk:score") == first
    assert await the_type(server, "private:risk:score") == first


async def test_whatever_is_registered_is_answered(server: Running) -> None:
    defaults = job_type_pb2.JobDefaults(
        priority=-5,
        max_attempts=2,
        retry_policy=job_pb2.RetryPolicy(strategy=job_pb2.BACKOFF_STRATEGY_FIXED, multiplier=2.0, jitter=0.2),
        run_timeout=Duration(seconds=60),
        progress_timeout=Duration(nanos=500_000_000),
        retention=Duration(seconds=86_400),
    )
    defaults.retry_policy.initial_delay.seconds = 3
    defaults.retry_policy.max_delay.seconds = 600
    given: dict[str, Any] = {
        "name": "score",
        "description": "scores an image",
        "parameters_schema": '{ "type": "object" }',
        "result_schema": "true",
        "defaults": defaults,
    }

    answer = await register_type(server, **given)

    assert answer.created
    for field, value in given.items():
        assert getattr(answer.job_type, field) == value
    assert answer.job_type == await the_type(server, "score")
    assert not answer.job_type.paused
    assert answer.job_type.create_time == answer.job_type.update_time


async def test_the_same_schemas_again_take_over_description_and_defaults(server: Running) -> None:
    first = await register_type(server, name="score", parameters_schema='{"type": "object", "required": ["a"]}')

    again = await register_type(
        server,
        name="score",
        parameters_schema='{"required":["a"],"type":"object"}',
        description="new",
        defaults={"priority": 7},
    )

    assert (first.created, again.created) == (True, False)
    assert (again.job_type.version, again.job_type.description, again.job_type.defaults.priority) == (1, "new", 7)
    assert again.job_type.etag != first.job_type.etag
    assert again.job_type.create_time == first.job_type.create_time


async def test_other_schemas_are_a_conflict_that_shows_where_they_differ(server: Running) -> None:
    await register_type(server, name="score", parameters_schema='{"properties": {"a": {"type": "string"}}}')

    error = await refusal(
        register_type(
            server,
            name="score",
            parameters_schema='{"properties": {"a": {"type": "integer"}}}',
            result_schema="{}",
        )
    )

    assert (error.code, error.reason) == (Code.ALREADY_EXISTS, "JOB_TYPE_SCHEMA_CONFLICT")
    assert error.metadata == {"version": "1"}
    assert {violation.field: violation.description for violation in error.violations} == {
        "job_type.parameters_schema/properties/a/type": 'is "string", and is "integer" now',
        "job_type.result_schema": "there is none, and is one now",
    }


async def test_a_conflict_of_any_size_still_fits_into_an_answer(server: Running) -> None:
    """Details beyond 8 KiB turned the whole status into RESOURCE_EXHAUSTED on the way to the client."""
    wide = {"properties": {"ü" * 900 + str(number): {"type": "string"} for number in range(30)}}
    await register_type(server, name="score", parameters_schema="{}")
    await register_type(server, name="empty", parameters_schema='{"properties": {}}')

    for name in ("score", "empty"):
        error = await refusal(register_type(server, name=name, parameters_schema=json.dumps(wide, ensure_ascii=False)))
        assert error.reason == "JOB_TYPE_SCHEMA_CONFLICT"
        assert error.violations


async def test_replacing_makes_the_next_version(server: Running) -> None:
    await register_type(server, name="score", parameters_schema="{}")

    replaced = await register_type(server, replace=True, name="score", parameters_schema="true", result_schema="true")
    same = await register_type(server, replace=True, name="score", parameters_schema="true", result_schema="true")

    assert (replaced.created, replaced.job_type.version) == (False, 2)
    assert same.job_type == replaced.job_type


async def test_a_type_that_a_hello_registered_may_be_given_schemas(server: Running) -> None:
    """Whether the worker or the registration comes first is chance: neither order may be an error."""
    worker = RawWorker(server, "score")
    await worker.hello()

    answer = await register_type(server, name="score", parameters_schema='{"type": "object"}')

    assert (answer.created, answer.job_type.version, answer.job_type.worker_count) == (False, 1, 1)
    assert (await refusal(submit(server, "score", json="5"))).reason == "SCHEMA_MISMATCH"
    await worker.end()


async def test_a_global_type_is_there_for_every_namespace(server: Running) -> None:
    await register(server, "resize", "@global")

    assert (await the_type(server, "resize", "team-a")).namespace == "@global"
    assert (await the_type(server, "public:resize", "team-a")).namespace == "@global"
    missing = await refusal(the_type(server, "private:resize", "team-a"))
    assert (missing.code, missing.reason) == (Code.NOT_FOUND, "JOB_TYPE_NOT_FOUND")


async def test_a_type_that_is_not_there_names_the_nearest(server: Running) -> None:
    await register(server, "images:resize")

    for call in (
        the_type(server, "images:resise"),
        server.job_types.PauseJobType(pb.PauseJobTypeRequest(name="images:resise")),
        server.job_types.ResumeJobType(pb.ResumeJobTypeRequest(name="images:resise")),
        server.job_types.DeleteJobType(pb.DeleteJobTypeRequest(name="images:resise")),
    ):
        error = await refusal(call)
        assert (error.code, error.reason) == (Code.NOT_FOUND, "JOB_TYPE_NOT_FOUND")
        assert error.metadata == {"job_type": "images:resise", "namespace": "default", "nearest": "images:resize"}


async def test_what_two_workers_serve_is_told_live(server: Running) -> None:
    """Each way of serving it counts: in its namespace, in every one, by its scope; another namespace does not."""
    await register(server, "score")
    here, everywhere, elsewhere = (RawWorker(server, "score") for _ in range(3))
    await here.hello(worker_name="here")
    await everywhere.hello(worker_name="everywhere", namespaces=["-"])
    await elsewhere.hello(worker_name="elsewhere", namespaces=["team-b"])

    served = await the_type(server, "score")
    assert (served.worker_count, sorted(served.worker_names)) == (2, ["everywhere", "here"])

    await here.end()
    served = await the_type(server, "score")
    assert (served.worker_count, list(served.worker_names)) == (1, ["everywhere"])
    [public] = [known for known in await listed(server) if known.namespace == "@global"]
    assert public.worker_count == 2
    await everywhere.end()
    await elsewhere.end()


async def test_its_jobs_are_counted_by_state_in_every_namespace(server: Running) -> None:
    await register(server, "score", "@global")
    worker = RawWorker(server, "score", tasks_max=1)
    await worker.hello()
    await submit(server)
    [task] = await worker.tasks()
    await submit(server)
    await submit(server, namespace="team-b")

    counts = (await the_type(server, "score")).counts
    assert (counts.claimed, counts.pending) == (1, 2)
    await worker.report(task.lease_token, completed={})
    await worker.end()
    assert (await the_type(server, "score")).counts.completed == 1


# --- bad input ---


@pytest.mark.parametrize(
    ("job_type", "field"),
    [
        ({"name": ""}, "job_type.name"),
        ({"name": "a b"}, "job_type.name"),
        ({"name": "a" * 129}, "job_type.name"),
        ({"name": "public:private:a"}, "job_type.name"),
        ({"name": "a", "namespace": "A"}, "job_type.namespace"),
        ({"name": "a", "namespace": "-"}, "job_type.namespace"),
        ({"name": "a", "description": "ü" * 2049}, "job_type.description"),
        ({"name": "a", "parameters_schema": "{"}, "job_type.parameters_schema"),
        ({"name": "a", "result_schema": '{"$ref": "http://127.0.0.1:9/"}'}, "job_type.result_schema"),
        ({"name": "a", "result_schema": '{"$ref": "#"}'}, "job_type.result_schema"),
        ({"name": "a", "result_schema": '"' + "x" * 70_000 + '"'}, "job_type.result_schema"),
        ({"name": "a", "defaults": {"priority": 101}}, "job_type.defaults.priority"),
        ({"name": "a", "defaults": {"max_attempts": -1}}, "job_type.defaults.max_attempts"),
        ({"name": "a", "defaults": {"max_attempts": 1001}}, "job_type.defaults.max_attempts"),
        ({"name": "a", "defaults": {"run_timeout": {"seconds": -1}}}, "job_type.defaults.run_timeout"),
        ({"name": "a", "defaults": {"run_timeout": {}}}, "job_type.defaults.run_timeout"),
        ({"name": "a", "defaults": {"progress_timeout": {"seconds": 10**9}}}, "job_type.defaults.progress_timeout"),
        ({"name": "a", "defaults": {"retention": {"seconds": -1}}}, "job_type.defaults.retention"),
        (
            {"name": "a", "defaults": {"retry_policy": {"multiplier": 0.5}}},
            "job_type.defaults.retry_policy.multiplier",
        ),
        ({"name": "a", "defaults": {"retry_policy": {"strategy": 9}}}, "job_type.defaults.retry_policy.strategy"),
    ],
)
async def test_what_is_malformed_is_refused_by_its_field_and_nothing_is_kept(
    server: Running, job_type: dict[str, Any], field: str
) -> None:
    error = await refusal(register_type(server, **job_type))

    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
    assert [violation.field for violation in error.violations] == [field]
    assert not await listed(server, namespace="-")


# --- deleting ---


async def delete(server: Running, **fields: Any) -> job_type_pb2.JobType:
    return (await server.job_types.DeleteJobType(pb.DeleteJobTypeRequest(**fields))).job_type


async def test_a_deleted_type_is_gone_and_is_answered_as_it_last_was(server: Running) -> None:
    registered = (await register_type(server, name="score", description="old")).job_type

    assert await delete(server, name="score", etag=registered.etag) == registered

    assert (await refusal(the_type(server, "score"))).reason == "JOB_TYPE_NOT_FOUND"
    assert (await refusal(submit(server, "score"))).reason == "JOB_TYPE_NOT_FOUND"
    assert (await refusal(delete(server, name="score"))).reason == "JOB_TYPE_NOT_FOUND"
    assert not await listed(server)


async def test_a_type_that_changed_since_is_not_deleted(server: Running) -> None:
    registered = (await register_type(server, name="score")).job_type
    await register_type(server, name="score", description="changed")

    error = await refusal(delete(server, name="score", etag=registered.etag))

    assert (error.code, error.reason) == (Code.ABORTED, "ETAG_MISMATCH")
    assert (await the_type(server, "score")).description == "changed"


async def test_a_type_whose_jobs_have_not_ended_is_in_use(server: Running) -> None:
    await register(server)
    worker = RawWorker(server, tasks_max=1)
    await worker.hello()
    jobs = [await submit(server) for _ in range(2)]

    error = await refusal(delete(server, name="score"))
    assert (error.code, error.reason) == (Code.FAILED_PRECONDITION, "JOB_TYPE_IN_USE")
    assert error.metadata == {"job_type": "score"}
    assert error.message.startswith("2 jobs of job type 'score'")

    for _ in jobs:
        [task] = await worker.tasks()
        await worker.report(task.lease_token, completed={})
    await worker.end()
    assert (await delete(server, name="score")).counts.completed == 2
    assert (await get(server, jobs[0].id)).job_type == "score"


async def test_a_worker_registers_a_deleted_type_again_and_so_may_a_client(server: Running) -> None:
    await register_type(server, name="score", parameters_schema='{"type": "object"}', description="old")
    await delete(server, name="score")
    worker = RawWorker(server)
    await worker.hello()

    again = await the_type(server, "score")
    assert (again.description, again.parameters_schema, again.paused) == ("", "", False)
    job = await submit(server, json="5")
    [task] = await worker.tasks()
    assert task.job_id == job.id
    await worker.report(task.lease_token, completed={})
    await worker.end()
    await delete(server, name="score")
    registered = await register_type(server, name="score", parameters_schema='{"type": "string"}')
    assert registered.created
    assert (await refusal(submit(server, json="5"))).reason == "SCHEMA_MISMATCH"


async def test_a_type_is_changed_where_it_is_registered(server: Running) -> None:
    """Deleting and pausing look nowhere else: the global type is not meant by who names it in a namespace."""
    await register(server, "resize", "@global")

    for namespace, name in (("", "resize"), ("team-a", "resize"), ("", "private:resize")):
        assert (await refusal(delete(server, name=name, namespace=namespace))).reason == "JOB_TYPE_NOT_FOUND"
    assert (await server.job_types.PauseJobType(pb.PauseJobTypeRequest(name="public:resize"))).job_type.paused
    assert (await delete(server, name="resize", namespace="@global")).paused


# --- defaults ---


async def test_a_submit_that_does_not_say_takes_what_its_type_says(server: Running) -> None:
    defaults: dict[str, Any] = {
        "priority": 5,
        "max_attempts": 2,
        "run_timeout": {"seconds": 60},
        "progress_timeout": {"seconds": 6},
        "retention": {"seconds": 600},
        "retry_policy": {"strategy": job_pb2.BACKOFF_STRATEGY_FIXED, "initial_delay": {"seconds": 7}},
    }
    await register_type(server, name="score", defaults=defaults)

    job = await submit(server)
    own = await submit(server, priority=0, max_attempts=9, run_timeout=Duration(seconds=1))

    assert (job.priority, job.max_attempts, job.run_timeout.seconds, job.progress_timeout.seconds) == (5, 2, 60, 6)
    assert (job.retention.seconds, job.retry_policy.initial_delay.seconds) == (600, 7)
    assert (await get(server, job.id)).retention == job.retention
    assert (own.priority, own.max_attempts, own.run_timeout.seconds, own.progress_timeout.seconds) == (0, 9, 1, 6)


async def test_a_job_keeps_the_defaults_that_it_was_submitted_under(server: Running) -> None:
    await register_type(server, name="score", defaults={"priority": 5})
    job = await submit(server)

    await register_type(server, name="score", defaults={"priority": 6})

    assert (await get(server, job.id)).priority == 5
    assert (await submit(server)).priority == 6


async def test_a_worker_registers_what_it_serves(server: Running) -> None:
    worker = RawWorker(server, "report:build")

    await worker.hello(namespaces=["team-a"])

    assert (await the_type(server, "report:build", "team-a")).name == "report:build"
    await worker.end()


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
