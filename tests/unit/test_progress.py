"""How far a task is: what is contradictory is refused by name, and the share that is done never divides by zero."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobhall_server.domain.progress import Progress

COUNTS = st.none() | st.integers(-3, 12)
PROGRESS = st.builds(
    Progress,
    percent=st.none() | st.floats(),
    step_index=COUNTS,
    step_count=COUNTS,
    total=COUNTS,
    processed=COUNTS,
    succeeded=COUNTS,
    failed=COUNTS,
)


@pytest.mark.parametrize(
    "progress",
    [
        Progress(),
        Progress(percent=0),
        Progress(percent=100),
        Progress(total=0, processed=0),
        Progress(total=10, processed=10, succeeded=8, failed=2),
        Progress(processed=3),
        Progress(succeeded=3, failed=1),
        Progress(total=4, succeeded=3, failed=1),
    ],
)
def test_progress_that_holds_together_is_kept(progress: Progress) -> None:
    assert progress.fault() is None


@pytest.mark.parametrize(
    ("progress", "fault"),
    [
        (Progress(percent=100.1), "percent is 100.1"),
        (Progress(percent=-1), "percent is -1"),
        (Progress(percent=math.nan), "percent is nan"),
        (Progress(percent=math.inf), "percent is inf"),
        (Progress(total=-1), "total is -1"),
        (Progress(step_index=-1), "step_index is -1"),
        (Progress(total=2, processed=3), "processed is 3, more than total = 2"),
        (Progress(total=2, succeeded=3), "processed is 3, more than total = 2"),
        (Progress(processed=2, succeeded=2, failed=1), "succeeded + failed is 3, more than processed = 2"),
        (Progress(processed=0, failed=1), "succeeded + failed is 1, more than processed = 0"),
    ],
)
def test_progress_that_contradicts_itself_is_refused(progress: Progress, fault: str) -> None:
    assert (progress.fault() or "").startswith(fault)


@given(PROGRESS)
def test_what_is_kept_is_in_order_and_its_share_lies_between_0_and_100(progress: Progress) -> None:
    if progress.fault() is None:
        done = progress.percent_done
        assert done is None or 0 <= done <= 100
        parts = (progress.succeeded or 0) + (progress.failed or 0)
        assert progress.processed is None or parts <= progress.processed
        assert progress.total is None or max(progress.processed or 0, parts) <= progress.total


@pytest.mark.parametrize(
    ("progress", "done"),
    [
        (Progress(percent=12.5, total=10, processed=9), 12.5),
        (Progress(total=8, processed=2), 25.0),
        (Progress(total=0, processed=0), None),
        (Progress(total=8), None),
        (Progress(processed=8), None),
    ],
)
def test_the_share_done_is_the_reported_one_or_that_of_the_counters(progress: Progress, done: float | None) -> None:
    assert progress.percent_done == done


@pytest.mark.parametrize(
    ("number", "known", "late"), [(3, 4, True), (4, 4, False), (5, 4, False), (None, 4, False), (3, None, False)]
)
def test_a_word_is_late_where_its_task_has_said_a_later_one(number: int | None, known: int | None, late: bool) -> None:
    assert Progress(number=number).late(Progress(number=known)) is late


def test_no_word_is_late_where_none_is_known() -> None:
    assert not Progress(number=1).late(None)
