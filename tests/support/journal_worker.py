"""A worker that writes down each start and end of a handler, on disk before it goes on: `NAME JOURNAL CONCURRENCY`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import jobhall
from tests.support.journal import write
from tests.support.waiting import eventually, eventually_async

GATE_SECONDS = 300

name, journal, concurrency = sys.argv[1:]
worker = jobhall.Worker(name=name, concurrency=int(concurrency), drain_seconds=10)


@worker.handler("note")
def note(task: jobhall.Task) -> dict[str, int]:
    """Does nothing else."""
    write(Path(journal), task, "start")
    write(Path(journal), task, "end")
    return {"fence": task.fence}


@worker.handler("nap")
async def nap(task: jobhall.Task) -> dict[str, object]:
    """Works for so many seconds."""
    write(Path(journal), task, "start")
    await asyncio.sleep(task.parameters["seconds"])  # sleeps: it is the work
    write(Path(journal), task, "end")
    return {"worker": name, "fence": task.fence}


@worker.handler("hold")
def hold(task: jobhall.Task) -> dict[str, object]:
    """Works until there is a file at `gate`, and hears nothing meanwhile."""
    write(Path(journal), task, "start")
    eventually(Path(task.parameters["gate"]).exists, within=GATE_SECONDS, what="the gate opens")
    write(Path(journal), task, "end")
    return {"worker": name, "fence": task.fence}


@worker.handler("wait")
async def wait(task: jobhall.Task) -> dict[str, object]:
    """Works until there is a file at `gate`, beside hundreds of others, and hears of a cancel."""
    write(Path(journal), task, "start")
    await eventually_async(Path(task.parameters["gate"]).exists, within=GATE_SECONDS, what="the gate opens")
    write(Path(journal), task, "end")
    return {"worker": name, "fence": task.fence}


@worker.handler("poison")
def poison(task: jobhall.Task) -> None:
    """Takes its worker with it at once, and all that runs there."""
    write(Path(journal), task, "start")
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(GATE_SECONDS)  # sleeps: until the signal comes


if __name__ == "__main__":
    worker.run()
