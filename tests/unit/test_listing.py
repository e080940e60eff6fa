"""A place in a list: whatever its pages are, and however many filters it takes, jobs come once and in their order."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobhall import FailureKind, Job, JobError, JobPage, JobState, OperationStatus
from jobhall.calls import PageOptions
from jobhall.errors import FieldInvalidError
from jobhall.listing import ListPlace

T0 = datetime(2026, 1, 31, tzinfo=UTC)
ORDERS = ["", "create_time desc", "create_time", "update_time desc", "update_time"]
# Which filter of ERROR each job is of, and when it was made and changed.
HISTORY = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 99), st.integers(0, 99)), max_size=20)
SIZES = st.lists(st.integers(0, 3), max_size=4)
KINDS = [FailureKind.TIMEOUT, FailureKind.WORKER_LOST, FailureKind.EXPIRED, FailureKind.SCHEMA_MISMATCH]


def job(number: int, filtered: int, made: int, changed: int) -> Job:
    kind = JobError(kind=KINDS[filtered - 1]) if filtered else None
    return Job(
        id=f"j{number}",
        namespace="default",
        job_type="resize",
        state=JobState.FAILED if kind else JobState.CANCELLED,
        error=kind,
        created_at=T0 + timedelta(seconds=made),
        updated_at=T0 + timedelta(seconds=changed),
    )


def key_of(order: str) -> Callable[[Job], Any]:
    return lambda it: it.updated_at if order.startswith("update_time") else it.created_at


def told(jobs: list[Job], place: ListPlace, sizes: list[int], order: str) -> Iterator[Job]:
    """What the place tells, asked of a server that has these jobs and cuts its pages to these sizes, and to one."""
    cut = cycle([*sizes, 1])
    newest_first = order in ("", "create_time desc", "update_time desc")
    while call := place.next_call():
        request: Any = call.request
        at = int(request.page_token or "0") + request.skip
        found = sorted((it for it in jobs if matches(it, request.filter)), key=key_of(order), reverse=newest_first)
        end = at + next(cut)
        yield from place.take(JobPage(tuple(found[at:end]), str(end) if end < len(found) else ""))


def matches(it: Job, text: str) -> bool:
    return f"state = {it.state.name}" in text and (it.error is None or f"error_kind = {it.error.kind.name}" in text)


@given(HISTORY, st.sampled_from(ORDERS), st.integers(0, 25), SIZES)
def test_a_list_of_several_filters_tells_each_job_once_in_its_order(
    history: list[tuple[int, int, int]], order: str, skip: int, sizes: list[int]
) -> None:
    jobs = [job(number, *facts) for number, facts in enumerate(history)]
    options = PageOptions(status=OperationStatus.ERROR, order_by=order, skip=skip)

    seen = list(told(jobs, ListPlace(options), sizes, order))

    newest_first = order in ("", "create_time desc", "update_time desc")
    times = [key_of(order)(it) for it in seen]
    assert times == sorted(map(key_of(order), jobs), reverse=newest_first)[skip:]
    assert len({it.id for it in seen}) == len(seen)


@given(HISTORY, st.integers(0, 25), SIZES)
def test_a_list_of_one_filter_tells_its_pages_as_they_come(
    history: list[tuple[int, int, int]], skip: int, sizes: list[int]
) -> None:
    jobs = [job(number, 0, *facts[1:]) for number, facts in enumerate(history)]
    place = ListPlace(PageOptions(states=[JobState.CANCELLED], skip=skip))

    seen = list(told(jobs, place, sizes, ""))

    assert seen == sorted(jobs, key=key_of(""), reverse=True)[skip:]


def test_no_page_is_asked_for_before_the_jobs_that_came_are_told() -> None:
    place = ListPlace(PageOptions(status=OperationStatus.ERROR))
    asked = []
    while (call := place.next_call()) and not any(place.take(JobPage((job(1, 0, 1, 1),), "more"))):
        asked.append(call)

    assert len(asked) == 4


def test_a_page_token_leads_on_in_one_list_and_not_in_several() -> None:
    call: Any = ListPlace(PageOptions(status=OperationStatus.FAILURE, page_token="there")).next_call()

    assert call.request.page_token == "there"
    with pytest.raises(FieldInvalidError, match="page_token"):
        ListPlace(PageOptions(status=OperationStatus.ERROR, page_token="there"))
