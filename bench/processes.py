"""Starts what the benchmark measures, each in a process of its own, and ends all of it whatever happens."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
STOP_SECONDS_MAX = 40.0


class BenchmarkError(Exception):
    """The run cannot be counted: something ended, did not answer, or is not in the database."""


class Child:
    """One process that answers in lines of JSON; what else it has to say is in its log."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log
        self._unread = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def read(self, *, within: float) -> dict[str, Any]:
        """Its next line; a child that ends or stays silent is an error with the end of its log."""
        deadline = time.monotonic() + within
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise BenchmarkError(f"{self.name} said nothing for {within:g} s\n{self.log_tail()}")
                chunk = os.read(self._process.stdout.fileno(), 65_536)
                if not chunk:
                    raise BenchmarkError(f"{self.name} ended, status {self._process.wait()}\n{self.log_tail()}")
                self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def check(self) -> None:
        """Raises if it has ended."""
        if (status := self._process.poll()) is not None:
            raise BenchmarkError(f"{self.name} ended, status {status}\n{self.log_tail()}")

    def stop_kindly(self) -> None:
        """Asks it to end; what it still has to say can be read."""
        self._process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Ends it, kindly first; the exit status."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self._process.wait()

    def log_tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])


class Processes:
    """The children of one run; leaving the context ends them, the newest first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []

    def start(self, name: str, *command: str | Path, settings: Mapping[str, str] | None = None) -> Child:
        """Starts `python COMMAND` in the repository, with these variables and none of the caller's own JOBHALL_*."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("JOBHALL_")}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        log = self._folder / f"{len(self._children)}-{name}.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=self._folder,
                env=environment | dict(settings or {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the benchmark, which then ends them in order.
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for child in reversed(self._children):
            child.stop()
        self._children.clear()


def module_command(module: str, report: Path | None = None) -> list[str | Path]:
    """What `python` has to be told to run the module, under the sampler if there is to be a report."""
    return ["-m", module] if report is None else ["-m", "bench.sampled", report, module]


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, all its threads together; good to 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def say(**answer: Any) -> None:
    """What a child answers: one line of JSON to the process that started it."""
    print(json.dumps(answer), flush=True)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process, as the kernel counts it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise BenchmarkError(f"process {pid} has no resident memory")
