"""What a worker's tasks report: numbered, cut into messages, kept until acked, sent again on the next stream."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias, TypeGuard

from jobhall.errors import ApiError
from jobhall.limits import STREAM_MESSAGE_BYTES_TARGET, UNACKED_BYTES_MAX, UNACKED_ITEMS_MAX
from jobhall.v1.task_pb2 import TaskCancelled, TaskCheckpoint, TaskCompleted, TaskLog, TaskUpdate
from jobhall.v1.worker_service_pb2 import Ack, WorkRequest, WorkSettings
from jobhall.wire_errors import error_from_status
from jobhall.worker.held import HeldTask
from jobhall.worker.outcomes import Outcome, size_of, write_outcome
from jobhall.worker.spoken import spoken

ACCEPT_DELAY_SECONDS: Final = 0.005
"""A handler that ends within this is reported once, not twice: its outcome implies that it began."""
PROGRESS_INTERVAL_SECONDS: Final = 0.1
IN_FLIGHT_BYTES_MAX: Final = 1024 * 1024
"""Unacked bytes on their way, or one larger item: on a slow connection a heartbeat waits behind these, and no more."""
_ACCEPTED_BYTES: Final = 32
_ENDS: Final = frozenset({"completed", "failed", "released", "cancelled"})

Report: TypeAlias = tuple[HeldTask, TaskUpdate | TaskLog | Outcome]


@dataclass(slots=True)
class ReportLimits:
    """What the Welcome allows."""

    items_max: int = UNACKED_ITEMS_MAX
    bytes_max: int = UNACKED_BYTES_MAX
    message_bytes: int = STREAM_MESSAGE_BYTES_TARGET
    progress_seconds: float = PROGRESS_INTERVAL_SECONDS

    def obey(self, settings: WorkSettings) -> None:
        """What the server leaves out is as it was."""
        self.progress_seconds = settings.progress_interval.ToTimedelta().total_seconds() or self.progress_seconds
        self.items_max = settings.unacked_items_max or self.items_max
        self.bytes_max = settings.unacked_bytes_max or self.bytes_max
        self.message_bytes = settings.message_bytes_target or self.message_bytes


class _Unacked(NamedTuple):
    task: HeldTask
    message: TaskUpdate | TaskLog
    size: int
    ends: bool


class Rejected(NamedTuple):
    """A report that the server did not take; `ends`: it was the task's outcome."""

    task: HeldTask
    error: ApiError
    ends: bool


