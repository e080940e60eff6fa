"""What passes between the threads that run handlers and the one that talks to the server, without locks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobhall.worker.held import HeldTask
    from jobhall.worker.outcomes import Outcome


class Handover:
    """Three deques, a dict and a bell; each operation is atomic in the interpreter, which is all that is needed.

    A batch of reports rings the bell once: waking the other thread costs more than a no-op job.
    """

    def __init__(self) -> None:
        self.started: deque[HeldTask] = deque()
        self.ended: deque[tuple[HeldTask, Outcome | None]] = deque()
        """With no outcome: it was withdrawn before its runner could begin."""
        self.reported: deque[HeldTask] = deque()
        self._unstarted: dict[bytes, HeldTask] = {}
        self._ring: Callable[[], object] | None = None
        self._rung = False

    # --- the threads that run handlers ---

    def begin(self, task: HeldTask) -> bool:
        """Whether the task may start; not when it was withdrawn meanwhile. To be called right before user code."""
        if self._unstarted.pop(task.token, None) is None:
            self.ended.append((task, None))
            self.ring()
            return False
        task.started_at = monotonic()
        self.started.append(task)
        if not self._rung:
            self.ring()
        return True

    def end(self, task: HeldTask, outcome: Outcome) -> None:
        """User code is done with the task."""
        task.seconds = monotonic() - task.started_at
        task.over = True
        self.ended.append((task, outcome))
        if not self._rung:
            self.ring()

    def give_back(self, task: HeldTask, outcome: Outcome) -> bool:
        """Whether the task was not begun, and now never will be: the outcome says why."""
        if not self.withdraw(task):
            return False
        self.ended.append((task, outcome))
        self.ring()
        return True

    def report(self, task: HeldTask) -> None:
        """The task has something to report."""
        self.reported.append(task)
        if not self._rung:
            self.ring()

    def ring(self) -> None:
        """Wakes the I/O thread, if there is one."""
        if (ring := self._ring) is not None:
            self._rung = True
            ring()

    # --- the I/O thread ---

    def listen(self, ring: Callable[[], object] | None) -> None:
        """From now on the bell calls that; None: nobody listens any more."""
        self._ring = ring

    def hear(self) -> None:
        """The bell was heard; from here on it rings anew. To be called before the deques are emptied."""
        self._rung = False

    def deliver(self, tasks: Iterable[HeldTask]) -> None:
        """The tasks may be started."""
        self._unstarted.update((task.token, task) for task in tasks)

    def withdraw(self, task: HeldTask) -> bool:
        """Whether the task was not started, and now never will be."""
        return self._unstarted.pop(task.token, None) is not None

    @property
    def any_unstarted(self) -> bool:
        """Whether any task is delivered and not begun."""
        return bool(self._unstarted)

    @property
    def unstarted(self) -> list[HeldTask]:
        """Those delivered and not begun, oldest first."""
        return list(self._unstarted.values())
