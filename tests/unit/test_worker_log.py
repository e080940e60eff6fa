"""What of a task's log there was no room for is said in its place, and counted where nothing follows."""

from jobhall.limits import LOG_LINES_KEPT_MAX
from jobhall.task import Task
from jobhall.v1.task_pb2 import TaskLog
from jobhall.worker.held import HeldTask
from jobhall.worker.spoken import spoken
from tests.support.stream_machine import Bench


def test_lines_that_were_dropped_are_said_to_be_missing_under_the_number_of_the_last() -> None:
    """A task wrote fifteen thousand lines in a tight loop, and ended: the server knew of ten thousand, dropped none."""
    held, task = begun()
    for number in range(LOG_LINES_KEPT_MAX + 5000):
        task.log(str(number))

    *_, last, missing = logs(held)

    assert last.first_number + len(last.log_entries) - 1 == LOG_LINES_KEPT_MAX
    assert missing.first_number == LOG_LINES_KEPT_MAX + 5000
    assert [entry.message[:11] for entry in missing.log_entries] == ["5000 lines "]


def test_lines_that_come_later_are_numbered_after_the_missing_ones() -> None:
    held, task = begun()
    for number in range(LOG_LINES_KEPT_MAX + 3):
        task.log(str(number))
    logs(held)
    task.log("at last")

    (later,) = logs(held)

    assert (later.first_number, later.log_entries[0].message) == (LOG_LINES_KEPT_MAX + 4, "at last")


def test_a_line_that_was_dropped_while_the_others_were_taken_is_still_counted() -> None:
    """A thread found the buffer full, and came to count its line when the buffer had been emptied already."""
    held, task = begun()
    task.log("first")
    logs(held)
    held.lines_dropped += 1

    (missing,) = logs(held)

    assert missing.first_number == 2
    assert logs(held) == []


def begun() -> tuple[HeldTask, Task]:
    bench = Bench()
    bench.open()
    (held,) = bench.begin(*bench.deliver(1))
    return held, Task(held, bench.handover)


def logs(held: HeldTask) -> list[TaskLog]:
    return [said for _, said in spoken(held, 64 * 1024) if isinstance(said, TaskLog)]
