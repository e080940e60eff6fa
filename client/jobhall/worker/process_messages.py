"""What passes between the worker and the processes of its handlers: orders one way, words about them the other."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple, TypeAlias, TypeVar

from jobhall.limits import ITEM_ERRORS_KEPT_MAX, LOG_LINES_KEPT_MAX
from jobhall.task import StopCause
from jobhall.v1 import task_pb2
from jobhall.v1.job_pb2 import ItemError, LogEntry, Progress
from jobhall.worker.held import HeldTask
from jobhall.worker.outcomes import Outcome, outcome_of_result


class Order(NamedTuple):
    """Run this one."""

    assignment: bytes


class Stop(NamedTuple):
    """The one that runs is to stop."""

    cause: StopCause
    reason: str
    stopping: bool


class Ready(NamedTuple):
    """The process has its handlers; or why it has not, for people."""

    trouble: str = ""


class Word(NamedTuple):
    """What the task's handler said since the last one, in the contract's messages; the last one has its outcome."""

    progress: bytes | None
    lines: list[bytes]
    lines_dropped: int
    item_errors: list[bytes]
    item_errors_count: int
    """How many there were in all."""
    checkpoint: bytes | None
    outcome: tuple[str, bytes] | None


FromWorker: TypeAlias = Order | Stop
_M = TypeVar("_M")
_OUTCOMES: Final[dict[str, type[Outcome]]] = {
    kind.DESCRIPTOR.name: kind
    for kind in (task_pb2.TaskCompleted, task_pb2.TaskFailed, task_pb2.TaskReleased, task_pb2.TaskCancelled)
}


def word_of(task: HeldTask, outcome: Outcome | None = None) -> Word:
    """Takes what the handler left; in its process."""
    # First: what comes meanwhile must ask again.
    task.report_waits = False
    progress, said = task.progress, task.progress_sent
    task.progress_sent = progress
    dropped = task.lines_dropped
    missed, task.lines_missed = dropped - task.lines_missed, dropped
    count = task.item_errors_count
    return Word(
        progress=None if progress is None or progress is said else progress.SerializeToString(),
        lines=[line.SerializeToString() for line in _taken(task.lines)],
        lines_dropped=missed,
        item_errors=[error.SerializeToString() for error in _taken(task.item_errors)],
        item_errors_count=count,
        checkpoint=next((update.SerializeToString() for update in _taken(task.checkpoints)), None),
        outcome=None if outcome is None else (outcome.DESCRIPTOR.name, outcome.SerializeToString()),
    )


def hear(task: HeldTask, word: Word) -> bool:
    """Leaves it with the task, as a handler in a thread would have; whether there is something to report."""
    if word.progress is not None:
        task.progress = Progress.FromString(word.progress)
    if word.lines or word.lines_dropped:
        lines = task.lines = deque() if task.lines is None else task.lines
        room = max(0, LOG_LINES_KEPT_MAX - len(lines))
        lines.extend(LogEntry.FromString(line) for line in word.lines[:room])
        task.lines_dropped += word.lines_dropped + len(word.lines[room:])
    if word.item_errors_count > task.item_errors_count:
        errors = task.item_errors = deque() if task.item_errors is None else task.item_errors
        errors.extend(ItemError.FromString(error) for error in word.item_errors[:ITEM_ERRORS_KEPT_MAX])
        # After those that it counts.
        task.item_errors_count = word.item_errors_count
    if word.checkpoint is not None:
        task.checkpoints = deque(maxlen=1) if task.checkpoints is None else task.checkpoints
        task.checkpoints.append(task_pb2.TaskUpdate.FromString(word.checkpoint))
    # A progress that says nothing has no bytes, and yet is a sign of life.
    return word.progress is not None or bool(
        word.lines or word.lines_dropped or word.item_errors_count or word.checkpoint
    )


def outcome_of(word: Word) -> Outcome | None:
    """How the task ended, if it did."""
    if word.outcome is None:
        return None
    kind, message = word.outcome
    outcome = _OUTCOMES[kind].FromString(message)
    return outcome if message or not isinstance(outcome, task_pb2.TaskCompleted) else outcome_of_result(None)


def _taken(source: deque[_M] | None) -> list[_M]:
    """Empties it; its other end may grow meanwhile."""
    return [] if source is None else [source.popleft() for _ in range(len(source))]
