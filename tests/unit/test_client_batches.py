"""The blocking client under a fake channel: creating, changing and waiting for batches, and job types."""

from typing import Any

import grpc
import pytest

from jobhall import (
    Batch,
    BatchState,
    BatchTimeoutError,
    CallRetry,
    CompletionPolicy,
    JobDefaults,
    ServerUnreachableError,
    Submission,
)
from jobhall.errors import FieldInvalidError, JobTypeSchemaConflictError, MessageTooLargeError, WatcherLimitError
from jobhall.filters import batch_filter_text, type_filter_text
from jobhall.v1 import batch_pb2, job_pb2, job_type_pb2
from jobhall.v1 import batch_service_pb2 as pb
from jobhall.v1 import job_service_pb2 as jobs_pb2
from jobhall.v1 import job_type_service_pb2 as types_pb2
from tests.support.fake_channel import fake_server


def batch(state: BatchState = BatchState.PENDING, **fields: Any) -> batch_pb2.Batch:
    return batch_pb2.Batch(id="b1", state=batch_pb2.BatchState.ValueType(int(state)), **fields)


def got(state: BatchState, **fields: Any) -> pb.GetBatchResponse:
    return pb.GetBatchResponse(batch=batch(state, **fields))


# --- creating ---


def test_a_batch_is_created_once_though_its_answer_was_lost() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.batches.create("nightly", jobs=[Submission("resize")] * 2))
        lost = server.fail("CreateBatch")
        again = server.answer("CreateBatch", pb.CreateBatchResponse(batch=batch(), job_ids=["j1", "j2"]))

        assert calling.result().job_ids == ("j1", "j2")
    assert lost == again
    assert len(lost.batch_id) == 36


def test_a_batch_of_one_s_own_id_is_the_same_request_each_time() -> None:
    """Its jobs get their ids from the server: chosen here they would differ, and the second call be refused."""
    with fake_server() as server:
        asked = []
        for _ in range(2):
            calling = server.calling(lambda: server.client.batches.create(jobs=[Submission("resize")], batch_id="b1"))
            asked.append(server.answer("CreateBatch", pb.CreateBatchResponse(batch=batch())))
            calling.result()

    assert asked[0] == asked[1]
    assert (asked[0].batch_id, asked[0].jobs[0].job_id) == ("b1", "")


def test_a_new_batch_says_all_that_it_was_told() -> None:
    with fake_server() as server:
        calling = server.calling(
            lambda: server.client.batches.create(
                "nightly",
                namespace="media",
                closed=True,
                active=False,
                completion_job=Submission("report"),
                completion_policy=CompletionPolicy.ALL_TERMINAL,
                validate_only=True,
            )
        )
        request = server.answer("CreateBatch", pb.CreateBatchResponse(batch=batch()))

        calling.result()
    assert request == pb.CreateBatchRequest(
        namespace="media",
        name="nightly",
        closed=True,
        active=False,
        completion_job=job_pb2.JobSubmission(job_type="report"),
        completion_policy=batch_pb2.COMPLETION_POLICY_ALL_TERMINAL,
        validate_only=True,
    )


def test_jobs_that_no_message_can_hold_are_refused_with_their_size() -> None:
    with fake_server() as server, pytest.raises(MessageTooLargeError, match="5000"):
        server.client.batches.create(jobs=[Submission("resize", "x" * 1_000_000)] * 5)


def test_a_fault_of_a_job_is_named_by_its_place() -> None:
    with fake_server() as server, pytest.raises(FieldInvalidError) as caught:
        server.client.batches.create(jobs=[Submission("resize"), Submission("resize", {"width": float("nan")})])

    assert caught.value.violations[0].field == "jobs[1].parameters.width"


# --- changing and reading ---


