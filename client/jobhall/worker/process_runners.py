"""`Worker(processes=N)`: handlers run in processes of their own, which may hold the interpreter, crash or be killed."""

from __future__ import annotations

import atexit
import logging
import os
import pickle
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from time import monotonic
from typing import Final

from jobhall.errors import JobhallError
from jobhall.v1 import task_pb2
from jobhall.worker.handover import Handover
from jobhall.worker.held import Handler, HeldTask
from jobhall.worker.outcomes import Outcome, released
from jobhall.worker.process_seat import Seat
from jobhall.worker.runners import ThreadRunners

_log = logging.getLogger("jobhall.worker")
_NO_PROCESS_DELAY: Final = timedelta(seconds=5)
_CLOSE_SECONDS: Final = 1.0
"""For idle processes to end by themselves."""


class ProcessRunners:
    """As many processes as tasks may run at once, and a thread here for each: plain and async handlers alike.

    They are spawned: a fork would copy a program whose threads hold locks. An idle one costs its memory, a lost one is
    replaced.
    """

    def __init__(
        self, handlers: Mapping[str, Handler], handover: Handover, *, processes: int, kill_after_seconds: float
    ) -> None:
        pickled = _pickled(handlers)
        # No thread can wait for ever by its number.
        kill_after = min(kill_after_seconds, threading.TIMEOUT_MAX)
        self._seats = [Seat(number, pickled, kill_after_seconds=kill_after) for number in range(processes)]
        self._idle = deque(self._seats)
        self._threads = ThreadRunners(handover, threads_max=processes, run_task=self._run)
        self._pid = os.getpid()

    def start(self) -> None:
        """Starts them and waits until they have imported the handlers; JobhallError if they cannot."""
        atexit.register(self.close)
        try:
            # The first one alone: where none can start, one says so.
            self._seats[0].start()
            self._seats[0].await_ready()
            for seat in self._seats[1:]:
                seat.start()
            for seat in self._seats[1:]:
                seat.await_ready()
        except BaseException:
            self.close()
            raise

    def put(self, tasks: Sequence[HeldTask]) -> None:
        self._threads.put(tasks)

    def stop(self, task: HeldTask) -> None:
        for seat in self._seats:
            seat.stop(task)

    def close(self) -> None:
        atexit.unregister(self.close)
        if os.getpid() != self._pid:
            # A fork of this program ends; the processes are not its own.
            return
        for seat in self._seats:
            seat.leave()
        self._threads.close()
        until = monotonic() + _CLOSE_SECONDS
        for seat in self._seats:
            seat.reap(within_seconds=max(0.0, until - monotonic()))

    def _run(self, task: HeldTask, handover: Handover) -> Outcome:
        seat = self._idle.pop()
        try:
            return seat.run(task, handover)
        except JobhallError as error:
            _log.error("%s cannot be run: %s", task, error)
            return released(task_pb2.RELEASE_REASON_NO_CAPACITY, str(error), delay=_NO_PROCESS_DELAY)
        finally:
            self._idle.append(seat)


def _pickled(handlers: Mapping[str, Handler]) -> bytes:
    """The handlers by module and name; JobhallError names one that another process could not find."""
    for handler in handlers.values():
        if why := _hidden(handler.function):
            raise JobhallError(
                f"the handler of {handler.job_type!r} cannot be found by another process: {why}. Define it with `def`"
                " at the top level of a module or script: not as a lambda, nor within a function, nor in a notebook;"
                " with `@worker.handler` above its other decorators, which keep its name by functools.wraps; of an"
                " object's method the object is copied"
            )
    return pickle.dumps(dict(handlers))


def _hidden(function: object) -> str:
    """Why another process could not find it; empty where it can."""
    main = sys.modules["__main__"]
    if getattr(function, "__module__", "") == "__main__" and not (
        getattr(main, "__file__", None) or getattr(main, "__spec__", None)
    ):
        return "this program has no file that it could import"
    try:
        pickle.dumps(function)
    except Exception as error:  # noqa: BLE001 - a user's callable may raise anything when it is to be copied
        return str(error)
    return ""
