"""The assertions of the fixture `jobhall`: which job they take for the one that is meant, and what they say else."""

from datetime import timedelta

import pytest

from jobhall import TaskFailed
from jobhall_server.testing import Jobhall
from jobhall_server.testing.matching import ANYTHING, matches


@pytest.fixture
def jobhall(jobhall: Jobhall) -> Jobhall:
    """The project's own fixture over that of the plugin."""
    jobhall.register("resize", "mail")
    return jobhall


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (ANYTHING, None),
        (None, None),
        ({}, {"a": 1}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}, "d": 3}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}]}),
        ((1, 2), [1, 2]),
    ],
)
def test_what_matters_matches(expected: object, actual: object) -> None:
    assert matches(expected, actual)


@pytest.mark.parametrize(
    ("expected", "actual"), [(None, {}), ({"a": None}, {}), ({"a": 1}, {"a": 2}), ([1], [1, 2]), ({"a": 1}, [1])]
)
def test_what_differs_does_not(expected: object, actual: object) -> None:
    assert not matches(expected, actual)


def test_a_submitted_job_is_found_by_what_matters_of_it(jobhall: Jobhall) -> None:
    first = jobhall.client.jobs.submit("resize", {"file": "cat.png", "width": 100}, labels={"team": "red", "day": "1"})
    second = jobhall.client.jobs.submit("resize", {"file": "dog.png", "width": 100})

    assert jobhall.assert_submitted("resize").id == second.id
    assert jobhall.assert_submitted("resize", {"file": "cat.png"}, count=1, labels={"team": "red"}).id == first.id
    assert jobhall.assert_submitted("resize", {"width": 100}, count=2, namespace="default").id == second.id
    assert [job.id for job in jobhall.jobs("resize", {"width": 100})] == [first.id, second.id]
    jobhall.assert_not_submitted("resize", {"file": "cow.png"})
    jobhall.assert_not_submitted("resize", labels={"team": "blue"})
    jobhall.assert_not_submitted("resize", namespace="elsewhere")


def test_what_was_submitted_instead_is_told(jobhall: Jobhall) -> None:
    with pytest.raises(AssertionError, match="no job of type 'resize' was submitted, and no other one either"):
        jobhall.assert_submitted("resize")
    jobhall.client.jobs.submit("mail", {"to": "Ada"})
    jobhall.client.jobs.submit("resize", {"file": "dog.png"}, labels={"team": "red"})

    with pytest.raises(AssertionError) as caught:
        jobhall.assert_submitted("resize", {"file": "cat.png"}, labels={"team": "blue"}, namespace="default")

    wanted, nearest, other = str(caught.value).splitlines()
    assert wanted == (
        "no job of type 'resize' with parameters {'file': 'cat.png'} with labels {'team': 'blue'} "
        "in namespace 'default' was submitted; there are:"
    )
    assert nearest.startswith("  resize {'file': 'dog.png'} labels {'team': 'red'} PENDING (")
    assert other.startswith("  mail {'to': 'Ada'} PENDING (")


def test_too_many_and_unwanted_ones_are_told(jobhall: Jobhall) -> None:
    for _ in range(25):
        jobhall.client.jobs.submit("mail", "x" * 500)

    with pytest.raises(AssertionError, match=r"^1 jobs of type 'mail' should have been submitted, not 25:\n") as caught:
        jobhall.assert_submitted("mail", count=1)
    assert str(caught.value).endswith("  … and 5 more")
    assert max(map(len, str(caught.value).splitlines())) < 300
    with pytest.raises(AssertionError, match=r"^no job of type 'mail' should have been submitted; there are:\n"):
        jobhall.assert_not_submitted("mail")
    with pytest.raises(ValueError, match="assert_not_submitted"):
        jobhall.assert_submitted("mail", count=0)


def test_a_job_completed_with_that_result(jobhall: Jobhall) -> None:
    job = jobhall.perform({"resize": lambda _: {"width": 100, "height": 50}}, "resize", "cat.png")

    assert jobhall.assert_completed(job.id, {"width": 100}) == job
    with pytest.raises(
        AssertionError, match=r"the result of resize 'cat.png' .* is {'width': 100.*}, not {'width': 7}"
    ):
        jobhall.assert_completed(job, {"width": 7})
    with pytest.raises(AssertionError, match="is not FAILED: it is COMPLETED"):
        jobhall.assert_failed(job)


def test_a_job_failed_with_that_code_and_message(jobhall: Jobhall) -> None:
    def decline(_: object) -> None:
        raise TaskFailed("card declined", code="DECLINED", retryable=False)

    job = jobhall.client.jobs.submit("mail")
    jobhall.run({"mail": decline}, raise_errors=False)

    jobhall.assert_failed(job, "DECLINED", "declined")
    with pytest.raises(AssertionError, match=r"failed with the code 'DECLINED', not 'LATE': DECLINED: card declined"):
        jobhall.assert_failed(job, "LATE")
    with pytest.raises(AssertionError, match=r"failed, but not with 'bank' in its message: DECLINED: card declined"):
        jobhall.assert_failed(job, message="bank")
    with pytest.raises(AssertionError, match=r"is not COMPLETED: DECLINED: card declined"):
        jobhall.assert_completed(job)


def test_why_a_job_is_not_over_is_told(jobhall: Jobhall) -> None:
    job = jobhall.client.jobs.submit("mail", schedule_time=timedelta(hours=1))
    cancelled = jobhall.client.jobs.cancel_job(jobhall.client.jobs.submit("mail").id, reason="not needed")

    with pytest.raises(AssertionError, match=r"mail SCHEDULED \(.*\) is not COMPLETED: .*schedul"):
        jobhall.assert_completed(job)
    with pytest.raises(AssertionError, match=r"is not FAILED: not needed"):
        jobhall.assert_failed(cancelled)
