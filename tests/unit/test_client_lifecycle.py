"""The blocking client under a fake channel: checking, changing, explaining and following jobs, one and many."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

import jobhall
from jobhall import (
    AccessControl,
    AttemptOutcome,
    BulkOutcome,
    FailureKind,
    JobState,
    LogEntry,
    Submission,
    UniquePolicy,
    Visibility,
    WaitReasonKind,
)
from jobhall.errors import EtagMismatchError, FieldInvalidError, JobNotFoundError, WatcherLimitError
from jobhall.filters import filter_text
from jobhall.v1 import event_pb2, job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.fake_channel import SERVICES, fake_server

JOB_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
STREAMS = {"SubmitJobStream", "WatchJobs"}


def job(state: JobState = JobState.PENDING, **fields: Any) -> job_pb2.Job:
    return job_pb2.Job(id=JOB_ID, job_type="resize", state=job_pb2.JobState.ValueType(int(state)), **fields)


def lines(*numbers: int, token: str = "", attempt: int = 1) -> pb.ListJobLogsResponse:
    entries = [job_pb2.LogEntry(number=number, message=f"line {number}", attempt=attempt) for number in numbers]
    return pb.ListJobLogsResponse(log_entries=entries, next_page_token=token)


def happened(kind: str, state: JobState, *, attempt: int = 1) -> pb.WatchJobsResponse:
    event = event_pb2.JobEvent(
        event_type=event_pb2.EventType.Value(f"EVENT_TYPE_{kind}"),
        job_id=JOB_ID,
        attempt=attempt,
        state=job_pb2.JobState.ValueType(int(state)),
    )
    return pb.WatchJobsResponse(cursor="c", events=[event])


def test_every_call_of_jobs_batches_and_types_is_there() -> None:
    folder = Path(jobhall.__file__).parent
    said = "".join(path.read_text(encoding="utf-8") for path in folder.glob("calls*.py"))
    services = [service for service in SERVICES if service.name in {"JobService", "BatchService", "JobTypeService"}]
    methods = {method.name for service in services for method in service.methods} - STREAMS

    assert {name for name in methods if f"_pb2.{name}Request(" not in said} == set()


# --- submitting ---


def test_a_check_stores_nothing_and_chooses_no_id() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.validate("resize", {"width": 3}, priority=7))
        request = server.answer("SubmitJob", pb.SubmitJobResponse(job=job_pb2.Job(priority=7)))

        assert (calling.result().id, calling.result().priority) == ("", 7)
    assert (request.validate_only, request.job.job_id) == (True, "")


def test_many_are_checked_as_one() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.validate_many([Submission("resize")] * 2))
        request = server.answer("BatchSubmitJobs", pb.BatchSubmitJobsResponse(jobs=[job(), job()]))

        assert len(calling.result()) == 2
    assert request.validate_only


def test_a_submit_says_all_that_it_was_told() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    with fake_server() as server:
        calling = server.calling(
            lambda: server.client.jobs.submit(
                "resize",
                schedule_time=noon,
                start_deadline=noon + timedelta(hours=1),
                unique_key="cat.png",
                unique_policy=UniquePolicy.REJECT,
                unique_window=60,
                retention=timedelta(days=7),
                access_control=AccessControl(visibility=Visibility.PUBLIC, write_access=("ann",)),
            )
        )
        request = server.answer("SubmitJob", pb.SubmitJobResponse(job=job())).job

        calling.result()
    assert request.schedule_time.ToDatetime(tzinfo=UTC) == noon
    assert request.start_deadline.ToDatetime(tzinfo=UTC) == noon + timedelta(hours=1)
    assert (request.unique_key, request.unique_policy) == ("cat.png", job_pb2.UNIQUE_POLICY_REJECT)
    assert request.unique_window.ToTimedelta() == timedelta(minutes=1)
    assert request.retention.ToTimedelta() == timedelta(days=7)
    assert list(request.access_control.write_access) == ["ann"]


# --- changing one ---


def test_an_update_names_what_it_changes_and_nothing_else() -> None:
    with fake_server() as server:
        calling = server.calling(
            lambda: server.client.jobs.update_job(
                JOB_ID, priority=0, schedule_time=None, labels={"team": "red"}, etag="7"
            )
        )
        request = server.answer("UpdateJob", pb.UpdateJobResponse(job=job(revision=8)))

        assert calling.result().revision == 8
    assert list(request.update_mask.paths) == ["priority", "schedule_time", "labels"]
    assert request.job == job_pb2.Job(id=JOB_ID, etag="7", labels={"team": "red"})


def test_an_update_may_clear_labels_and_access() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.update_job(JOB_ID, labels={}, access_control=None))
        request = server.answer("UpdateJob", pb.UpdateJobResponse(job=job()))

        calling.result()
    assert list(request.update_mask.paths) == ["labels", "access_control"]
    assert request.job == job_pb2.Job(id=JOB_ID)


def test_a_change_that_raced_is_told_and_not_tried_again() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.delete_job(JOB_ID, etag="3"))
        request = server.refuse("DeleteJob", EtagMismatchError("it is at 4"))

        with pytest.raises(EtagMismatchError):
            calling.result()
    assert request.etag == "3"


# --- changing many ---


def test_all_jobs_of_a_filter_are_cancelled_step_by_step() -> None:
    with fake_server() as server:
        calling = server.calling(
            lambda: server.client.jobs.cancel_jobs(job_types=["resize"], namespace="media", reason="wrong file")
        )
        first = server.answer("CancelJobs", pb.CancelJobsResponse(cancelled_count=1000, more=True))
        second = server.answer("CancelJobs", pb.CancelJobsResponse(cancelled_count=7))

        assert calling.result() == BulkOutcome(count=1007)
    assert first == second
    assert first == pb.CancelJobsRequest(
        namespace="media", filter='job_type = "resize"', reason="wrong file", jobs_max=1000
    )


def test_so_many_jobs_are_purged_and_no_more() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.purge_jobs(min_age=timedelta(days=7), jobs_max=1500))
        first = server.answer("PurgeJobs", pb.PurgeJobsResponse(purged_count=1000, more=True))
        second = server.answer("PurgeJobs", pb.PurgeJobsResponse(purged_count=500, more=True))

        assert calling.result() == BulkOutcome(count=1500, more=True)
    assert (first.jobs_max, second.jobs_max) == (1000, 500)
    assert (first.filter, first.min_age.ToTimedelta()) == ("", timedelta(days=7))


def test_a_dry_run_is_one_step() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.retry_jobs(states=[JobState.FAILED], dry_run=True))
        request = server.answer("RetryJobs", pb.RetryJobsResponse(retried_count=1000, more=True))

        assert calling.result() == BulkOutcome(count=1000, more=True)
    assert request.dry_run


def test_a_step_that_changed_nothing_is_the_last() -> None:
    """What is skipped stays as it is, and would be found by every further step."""
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.retry_jobs(filter="state = FAILED"))
        server.answer("RetryJobs", pb.RetryJobsResponse(retried_count=3, skipped_count=2, more=True))
        server.answer("RetryJobs", pb.RetryJobsResponse(skipped_count=2, more=True))

        assert calling.result() == BulkOutcome(count=3, skipped=2, more=True)


def test_to_change_no_job_at_all_is_refused_by_name() -> None:
    with fake_server() as server, pytest.raises(FieldInvalidError, match="jobs_max"):
        server.client.jobs.cancel_jobs(filter="state = PENDING", jobs_max=0)


def test_a_selection_says_every_condition_of_the_contract() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    text = filter_text(
        {
            "batch_id": "b1",
            "unique_key": 'the "one"',
            "error_kind": FailureKind.TIMEOUT,
            "error_code": "SLOW",
            "priority_min": 0,
            "priority_max": 5,
            "updated_after": noon,
            "ended_before": noon,
        }
    )

    assert text == (
        'batch_id = "b1" AND unique_key = "the \\"one\\"" AND error_kind = TIMEOUT AND error_code = "SLOW"'
        " AND priority >= 0 AND priority <= 5"
        ' AND update_time >= "2026-01-31T12:00:00Z" AND end_time < "2026-01-31T12:00:00Z"'
    )


# --- what is told of jobs ---


def test_attempts_are_read_through_all_their_pages() -> None:
    failed = job_pb2.Attempt(attempt=1, fence=3, outcome=job_pb2.ATTEMPT_OUTCOME_FAILED, worker_name="w")
    running = job_pb2.Attempt(attempt=2, fence=4)
    with fake_server() as server:
        calling = server.calling(lambda: list(server.client.jobs.attempts(JOB_ID)))
        server.answer("ListAttempts", pb.ListAttemptsResponse(attempts=[failed], next_page_token="more"))
        second = server.answer("ListAttempts", pb.ListAttemptsResponse(attempts=[running]))

        attempts = calling.result()
    assert [(it.fence, it.outcome) for it in attempts] == [(3, AttemptOutcome.FAILED), (4, AttemptOutcome.UNSPECIFIED)]
    assert second.page_token == "more"


def test_counts_are_asked_for_by_type_and_owner() -> None:
    queue = pb.QueueStats(job_type="resize", counts=job_pb2.JobCounts(pending=3, failed=1), completed_per_second=0.5)
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.stats(namespace="-", job_types=["resize"], owner="ann"))
        answer = pb.GetJobStatsResponse(total=job_pb2.JobCounts(pending=3, failed=1), queues=[queue])
        request = server.answer("GetJobStats", answer)

        stats = calling.result()
    assert request == pb.GetJobStatsRequest(namespace="-", job_types=["resize"], owner="ann")
    assert (stats.total.total, stats.total.ended, stats.queues[0].counts.of(JobState.PENDING)) == (4, 1, 3)
    assert stats.queues[0].oldest_pending_age is None


def test_an_explanation_has_its_reasons_in_their_order() -> None:
    reasons = [
        pb.WaitReason(kind=pb.WAIT_REASON_KIND_TYPE_PAUSED, message="it is paused", suggestion="resume it"),
        pb.WaitReason(kind=pb.WAIT_REASON_KIND_BEHIND_OTHERS, metadata={"jobs_ahead": "4"}),
    ]
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.explain(JOB_ID))
        explanation = pb.JobExplanation(job_id=JOB_ID, summary="It is paused.", reasons=reasons, jobs_ahead=4)
        server.answer("ExplainJob", pb.ExplainJobResponse(explanation=explanation))

        said = calling.result()
    assert [reason.kind for reason in said.reasons] == [WaitReasonKind.TYPE_PAUSED, WaitReasonKind.BEHIND_OTHERS]
    assert (said.reasons[0].suggestion, said.reasons[1].metadata, said.jobs_ahead) == (
        "resume it",
        {"jobs_ahead": "4"},
        4,
    )


# --- following a log ---


def test_a_log_is_followed_until_the_job_has_ended_and_the_log_is_read() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: messages(server.client.jobs.logs(JOB_ID, follow=True)))
        watch = server.open_stream("WatchJobs")
        watch.send_response(pb.WatchJobsResponse(cursor="a", snapshot_jobs=[job(JobState.RUNNING, attempt=1)]))
        server.answer("ListJobLogs", lines(1, 2))
        watch.send_response(happened("LOG", JobState.RUNNING))
        again = server.answer("ListJobLogs", lines(3))
        watch.send_response(happened("COMPLETED", JobState.COMPLETED))
        server.answer("ListJobLogs", lines(4))
        last = server.answer("ListJobLogs", lines())

        assert calling.result() == ["line 1", "line 2", "line 3", "line 4"]
    assert (again.attempt, again.after_number) == (1, 2)
    assert last.after_number == 4


def test_who_follows_goes_on_with_the_next_attempt() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: messages(server.client.jobs.logs(JOB_ID, follow=True)))
        watch = server.open_stream("WatchJobs")
        watch.send_response(pb.WatchJobsResponse(cursor="a", snapshot_jobs=[job(JobState.RUNNING, attempt=1)]))
        server.answer("ListJobLogs", lines(1))
        watch.send_response(happened("RUNNING", JobState.RUNNING, attempt=2))
        server.answer("ListJobLogs", lines(2))
        second = server.answer("ListJobLogs", lines(1, attempt=2))
        watch.terminate((), grpc.StatusCode.OK, "")
        server.answer("ListJobLogs", lines(2, attempt=2))

        assert calling.result() == ["line 1", "line 2", "line 1", "line 2"]
    assert (second.attempt, second.after_number) == (2, 0)


def test_without_room_for_a_watch_the_log_is_asked_for_each_second() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: messages(server.client.jobs.logs(JOB_ID, follow=True)))
        server.refuse_stream("WatchJobs", WatcherLimitError("too many"))
        asked = server.answer("GetJob", pb.GetJobResponse(job=job(JobState.RUNNING, attempt=1)))
        server.answer("ListJobLogs", lines(1))
        server.answer("GetJob", pb.GetJobResponse(job=job(JobState.COMPLETED, attempt=1)))
        server.answer("ListJobLogs", lines(2))
        server.answer("ListJobLogs", lines())

        assert calling.result() == ["line 1", "line 2"]
    assert asked.view == job_pb2.JOB_VIEW_BASIC
    assert server.pauses == [1.0]


def test_to_follow_a_job_that_is_not_there_says_so() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: messages(server.client.jobs.logs(JOB_ID, follow=True)))
        server.open_stream("WatchJobs").terminate((), grpc.StatusCode.OK, "")
        server.refuse("ListJobLogs", JobNotFoundError(JOB_ID))

        with pytest.raises(JobNotFoundError):
            calling.result()


def test_a_page_of_a_log_says_how_many_lines_were_not_kept() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.log_page(JOB_ID, attempt=2, page_size=1))
        answer = lines(1, token="more")
        answer.dropped_count = 5000
        request = server.answer("ListJobLogs", answer)

        page = calling.result()
    assert (page.dropped_count, page.next_page_token) == (5000, "more")
    assert (request.attempt, request.page_size) == (2, 1)


def messages(entries: Any) -> list[str]:
    return [entry.message for entry in entries if isinstance(entry, LogEntry)]
