"""The model: what can be read off a job, and that a value stays as it was made."""

import dataclasses
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobhall
from jobhall import (
    Batch,
    BatchState,
    FileInfo,
    Job,
    JobCounts,
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


def test_what_is_still_to_do_is_known_where_the_total_is() -> None:
    assert Progress(items_total=1000, items_processed=985).items_remaining == 15
    assert Progress(items_processed=3).items_remaining is None


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


def test_every_public_name_is_there() -> None:
    for name in jobhall.__all__:
        assert getattr(jobhall, name).__doc__, name


def test_a_name_that_is_not_there_is_a_plain_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Clint"):
        jobhall.Clint  # noqa: B018
