"""The other side of `Worker(processes=N)`: a process that runs one handler after the other, as the worker orders."""

from __future__ import annotations

import asyncio
import faulthandler
import fcntl
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from queue import SimpleQueue
from types import FrameType
from typing import Final

from jobhall.task import StopCause, TaskCancelled
from jobhall.v1.task_pb2 import TaskAssignment
from jobhall.worker.handover import Handover
from jobhall.worker.held import Handler, HeldTask
from jobhall.worker.outcomes import Outcome, stopped
from jobhall.worker.process_messages import FromWorker, Ready, Stop, word_of
from jobhall.worker.runners import run_async, run_plain

_PACE_SECONDS: Final = 0.05
"""Between two words about a task: what it says meanwhile goes together, so that many reports cost little."""
_LOOK_SECONDS: Final = 2.0
"""How often it is looked whether the worker lives: a process that it forked may keep the connection open."""
_UNGUARDED: Final = ". Handlers stand at the top level of their module, outside of `if __name__ == '__main__':`"
_PLAIN: Final = (str, bytes, bool, int, float, type(None))


def serve(connection: Connection, pickled_handlers: bytes, log_level: int, kill_after_seconds: float) -> None:
    """What the process does from its start to its end."""
    child = _Child(connection, kill_after_seconds=kill_after_seconds)
    child.obey_nobody_else()
    child.die_with_the_worker()
    try:
        child.handlers = pickle.loads(pickled_handlers)  # noqa: S301 - from the worker, whose code this is
    except Exception as error:  # noqa: BLE001 - the import of a user's module may raise anything, and the worker tells
        advice = _UNGUARDED if isinstance(error, AttributeError) else ""
        connection.send(Ready(trouble=f"{type(error).__name__}: {error}{advice}"))
        return
    if not logging.root.handlers:
        # The module of the handlers set up no logging, so the worker's is meant.
        logging.root.addHandler(_ToTheWorker(child))
        logging.root.setLevel(log_level)
    child.live()


