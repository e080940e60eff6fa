"""What a task's own threads left of item errors, log lines and checkpoints: numbered, and cut into items."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TypeVar

from jobhall.v1.job_pb2 import LOG_LEVEL_WARNING, ItemError, LogEntry
from jobhall.v1.task_pb2 import TaskItemErrors, TaskLog, TaskUpdate
from jobhall.worker.held import HeldTask

_Message = TypeVar("_Message", ItemError, LogEntry)


def spoken(task: HeldTask, bytes_max: int) -> Iterator[tuple[HeldTask, TaskUpdate | TaskLog]]:
    """What the task's threads left but progress, numbered, in items of at most so many bytes."""
    yield from _spoken_item_errors(task, bytes_max)
    if task.lines or task.lines_dropped > task.lines_missed:
        yield from _spoken_lines(task, bytes_max)
    if task.checkpoints:
        task.checkpoint_waits = True
        yield task, task.checkpoints.popleft()


def _spoken_lines(task: HeldTask, bytes_max: int) -> Iterator[tuple[HeldTask, TaskUpdate | TaskLog]]:
    for lines in _cut(task.lines or deque(), bytes_max):
        first = task.lines_number + 1
        task.lines_number += len(lines)
        yield task, TaskLog(lease_token=task.token, first_number=first, log_entries=lines)
    if missed := task.lines_dropped - task.lines_missed:
        # The numbers of those that were dropped stay free but the last, under which a line says how many they were: so
        # they are counted even where no other line follows.
        task.lines_missed += missed
        task.lines_number += missed
        text = f"{missed} lines of this log are missing here: they came faster than the worker could send them"
        line = LogEntry(level=LOG_LEVEL_WARNING, message=text)
        yield task, TaskLog(lease_token=task.token, first_number=task.lines_number, log_entries=[line])


def _spoken_item_errors(task: HeldTask, bytes_max: int) -> Iterator[tuple[HeldTask, TaskUpdate | TaskLog]]:
    if task.item_errors is None:
        return
    # Before the buffer is emptied: those that it counts are there then, or are beyond those that are kept.
    count = task.item_errors_count
    for errors in _cut(task.item_errors, bytes_max):
        first = task.item_errors_number + 1
        task.item_errors_number += len(errors)
        spoken = TaskItemErrors(first_number=first, item_errors=errors)
        yield task, TaskUpdate(lease_token=task.token, item_errors=spoken)
    if task.item_errors_number < count:
        # The number of the last one counts all that were not kept.
        task.item_errors_number = count
        spoken = TaskItemErrors(first_number=count, item_errors=[ItemError()])
        yield task, TaskUpdate(lease_token=task.token, item_errors=spoken)


def _cut(source: deque[_Message], bytes_max: int) -> Iterator[list[_Message]]:
    """Empties the deque, into lists of at most so many bytes or one message. Its other end may grow meanwhile."""
    batch: list[_Message] = []
    size = 0
    for _ in range(len(source)):
        message = source.popleft()
        message_bytes = message.ByteSize()
        if batch and size + message_bytes > bytes_max:
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += message_bytes
    if batch:
        yield batch
