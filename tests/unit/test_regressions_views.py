"""Regressions of lists by status: what changes while it is read, and what is no status."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobhall import (
    Batch,
    BatchState,
    CancelledJob,
    FailureKind,
    Job,
    JobError,
    JobPage,
    Jobs,
    JobState,
    OperationStatus,
    Submission,
    TaskStatus,
)
from jobhall.calls import PageOptions
from jobhall.errors import FieldInvalidError
from jobhall.filters import filter_texts
from jobhall.listing import ListPlace
from jobhall.queue import QueueJob

T0 = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize("skip", [0, 3])
def test_a_job_that_fails_while_the_lists_are_read_is_told_once(skip: int) -> None:
    """PROCESSING and FAILURE are two lists. The first was read while j2 to j4 were at work; by the time that more of
    the second was asked for they had failed, and came again. All were submitted together: none has a moment of its own.
    """
    place = ListPlace(PageOptions(status=[OperationStatus.PROCESSING, OperationStatus.FAILURE], skip=skip))
    pages = {
        "state = PENDING": iter([JobPage(tuple(job(number, JobState.RUNNING) for number in (4, 3, 2, 1)))]),
        "state = FAILED": iter(
            [
                JobPage((job(5, JobState.FAILED),), "more"),
                JobPage((job(4, JobState.FAILED), job(3, JobState.FAILED)), "more"),
                JobPage((job(2, JobState.FAILED), job(0, JobState.FAILED, hours=-1))),
            ]
        ),
    }

    seen = [it.id for it in told(place, pages)]

    assert len(seen) == len(set(seen)) == 6 - skip
    assert seen[-1] == "j0"


@pytest.mark.parametrize("status", [None, 3, JobState.FAILED, "failure", [], [JobState.FAILED], [[]], [None]])
def test_what_is_no_status_is_named(status: Any) -> None:
    """A state, or a list within the list, left as a TypeError from within: "'JobState' object is not iterable"."""
    with pytest.raises(FieldInvalidError, match="give one or more of one view"):
        filter_texts({"status": status})


def test_statuses_of_two_views_are_refused_and_a_whole_view_is_taken() -> None:
    with pytest.raises(FieldInvalidError, match="of one view"):
        filter_texts({"status": [OperationStatus.SUCCESS, TaskStatus.FAILED]})

    assert filter_texts({"status": OperationStatus}) == filter_texts({"status": list(OperationStatus)})


def test_jobs_and_batches_stand_in_sets_and_name_what_belongs_to_them() -> None:
    """`set(jobs)` and `{job: file}` were a TypeError, "unhashable type: 'dict'": what a job was given may be one."""
    given: Any = {"id": "j1", "namespace": "default", "state": JobState.COMPLETED, "parameters": {}, "result": [{}]}
    one, same = Job(job_type="x", **given), Job(job_type="x", **given)
    cancelled, queued = CancelledJob(job_type="x", **given), QueueJob(type="x", **given)
    batch = Batch(id="b1", namespace="default", state=BatchState.PENDING, completion_job=Submission("x", {"a": 1}))

    assert {one: "a.png"}[same] == "a.png"
    assert len({one, same, cancelled, queued, batch}) == 4
    assert {Jobs((one,)), Jobs((same,))} == {Jobs((one,))}


def told(place: ListPlace, pages: dict[str, Iterator[JobPage]]) -> Iterator[Job]:
    while call := place.next_call():
        request: Any = call.request
        (listed,) = [page for state, page in pages.items() if state in request.filter]
        yield from place.take(next(listed))


def job(number: int, state: JobState, *, hours: int = 0) -> Job:
    error = JobError(kind=FailureKind.APPLICATION) if state is JobState.FAILED else None
    at = T0 + timedelta(hours=hours)
    return Job(id=f"j{number}", namespace="default", job_type="x", state=state, error=error, created_at=at)
