"""The model: what can be read off a job, and that a value stays as it was made."""

import dataclasses

import pytest

import jobhall
from jobhall import Job, Jobs, JobState, Progress, Submission
from jobhall.model import JobPage


def job(state: JobState, job_id: str = "j1") -> Job:
    return Job(id=job_id, namespace="default", job_type="resize", state=state)


@pytest.mark.parametrize("state", JobState)
def test_a_job_is_done_in_its_terminal_states_and_has_succeeded_in_one(state: JobState) -> None:
    assert job(state).done == (state in {JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})
    assert job(state).succeeded == (state is JobState.COMPLETED)


def test_what_is_still_to_do_is_known_where_the_total_is() -> None:
    assert Progress(items_total=1000, items_processed=985).items_remaining == 15
    assert Progress(items_processed=3).items_remaining is None


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
