"""What handlers really did, as they wrote it down themselves: one line per start and end, in a file per worker."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import jobhall


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    worker: str
    job_id: str
    fence: int
    what: str
    """`start`, or `end` where the handler came to its end by itself."""
    at: float
    """By the monotonic clock, which all processes of a machine share."""


def write(journal: Path, task: jobhall.Task, what: str) -> None:
    """Adds a line, and returns when it is on the disk."""
    entry = Entry(worker=journal.stem, job_id=task.job_id, fence=task.fence, what=what, at=time.monotonic())
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{json.dumps(asdict(entry))}\n".encode())
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def executions(folder: Path) -> Counter[str]:
    """How often each job was started, whoever did it."""
    return Counter(entry.job_id for entry in read(folder) if entry.what == "start")


def read(folder: Path) -> list[Entry]:
    """Every worker's entries in the order of time; a line that a death cut short is not there yet."""
    lines = [line for path in folder.glob("*.journal") for line in path.read_text().splitlines(keepends=True)]
    entries = [Entry(**json.loads(line)) for line in lines if line.endswith("\n")]
    return sorted(entries, key=lambda entry: entry.at)


def starts(folder: Path, job_id: str) -> list[Entry]:
    """How often, where and when a job was started."""
    return [entry for entry in read(folder) if entry.job_id == job_id and entry.what == "start"]


def ends(folder: Path, job_id: str) -> list[Entry]:
    return [entry for entry in read(folder) if entry.job_id == job_id and entry.what == "end"]
