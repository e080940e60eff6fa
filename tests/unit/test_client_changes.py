"""The blocking client under a fake channel: cancelling and retrying jobs, seeing workers and sending them away."""

from datetime import timedelta

import pytest

from jobhall import JobState, RetryPolicy, Submission, WorkerState
from jobhall.calls import SubmitOptions
from jobhall.errors import FieldInvalidError
from jobhall.filters import worker_filter_text
from jobhall.v1 import job_pb2, worker_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall.v1 import worker_service_pb2 as workers_pb2
from tests.support.fake_channel import fake_server

JOB_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def job(state: JobState) -> job_pb2.Job:
    return job_pb2.Job(id=JOB_ID, job_type="resize", state=job_pb2.JobState.ValueType(int(state)))


def test_a_cancel_says_why_and_how_long_the_worker_may_take() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.cancel_job(JOB_ID, reason="wrong file", grace=2.5))
        request = server.answer("CancelJob", pb.CancelJobResponse(job=job(JobState.CANCELLING)))

        assert calling.result().state is JobState.CANCELLING
    assert (request.reason, request.grace.ToTimedelta()) == ("wrong file", timedelta(seconds=2.5))


def test_a_cancel_without_a_grace_leaves_it_to_the_server() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.cancel_job(JOB_ID))
        request = server.answer("CancelJob", pb.CancelJobResponse(job=job(JobState.CANCELLED)))

        calling.result()
    assert not request.HasField("grace")


def test_a_retried_job_is_answered_as_it_then_is() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.retry_job(JOB_ID))
        request = server.answer("RetryJob", pb.RetryJobResponse(job=job(JobState.PENDING)))

        assert calling.result().state is JobState.PENDING
    assert request == pb.RetryJobRequest(job_id=JOB_ID)


def test_workers_are_listed_through_all_their_pages() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: [it.id for it in server.client.workers.list(namespace="-", name="w")])
        more = workers_pb2.ListWorkersResponse(workers=[worker_pb2.Worker(id="a")], next_page_token="more")
        first = server.answer("ListWorkers", more)
        second = server.answer("ListWorkers", workers_pb2.ListWorkersResponse(workers=[worker_pb2.Worker(id="b")]))

        assert calling.result() == ["a", "b"]
    assert first == workers_pb2.ListWorkersRequest(namespace="-", filter='name = "w"')
    assert (second.filter, second.page_token) == (first.filter, "more")


def test_a_worker_is_read_and_sent_away_by_its_id() -> None:
    there = worker_pb2.Worker(id="s1", state=worker_pb2.WORKER_STATE_ATTACHED)
    leaving = worker_pb2.Worker(id="s1", state=worker_pb2.WORKER_STATE_DRAINING)
    with fake_server() as server:
        reading = server.calling(lambda: server.client.workers.get("s1"))
        read = server.answer("GetWorker", workers_pb2.GetWorkerResponse(worker=there))
        draining = server.calling(lambda: server.client.workers.drain("s1", timeout=60, reason="deploy"))
        drained = server.answer("DrainWorker", workers_pb2.DrainWorkerResponse(worker=leaving))

        assert reading.result().state is WorkerState.ATTACHED
        assert draining.result().state is WorkerState.DRAINING
    assert (read.worker_id, drained.worker_id, drained.reason) == ("s1", "s1", "deploy")
    assert drained.timeout.ToTimedelta() == timedelta(minutes=1)


def test_a_selection_of_workers_becomes_the_filter_of_the_contract() -> None:
    text = worker_filter_text(
        {
            "states": [WorkerState.DETACHED, WorkerState.DRAINING],
            "job_types": ["media:resize"],
            "name": "w 1",
            "labels": {"zone": "a"},
        }
    )

    assert (
        text == '(state = DETACHED OR state = DRAINING) AND type = "media:resize"'
        ' AND labels.zone = "a" AND name = "w 1"'
    )
    assert worker_filter_text({"namespace": "media"}) == ""


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"run_timeout": -1}, "run_timeout"),
        ({"progress_timeout": timedelta(-1)}, "progress_timeout"),
        ({"retry_policy": RetryPolicy(initial_delay=timedelta(-1))}, "retry_policy.initial_delay"),
    ],
)
def test_a_span_below_zero_is_refused_by_name(options: SubmitOptions, field: str) -> None:
    with fake_server() as server:
        with pytest.raises(FieldInvalidError, match="zero or more") as single:
            server.client.jobs.submit("greet", **options)
        with pytest.raises(FieldInvalidError, match="zero or more") as many:
            server.client.jobs.submit_many([Submission("greet"), Submission("greet", **options)])

    assert [violation.field for violation in single.value.violations] == [f"job.{field}"]
    assert [violation.field for violation in many.value.violations] == [f"jobs[1].{field}"]


@pytest.mark.parametrize("call", ["cancel", "drain"])
def test_a_time_below_zero_to_leave_is_refused_by_name(call: str) -> None:
    with fake_server() as server, pytest.raises(FieldInvalidError, match=r"(grace|timeout): is -1\.0 s"):
        if call == "cancel":
            server.client.jobs.cancel_job(JOB_ID, grace=-1)
        else:
            server.client.workers.drain("s1", timeout=-1)