def test_an_update_of_a_batch_names_what_it_changes_and_nothing_else() -> None:
    with fake_server() as server:
        calling = server.calling(
            lambda: server.client.batches.update("b1", active=False, completion_job=None, etag="3")
        )
        request = server.answer("UpdateBatch", pb.UpdateBatchResponse(batch=batch()))

        calling.result()
    assert list(request.update_mask.paths) == ["active", "completion_job"]
    assert request.batch == batch_pb2.Batch(id="b1", etag="3")


def test_to_close_a_batch_is_an_update() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.batches.close("b1"))
        request = server.answer("UpdateBatch", pb.UpdateBatchResponse(batch=batch(closed=True)))

        assert calling.result().closed
    assert (request.batch.closed, list(request.update_mask.paths)) == (True, ["closed"])


def test_a_batch_is_cancelled_and_deleted_by_its_id() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.batches.cancel("b1", reason="wrong files", etag="2"))
        cancelled = server.answer("CancelBatch", pb.CancelBatchResponse(batch=batch()))
        calling.result()
        calling = server.calling(lambda: server.client.batches.delete("b1"))
        deleted = server.answer("DeleteBatch", pb.DeleteBatchResponse(batch=batch(BatchState.FAILED)))

        assert calling.result().state is BatchState.FAILED
    assert cancelled == pb.CancelBatchRequest(batch_id="b1", reason="wrong files", etag="2")
    assert deleted == pb.DeleteBatchRequest(batch_id="b1")


def test_batches_are_listed_through_all_their_pages() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: [it.id for it in server.client.batches.list(name="nightly", skip=3)])
        first = server.answer("ListBatches", pb.ListBatchesResponse(batches=[batch()], next_page_token="more"))
        second = server.answer("ListBatches", pb.ListBatchesResponse(batches=[batch()]))

        assert calling.result() == ["b1", "b1"]
    assert first == pb.ListBatchesRequest(filter='name = "nightly"', skip=3)
    assert second == pb.ListBatchesRequest(filter='name = "nightly"', page_token="more")


def test_selections_of_batches_and_types_become_the_filter_of_the_contract() -> None:
    states = [BatchState.COMPLETED, BatchState.FAILED]

    assert batch_filter_text({"states": states, "active": False, "closed": True, "owner": "ann"}) == (
        '(state = COMPLETED OR state = FAILED) AND owner = "ann" AND active = false AND closed = true'
    )
    assert type_filter_text({"paused": True, "filter": "name = resize"}) == "name = resize AND paused = true"
    assert type_filter_text({"namespace": "media"}) == ""


# --- waiting ---


def test_a_wait_for_a_batch_looks_when_its_watch_ends() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.batches.wait("b1", poll_interval=600))
        server.answer("GetBatch", got(BatchState.PROCESSING))
        server.stream("WatchJobs", jobs_pb2.WatchJobsResponse(cursor="c"))
        server.answer("GetBatch", got(BatchState.COMPLETED))

        assert calling.result().succeeded
    assert server.pauses == []


def test_a_wait_for_a_batch_that_has_no_watch_asks_ever_less_often_and_tells_what_it_hears() -> None:
    heard: list[Batch] = []
    with fake_server() as server:
        calling = server.calling(lambda: server.client.batches.wait("b1", poll_interval=0.2, on_update=heard.append))
        for number in range(4):
            server.answer("GetBatch", got(BatchState.PROCESSING))
            if number == 0:
                server.refuse_stream("WatchJobs", WatcherLimitError("full"))
        server.answer("GetBatch", got(BatchState.FAILED))

        ended = calling.result()
    assert (ended.done, ended.succeeded) == (True, False)
    assert server.pauses == pytest.approx([0.1, 0.15, 0.2, 0.2])
    assert len(heard) == 5


def test_a_wait_for_a_batch_that_is_over_too_soon_says_so_with_details() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.batches.wait("b1", timeout=0.15))
        server.answer("GetBatch", got(BatchState.PROCESSING))
        server.refuse_stream("WatchJobs", WatcherLimitError("full"))
        for _ in range(2):
            server.answer("GetBatch", got(BatchState.PROCESSING))

        with pytest.raises(BatchTimeoutError, match=r"batch b1 was still PROCESSING after 0\.15 s") as caught:
            calling.result()
    assert caught.value.details == {"batch_id": "b1", "timeout": 0.15, "state": "PROCESSING"}
    assert isinstance(caught.value, TimeoutError)


