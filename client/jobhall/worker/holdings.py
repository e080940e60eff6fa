"""The tasks in a worker's hands: taken, started, cancelled, lost, given back; a part of the stream's machine."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from jobhall.task import StopCause
from jobhall.v1 import task_pb2
from jobhall.v1.task_pb2 import CancelTask, TaskAssignment
from jobhall.worker.handover import Handover
from jobhall.worker.held import Handler, HeldTask
from jobhall.worker.outcomes import released, stopped
from jobhall.worker.reports import Reports

_log = logging.getLogger("jobhall.worker")
_CAUSES: Final = {
    task_pb2.CANCEL_CAUSE_RUN_TIMEOUT: StopCause.RUN_TIMEOUT,
    task_pb2.CANCEL_CAUSE_PROGRESS_TIMEOUT: StopCause.PROGRESS_TIMEOUT,
}


class Holdings:
    """A task is here from its assignment until its outcome is acked; each beat lists exactly these."""

    def __init__(self, handlers: Mapping[str, Handler], handover: Handover, reports: Reports) -> None:
        self._handlers = handlers
        self._handover = handover
        self._reports = reports
        self._tasks: dict[bytes, HeldTask] = {}
        self._running: dict[HeldTask, float] = {}
        """In user code, as far as heard, and since when; those whose lease was lost as well."""
        self.zombies: Counter[str] = Counter()
        """How many of those have lost their lease, by type."""

    def __len__(self) -> int:
        return len(self._tasks)

    def get(self, token: bytes) -> HeldTask | None:
        """The task of that token, if it is here."""
        return self._tasks.get(token)

    @property
    def tasks(self) -> Iterable[HeldTask]:
        """All of them, in the order of their delivery."""
        return self._tasks.values()

    @property
    def tokens(self) -> Iterable[bytes]:
        """Those of all."""
        return self._tasks

    @property
    def running(self) -> Mapping[HeldTask, float]:
        """What runs, and when each began."""
        return self._running

    @property
    def any_unstarted(self) -> bool:
        """Whether a task waits for its handler."""
        return self._handover.any_unstarted

    def take(self, assignments: Iterable[TaskAssignment], now: float, *, leaving: bool) -> list[HeldTask]:
        """Takes what the server delivered; the tasks to start."""
        handlers, held = self._handlers, self._tasks
        start = []
        for assignment in assignments:
            handler = handlers.get(assignment.job_type)
            task = HeldTask(assignment, handler or _NOBODY, now)
            if task.token in held:
                continue
            held[task.token] = task
            if handler is None:
                _log.warning("was given %s, which no handler here serves: giving it back", task)
                self._reports.ended(task, released(task_pb2.RELEASE_REASON_NOT_MINE))
            elif leaving:
                self._reports.ended(task, released(task_pb2.RELEASE_REASON_STOPPING))
            else:
                start.append(task)
        self._handover.deliver(start)
        return start

    def collect(self, now: float) -> list[HeldTask]:
        """Takes what the runners handed over; the tasks whose runners are free again."""
        handover, over = self._handover, []
        # The ends first: by the time that a task's end is here, so is its start.
        ends = [handover.ended.popleft() for _ in range(len(handover.ended))]
        begun = [handover.started.popleft() for _ in range(len(handover.started))]
        for task, outcome in ends:
            over.append(task)
            if outcome is None:
                continue
            self._running.pop(task, None)
            if task.lost:
                self.zombies[task.handler.job_type] -= 1
            elif not task.ended:
                self._reports.ended(task, outcome)
        for task in begun:
            if not task.over:
                self._running[task] = now
                self._reports.started(task, now)
        for _ in range(len(handover.reported)):
            self._reports.reported(handover.reported.popleft(), now)
        return over

    def drop(self, task: HeldTask) -> None:
        """Its end is acked, or nobody wants to hear it."""
        self._tasks.pop(task.token, None)
        self._reports.forget(task)

    def cancel(self, token: bytes, cancel: CancelTask) -> list[HeldTask]:
        """The task is to stop; it itself, where its handler has to be told."""
        task = self._tasks.get(token)
        if task is None or task.ended or task.cancel_reason is not None:
            return []
        task.ask_to_stop(_CAUSES.get(cancel.cause, StopCause.CANCELLED), cancel.reason)
        if self._handover.withdraw(task):
            self._reports.ended(task, stopped(task))
            return []
        return [task]

    def lose(self, token: bytes) -> list[HeldTask]:
        """The task is another's now; it itself, where its handler has to be told.

        An outcome that waits for its answer is let be: that answer alone tells whether it was taken before.
        """
        task = self._tasks.get(token)
        return [] if task is None or task.ended else self._lose(task)

    def lose_all(self) -> list[HeldTask]:
        """All are another's, outcomes too; those whose handlers have to be told."""
        return [told for task in list(self._tasks.values()) for told in self._lose(task)]

    def release_unstarted(self) -> None:
        """The worker leaves: what was not started goes to others."""
        for task in self._handover.unstarted:
            self._release(task, task_pb2.RELEASE_REASON_STOPPING)

    def release_stale(self, *, delivered_before: float) -> None:
        """What could not be started in time goes to others."""
        for task in self._handover.unstarted:
            if task.delivered_at > delivered_before:
                break
            self._release(task, task_pb2.RELEASE_REASON_NO_CAPACITY)

    def forget_unstarted(self) -> None:
        """The server may have given back what was not started: not to start it costs nothing."""
        for task in self._handover.unstarted:
            if self._handover.withdraw(task):
                task.lost = True
                self.drop(task)

    def stop_running(self) -> list[HeldTask]:
        """The handlers to stop since the worker cannot wait for them; their tasks are given back."""
        running = [task for task in self._tasks.values() if not task.ended]
        for task in running:
            task.stopping = True
            task.ask_to_stop(StopCause.WORKER_STOPS)
        return running

    def abandon_running(self) -> int:
        """Gives back what runs on though it was told to stop; how many those are."""
        running = [task for task in self._tasks.values() if not task.ended]
        for task in running:
            self._reports.ended(task, stopped(task))
        return len(running)

    def _lose(self, task: HeldTask) -> list[HeldTask]:
        task.lost = True
        self.drop(task)
        if task.ended:
            _log.warning("the outcome of %s is dropped: %s", task, StopCause.LEASE_LOST.value)
            return []
        if self._handover.withdraw(task):
            return []
        if task.cancel_reason is None:
            _log.warning("lost %s: %s; its handler is told to stop", task, StopCause.LEASE_LOST.value)
        else:
            _log.warning("%s has not stopped, as it was told to (%s): its time is over", task, task.cancel_reason)
        task.ask_to_stop(StopCause.LEASE_LOST)
        self.zombies[task.handler.job_type] += 1
        return [task]

    def _release(self, task: HeldTask, reason: task_pb2.ReleaseReason.ValueType) -> None:
        if self._handover.withdraw(task):
            self._reports.ended(task, released(reason))


def _nobody(task: object) -> None:
    raise AssertionError(task)


_NOBODY: Final = Handler("", _nobody, None, is_async=False)