class Reports:
    """A machine without I/O: reports in, messages out; the same reports in new messages after a reconnect."""

    def __init__(self) -> None:
        self.limits = ReportLimits()
        self._seq = 0
        """Number of the last item sent on this stream."""
        self._acked = 0
        self._unacked: deque[_Unacked] = deque()
        self._unacked_bytes = 0
        # In the order in which they are sent.
        self._again: deque[Report] = deque()
        self._results: deque[Report] = deque()
        self._accepts: dict[bytes, HeldTask] = {}
        self._accept_at = 0.0
        self._awaited: dict[bytes, HeldTask] = {}
        """Those that are not to begin before their `accepted` is acked."""
        self._may_begin: list[HeldTask] = []
        self._progress: dict[bytes, HeldTask] = {}
        self._live: deque[Report] = deque()
        """Log lines, item errors and checkpoints of tasks that go on."""
        self._due: list[tuple[float, int, HeldTask]] = []
        """A heap: when the next report of a task may be sent, so that many small ones go as few."""
        self._due_count = 0
        self.kept_count = 0
        """Outcomes that the server has not confirmed."""
        self._kept_bytes = 0

    # --- what tasks say ---

    def started(self, task: HeldTask, now: float) -> None:
        """User code has begun."""
        if task.accepted:
            return
        if not self._accepts:
            self._accept_at = now + ACCEPT_DELAY_SECONDS
        self._accepts[task.token] = task

    def accept_first(self, task: HeldTask) -> None:
        """The task is to begin when the server has that on record, and not before (see `take_accepted`)."""
        self._awaited[task.token] = self._accepts[task.token] = task
        self._accept_at = 0.0

    def take_accepted(self) -> list[HeldTask]:
        """Those that may begin now."""
        accepted, self._may_begin = self._may_begin, []
        return accepted

    def reported(self, task: HeldTask, now: float) -> None:
        """The task has progress, log lines, item errors or a checkpoint."""
        self._due_count += 1
        due_at = max(now, task.reported_at + self.limits.progress_seconds)
        heapq.heappush(self._due, (due_at, self._due_count, task))

    def ended(self, task: HeldTask, outcome: Outcome) -> None:
        """The task's outcome; what it said before goes before it."""
        task.ended = True
        task.outcome_bytes = task.kept_bytes = size_of(outcome)
        self.kept_count += 1
        self._accepts.pop(task.token, None)
        if self._awaited:
            self._awaited.pop(task.token, None)
        self._progress.pop(task.token, None)
        if task.checkpoints is not None and isinstance(outcome, (TaskCompleted, TaskCancelled)):
            # There is no next attempt.
            task.checkpoints = None
        if task.lines is not None or task.item_errors is not None or task.checkpoints is not None:
            # Results overtake what tasks say on their way, but not what the same task said: that would be too late.
            said = [report for report in self._live if report[0] is task]
            if said:
                self._live = deque(report for report in self._live if report[0] is not task)
            said += spoken(task, self.limits.message_bytes)
            self._results.extend(said)
            task.kept_bytes += sum(report.ByteSize() for _, report in said)
        self._kept_bytes += task.kept_bytes
        self._results.append((task, outcome))

    def reconnect(self, tasks: Iterable[HeldTask]) -> None:
        """A new stream, whose Hello tells which of the tasks began: what else is unacked goes again, numbered anew."""
        again = [(item.task, item.message) for item in self._unacked if not _is(item.message, "accepted")]
        self._again.extendleft(reversed(again))
        self._accepts = dict(self._awaited)
        self._accept_at = 0.0
        self._unacked.clear()
        self._unacked_bytes = self._seq = self._acked = 0
        # Nobody knows whether the last was heard.
        self._progress.update((task.token, task) for task in tasks if task.progress is not None and not task.ended)

    def forget(self, task: HeldTask) -> None:
        """Nobody waits for the task's outcome any more: it is confirmed, or it is no use."""
        if self._awaited:
            self._awaited.pop(task.token, None)
        if task.kept_bytes:
            self.kept_count -= 1
            self._kept_bytes -= task.kept_bytes
            task.kept_bytes = 0

    # --- what is sent ---

    def next_message(self, now: float) -> WorkRequest | None:
        """The next message to send, None when there is nothing to say now."""
        if self._due and self._due[0][0] <= now:
            self._collect_due(now)
        message: WorkRequest | None = None
        if self._room():
            queue = self._again if _drop_lost(self._again) else self._results
            if _drop_lost(queue):
                message = self._pack(queue)
            if message is None and self._accepts and self._accept_at <= now:
                message = self._pack_accepts()
        if message is None and self._progress:
            message = self._pack_progress()
        if message is None and self._room() and _drop_lost(self._live):
            message = self._pack(self._live)
        return message

    def next_of_ended(self) -> WorkRequest | None:
        """The next message about tasks that have ended, None when there is none: what the others say can wait."""
        theirs = deque(report for report in self._again if not report[0].ended)
        self._again = deque(report for report in self._again if report[0].ended)
        queue = self._again if _drop_lost(self._again) else self._results
        message = self._pack(queue) if _drop_lost(queue) else None
        self._again += theirs
        return message

    @property
    def send_at(self) -> float | None:
        """When there will be something to send though nothing new is said."""
        times = [self._accept_at] if self._accepts and self._room() else []
        if self._due:
            times.append(self._due[0][0])
        return min(times, default=None)

    @property
    def done(self) -> bool:
        """Whether all is said and acked; progress alone is not waited for."""
        return not (self._unacked or self._again or self._results or self._accepts or self._live)

    @property
    def full(self) -> bool:
        """Whether as much is kept as may be: no more work is wanted until something is acked."""
        return self.kept_count >= self.limits.items_max or self._kept_bytes >= self.limits.bytes_max

    @property
    def last_seq(self) -> int:
        """Number of the last item sent since the last reconnect."""
        return self._seq

    # --- what the server confirms ---

    def acked(self, ack: Ack) -> tuple[list[HeldTask], list[Rejected]]:
        """The tasks whose outcome is committed, to be forgotten by the caller, and the reports that were not taken."""
        rejected = []
        for rejection in ack.rejections:
            place = rejection.seq - self._acked - 1
            if 0 <= place < len(self._unacked):
                item = self._unacked[place]
                rejected.append(Rejected(item.task, error_from_status(rejection.status), item.ends))
                self._awaited.pop(item.task.token, None)
                if item.ends:
                    self.forget(item.task)
                # Whether that was the task's end is for the caller to say.
                self._unacked[place] = item._replace(ends=False)
        ended = []
        count = max(0, min(ack.through_seq - self._acked, len(self._unacked)))
        self._acked += count
        for _ in range(count):
            task, message, size, ends = self._unacked.popleft()
            self._unacked_bytes -= size
            if self._awaited and _is(message, "accepted") and self._awaited.pop(task.token, None) is not None:
                task.accepted = True
                self._may_begin.append(task)
            if ends:
                ended.append(task)
        return ended, rejected

    # --- how it is packed ---

    def _room(self) -> bool:
        return len(self._unacked) < self.limits.items_max and self._unacked_bytes < self._bytes_max()

    def _bytes_max(self) -> int:
        return min(self.limits.bytes_max, IN_FLIGHT_BYTES_MAX)

    def _collect_due(self, now: float) -> None:
        # While some wait to be sent the others stay with their tasks, where they are bounded.
        takes = not self._live
        while self._due and self._due[0][0] <= now:
            task = heapq.heappop(self._due)[2]
            if task.ended or task.lost:
                continue
            task.reported_at = now
            if takes:
                # Before the buffers are emptied: what comes meanwhile must ask again.
                task.report_waits = False
                self._live.extend(spoken(task, self.limits.message_bytes))
            else:
                self.reported(task, now)
            if task.progress is not task.progress_sent:
                self._progress[task.token] = task

    def _pack(self, queue: deque[Report]) -> WorkRequest | None:
        """One message from the front of the queue: updates or logs, as many of one kind as stand there together."""
        request = WorkRequest()
        logs = isinstance(queue[0][1], TaskLog)
        items = request.task_logs.logs if logs else request.task_updates.updates
        size, room = 0, self.limits.items_max - len(self._unacked)
        while room > 0 and queue:
            task, report = queue[0]
            if isinstance(report, TaskLog) is not logs:
                break
            if task.lost:
                queue.popleft()
                continue
            item = items.add()
            item_bytes, ends = _write(item, task, report)
            if not self._fits(item_bytes, message_bytes=size):
                del items[-1]
                break
            queue.popleft()
            if task.checkpoint_waits and queue is not self._again and _is(item, "checkpoint"):
                self._checkpoint_goes(item.checkpoint, task)
            self._number(item, task, item_bytes, ends=ends)
            size += item_bytes
            room -= 1
        return request if size else None

    def _checkpoint_goes(self, checkpoint: TaskCheckpoint, task: HeldTask) -> None:
        """Numbers its progress, and lets that go on which waited for it."""
        task.checkpoint_waits = False
        if checkpoint.HasField("progress"):
            said_all = checkpoint.progress == task.progress
            task.progress_number += 1
            checkpoint.progress.number = task.progress_number
            if said_all:
                task.progress_sent = task.progress
        if task.progress is not task.progress_sent and not task.ended:
            self._progress[task.token] = task

    def _fits(self, item_bytes: int, *, message_bytes: int) -> bool:
        """A message takes an item that is too large for it only alone, and so do those that wait for their ack."""
        if message_bytes and message_bytes + item_bytes > self.limits.message_bytes:
            return False
        waiting = self._unacked_bytes + item_bytes
        # Two comparisons and not `_bytes_max`: this is asked for every item.
        return not self._unacked or (waiting <= IN_FLIGHT_BYTES_MAX and waiting <= self.limits.bytes_max)

    def _number(self, item: TaskUpdate | TaskLog, task: HeldTask, item_bytes: int, *, ends: bool) -> None:
        self._seq += 1
        item.seq = self._seq
        self._unacked.append(_Unacked(task, item, item_bytes, ends))
        self._unacked_bytes += item_bytes

    def _pack_accepts(self) -> WorkRequest | None:
        request = WorkRequest()
        items = request.task_updates.updates
        size = 0
        while self._accepts and self._room() and size < self.limits.message_bytes:
            token, task = self._accepts.popitem()
            if task.lost:
                continue
            item = items.add(lease_token=token)
            item.accepted.SetInParent()
            self._number(item, task, _ACCEPTED_BYTES, ends=False)
            size += _ACCEPTED_BYTES
        return request if size else None

    def _pack_progress(self) -> WorkRequest | None:
        request = WorkRequest()
        items = request.task_updates.updates
        size = 0
        while self._progress and size < self.limits.message_bytes:
            token, task = self._progress.popitem()
            if task.lost or task.ended or task.checkpoint_waits or task.progress is None:
                continue
            item = items.add(lease_token=token)
            task.progress_sent = task.progress
            task.progress_number += 1
            item.progress.CopyFrom(task.progress)
            item.progress.number = task.progress_number
            size += item.ByteSize()
        return request if size else None


def _drop_lost(queue: deque[Report]) -> bool:
    """Takes what nobody would hear from the front of the queue; whether something is left."""
    while queue and queue[0][0].lost:
        queue.popleft()
    return bool(queue)


def _write(item: TaskUpdate | TaskLog, task: HeldTask, report: TaskUpdate | TaskLog | Outcome) -> tuple[int, bool]:
    """Fills the item with the report; about how many bytes it has then, and whether it ends the task."""
    if isinstance(report, (TaskUpdate, TaskLog)):
        item.CopyFrom(report)  # type: ignore[arg-type]  # a log among logs, an update among updates
        return report.ByteSize(), isinstance(report, TaskUpdate) and report.WhichOneof("update") in _ENDS
    assert isinstance(item, TaskUpdate)
    item.lease_token = task.token
    return write_outcome(item, task, report), True


def _is(message: TaskUpdate | TaskLog, kind: Literal["accepted", "checkpoint"]) -> TypeGuard[TaskUpdate]:
    return isinstance(message, TaskUpdate) and message.HasField(kind)
