"""The blocking client under a fake channel: answers to submits and cancels, brief reads, statuses of several lists."""

from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from jobhall import BulkOutcome, CallRetry, Job, JobFailedError, JobState, OperationStatus, SubmitAnswer
from jobhall.errors import FieldInvalidError, JobTypeNotFoundError
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.fake_channel import fake_server

JOB_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
ONCE = CallRetry(attempts_max=1)


def job(state: JobState = JobState.PENDING, job_id: str = JOB_ID, *, made: int = 0, **fields: Any) -> job_pb2.Job:
    message = job_pb2.Job(id=job_id, job_type="resize", state=job_pb2.JobState.ValueType(int(state)), **fields)
    message.create_time.FromDatetime(datetime(2026, 1, 31, 12, 0, made, tzinfo=UTC))
    return message


# --- submits ---


def test_a_submit_that_is_taken_answers_with_its_job() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.try_submit("resize", {"width": 8}))
        request = server.answer("SubmitJob", pb.SubmitJobResponse(job=job(), existing=True))

        assert calling.result() == SubmitAnswer(status_code=200, job_id=JOB_ID, existing=True)
    assert (request.job.job_type, request.job.parameters.json) == ("resize", '{"width":8}')


def test_a_submit_that_is_refused_answers_with_the_reason() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.try_submit("resizee"))
        server.refuse("SubmitJob", JobTypeNotFoundError("resizee", nearest="resize"))
        answer = calling.result()

    assert (answer.status_code, answer.job_id) == (404, None)
    assert answer.failure_reason == "there is no job type 'resizee' in namespace 'default'; did you mean 'resize'?"


def test_a_submit_that_cannot_be_sent_or_is_never_answered_is_an_answer_too() -> None:
    with fake_server(retry=ONCE) as server:
        unsaid = server.client.jobs.try_submit("resize", {"width": float("nan")})
        calling = server.calling(lambda: server.client.jobs.try_submit("resize"))
        server.fail("SubmitJob", grpc.StatusCode.UNAVAILABLE)
        unheard = calling.result()

    assert (unsaid.status_code, unsaid.job_id) == (400, None)
    assert (unheard.status_code, unheard.job_id) == (503, None)
    assert "jobs.example:50051" in (unheard.failure_reason or "")


def test_a_submit_may_wait_for_the_job_s_end() -> None:
    with fake_server() as server:
        calling = server.calling(
            lambda: server.client.jobs.submit("resize", wait_for_completion=True, timeout=20, labels={"team": "red"})
        )
        request = server.answer("SubmitJob", pb.SubmitJobResponse(job=job()))
        done = job(JobState.COMPLETED, result=job_pb2.Payload(json='{"width": 8}'))
        waited = server.answer("WaitJob", pb.WaitJobResponse(job=done, done=True))

        assert calling.result().response == {"width": 8}
    assert dict(request.job.labels) == {"team": "red"}
    assert (waited.job_id, waited.timeout.ToSeconds()) == (JOB_ID, 20)


def test_a_submit_that_waits_raises_what_a_wait_raises() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.submit("resize", wait_for_completion=True))
        server.answer("SubmitJob", pb.SubmitJobResponse(job=job()))
        server.answer("WaitJob", pb.WaitJobResponse(job=job(JobState.CANCELLED, cancel_reason="enough"), done=True))

        with pytest.raises(JobFailedError, match="enough"):
            calling.result()


def test_a_timeout_without_a_wait_is_refused_before_anything_is_sent() -> None:
    with fake_server() as server, pytest.raises(FieldInvalidError, match="wait_for_completion=True"):
        server.client.jobs.submit("resize", timeout=20)


# --- reads ---


