"""Parameters and results against the schemas of their type, however they come, and in which version."""

import json
import uuid
from collections.abc import Iterable
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobhall import AsyncClient, JobFailedError
from jobhall.errors import ApiError, Code, SchemaMismatchError
from jobhall.states import WAITING_STATES, JobState
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall.wire_errors import error_from_status
from tests.support.calls import RawWorker, get, refusal, register, submission, submit
from tests.support.job_types import register_type
from tests.support.returning import Returning, lost
from tests.support.servers import Running
from tests.support.unary_calls import SOON, claim, report

ITEMS = json.dumps(
    {
        "type": "object",
        "properties": {"items": {"items": {"properties": {"price": {"type": "number"}}, "required": ["price"]}}},
        "required": ["items"],
    }
)
BAD = json.dumps({"items": [{"price": 1}, {}, {"price": "2"}]})


def told(error: ApiError) -> dict[str, str]:
    return {violation.field: violation.description for violation in error.violations}


def rejected(rejections: Iterable[Any]) -> ApiError:
    """The one rejection, as the SDK's error."""
    (rejection,) = rejections
    status: Status = rejection.status
    return error_from_status(status)


# --- parameters ---


async def test_a_submit_whose_parameters_do_not_match_names_each_place(server: Running) -> None:
    await register_type(server, name="score", parameters_schema=ITEMS)

    error = await refusal(submit(server, json=BAD))

    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "SCHEMA_MISMATCH")
    assert told(error) == {
        "job.parameters.items[1].price": "is required",
        "job.parameters.items[2].price": 'is not of type "number"',
    }
    assert (await submit(server, json='{"items": []}')).state == job_pb2.JOB_STATE_PENDING


async def test_parameters_that_are_missing_are_null_and_bytes_are_never_json(server: Running) -> None:
    await register_type(server, name="score", parameters_schema=ITEMS)
    await register_type(server, name="nothing", parameters_schema='{"type": "null"}')

    assert told(await refusal(submit(server))) == {"job.parameters": 'is not of type "object"'}
    assert (await submit(server, "nothing")).job_type == "nothing"
    as_bytes = job_pb2.Payload(data=b'{"items": []}')
    assert "must be JSON" in told(await refusal(submit(server, parameters=as_bytes)))["job.parameters"]
    as_object = job_pb2.Payload()
    as_object.object.update({"items": [{"price": 1.5}]})
    assert (await submit(server, parameters=as_object)).id


async def test_of_many_submits_at_once_none_is_taken_when_one_does_not_match(server: Running) -> None:
    await register_type(server, name="score", parameters_schema=ITEMS)
    jobs = [submission(json='{"items": []}'), submission(json=BAD), submission(json="5")]

    error = await refusal(server.jobs.BatchSubmitJobs(pb.BatchSubmitJobsRequest(jobs=jobs)))

    assert set(told(error)) == {"jobs[1].parameters.items[1].price", "jobs[1].parameters.items[2].price"}
    assert not (await server.jobs.ListJobs(pb.ListJobsRequest())).jobs


async def test_on_a_stream_only_the_submit_that_does_not_match_is_refused(server: Running) -> None:
    await register_type(server, name="score", parameters_schema=ITEMS)
    call = server.jobs.SubmitJobStream(timeout=20)
    jobs = [submission(json='{"items": []}'), submission(json=BAD), submission(json='{"items": []}')]

    await call.write(pb.SubmitJobStreamRequest(first_seq=1, jobs=jobs))
    outcomes: dict[int, Any] = {}
    while len(outcomes) < 3:
        answer: Any = await call.read()
        outcomes |= {outcome.seq: outcome for outcome in answer.outcomes}

    assert [outcomes[seq].WhichOneof("outcome") for seq in (1, 2, 3)] == ["submitted", "error", "submitted"]
    error = error_from_status(outcomes[2].error)
    assert isinstance(error, SchemaMismatchError)
    assert any(field.endswith(".parameters.items[1].price") for field in told(error))
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_a_trial_submit_is_checked_too(server: Running) -> None:
    await register_type(server, name="score", parameters_schema=ITEMS)

    trial = pb.SubmitJobRequest(job=submission(json=BAD), validate_only=True)

    assert (await refusal(server.jobs.SubmitJob(trial))).reason == "SCHEMA_MISMATCH"


async def test_a_submit_sent_again_after_the_schema_was_replaced_is_the_job_that_is_there(server: Running) -> None:
    """Its first answer was lost; SCHEMA_MISMATCH would have said that there is no such job."""
    await register_type(server, name="score", parameters_schema='{"type": "integer"}')
    request = pb.SubmitJobRequest(job=submission(json="5", job_id=str(uuid.uuid4())))
    first = await server.jobs.SubmitJob(request)
    await register_type(server, replace=True, name="score", parameters_schema='{"type": "string"}')

    again = await server.jobs.SubmitJob(request)
    request.job.parameters.json = "6"
    other = await refusal(server.jobs.SubmitJob(request))
    request.job.job_id = str(uuid.uuid4())
    fresh = await refusal(server.jobs.SubmitJob(request))

    assert (again.job.id, again.existing, first.existing) == (first.job.id, True, False)
    assert (other.reason, fresh.reason) == ("JOB_ID_REUSED", "SCHEMA_MISMATCH")


