"""Starts the demo's processes, kills one when asked, and leaves none behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

START_SECONDS_MAX = 20.0
STOP_SECONDS_MAX = 10.0


class ProcessEndedError(Exception):
    """A process that should be running has ended."""


class Processes:
    """Child processes by name, each with its output in a log file; leaving the context ends those still running."""

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str | Path], *, settings: Mapping[str, str]) -> None:
        """Start a command with these variables, and none of the caller's own JOBHALL_*."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("JOBHALL_")}
        with self._log(name).open("wb") as log:
            process = subprocess.Popen(
                command,
                env=environment | dict(settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends its processes in order
            )
        self._running[name] = process

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def kill(self, name: str) -> None:
        """End a process with SIGKILL: it gets no chance to say goodbye."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def check(self) -> None:
        """Raise ProcessEndedError if a process that was not killed by us has ended."""
        for name, process in self._running.items():
            if (status := process.poll()) is not None:
                raise ProcessEndedError(f"{name} ended by itself, status {status}")

    def logs(self, *, lines: int) -> str:
        """The last lines that each process wrote, for the post-mortem."""
        parts = []
        for path in sorted(self._log_folder.glob("*.log")):
            tail = path.read_text(errors="replace").splitlines()[-lines:]
            parts.append("\n".join([f"--- {path.stem}", *tail]))
        return "\n".join(parts)

    def __enter__(self) -> Self:
        self._log_folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_error: object) -> None:
        # In reverse: workers say goodbye to a server that still listens.
        for process in reversed(self._running.values()):
            _stop(process)
        self._running.clear()

    def _log(self, name: str) -> Path:
        return self._log_folder / f"{name}.log"


def start_server(processes: Processes, scratch: Path, *, settings: Mapping[str, str]) -> str:
    """Start jobhall-server on a free port with a database of its own in `scratch`; answer with its address."""
    address_file = scratch / "address"
    program = Path(sys.executable).with_name("jobhall-server")
    database_url = f"sqlite:///{scratch / 'jobhall.db'}"
    processes.start(
        "server",
        [program, "serve", "--listen", "127.0.0.1:0", "--address-file", address_file],
        settings={"JOBHALL_DATABASE_URL": database_url, **settings},
    )
    deadline = time.monotonic() + START_SECONDS_MAX
    while not (address := address_file.read_text().strip() if address_file.exists() else ""):
        processes.check()
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not say in time where it listens")
        time.sleep(0.05)
    return address


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