def test_a_wait_for_a_batch_outlasts_an_outage_once_it_was_answered() -> None:
    with fake_server(retry=CallRetry(attempts_max=1)) as server:
        calling = server.calling(lambda: server.client.batches.wait("b1"))
        server.answer("GetBatch", got(BatchState.PROCESSING))
        server.fail("GetBatch")
        server.fail("GetBatch", grpc.StatusCode.DEADLINE_EXCEEDED)
        server.answer("GetBatch", got(BatchState.COMPLETED))

        assert calling.result().succeeded


def test_a_wait_for_a_batch_that_nobody_ever_answers_is_given_up() -> None:
    with fake_server(retry=CallRetry(attempts_max=1)) as server:
        calling = server.calling(lambda: server.client.batches.wait("b1"))
        server.fail("GetBatch")

        with pytest.raises(ServerUnreachableError):
            calling.result()


# --- job types ---


def test_a_type_is_registered_with_its_schemas_and_defaults() -> None:
    answer = job_type_pb2.JobType(name="resize", version=2, parameters_schema='{"type":"object"}')
    with fake_server() as server:
        calling = server.calling(
            lambda: server.client.types.register(
                "resize",
                namespace="@global",
                parameters_schema={"type": "object"},
                result_schema='{"type": "string"}',
                defaults=JobDefaults(priority=5, run_timeout=90),
                replace=True,
            )
        )
        request = server.answer("RegisterJobType", types_pb2.RegisterJobTypeResponse(job_type=answer))

        assert (calling.result().version, calling.result().parameters_schema) == (2, {"type": "object"})
    assert request.replace
    assert (request.job_type.parameters_schema, request.job_type.result_schema) == (
        '{"type":"object"}',
        '{"type": "string"}',
    )
    assert (request.job_type.defaults.priority, request.job_type.defaults.run_timeout.seconds) == (5, 90)


def test_a_type_without_schemas_and_defaults_says_nothing_of_them() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.types.register("resize"))
        request = server.answer("RegisterJobType", types_pb2.RegisterJobTypeResponse())

        calling.result()
    assert request == types_pb2.RegisterJobTypeRequest(job_type=job_type_pb2.JobType(name="resize"))


def test_other_schemas_are_refused_with_where_they_differ() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.types.register("resize", parameters_schema=True))
        server.refuse("RegisterJobType", JobTypeSchemaConflictError("resize is registered with other schemas"))

        with pytest.raises(JobTypeSchemaConflictError):
            calling.result()


def test_a_schema_that_json_cannot_say_is_refused_by_name() -> None:
    with fake_server() as server, pytest.raises(FieldInvalidError, match=r"job_type\.result_schema"):
        server.client.types.register("resize", result_schema={"maximum": float("inf")})


@pytest.mark.parametrize(("verb", "method"), [("pause", "PauseJobType"), ("resume", "ResumeJobType")])
def test_a_type_is_paused_and_resumed_where_it_is_registered(verb: str, method: str) -> None:
    there = job_type_pb2.JobType(name="resize", paused=verb == "pause")
    with fake_server() as server:
        calling = server.calling(lambda: getattr(server.client.types, verb)("resize", namespace="@global"))
        request = server.answer(method, getattr(types_pb2, f"{method}Response")(job_type=there))

        assert calling.result().paused == (verb == "pause")
    assert (request.name, request.namespace) == ("resize", "@global")


def test_a_type_is_deleted_if_it_is_still_what_it_was() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.types.delete("resize", etag="4"))
        request = server.answer("DeleteJobType", types_pb2.DeleteJobTypeResponse())

        calling.result()
    assert request == types_pb2.DeleteJobTypeRequest(name="resize", etag="4")