async def test_a_type_of_the_namespace_comes_before_the_global_one_with_its_schema(server: Running) -> None:
    await register_type(server, name="score", namespace="@global", parameters_schema='{"type": "object"}')
    assert (await refusal(submit(server, json="5"))).reason == "SCHEMA_MISMATCH"

    await register_type(server, name="score", parameters_schema='{"type": "integer"}')

    assert (await submit(server, json="5")).job_type_namespace == "default"
    assert (await refusal(submit(server, "public:score", json="5"))).reason == "SCHEMA_MISMATCH"


# --- results ---


async def result_checked(server: Running, **fields: Any) -> RawWorker:
    """The type, whose results are integers, and a worker."""
    await register_type(server, name="score", result_schema='{"type": "integer"}', **fields)
    worker = RawWorker(server)
    await worker.hello()
    return worker


async def assert_failed(server: Running, job_id: str) -> job_pb2.Job:
    job = await get(server, job_id)
    assert JobState(job.state) is JobState.FAILED
    assert (job.error.kind, job.error.retryable) == (job_pb2.FAILURE_KIND_SCHEMA_MISMATCH, False)
    assert not job.HasField("result")
    return job


async def test_a_result_that_does_not_match_fails_the_job_and_tells_the_worker_why(server: Running) -> None:
    worker = await result_checked(server)
    bad, good = await submit(server), await submit(server)
    tokens = {task.job_id: task.lease_token for task in await worker.tasks()}
    while len(tokens) < 2:
        tokens |= {task.job_id: task.lease_token for task in await worker.tasks()}

    refused = await worker.report(tokens[bad.id], completed={"result": {"json": '"7"'}})
    taken = await worker.report(tokens[good.id], completed={"result": {"json": "7"}})

    error = rejected(refused.rejections)
    assert error.reason == "SCHEMA_MISMATCH"
    assert told(error) == {"completed.result": 'is not of type "integer"'}
    assert not taken.rejections
    job = await assert_failed(server, bad.id)
    assert job.attempt == 1
    assert "completed.result" in job.error.message
    violations = job.error.details["violations"]
    assert violations[0]["field"] == "completed.result"  # type: ignore[index]
    assert JobState((await get(server, good.id)).state) is JobState.COMPLETED
    await worker.end()


async def test_no_result_is_null(server: Running) -> None:
    worker = await result_checked(server)
    job = await submit(server)
    [task] = await worker.tasks()

    ack = await worker.report(task.lease_token, completed={})

    assert rejected(ack.rejections).reason == "SCHEMA_MISMATCH"
    await assert_failed(server, job.id)
    await worker.end()


async def test_the_same_bad_result_again_is_the_same_outcome(server: Running) -> None:
    """After a lost ack the worker says it again on its next stream, where nobody holds the task any more."""
    await register_type(server, name="score", result_schema='{"type": "integer"}')
    program = Returning()
    first, _ = await program.come(server)
    job = await submit(server)
    [task] = await first.tasks()
    await first.report(task.lease_token, completed={"result": {"json": '"7"'}})
    first.cut()

    second, _ = await program.come(server, {task.lease_token: True})
    again = await second.report(task.lease_token, completed={"result": {"json": '"7"'}})
    other = await second.report(task.lease_token, completed={"result": {"json": "7"}})

    assert rejected(again.rejections).reason == "SCHEMA_MISMATCH"
    assert rejected(other.rejections).reason == "RESULT_CONFLICT"
    await assert_failed(server, job.id)
    await second.end()


async def test_a_task_that_was_taken_over_is_checked_all_the_same(server: Running) -> None:
    await register_type(server, name="score", result_schema='{"type": "integer"}')
    program = Returning()
    first, _ = await program.come(server)
    job = await submit(server)
    [task] = await first.tasks()
    await first.report(task.lease_token, accepted={})
    first.cut()

    second, _ = await program.come(server, {task.lease_token: True})
    ack = await second.report(task.lease_token, completed={"result": {"json": "[]"}})

    assert rejected(ack.rejections).reason == "SCHEMA_MISMATCH"
    await assert_failed(server, job.id)
    await second.end()


@pytest.mark.parametrize("with_session", [True, False])
async def test_reports_without_a_stream_are_checked(server: Running, with_session: bool) -> None:
    await register_type(server, name="score", result_schema='{"type": "integer"}')
    job = await submit(server)
    given = await claim(server, accept=True, timeout=SOON)
    [task] = given.tasks
    update = {"lease_token": task.lease_token, "completed": {"result": {"json": '"7"'}}}

    answer = await report(server, given.session_id if with_session else "", update)

    error = rejected(answer.rejections)
    assert (error.reason, set(told(error))) == ("SCHEMA_MISMATCH", {"completed.result"})
    await assert_failed(server, job.id)