class _Child:
    """Handlers run in the main thread; one thread hears the worker, and one tells it what the handler reports."""

    def __init__(self, connection: Connection, *, kill_after_seconds: float) -> None:
        self.handlers: Mapping[str, Handler] = {}
        self._connection = connection
        self._kill_after_seconds = kill_after_seconds
        # Reentrant: what the collector of garbage finds may log.
        self._sending = threading.RLock()
        self._parent = os.getppid()
        self._pid = os.getpid()
        self._orders: SimpleQueue[HeldTask | None] = SimpleQueue()
        self._held: HeldTask | None = None
        self._in_user_code = False
        self._handover = Handover()
        self._reported = threading.Event()
        self._loops: asyncio.Runner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def obey_nobody_else(self) -> None:
        """Ctrl-C in a terminal is the worker's to hear, and it decides what becomes of its handlers."""
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, _ignore)
        signal.signal(signal.SIGTERM, self._interrupt)
        os.register_at_fork(before=_block_sigterm, after_in_parent=_unblock_sigterm, after_in_child=_obey_all)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if sys.stderr is not None:
            faulthandler.enable()

    def die_with_the_worker(self) -> None:
        """The kernel kills the group when the worker is gone, even where code holds the interpreter; elsewhere than on
        Linux `_hear` does it, once it may run.
        """
        if sys.platform != "linux" or (worker := multiprocessing.parent_process()) is None:
            return
        # Its other end is the worker's alone, and nothing is written to it any more: what comes is its end.
        lifeline = worker.sentinel
        # A sandbox need not know the trick.
        with suppress(OSError):
            fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
            fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)

    def live(self) -> None:
        """Runs what is ordered until the worker is gone."""
        self._handover.listen(self._reported.set)
        for target in (self._hear, self._tell):
            threading.Thread(target=target, name=f"jobhall-{target.__name__.strip('_')}", daemon=True).start()
        self.say(Ready())
        while (held := self._orders.get()) is not None:
            outcome = self._run(held)
            if os.getpid() != self._pid:
                # A fork that came out of its handler: its outcome would be taken for that of the next task.
                os._exit(0)
            with self._sending, suppress(OSError):
                self._held = None
                self._connection.send(word_of(held, outcome))

    def say(self, message: object) -> None:
        """From any thread."""
        with self._sending:
            self._connection.send(message)

    # --- the main thread ---

    def _run(self, held: HeldTask) -> Outcome:
        if held.handler.is_async:
            return self._run_async(held)
        self._in_user_code = True
        try:
            return run_plain(held, self._handover)
        finally:
            self._in_user_code = False

    def _run_async(self, held: HeldTask) -> Outcome:
        if self._loops is None:
            self._loops = asyncio.Runner()
            self._loop = self._loops.get_loop()
        # After the loop is there: whoever stops the task from here on finds it.
        return stopped(held) if held.cancel_reason is not None else self._loops.run(self._awaited(held))

    async def _awaited(self, held: HeldTask) -> Outcome:
        held.runner = asyncio.current_task()
        try:
            return await run_async(held, self._handover)
        finally:
            held.over = True

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """The worker's last word before it kills: a handler that does not look is stopped where it stands."""
        held = self._held
        if self._in_user_code and held is not None and held.cancel_reason is not None:
            raise TaskCancelled(held.cancel_reason)

    # --- the thread that hears the worker ---

    def _hear(self) -> None:
        try:
            while True:
                while not self._connection.poll(_LOOK_SECONDS):
                    self._check_parent()
                self._obey(self._connection.recv())
        except (EOFError, OSError):
            self._orders.put(None)
            self._stop(Stop(StopCause.WORKER_STOPS, "the worker's process has ended", stopping=True))
            # Nobody is left to kill it, with what its handlers forked, or to hear of its end.
            time.sleep(self._kill_after_seconds)
            os.killpg(0, signal.SIGKILL)

    def _check_parent(self) -> None:
        if os.getppid() != self._parent:
            raise EOFError

    def _obey(self, message: FromWorker) -> None:
        if isinstance(message, Stop):
            self._stop(message)
            return
        assignment = TaskAssignment.FromString(message.assignment)
        # Here and not in the main thread: the next message may be that this one is to stop.
        self._held = HeldTask(assignment, self.handlers[assignment.job_type], 0.0)
        self._orders.put(self._held)

    def _stop(self, stop: Stop) -> None:
        if (held := self._held) is None:
            return
        held.stopping = stop.stopping
        held.ask_to_stop(stop.cause, stop.reason)
        if held.handler.is_async and self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel, held)

    def _cancel(self, held: HeldTask) -> None:
        if held.runner is not None:
            held.runner.cancel(held.cancel_reason)
        elif held is self._held and not held.over:
            # Its first step is still to come, and would not hear this.
            asyncio.get_running_loop().call_soon(self._cancel, held)

    # --- the thread that tells it ---

    def _tell(self) -> None:
        while True:
            self._reported.wait()
            self._reported.clear()
            self._handover.hear()
            self._handover.reported.clear()
            with self._sending:
                # What a thread of an earlier task still says belongs to nobody.
                if (held := self._held) is not None and held.report_waits:
                    try:
                        self._connection.send(word_of(held))
                    except OSError:
                        return
            time.sleep(_PACE_SECONDS)


class _ToTheWorker(QueueHandler):
    """Hands what is logged here to the worker, whose logging is set up."""

    def __init__(self, child: _Child) -> None:
        super().__init__(SimpleQueue())
        self._child = child
        self._pid = os.getpid()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """What `extra=` left in it goes as text where the worker may not know its type."""
        record = super().prepare(record)
        odd = {name: value for name, value in vars(record).items() if type(value) not in _PLAIN}
        vars(record).update((name, str(value)) for name, value in odd.items())
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        if os.getpid() == self._pid:
            # Nobody hears it any more where the worker is gone.
            with suppress(OSError):
                self._child.say(record)
        elif (handler := logging.lastResort) is not None and record.levelno >= handler.level:
            # A fork that a handler made: two would write into one connection.
            handler.handle(record)


def _obey_all() -> None:
    """What a handler forks, such as a pool's workers, is ended by SIGTERM, which may come at once."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _unblock_sigterm()


def _block_sigterm() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _unblock_sigterm() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """What the worker decides comes another way."""
