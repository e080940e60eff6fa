"""What went wrong in the SDK of the whole lifecycle: selections, logs that are followed, delays of handlers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobhall import (
    AccessControl,
    CallRetry,
    JobEvent,
    JobState,
    LogEntry,
    LogPage,
    RetryPolicy,
    TaskFailed,
    TaskReleased,
    WatchUpdate,
)
from jobhall.errors import FieldInvalidError, FilterUnsupportedError, ServerUnreachableError, WatcherLimitError
from jobhall.filters import JobSelection, filter_text
from jobhall.log_place import LogPlace
from jobhall.states import EventType, FailureKind
from jobhall.v1 import batch_pb2, job_pb2
from jobhall.v1 import batch_service_pb2 as batches_pb
from jobhall.v1 import job_service_pb2 as pb
from jobhall_server.rpc.filter_language import conditions
from tests.support.fake_channel import fake_server

JOB_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


# --- which jobs ---


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_condition_means_the_text_that_it_was_given(text: str) -> None:
    """A path with a tab could not be found again: the SDK wrote the escapes of JSON, which no filter knows."""
    [[comparison]] = conditions(filter_text({"path": text}))

    assert comparison.value == text


def test_a_filter_is_wrong_where_its_writer_wrote_it() -> None:
    """With other conditions before it an error named a character beyond the end of what somebody had written."""
    text = filter_text({"states": [JobState.FAILED], "filter": "owner = ann OR type = resize"})

    with pytest.raises(FilterUnsupportedError) as caught:
        conditions(text)
    assert caught.value.metadata["position"] == "0"


def test_all_pages_of_a_list_have_the_same_conditions() -> None:
    """States came from a generator: the first page used them up, the second asked for every job, and was refused."""
    with fake_server() as server:
        states = (state for state in [JobState.FAILED])
        calling = server.calling(lambda: list(server.client.jobs.list_jobs(states=states)))
        first = server.answer("ListJobs", pb.ListJobsResponse(jobs=[job_pb2.Job(id=JOB_ID)], next_page_token="2"))
        second = server.answer("ListJobs", pb.ListJobsResponse())

        assert len(calling.result()) == 1
    assert (first.filter, second.filter, second.page_token) == ("state = FAILED", "state = FAILED", "2")


def test_all_pages_of_a_list_of_batches_have_the_same_conditions() -> None:
    """The same of batches."""
    with fake_server() as server:
        calling = server.calling(lambda: list(server.client.batches.list(states=iter(()), name="nightly")))
        server.answer("ListBatches", batches_pb.ListBatchesResponse(next_page_token="2"))
        second = server.answer("ListBatches", batches_pb.ListBatchesResponse())

        assert calling.result() == []
    assert (second.filter, second.page_token) == ('name = "nightly"', "2")


@pytest.mark.parametrize(
    "selection",
    [
        {"job_types": []},
        {"states": iter(())},
        {"batch_id": ""},
        {"labels": {}},
        {"filter": ""},
        {"created_before": None},
        {"error_kind": FailureKind.UNSPECIFIED},
    ],
    ids=lambda selection: next(iter(selection)),
)
def test_what_changes_many_jobs_takes_no_condition_that_names_nothing(selection: Any) -> None:
    """A program purged types of a list that was empty one day: that was no condition, and all jobs were gone."""
    with fake_server() as server, pytest.raises(FieldInvalidError, match="names nothing"):
        server.client.jobs.purge_jobs(min_age=0, **selection)


def test_a_priority_of_zero_and_the_default_namespace_are_conditions() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.purge_jobs(min_age=0, namespace="", priority_min=0))
        request = server.answer("PurgeJobs", pb.PurgeJobsResponse(purged_count=1))

        assert calling.result().count == 1
    assert request.filter == "priority >= 0"


def test_a_misspelt_condition_is_no_condition() -> None:
    """`purge_jobs(min_age=0, state=[FAILED])`, where it is `states`, was taken for no condition: all jobs were gone."""
    misspelt: Any = {"state": [JobState.FAILED]}
    with fake_server() as server:
        client = server.client
        for ask in (
            lambda: client.jobs.purge_jobs(min_age=0, **misspelt),
            lambda: client.jobs.cancel_jobs(owner="ann", **misspelt),
            lambda: client.jobs.list_page(**misspelt),
            lambda: next(client.jobs.list_jobs(**misspelt)),
            lambda: next(client.jobs.logs(JOB_ID, **misspelt)),
            lambda: client.jobs.log_page(JOB_ID, **misspelt),
            lambda: next(client.jobs.watch(**misspelt)),
            lambda: next(client.batches.list(**misspelt)),
            lambda: next(client.types.list(**misspelt)),
            lambda: next(client.workers.list(**misspelt)),
        ):
            with pytest.raises(TypeError, match="no argument 'state'"):
                ask()


def test_a_text_is_not_taken_for_a_list_of_its_letters() -> None:
    """`job_types="resize"` listed nothing, as there are no types `r`, `e`, `s`; type checkers let it pass. And
    `read_access="ann"` let `a` and `n` read the job.
    """
    selection: JobSelection = {"job_types": "resize"}
    with pytest.raises(FieldInvalidError, match="give a list"):
        filter_text(selection)
    with fake_server() as server:
        jobs = server.client.jobs
        for ask in (
            lambda: jobs.stats(job_types="resize"),
            lambda: jobs.get_jobs(JOB_ID),
            lambda: jobs.submit("resize", access_control=AccessControl(read_access="ann")),  # type: ignore[arg-type]
            lambda: jobs.submit("resize", retry_policy=RetryPolicy(non_retryable_codes="BAD")),  # type: ignore[arg-type]
            lambda: next(jobs.watch(job_ids=JOB_ID)),
        ):
            with pytest.raises(FieldInvalidError, match="give a list"):
                ask()


# --- logs that are followed ---


def started(attempt: int, at: datetime) -> WatchUpdate:
    return _told(EventType.RUNNING, attempt, JobState.RUNNING, at)


def given_back() -> WatchUpdate:
    return _told(EventType.SCHEDULED, 0, JobState.SCHEDULED, None)


def _told(kind: EventType, attempt: int, state: JobState, at: datetime | None) -> WatchUpdate:
    event = JobEvent(
        event_type=kind,
        job_id=JOB_ID,
        revision=1,
        namespace="default",
        job_type="resize",
        state=state,
        attempt=attempt,
        happened_at=at,
    )
    return WatchUpdate(cursor="c", events=(event,))


def page(*numbers: int, token: str = "") -> LogPage:
    return LogPage(tuple(LogEntry(message="line", number=number) for number in numbers), token)


def asked(place: LogPlace) -> list[object] | None:
    call = place.next_call()
    if call is None:
        return None
    request: Any = call.request
    return [request.attempt, request.after_number, request.page_token]


def test_lines_of_a_task_that_was_given_back_are_followed_by_those_of_the_next() -> None:
    """A worker gave its task back after ten lines; the next task has the same attempt number and counts its lines from
    1 again, so that the first ten of them were never shown: the reader asked for those after the tenth.
    """
    place = LogPlace(JOB_ID, {})
    place.see(started(1, NOON))
    place.take(page(*range(1, 11)))
    place.see(given_back())
    place.take(page())
    place.see(started(1, NOON + timedelta(seconds=1)))

    assert asked(place) == [1, 0, ""]


def test_lines_of_a_named_attempt_that_was_given_back_are_followed_too() -> None:
    place = LogPlace(JOB_ID, {"attempt": 1})
    place.see(started(1, NOON))
    place.take(page(1, 2))
    place.see(given_back())
    place.take(page())
    over = place.over
    place.see(started(1, NOON + timedelta(seconds=1)))

    assert (over, asked(place)) == (False, [1, 0, ""])


def test_the_pages_of_the_task_before_are_read_to_their_end_first() -> None:
    place = LogPlace(JOB_ID, {})
    place.see(started(1, NOON))
    place.take(page(1, 2, token="more"))
    place.see(started(1, NOON + timedelta(seconds=1)))
    before = asked(place)
    place.take(page(3))

    assert (before, asked(place)) == ([1, 0, "more"], [1, 0, ""])


def test_the_same_start_told_twice_is_one() -> None:
    place = LogPlace(JOB_ID, {})
    place.see(started(1, NOON))
    place.take(page(1, 2))
    place.see(started(1, NOON))

    assert asked(place) == [1, 2, ""]


def test_who_follows_waits_for_a_server_that_comes_back() -> None:
    """The watch of a follower outlived any outage, but not the read of lines that the outage met: it gave up with
    ServerUnreachableError, at the command line within a second.
    """
    running = job_pb2.Job(id=JOB_ID, state=job_pb2.JOB_STATE_RUNNING, attempt=1)
    with fake_server(retry=CallRetry(attempts_max=1)) as server:
        calling = server.calling(lambda: [line.number for line in server.client.jobs.logs(JOB_ID, follow=True)])
        watch = server.open_stream("WatchJobs")
        watch.send_response(pb.WatchJobsResponse(cursor="a", snapshot_jobs=[running]))
        for _ in range(3):
            server.fail("ListJobLogs")
        server.answer("ListJobLogs", pb.ListJobLogsResponse(log_entries=[job_pb2.LogEntry(number=1)]))
        watch.terminate((), grpc.StatusCode.OK, "")
        server.answer("ListJobLogs", pb.ListJobLogsResponse())

        assert calling.result() == [1]
    assert len(server.pauses) == 3


def test_who_only_reads_a_log_is_told_that_nobody_answers() -> None:
    with fake_server(retry=CallRetry(attempts_max=1)) as server:
        calling = server.calling(lambda: list(server.client.jobs.logs(JOB_ID)))
        server.fail("ListJobLogs")

        with pytest.raises(ServerUnreachableError):
            calling.result()


# --- waiting for a batch ---


def test_a_batch_is_asked_for_ten_times_a_second_at_most() -> None:
    """With a `poll_interval` of 0 it was asked for as fast as the server could answer."""
    processing = batch_pb2.Batch(state=batch_pb2.BATCH_STATE_PROCESSING)
    with fake_server() as server:
        calling = server.calling(lambda: server.client.batches.wait(JOB_ID, poll_interval=0))
        server.answer("GetBatch", batches_pb.GetBatchResponse(batch=processing))
        server.refuse_stream("WatchJobs", WatcherLimitError("full"))
        for _ in range(2):
            server.answer("GetBatch", batches_pb.GetBatchResponse(batch=processing))
        server.answer(
            "GetBatch", batches_pb.GetBatchResponse(batch=batch_pb2.Batch(state=batch_pb2.BATCH_STATE_COMPLETED))
        )

        assert calling.result().succeeded
    assert server.pauses == [0.1] * 3


# --- delays ---


def test_a_delay_may_be_in_seconds_as_every_other_span_may() -> None:
    """The page on progress raised TaskFailed with `retry_delay=0.1`; that was a TypeError, and its code was lost."""
    assert TaskFailed("no", retry_delay=0.5).retry_delay == timedelta(seconds=0.5)
    assert TaskReleased("later", delay=2).delay == timedelta(seconds=2)
    with pytest.raises(ValueError, match="negative"):
        TaskFailed("no", retry_delay=-0.5)


def test_states_may_be_given_by_their_names() -> None:
    """`list_jobs(states=["FAILED"])`, as one writes it at a prompt, was an AttributeError."""
    assert filter_text({"states": ["FAILED", JobState.PENDING]}) == "(state = FAILED OR state = PENDING)"  # type: ignore[list-item]
