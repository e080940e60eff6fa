"""Handlers for processes of their own: in a module, so that such a process finds them, and of every temper."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobhall.limits import ITEM_ERRORS_KEPT_MAX
from jobhall.task import Task, TaskCancelled, TaskFailed, TaskReleased
from tests.support.waiting import eventually

FOREVER = 600.0


def say(task: Task) -> dict[str, Any]:
    """Everything that a task can say."""
    for item in task.track([1, 2, 3], unit="rows", step="count"):
        task.log(f"row {item}", number=item)
    task.item_error(index=2, key="row 2", code="BAD", message="no number")
    task.checkpoint({"row": 3})
    logging.getLogger("shop").warning("said by %s", task.job_type)
    return {"parameters": task.parameters, "process": os.getpid()}


def where(_task: Task) -> int:
    return os.getpid()


def refuse(_task: Task) -> None:
    raise TaskFailed("card declined", code="DECLINED", details={"card": "1234"})


def give_back(_task: Task) -> None:
    raise TaskReleased("the disk is full")


def stumble(_task: Task) -> None:
    raise ValueError("no")


def leave(_task: Task) -> None:
    os._exit(3)


def crash(_task: Task) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def run_out_of_memory(_task: Task) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave_a_child_behind(task: Task) -> None:
    """It keeps the connection of the process open, and would outlive it."""
    if not (child := os.fork()):
        threading.Event().wait(FOREVER)
    _note(task, str(child))
    os._exit(3)


def fork_and_terminate(_task: Task) -> int | None:
    """As a pool ends those of its processes that are busy."""
    process = multiprocessing.get_context("fork").Process(target=threading.Event().wait, args=(FOREVER,))
    process.start()
    process.terminate()
    process.join(5)
    return process.exitcode


def fork_and_return(_task: Task) -> str:
    """Both go on, as who forgets `os._exit` has it."""
    if not (child := os.fork()):
        return "the fork's"
    eventually(lambda: os.waitpid(child, os.WNOHANG)[0], within=2, what="the fork is gone")
    return "the handler's"


def log_an_object(_task: Task) -> None:
    """Of a type that its process alone knows, as of a module that only a handler imports."""
    logging.getLogger("shop").warning("odd", extra={"lock": threading.Lock(), "model": _Native(), "rows": 3})


def obey(task: Task) -> None:
    _note(task, "entered")
    while True:
        threading.Event().wait(0.01)
        task.progress(processed=1)


def doze(task: Task) -> None:
    """Looks at nothing, but cleans up."""
    _note(task, "entered")
    try:
        threading.Event().wait(FOREVER)
    except TaskCancelled:
        _note(task, "cleaned up")
        raise


def resist(task: Task) -> None:
    _note(task, "entered")
    while True:
        with suppress(BaseException):
            threading.Event().wait(FOREVER)


def hold_the_interpreter(task: Task) -> str:
    """As an extension does that never lets go of it."""
    _note(task, "entered")
    ctypes.PyDLL(None).usleep(int(task.parameters["seconds"] * 1_000_000))
    return "done"


def chatter(task: Task) -> None:
    for number in range(30_000):
        task.log("so much to say", number=number)
        task.progress(processed=number + 1)
    for index in range(ITEM_ERRORS_KEPT_MAX + 10):
        task.item_error(index=index)


def go_on(task: Task) -> str:
    """Ends when it is told to, by a file."""
    _note(task, "entered")
    while not Path(f"{task.path}.go").exists():
        threading.Event().wait(0.01)
    return "done"


async def wait(task: Task) -> int:
    _note(task, "entered")
    await asyncio.sleep(task.parameters["seconds"])  # sleeps: what this handler is for
    return os.getpid()


class _Native:
    def __str__(self) -> str:
        return "a model"

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return _stay, (os.getpid(),)


def _stay(process: int) -> None:
    if os.getpid() != process:
        raise ModuleNotFoundError("no module named 'native'")


def _note(task: Task, text: str) -> None:
    """For the test: in the file that the job is about."""
    if task.path:
        with Path(task.path).open("a") as file:
            file.write(f"{text}\n")
