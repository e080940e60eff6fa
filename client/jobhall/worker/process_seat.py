"""The worker's side of one process for handlers: starts it, gives it tasks, stops it, tells how it ended."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Final

from jobhall.errors import JobhallError
from jobhall.task import StopCause
from jobhall.worker.handover import Handover
from jobhall.worker.held import HeldTask
from jobhall.worker.outcomes import Outcome, process_lost
from jobhall.worker.process_child import serve
from jobhall.worker.process_messages import Order, Ready, Stop, hear, outcome_of
from jobhall.worker.runtime import PROCESS_FOR_HANDLERS

_log = logging.getLogger("jobhall.worker")
_LOOK_SECONDS: Final = 0.5
"""How often it is looked whether the process lives: what it forked may keep its connection open."""
_INTERRUPT_SECONDS: Final = 1.0
"""At most, from SIGTERM, which a plain handler meets as TaskCancelled, to SIGKILL."""
_END_SECONDS: Final = 1.0
"""From the end of its connection to its own."""
_SPAWN: Final = multiprocessing.get_context("spawn")


@dataclass(slots=True, eq=False)
class _Run:
    """A task in the process, and what is known of its stopping."""

    task: HeldTask
    process: SpawnProcess
    connection: Connection
    warden: threading.Thread | None = None
    """Sees to it that it stops."""
    ordered: threading.Event = field(default_factory=threading.Event)
    moved: threading.Event = field(default_factory=threading.Event)
    """It has ended, or its time is over."""
    ended: threading.Event = field(default_factory=threading.Event)


class Seat:
    """One process after the other; used by one runner's thread, but for `stop`, `leave` and `reap`."""

    def __init__(self, number: int, pickled_handlers: bytes, *, kill_after_seconds: float) -> None:
        self._name = f"{PROCESS_FOR_HANDLERS}{number}"
        self._handlers = pickled_handlers
        self._kill_after_seconds = kill_after_seconds
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._ready = False
        self._leaving = False
        self._lock = threading.Lock()
        """Of the run: it ends, or somebody is set on it."""
        self._run: _Run | None = None

    def start(self) -> None:
        """Starts a process, and does not wait for it."""
        ours, theirs = _SPAWN.Pipe()
        level = logging.root.getEffectiveLevel()
        arguments = (theirs, self._handlers, level, self._kill_after_seconds)
        process = _SPAWN.Process(target=serve, args=arguments, name=self._name)
        try:
            with _without_ctrl_c():
                process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._process, self._connection, self._ready = process, ours, False

    def await_ready(self) -> None:
        """Waits until there is a process that can run handlers; JobhallError if there will be none."""
        if self._ready and self._process is not None and self._process.is_alive():
            return
        if self._leaving:
            raise JobhallError("the worker stops")
        try:
            if self._process is None or self._ready:
                self._discard()
                self.start()
            trouble = self._until_ready()
        except (EOFError, ConnectionError):
            exit_code = self._discard()
            trouble = f"{_how(exit_code)} before it was ready{'' if exit_code and exit_code < 0 else _UNREADY}"
        except Exception as error:  # noqa: BLE001 - as in `run`, and what cannot be started
            trouble = f"{type(error).__name__}: {error}"
        if trouble:
            self._discard()
            raise JobhallError(f"no process for handlers can be had: {trouble}")
        self._ready = True

    def run(self, task: HeldTask, handover: Handover) -> Outcome:
        """Has the task's handler run; JobhallError if there is no process for it."""
        self.await_ready()
        assert self._process is not None
        assert self._connection is not None
        run = self._run = _Run(task, self._process, self._connection)
        try:
            run.connection.send(Order(task.assignment.SerializeToString()))
            run.ordered.set()
            if task.cancel_reason is not None:
                # Asked to stop before anybody knew that it is here.
                self.stop(task)
            return self._listen(task, handover)
        except (EOFError, OSError):
            return self._replace(task)
        except Exception:  # noqa: BLE001 - as above
            # It was killed within a word, of which anything may be left; or a bug.
            _log.debug("what the process of %s said cannot be read", task, exc_info=True)
            return self._replace(task)
        finally:
            with self._lock:
                self._run = None
            for event in (run.ended, run.moved, run.ordered):
                event.set()
            if run.warden is not None:
                # What it says is about this task, and must not reach the next one.
                run.warden.join()

    def stop(self, task: HeldTask) -> None:
        """Tells the task, if it is here, that it is to stop, and sees that it does. From any thread; does not wait."""
        with self._lock:
            run = self._run
            if run is None or run.task is not task:
                return
            if run.warden is None:
                run.warden = threading.Thread(target=self._see_off, args=(run,), name="jobhall-warden", daemon=True)
                run.warden.start()
            elif task.lost:
                # It was given time to stop, and that is over.
                run.moved.set()

    def leave(self) -> None:
        """No more tasks: an idle process ends by itself, any other one is killed. From any thread."""
        self._leaving = True
        with self._lock:
            busy = self._run is not None
        if busy or not self._ready:
            self._kill()
        elif self._connection is not None:
            self._connection.close()

    def reap(self, *, within_seconds: float) -> None:
        """After `leave`: the process is gone when this returns."""
        if self._process is not None:
            self._process.join(within_seconds)
        self._discard(seconds=0.0)

    # --- a run ---

    def _listen(self, task: HeldTask, handover: Handover) -> Outcome:
        while True:
            word = self._receive()
            if isinstance(word, logging.LogRecord):
                _log_here(word)
                continue
            heard, outcome = hear(task, word), outcome_of(word)
            if outcome is not None:
                return outcome
            if heard and not task.report_waits:
                task.report_waits = True
                handover.report(task)

    def _receive(self) -> Any:
        assert self._process is not None
        assert self._connection is not None
        while not self._connection.poll(_LOOK_SECONDS):
            if not self._process.is_alive() and not self._connection.poll():
                raise EOFError
        return self._connection.recv()

    def _replace(self, task: HeldTask) -> Outcome:
        """Tells how the process ended under the task, and starts another one."""
        exit_code = self._discard()
        if not self._leaving:
            # The next task asks again.
            with suppress(Exception):
                self.start()
        return process_lost(task, how=_how(exit_code), exit_code=exit_code)

    def _see_off(self, run: _Run) -> None:
        task = run.task
        if run.ordered.wait(self._kill_after_seconds):
            stop = Stop(task.stop_cause or StopCause.CANCELLED, task.cancel_reason or "", stopping=task.stopping)
            with suppress(OSError):
                run.connection.send(stop)
        run.moved.wait(self._kill_after_seconds)
        if run.ended.is_set():
            return
        _log.warning("%s has not stopped, as it was told to (%s): it is interrupted", task, task.cancel_reason)
        run.process.terminate()
        if not run.ended.wait(min(_INTERRUPT_SECONDS, self._kill_after_seconds)):
            _log.warning("%s goes on all the same: its process is killed", task)
            _kill(run.process)

    # --- the process ---

    def _until_ready(self) -> str:
        while not isinstance(message := self._receive(), Ready):
            _log_here(message)
        return message.trouble

    def _kill(self) -> None:
        if (process := self._process) is not None:
            _kill(process)

    def _discard(self, seconds: float = _END_SECONDS) -> int | None:
        """The process and all that it started are gone; its exit code."""
        process, connection = self._process, self._connection
        self._process, self._connection, self._ready = None, None, False
        if connection is not None:
            connection.close()
        if process is None:
            return None
        process.join(seconds)
        # Its pools and programs as well, which nobody would wait for.
        if process.exitcode != 0:
            _kill(process)
        process.join(_END_SECONDS)
        exit_code = process.exitcode
        with suppress(ValueError):
            # Not even SIGKILL ended it: then it hangs in the kernel.
            process.close()
        return exit_code


_UNREADY: Final = (
    ". What it printed says why. A script that runs its worker needs `if __name__ == '__main__':` around that, since"
    " each process imports it"
)


def _kill(process: SpawnProcess) -> None:
    """Ends it and its process group, which it leads."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.kill()


def _how(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"its process ended with exit code {exit_code}" if exit_code is not None else "its process hangs"
    name = signal.Signals(-exit_code).name if -exit_code in signal.valid_signals() else f"signal {-exit_code}"
    if exit_code == -signal.SIGKILL:
        return f"its process was killed ({name}), as the kernel does when memory runs out"
    return f"its process crashed ({name})"


def _log_here(record: logging.LogRecord) -> None:
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """What is started in it hears of no SIGINT before it is ready to ignore it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
