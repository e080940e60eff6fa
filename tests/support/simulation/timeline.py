"""Virtual time for any number of processes: an event loop for each, one order of events for all, nothing that waits."""

from __future__ import annotations

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T")

STEPS_AT_ONCE_MAX = 50_000
"""Callbacks at one instant: more is two parties that keep each other busy without time going on."""


class Timeline:
    """What happens when. Time goes on only when nobody has anything to do."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0

    def soon(self, handle: asyncio.Handle) -> None:
        self._ready.append(handle)

    def at(self, when: float, handle: asyncio.TimerHandle) -> None:
        self._count += 1
        heappush(self._timers, (when, self._count, handle))

    def run(self, until: float, *, done: Callable[[], bool] = lambda: False) -> bool:
        """Let things happen until that time, or until `done` after an instant; whether it was done."""
        try:
            while True:
                self._run_ready()
                if done():
                    return True
                while self._timers and self._timers[0][2].cancelled():
                    heappop(self._timers)
                if not self._timers or self._timers[0][0] > until:
                    self.now = max(self.now, until)
                    return False
                when, _, handle = heappop(self._timers)
                self.now = max(self.now, when)
                self._ready.append(handle)
        finally:
            events._set_running_loop(None)

    def _run_ready(self) -> None:
        ready, steps, running = self._ready, 0, None
        while ready:
            handle = ready.popleft()
            process: Any = handle._loop  # type: ignore[attr-defined]  # asyncio's own, in every version since 3.4
            if process.stopped:
                process.backlog.append(handle)
            elif not handle.cancelled():
                if process is not running:
                    events._set_running_loop(process)
                    running = process
                handle._run()
                steps += 1
                assert steps < STEPS_AT_ONCE_MAX, f"time stands still at {self.now:.3f}: {handle!r}"


class Process(asyncio.AbstractEventLoop):
    """The loop of one process; asyncio's tasks and futures run on it as on any other."""

    def __init__(self, timeline: Timeline, name: str) -> None:
        self.name = name
        self.timeline = timeline
        self.stopped = False
        self.killed = False
        self.backlog: deque[asyncio.Handle] = deque()
        """What waits for a stopped process; of a killed one, what it never did."""
        self.failures: list[BaseException] = []
        """What was raised where nobody waited for it."""
        self._tasks: list[asyncio.Task[Any]] = []
        """All there ever were: what a killed process had begun must not be thrown away at the collector's whim."""

    # --- signals ---

    def pause(self) -> None:
        """SIGSTOP: nothing of it runs, what is meant for it waits."""
        self.stopped = True

    def resume(self) -> None:
        """SIGCONT."""
        if not self.killed:
            self.stopped = False
            self.timeline._ready.extend(self.backlog)
            self.backlog.clear()

    def kill(self) -> None:
        """SIGKILL: nothing of it runs any more."""
        self.stopped = self.killed = True

    def unwind(self) -> None:
        """End what is left of a killed process when all is over, so that no coroutine is thrown away in its middle."""
        self.killed = False
        self.resume()
        for _ in range(20):
            left = [task for task in self._tasks if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            self.timeline.run(self.timeline.now)
        self.kill()

    # --- the loop ---

    def time(self) -> float:
        return self.timeline.now

    def call_soon(  # type: ignore[override]  # the base class ties the arguments to the callback
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self.timeline.soon(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]  # the base class ties the arguments to the callback
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]  # the same
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.timeline.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # the same
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self.timeline.at(when, handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]  # the base class has it without bounds
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Asked by asyncio; a cancelled timer is passed over when its time comes."""

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.failures.append(error if error is not None else RuntimeError(str(context)))
