"""The pulled form of a worker: a task waits until its one consumer comes for it, runs it where it is, or leaves it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import inf
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple, TypeVar

from jobhall.task import TaskCancelled
from jobhall.v1 import task_pb2
from jobhall.v1.task_pb2 import Capacity
from jobhall.worker.access import Access
from jobhall.worker.credit import Credit
from jobhall.worker.handover import Handover
from jobhall.worker.held import Handler, HeldTask
from jobhall.worker.io import WorkerIO
from jobhall.worker.outcomes import Outcome, outcome_of_error, outcome_of_result, released
from jobhall.worker.stream import Introduction, WorkerStream

_T = TypeVar("_T")
_INTERRUPTED: Final = released(task_pb2.RELEASE_REASON_STOPPING, "the worker was interrupted")


class Pulled(NamedTuple):
    """A task that has come for the consumer."""

    held: HeldTask
    handover: Handover

    def begin(self) -> bool:
        """Whether the task may be run; not when it was withdrawn meanwhile."""
        return self.handover.begin(self.held)

    def run(self, work: Callable[[], object]) -> Outcome:
        """Does the work, in this thread, and reports how it ended; what is to end the program goes on from here."""
        try:
            # In a context of its own, as in the runners.
            outcome = outcome_of_result(contextvars.copy_context().run(work), self.held)
        except KeyboardInterrupt:
            self.handover.end(self.held, _INTERRUPTED)
            raise
        except SystemExit as error:
            self.handover.end(self.held, outcome_of_error(self.held, error))
            raise
        except BaseException as error:  # noqa: BLE001 - a cancellation is none, and its handler is done
            outcome = outcome_of_error(self.held, error)
        self.handover.end(self.held, outcome)
        return outcome

    def finish(self, work: Awaitable[_T]) -> _T:
        """What an async handler gives, run to its end in a loop of its own."""
        loop = None
        with suppress(RuntimeError):
            loop = asyncio.get_running_loop()
        if loop is None:
            return asyncio.run(self._awaited(work))
        # A thread has but one loop at a time, and a notebook's cells run in one.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, self._awaited(work)).result()

    def leave(self, reason: task_pb2.ReleaseReason.ValueType, message: str) -> bool:
        """Whether the task had not begun, and now goes back at no cost."""
        return self.handover.give_back(self.held, released(reason, message))

    async def _awaited(self, work: Awaitable[_T]) -> _T:
        self.held.runner = asyncio.current_task()
        try:
            if self.held.cancel_reason is not None:
                raise TaskCancelled(self.held.cancel_reason)
            return await work
        finally:
            self.held.runner = None


class Pull:
    """Where the one consumer of one session or several waits. But for `close` and what sessions ask, it is its own."""

    def __init__(self) -> None:
        self._arrived: SimpleQueue[Pulled | None] = SimpleQueue()
        """Not a condition: signal handlers put to it as well, wherever they interrupt the consumer."""
        self._bells: list[Handover] = []
        self._waiting = False
        self._closed = False

    @property
    def asks(self) -> bool:
        """Whether a task is wanted: somebody waits, and none has come yet."""
        return self._waiting and not self._closed and self._arrived.empty()

    def ring_also(self, handover: Handover) -> None:
        """The I/O thread behind that is to hear whenever the consumer begins to wait."""
        self._bells = [*self._bells, handover]

    def ring_no_more(self, handover: Handover) -> None:
        """It need not hear of it any more."""
        self._bells = [it for it in self._bells if it is not handover]

    def put(self, tasks: Iterable[HeldTask], handover: Handover) -> None:
        """Tasks for the consumer."""
        for task in tasks:
            self._arrived.put(Pulled(task, handover))

    def take(self, *, look_seconds: float) -> Pulled | None:
        """Waits for a task; None when there are to be no more. A signal is heard of within `look_seconds`."""
        self._waiting = True
        self._ring()
        try:
            while not self._closed:
                # The kernel may give a signal to another thread; this one then hears of it only when it moves.
                with suppress(Empty):
                    task = self._arrived.get(timeout=look_seconds)
                    # What was withdrawn meanwhile is nobody's.
                    if task is not None and not (task.held.ended or task.held.lost):
                        return task
            return None
        finally:
            self._waiting = False
            if self._closed or len(self._bells) > 1:
                # Nothing is to be asked for, or not by the others.
                self._ring()

    def close(self) -> None:
        """Wakes the consumer, for whom nothing more comes. From any thread, and from a signal handler."""
        self._closed = True
        self._arrived.put(None)

    def _ring(self) -> None:
        for handover in self._bells:
            handover.ring()


class PulledSession:
    """A worker's session whose tasks are pulled; it asks for as many as are waited for, and fetches none ahead."""

    def __init__(self, pull: Pull, access: Access, introduction: Introduction, handlers: Mapping[str, Handler]) -> None:
        self._pull = pull
        self.handover = Handover()
        self._open: list[HeldTask] = []
        self._retired = False
        stream = WorkerStream(introduction, handlers, self.handover, _Demand(self))
        title = f"worker {introduction.worker_name}"
        self.io = WorkerIO(access, stream, self.handover, lambda: self, title=title)
        pull.ring_also(self.handover)

    def retire(self) -> None:
        """Ends the session, and not the consumer's waiting for others; what runs may end. From any thread."""
        self._retired = True
        self._pull.ring_no_more(self.handover)
        self.io.leave(drain_seconds=inf)

    # --- the I/O thread ---

    @property
    def wanted(self) -> int:
        """How many tasks it may hold: those that are here and not done, and the one that is waited for."""
        self._open = [task for task in self._open if not (task.over or task.ended or task.lost)]
        return len(self._open) + (1 if self._pull.asks else 0)

    def hand(self, tasks: Sequence[HeldTask]) -> None:
        """Tasks for the consumer."""
        self._open += tasks
        self._pull.put(tasks, self.handover)

    def over(self, tasks: Iterable[HeldTask]) -> None:
        """The consumer is free again; it knows."""

    def stop(self, tasks: Iterable[HeldTask]) -> None:
        """What is async is told in its loop; the others hear it from their next report."""
        for task in tasks:
            if (runner := task.runner) is not None:
                # It may be done by now, and its loop closed.
                with suppress(RuntimeError):
                    runner.get_loop().call_soon_threadsafe(runner.cancel, task.cancel_reason)

    def close(self) -> None:
        """The session is over."""
        if not self._retired:
            self._pull.close()


class _Demand(Credit):
    def __init__(self, session: PulledSession) -> None:
        super().__init__(concurrency=1, prefetch_max=0, limits={})
        self._session = session

    def capacity(self, *, zombies: Mapping[str, int]) -> Capacity:
        del zombies  # One that runs on is in the consumer's hands: no other is waited for.
        if self.paused or self.full:
            return Capacity()
        return Capacity(tasks_max=min(self.tasks_max, self._session.wanted))
