"""The model: what can be read off a job, and that a value stays as it was made."""

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobhall
from jobhall import (
    Batch,
    BatchState,
    CancelledJob,
    FailureKind,
    FileInfo,
    ItemError,
    Job,
    JobCounts,
    JobError,
    JobPage,
    Jobs,
    JobState,
    Progress,
    Submission,
    Timing,
)
from jobhall.spans import span_text


def job(state: JobState, job_id: str = "j1") -> Job:
    return Job(id=job_id, namespace="default", job_type="resize", state=state)


@pytest.mark.parametrize("state", JobState)
def test_a_job_is_done_in_its_terminal_states_and_has_succeeded_in_one(state: JobState) -> None:
    assert job(state).done == (state in {JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})
    assert job(state).succeeded == (state is JobState.COMPLETED)


# --- what came of a job, and what went wrong ---


def test_a_job_has_an_operation_and_a_time_of_its_last_update() -> None:
    changed = datetime(2026, 1, 31, tzinfo=UTC)

    one = dataclasses.replace(job(JobState.PENDING), updated_at=changed)

    assert (one.operation, one.last_updated_at) == ("resize", changed)


@pytest.mark.parametrize("state", JobState)
def test_a_response_is_a_mapping_in_every_state(state: JobState) -> None:
    empty = job(state)

    assert empty.response == ({"failure_reason": "cancelled"} if state is JobState.CANCELLED else {})


@pytest.mark.parametrize(
    ("result", "response"),
    [
        ({"ds_id": 456}, {"ds_id": 456}),
        ({}, {}),
        (None, {}),
        ([1, 2], {"result": [1, 2]}),
        (b"png", {"result": b"png"}),
    ],
)
def test_the_response_of_a_completed_job_is_its_result(result: Any, response: dict[str, Any]) -> None:
    assert dataclasses.replace(job(JobState.COMPLETED), result=result).response == response


@pytest.mark.parametrize(
    ("error", "response"),
    [
        (
            JobError(kind=FailureKind.APPLICATION, code="NO_TABLE", message="is no table", details={"line": 3}),
            {"failure_reason": "is no table", "error_details": {"line": 3}},
        ),
        (
            JobError(kind=FailureKind.APPLICATION, code="NO_TABLE"),
            {"failure_reason": "NO_TABLE", "error_details": None},
        ),
        (JobError(kind=FailureKind.TIMEOUT), {"failure_reason": "TIMEOUT", "error_details": None}),
    ],
)
def test_the_response_of_a_failed_job_says_why(error: JobError, response: dict[str, Any]) -> None:
    assert dataclasses.replace(job(JobState.FAILED), error=error).response == response


def test_a_job_that_is_tried_again_has_an_error_and_no_response() -> None:
    again = dataclasses.replace(job(JobState.SCHEDULED), error=JobError(kind=FailureKind.TIMEOUT, message="too slow"))

    assert (again.has_errors, again.error_message, again.response) == (True, "too slow", {})


@pytest.mark.parametrize("state", JobState)
def test_a_job_has_errors_where_it_or_an_item_went_badly(state: JobState) -> None:
    assert job(state).has_errors == (state in {JobState.FAILED, JobState.CANCELLED})
    assert dataclasses.replace(job(state), item_error_count=1).has_errors


def test_item_errors_stand_in_the_details_beside_what_the_application_said() -> None:
    items = (ItemError(45, "row 45", "INVALID", "no number"),)
    told = {"index": 45, "key": "row 45", "code": "INVALID", "message": "no number"}
    fault = JobError(kind=FailureKind.APPLICATION, details={"model": "v3"})
    bad = dataclasses.replace(job(JobState.FAILED), error=fault, item_errors=items, item_error_count=15)

    assert bad.error_details == {"errors": [told], "model": "v3"}
    assert bad.error_count == 15
    assert dataclasses.replace(bad, error=None).error_details == {"errors": [told]}
    assert dataclasses.replace(bad, item_errors=()).error_details == {"model": "v3"}
    assert job(JobState.COMPLETED).error_details is None


def test_a_cancelled_job_says_why() -> None:
    cancelled = dataclasses.replace(job(JobState.CANCELLED), cancel_reason="wrong file")

    assert (cancelled.error_message, cancelled.response) == ("wrong file", {"failure_reason": "wrong file"})


