"""`task.track`: progress that follows from a loop, said a few times a second however many items there are."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from jobhall import tracking
from jobhall.model import Progress
from jobhall.task import StopCause, Task, TaskCancelled
from jobhall.wire import progress_from_wire
from jobhall.worker.handover import Handover
from jobhall.worker.held import HeldTask
from tests.unit.test_task import task_of


@pytest.fixture
def task() -> Task:
    return task_of()


class NotingTask(Task):
    """Notes what is reported of it."""

    def __init__(self, held: HeldTask, handover: Handover) -> None:
        super().__init__(held, handover)
        self.noted: list[int] = []

    def progress(self, **progress: Any) -> None:
        self.noted.append(progress["processed"])
        super().progress(**progress)


def said(task: Task) -> Progress:
    progress = task._held.progress
    assert progress is not None
    return progress_from_wire(progress)


def counted(task: Task) -> tuple[int, int | None]:
    return said(task).items_processed, said(task).items_total


def letters() -> Iterator[str]:
    """Of a number that nobody knows before."""
    yield from "abc"


async def letters_in_time() -> AsyncIterator[str]:
    for letter in "abc":
        yield letter


def test_the_items_come_and_their_number_is_the_progress(task: Task) -> None:
    assert list(task.track(["a", "b", "c"], unit="rows", step="import")) == ["a", "b", "c"]

    assert counted(task) == (3, 3)
    assert (said(task).unit, said(task).step) == ("rows", "import")


def test_the_total_is_known_from_the_start_where_there_is_a_length(task: Task) -> None:
    next(task.track(range(10)))

    assert counted(task) == (0, 10)


def test_without_a_length_the_total_is_known_at_the_end(task: Task) -> None:
    items = task.track(letters())

    next(items)
    assert counted(task) == (0, None)
    assert list(items) == ["b", "c"]
    assert counted(task) == (3, 3)


def test_a_total_that_was_too_small_fails_nobody(task: Task) -> None:
    list(task.track(letters(), total=2))

    assert counted(task) == (3, 3)


def test_a_total_that_was_too_large_stands(task: Task) -> None:
    list(task.track(letters(), total=5))

    assert counted(task) == (3, 5)


def test_an_attempt_counts_on_from_where_the_one_before_was(task: Task) -> None:
    rows = list(range(10))

    assert list(task.track(rows[6:], start=6)) == [6, 7, 8, 9]
    assert counted(task) == (10, 10)


def test_nothing_to_do_is_done_at_once(task: Task) -> None:
    assert list(task.track([])) == []

    assert counted(task) == (0, 0)


def test_a_start_is_not_negative(task: Task) -> None:
    with pytest.raises(ValueError, match="start is -1"):
        task.track([], start=-1)


async def test_what_comes_asynchronously_is_counted_as_well(task: Task) -> None:
    assert [letter async for letter in task.track(letters_in_time(), unit="letters")] == ["a", "b", "c"]

    assert counted(task) == (3, 3)


def test_a_task_that_is_to_stop_gets_no_other_item(task: Task) -> None:
    seen = []

    with pytest.raises(TaskCancelled, match="enough"):
        for letter in task.track("abc"):
            seen.append(letter)
            task._held.ask_to_stop(StopCause.CANCELLED, "enough")

    assert seen == ["a"]


def test_many_items_are_a_few_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    task = NotingTask(task_of()._held, Handover())
    now = 100.0
    monkeypatch.setattr(tracking, "monotonic", lambda: now)

    for item in task.track(range(1000)):
        if item % 100 == 50:
            now += tracking.REPORT_SECONDS

    assert task.noted == [0, *(range(51, 1000, 100)), 1000]


def test_what_the_handler_says_itself_stands_beside_the_count(task: Task) -> None:
    for number in task.track([1, 2, 3, 4]):
        task.progress(processed=number, failed=1, message="careful")

    assert (said(task).items_failed, said(task).message, counted(task)) == (1, "careful", (4, 4))