async def test_a_late_result_that_does_not_match_is_told_and_changes_nothing(hasty: Running) -> None:
    """Its session is over and nobody has claimed the job since: a late completion is taken, a late failure is not."""
    await register_type(hasty, name="score", result_schema='{"type": "integer"}')
    job_id, token = await lost(hasty, Returning())

    bad = await report(hasty, "", {"lease_token": token, "completed": {"result": {"json": '"7"'}}})
    after = await get(hasty, job_id)
    good = await report(hasty, "", {"lease_token": token, "completed": {"result": {"json": "7"}}})

    assert rejected(bad.rejections).reason == "SCHEMA_MISMATCH"
    assert JobState(after.state) in WAITING_STATES
    assert not good.rejections
    assert (await get(hasty, job_id)).result.json == "7"


async def test_a_job_that_is_being_cancelled_is_checked_as_well(server: Running) -> None:
    worker = await result_checked(server)
    job = await submit(server)
    [task] = await worker.tasks()
    await worker.report(task.lease_token, accepted={})
    await server.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id))

    ack = await worker.report(task.lease_token, completed={"result": {"json": '"7"'}})

    assert rejected(ack.rejections).reason == "SCHEMA_MISMATCH"
    await assert_failed(server, job.id)
    await worker.end()


async def test_jobs_keep_the_checks_of_the_version_that_they_were_submitted_under(server: Running) -> None:
    """Replaced while they wait or run, the new schemas are for new jobs only: also where the new version has none."""
    worker = await result_checked(server)
    running = await submit(server)
    [task] = await worker.tasks()
    await worker.report(task.lease_token, accepted={})
    for schema in ('{"type": "string"}', None):
        await register_type(server, replace=True, name="score", result_schema=schema)
    newest = await submit(server)
    [free] = await worker.tasks()

    ack = await worker.report(task.lease_token, completed={"result": {"json": '"7"'}})
    taken = await worker.report(free.lease_token, completed={"result": {"json": "[]"}})

    assert rejected(ack.rejections).reason == "SCHEMA_MISMATCH"
    assert rejected(ack.rejections).message.endswith("see the schema of the job type's version 1")
    assert not taken.rejections
    await assert_failed(server, running.id)
    assert (free.job_id, JobState((await get(server, newest.id)).state)) == (newest.id, JobState.COMPLETED)
    await worker.end()


async def test_a_job_from_before_the_first_schemas_is_not_checked(server: Running) -> None:
    await register(server)
    job = await submit(server, json="5")
    worker = await result_checked(server, replace=True, parameters_schema='{"type": "object"}')
    [task] = await worker.tasks()

    ack = await worker.report(task.lease_token, completed={"result": {"json": '"seven"'}})

    assert not ack.rejections
    assert JobState((await get(server, job.id)).state) is JobState.COMPLETED
    await worker.end()


async def test_a_retried_job_may_succeed_with_another_result(server: Running) -> None:
    worker = await result_checked(server)
    job = await submit(server)
    [task] = await worker.tasks()
    await worker.report(task.lease_token, completed={"result": {"json": '"7"'}})

    await server.jobs.RetryJob(pb.RetryJobRequest(job_id=job.id))
    [task] = await worker.tasks()
    ack = await worker.report(task.lease_token, completed={"result": {"json": "7"}})

    assert not ack.rejections
    assert JobState((await get(server, job.id)).state) is JobState.COMPLETED
    await worker.end()


async def test_who_waits_for_the_result_learns_what_is_wrong_with_it(server: Running) -> None:
    worker = await result_checked(server)
    async with AsyncClient(server.address) as client:
        submitted = await client.jobs.submit("score")
        [task] = await worker.tasks()
        await worker.report(task.lease_token, completed={"result": {"json": '"7"'}})
        with pytest.raises(JobFailedError, match=r"completed\.result"):
            await client.jobs.wait_for_job(submitted.id, timeout=10)
    await worker.end()


# --- whatever comes ---


_ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-10, 10)
    | st.text(max_size=4)
    | st.sampled_from(["#", "#/$defs/a", "object"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["$ref", "$defs", "a", "type", "items", "anyOf", "not", "properties", "enum", "pattern", "if"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schema=_ODD, value=_ODD)
async def test_odd_schemas_are_refused_or_kept_and_never_break_the_server(
    server: Running, schema: Any, value: Any
) -> None:
    codes = set()
    try:
        await register_type(server, replace=True, name="odd", parameters_schema=json.dumps(schema))
        await submit(server, "odd", json=json.dumps(value))
    except grpc.aio.AioRpcError as error:
        codes.add(error.code())
    assert codes <= {grpc.StatusCode.INVALID_ARGUMENT}