def test_a_job_that_was_just_cancelled_is_a_job_that_also_says_whether_its_worker_was_told() -> None:
    cancelled = CancelledJob(
        id="j1", namespace="default", job_type="resize", state=JobState.CANCELLING, worker_told=True
    )

    assert isinstance(cancelled, Job)
    assert cancelled.to_dict()["worker_told"] is True
    assert CancelledJob.from_dict(cancelled.to_dict()) == cancelled


# --- counts and times ---


def test_what_is_still_to_do_is_known_where_the_total_is() -> None:
    assert Progress(items_total=1000, items_processed=985).items_remaining == 15
    assert Progress(items_processed=3).items_remaining is None


@given(st.integers(0, 2**53), st.integers(0, 2**53))
def test_what_is_done_and_what_is_still_to_do_are_all(processed: int, left: int) -> None:
    progress = Progress(items_total=processed + left, items_processed=processed)

    assert progress.items_remaining == left


def test_the_error_rate_is_known_from_the_first_item_on() -> None:
    assert Progress().error_rate is None
    assert Progress(items_processed=1000, items_succeeded=985, items_failed=15).error_rate == 0.015


@given(st.integers(0, 2**53), st.integers(0, 2**53))
def test_an_error_rate_is_a_share(processed: int, failed: int) -> None:
    rate = Progress(items_processed=max(processed, failed), items_failed=failed).error_rate

    assert rate is None or 0 <= rate <= 1


def test_a_file_s_size_in_mb_is_known_where_its_size_is() -> None:
    assert FileInfo("rows.csv", 2_048_576).size_mb == pytest.approx(1.95, abs=0.01)
    assert FileInfo("empty", 0).size_mb == 0
    assert FileInfo("rows.csv").size_mb is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.42, "0.4s"),
        (5, "5s"),
        (9.96, "10s"),
        (42.4, "42s"),
        (59.7, "1m"),
        (85, "1m 25s"),
        (3599.6, "1h"),
        (3605, "1h"),
        (11_100, "3h 5m"),
        (176_400, "2d 1h"),
    ],
)
def test_a_span_reads_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert span_text(timedelta(seconds=seconds)) == text


UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}


@given(st.floats(0, 10**9))
def test_a_span_read_back_is_the_span_to_its_second_largest_unit(seconds: float) -> None:
    parts = re.findall(r"([0-9.]+)([dhms])", span_text(timedelta(seconds=seconds)))
    read = sum(float(count) * UNITS[unit] for count, unit in parts)
    finest = UNITS[parts[-1][1]]
    exact = 0.1 if seconds < 9.95 else finest if len(parts) == 2 else UNITS[parts[0][1]]

    assert 1 <= len(parts) <= 2
    assert abs(read - seconds) <= max(exact, 0.5)


def test_what_is_not_known_of_a_job_s_times_reads_as_nothing() -> None:
    timing = Timing(run_duration=timedelta(seconds=125.5), estimated_remaining=timedelta(seconds=85))

    assert (timing.run_text, timing.remaining_text, timing.queue_text) == ("2m 6s", "1m 25s", "")


def test_counts_know_every_state_and_their_sum() -> None:
    counts = JobCounts(**{state.name.lower(): state.value for state in JobState if state})

    assert {state: counts.of(state) for state in JobState if state} == {s: s.value for s in JobState if s}
    assert (counts.total, counts.ended) == (36, 6 + 7 + 8)


@pytest.mark.parametrize("state", BatchState)
def test_a_batch_is_done_in_two_states_and_has_succeeded_in_one(state: BatchState) -> None:
    batch = Batch(id="b1", namespace="default", state=state)

    assert batch.done == (state in {BatchState.COMPLETED, BatchState.FAILED})
    assert batch.succeeded == (state is BatchState.COMPLETED)


def test_jobs_are_a_sequence_and_name_what_is_missing() -> None:
    first, second = job(JobState.PENDING, "a"), job(JobState.FAILED, "b")

    jobs = Jobs((first, second), ("c",))

    assert list(jobs) == [first, second]
    assert jobs[1] is second
    assert jobs[:1] == (first,)
    assert len(jobs) == 2
    assert jobs.jobs == (first, second)
    assert jobs.missing_ids == ("c",)


def test_nothing_of_the_model_can_be_changed() -> None:
    for value in (job(JobState.PENDING), Submission("resize"), JobPage(())):
        name = dataclasses.fields(value)[0].name

        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, "other")


def test_a_name_that_is_not_there_is_a_plain_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Clint"):
        jobhall.Clint  # type: ignore[attr-defined]  # noqa: B018