def test_jobs_are_read_briefly_where_that_is_enough() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.get_job(JOB_ID, brief=True).id)
        one = server.answer("GetJob", pb.GetJobResponse(job=job()))
        assert calling.result() == JOB_ID
        several = server.calling(lambda: len(server.client.jobs.get_jobs([JOB_ID], brief=True)))
        many = server.answer("BatchGetJobs", pb.BatchGetJobsResponse(jobs=[job()]))
        assert several.result() == 1

    assert one == pb.GetJobRequest(job_id=JOB_ID, view=job_pb2.JOB_VIEW_BASIC)
    assert many == pb.BatchGetJobsRequest(job_ids=[JOB_ID], view=job_pb2.JOB_VIEW_BASIC)


def test_a_value_is_picked_out_of_each_result() -> None:
    def ended(state: JobState, result: Any) -> Job:
        return Job(id=JOB_ID, namespace="default", job_type="resize", state=state, result=result)

    jobs = [
        ended(JobState.COMPLETED, {"ds_id": 456}),
        ended(JobState.COMPLETED, {"file_id": 7}),
        ended(JobState.FAILED, None),
        ended(JobState.COMPLETED, [1, 2]),
        ended(JobState.COMPLETED, {"ds_id": 0}),
    ]
    with fake_server() as server:
        assert server.client.jobs.extract_results(jobs, "ds_id") == [456, None, None, None, 0]


# --- cancels ---


@pytest.mark.parametrize("told", [True, False])
def test_a_cancel_says_whether_a_worker_was_told(told: bool) -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.cancel_job(JOB_ID))
        server.answer("CancelJob", pb.CancelJobResponse(job=job(JobState.CANCELLING), worker_told=told))

        answer = calling.result()
    assert (answer.id, answer.state, answer.worker_told) == (JOB_ID, JobState.CANCELLING, told)


# --- statuses that take several lists ---


def test_the_lists_of_a_status_are_told_as_one() -> None:
    with fake_server() as server:
        calling = server.calling(
            lambda: [it.id for it in server.client.jobs.list_jobs(status=OperationStatus.ERROR, page_size=7)]
        )
        pages = [
            pb.ListJobsResponse(jobs=[job(JobState.CANCELLED, "c", made=5), job(JobState.CANCELLED, "a", made=1)]),
            pb.ListJobsResponse(),
            pb.ListJobsResponse(jobs=[job(JobState.FAILED, "b", made=3)]),
            pb.ListJobsResponse(),
            pb.ListJobsResponse(),
        ]
        asked = [server.answer("ListJobs", page) for page in pages]

        assert calling.result() == ["c", "b", "a"]
    assert asked[0] == pb.ListJobsRequest(filter="state = CANCELLED", page_size=7, view=job_pb2.JOB_VIEW_BASIC)
    assert asked[2].filter == "state = FAILED AND error_kind = WORKER_LOST"


def test_a_page_of_such_a_status_is_refused() -> None:
    with fake_server() as server, pytest.raises(FieldInvalidError, match="list_jobs goes through them"):
        server.client.jobs.list_page(status=OperationStatus.ERROR)


def test_a_change_of_such_a_status_takes_one_filter_after_the_other() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.retry_jobs(status=OperationStatus.ERROR, jobs_max=50))
        answers = [
            pb.RetryJobsResponse(retried_count=20, skipped_count=1),
            pb.RetryJobsResponse(),
            pb.RetryJobsResponse(retried_count=30, skipped_count=1),
        ]
        asked = [server.answer("RetryJobs", answer) for answer in answers]

        # The other filters were not asked any more, so that there may be others.
        assert calling.result() == BulkOutcome(count=50, skipped=2, more=True)
    assert [request.jobs_max for request in asked] == [50, 30, 30]
    assert len({request.filter for request in asked}) == 3


def test_a_dry_run_of_such_a_status_counts_them_all() -> None:
    with fake_server() as server:
        calling = server.calling(
            lambda: server.client.jobs.purge_jobs(min_age=0, status=OperationStatus.ERROR, dry_run=True)
        )
        for count in range(5):
            server.answer("PurgeJobs", pb.PurgeJobsResponse(purged_count=count, more=count == 3))

        assert calling.result() == BulkOutcome(count=10, more=True)
