"""Faults of `task.track` that were found by hunting: each test opens with what went wrong."""

from collections.abc import Iterator

import pytest

from jobhall import tracking
from jobhall.task import Task
from tests.unit.test_task import task_of
from tests.unit.test_tracking import counted, letters, said


@pytest.fixture
def task() -> Task:
    return task_of()


@pytest.fixture(autouse=True)
def each_item_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a loop that takes its time."""
    monkeypatch.setattr(tracking, "REPORT_SECONDS", 0.0)


class Loader:
    """Has a `__len__`, as loaders of data do that cannot know."""

    def __init__(self, error: type[Exception]) -> None:
        self._error = error

    def __len__(self) -> int:
        raise self._error

    def __iter__(self) -> Iterator[str]:
        return letters()


def test_a_loop_counts_its_own_items_whatever_the_one_before_it_counted(task: Task) -> None:
    """A longer loop without a length after a shorter one: its fourth item was "more than total 3" and failed the job,
    if it took more than a fifth of a second. Results said of the first loop did the same to the second.
    """
    list(task.track("ab"))
    task.progress(succeeded=1, failed=1)

    assert [counted(task) for _ in task.track(letters())] == [(0, None), (1, None), (2, None)]
    assert counted(task) == (3, 3)
    assert (said(task).items_succeeded, said(task).items_failed) == (0, 0)


def test_an_attempt_that_begins_anew_is_not_held_to_what_the_one_before_it_counted() -> None:
    """Its checkpoint had 48 succeeded: not to go on from there was "more than processed 0"."""
    task = task_of(progress={"items_processed": 50, "items_succeeded": 48, "items_failed": 2})

    assert list(task.track("ab")) == ["a", "b"]
    assert counted(task) == (2, 2)


def test_an_attempt_that_goes_on_keeps_what_was_counted_before_it() -> None:
    task = task_of(progress={"items_processed": 50, "items_total": 53, "items_succeeded": 48, "items_failed": 2})

    assert [counted(task) for _ in task.track(letters(), start=50)] == [(50, 53), (51, 53), (52, 53)]
    assert (said(task).items_succeeded, said(task).items_failed) == (48, 2)


def test_a_total_that_the_handler_said_wrongly_fails_nobody(task: Task) -> None:
    """The loop without a length took it over, and its third item failed the job."""
    task.progress(total=2)

    assert list(task.track(letters())) == ["a", "b", "c"]
    assert counted(task) == (3, 3)


def test_results_in_another_unit_than_the_items_fail_nobody(task: Task) -> None:
    """Of each chunk a thousand rows were said to be well: at the next one only two items were processed."""
    for number, _ in enumerate(task.track(letters()), 1):
        task.progress(succeeded=number * 1000)

    assert counted(task) == (3000, 3000)


@pytest.mark.parametrize("error", [TypeError, NotImplementedError])
def test_what_cannot_know_its_length_has_none(task: Task, error: type[Exception]) -> None:
    """A loader with a `__len__` that raises failed its job before the first item."""
    assert list(task.track(Loader(error))) == ["a", "b", "c"]
    assert counted(task) == (3, 3)


def test_a_range_beyond_what_len_can_say_is_tracked_as_well(task: Task) -> None:
    assert next(task.track(range(10**20))) == 0


def test_a_loop_that_is_left_says_how_far_it_was(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick loop with a `break` left its job at 0 of 26."""
    monkeypatch.setattr(tracking, "REPORT_SECONDS", 600.0)

    for letter in task.track("abcdefghijklmnopqrstuvwxyz"):
        if letter == "f":
            break

    assert counted(task) == (5, 26)
