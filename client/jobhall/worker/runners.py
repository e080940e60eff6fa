"""The threads in which handlers run: runners that live as long as the worker, each with one task at a time."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import types
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, Protocol

from jobhall.task import Task
from jobhall.worker.handover import Handover
from jobhall.worker.held import HeldTask
from jobhall.worker.outcomes import Outcome, outcome_of_error, outcome_of_result

_log = logging.getLogger("jobhall.worker")
_TASKS_PER_TURN: Final = 64
"""After so many tasks that never waited, a runner lets the loop's others have a turn."""
_CLOSE_SECONDS: Final = 1.0


class Runners(Protocol):
    """What the I/O thread asks of those who run handlers."""

    def put(self, tasks: Sequence[HeldTask]) -> None:
        """To be started in this order, as runners become free."""

    def stop(self, task: HeldTask) -> None:
        """The task's cancel_reason is set: it is told as far as its kind of handler can be."""

    def close(self) -> None:
        """Ends all that is not in user code."""


class ThreadRunners:
    """Runs plain handlers: a thread each, daemons, so that a handler that never returns keeps no process alive.

    A plain handler cannot be interrupted: it learns that it is to stop by `task.cancelled` or its next report.
    """

    def __init__(
        self,
        handover: Handover,
        *,
        threads_max: int,
        run_task: Callable[[HeldTask, Handover], Outcome] | None = None,
    ) -> None:
        self._handover = handover
        self._run_task = run_task or run_plain
        self._threads_max = threads_max
        self._queue: SimpleQueue[HeldTask | None] = SimpleQueue()
        self._open: deque[None] = deque()
        """One for each task that is here, waiting or in user code. Not the idle threads: one that has just taken a task
        still looks idle, and the next task would wait for its end.
        """
        self._threads: list[threading.Thread] = []

    def put(self, tasks: Sequence[HeldTask]) -> None:
        for task in tasks:
            self._open.append(None)
            self._queue.put(task)
        for _ in range(min(len(self._open), self._threads_max) - len(self._threads)):
            thread = threading.Thread(target=self._run, name=f"jobhall-runner-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, task: HeldTask) -> None:
        pass

    def close(self) -> None:
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(0 if self._queue.qsize() else _CLOSE_SECONDS)

    def _run(self) -> None:
        handover = self._handover
        while (task := self._queue.get()) is not None:
            if handover.begin(task):
                handover.end(task, self._run_task(task, handover))
            self._open.pop()


def run_plain(task: HeldTask, handover: Handover) -> Outcome:
    """Calls the task's plain handler; how that ended."""
    try:
        # In a context of its own: what a handler sets in it is not there for the next one.
        result = contextvars.copy_context().run(task.handler.function, Task(task, handover))
    except BaseException as error:  # noqa: BLE001 - SystemExit too is an end of the task, not of the runner
        return outcome_of_error(task, error)
    return outcome_of_result(result, task)


class LoopRunners:
    """Runs async handlers: one loop in a thread of its own, in it runners that take the next task from a deque.

    They are not one asyncio task per job: to make one costs more than a no-op job may.
    """

    def __init__(self, handover: Handover, *, runners_max: int) -> None:
        self._handover = handover
        self._runners_max = runners_max
        self._queue: deque[HeldTask] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._runners: set[asyncio.Task[None]] = set()
        self._poked = False
        self._spreading = False
        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="jobhall-handlers", daemon=True)
        self._thread.start()

    def put(self, tasks: Sequence[HeldTask]) -> None:
        self._queue.extend(tasks)
        if not self._poked:
            self._poked = True
            self._loop.call_soon_threadsafe(self._hear)

    def stop(self, task: HeldTask) -> None:
        self._loop.call_soon_threadsafe(self._cancel, task)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end)
        if self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_SECONDS)

    # --- on the handlers' thread ---

    def _run_loop(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            while not self._closing:
                try:
                    loop.run_forever()
                except BaseException:  # noqa: BLE001 - of a task that a handler made, which hears of it where it awaits it
                    # A SystemExit leaves the loop as well; the tasks of all other handlers are in it.
                    _log.exception("an async handler's own task tried to end the process; the handlers go on")
            # Those in a handler get their cancellation; what they say to it nobody hears any more.
            for runner in self._runners:
                runner.cancel()
            if self._runners:
                loop.run_until_complete(asyncio.wait(self._runners, timeout=_CLOSE_SECONDS))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def _end(self) -> None:
        self._closing = True
        self._loop.stop()

    def _hear(self) -> None:
        self._poked = False
        # One runner first: if handlers never wait, it is through before a second could begin.
        self._wake(1)

    def _spread(self) -> None:
        """The first runner waits in its handler, or had its turn: as many as there are tasks are needed."""
        self._spreading = False
        self._wake(len(self._queue))

    def _wake(self, count: int) -> None:
        for _ in range(min(count, len(self._queue))):
            while self._idle:
                waiter = self._idle.pop()
                if not waiter.done():
                    waiter.set_result(None)
                    break
            else:
                if len(self._runners) >= self._runners_max:
                    return
                runner = self._loop.create_task(self._run(), name=f"jobhall-runner-{len(self._runners)}")
                self._runners.add(runner)
                # Handlers that cancel all that is in their loop end runners, too.
                runner.add_done_callback(self._runners.discard)

    def _cancel(self, task: HeldTask) -> None:
        # The runner waits within the handler, or it would not stand here: there the cancellation arrives.
        if task.runner is not None:
            task.runner.cancel(task.cancel_reason)

    async def _run(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        queue, handover = self._queue, self._handover
        in_turn = 0
        while not self._closing:
            if not queue:
                waiter = self._loop.create_future()
                self._idle.append(waiter)
                in_turn = 0
                await waiter
                continue
            task = queue.popleft()
            if queue and not self._spreading:
                self._spreading = True
                self._loop.call_soon(self._spread)
            if handover.begin(task):
                task.runner = me
                outcome = await run_async(task, handover)
                task.runner = None
                handover.end(task, outcome)
                if me.cancelling():
                    await _forget_cancellation(me)
            in_turn += 1
            if in_turn == _TASKS_PER_TURN:
                in_turn = 0
                await asyncio.sleep(0)


async def _forget_cancellation(runner: asyncio.Task[None]) -> None:
    """One that the handler did not wait for would arrive in the next one."""
    while runner.uncancel():
        pass
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


@types.coroutine
def run_async(task: HeldTask, handover: Handover) -> Generator[Any, None, Outcome]:
    """The same of an async one, to be awaited."""
    # In a context of its own, as above. An asyncio task has but one, and that is the runner's: so the handler's steps
    # are run here.
    run = contextvars.copy_context().run
    try:
        steps = task.handler.function(Task(task, handover)).__await__()
        waits_for = run(next, steps)
        while True:
            try:
                yield waits_for
            except GeneratorExit:
                run(steps.close)
                raise
            except BaseException as error:  # noqa: BLE001 - a cancellation or what was awaited failed, for it to hear
                waits_for = run(steps.throw, error)
            else:
                waits_for = run(next, steps)
    except StopIteration as end:
        return outcome_of_result(end.value, task)
    except GeneratorExit:
        # The loop is gone; to go on here would be an error of its own.
        raise
    except BaseException as error:  # noqa: BLE001 - as in run_plain
        return outcome_of_error(task, error)
