"""A worker that writes down each start and end of a handler, on disk before it goes on: `NAME JOURNAL CONCURRENCY`."""

from __future__ import annotations

import sys
from pathlib import Path

import jobhall
from tests.support.journal import write
from tests.support.waiting import eventually

GATE_SECONDS = 60

name, journal, concurrency = sys.argv[1:]
worker = jobhall.Worker(name=name, concurrency=int(concurrency))


@worker.handler("note")
def note(task: jobhall.Task) -> dict[str, int]:
    """Does nothing else."""
    write(Path(journal), task, "start")
    write(Path(journal), task, "end")
    return {"fence": task.fence}


@worker.handler("hold")
def hold(task: jobhall.Task) -> dict[str, object]:
    """Works until there is a file at `gate`, and hears nothing meanwhile."""
    write(Path(journal), task, "start")
    eventually(Path(task.parameters["gate"]).exists, within=GATE_SECONDS, what="the gate opens")
    write(Path(journal), task, "end")
    return {"worker": name, "fence": task.fence}


if __name__ == "__main__":
    worker.run()
