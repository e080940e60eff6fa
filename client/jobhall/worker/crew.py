"""Who runs what: hands tasks to the runners of their kind, within the worker's and each handler's concurrency."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from jobhall.worker.handover import Handover
from jobhall.worker.held import Handler, HeldTask
from jobhall.worker.runners import LoopRunners, Runners, ThreadRunners


class Hands(Protocol):
    """What the I/O thread asks of whom it hands tasks to."""

    def hand(self, tasks: Sequence[HeldTask]) -> None:
        """Tasks to start, in this order."""

    def over(self, tasks: Iterable[HeldTask]) -> None:
        """Their runners are free again."""

    def stop(self, tasks: Iterable[HeldTask]) -> None:
        """Their handlers are to be told that they are to stop."""

    def close(self) -> None:
        """Ends the runners; what is in user code and does not end by being told is left behind."""


class Crew:
    """Belongs to the I/O thread.

    With handlers of one kind and no limits of their own the runners' number is the limit, and tasks go to them at
    once; otherwise they wait here, and each end lets the next one go.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        handover: Handover,
        *,
        concurrency: int,
        processes: Runners | None = None,
    ) -> None:
        self._concurrency = concurrency
        self._limits = {name: handler.concurrency for name, handler in handlers.items() if handler.concurrency}
        kinds = {handler.is_async for handler in handlers.values()}
        self._runners: dict[bool, Runners] = {} if processes is None else dict.fromkeys(kinds, processes)
        """Who runs the plain handlers, and who the async ones; processes run both."""
        if processes is None and False in kinds:
            self._runners[False] = ThreadRunners(handover, threads_max=concurrency)
        if processes is None and True in kinds:
            self._runners[True] = LoopRunners(handover, runners_max=concurrency)
        self._all = set(self._runners.values())
        self._at_once = not self._limits and len(self._all) == 1
        self._waiting: deque[HeldTask] = deque()
        self._parked: dict[str, deque[HeldTask]] = {name: deque() for name in self._limits}
        """Those whose handler is at its limit."""
        self._busy = 0
        self._busy_of: dict[str, int] = dict.fromkeys(self._limits, 0)

    def hand(self, tasks: Sequence[HeldTask]) -> None:
        """Tasks to start, in this order."""
        if self._at_once:
            for runners in self._all:
                runners.put(tasks)
        else:
            self._waiting.extend(tasks)
            self._let_go()

    def over(self, tasks: Iterable[HeldTask]) -> None:
        """Their runners are free again."""
        if self._at_once:
            return
        for task in tasks:
            self._free(task)
        self._let_go()

    def stop(self, tasks: Iterable[HeldTask]) -> None:
        """Their handlers are to be told that they are to stop."""
        for task in tasks:
            self._runners[task.handler.is_async].stop(task)

    def close(self) -> None:
        """Ends the runners; what is in user code and does not end by being told is left behind."""
        for runners in self._all:
            runners.close()

    def _let_go(self) -> None:
        while self._waiting and self._busy < self._concurrency:
            task = self._waiting.popleft()
            name = task.handler.job_type
            if task.ended or task.lost:
                # Withdrawn meanwhile: its place is the next one's.
                self._unpark(name)
                continue
            if name in self._limits:
                if self._busy_of[name] >= self._limits[name]:
                    self._park(name, task)
                    continue
                self._busy_of[name] += 1
            self._busy += 1
            self._runners[task.handler.is_async].put((task,))

    def _free(self, task: HeldTask) -> None:
        name = task.handler.job_type
        self._busy -= 1
        if name in self._limits:
            self._busy_of[name] -= 1
            self._unpark(name)

    def _park(self, name: str, task: HeldTask) -> None:
        parked = self._parked[name]
        # While the type's handlers are stuck nobody else would take away what was given back meanwhile.
        while parked and (parked[0].ended or parked[0].lost):
            parked.popleft()
        parked.append(task)

    def _unpark(self, name: str) -> None:
        if parked := self._parked.get(name):
            self._waiting.appendleft(parked.popleft())
