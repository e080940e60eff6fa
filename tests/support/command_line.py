"""The `jobhall` command as a user calls it, on a running server."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import jobhall
from tests.support.processes import START_SECONDS, Processes, Program
from tests.support.tools import BIN
from tests.support.waiting import eventually

COMMAND = str(BIN / "jobhall")


@dataclass(frozen=True, slots=True)
class Hall:
    """A running server, and how to call the command on it."""

    processes: Processes
    address: str

    @property
    def folder(self) -> Path:
        return self.processes.folder

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def start(self, name: str, *arguments: str) -> Program:
        return self.processes.start(name, [COMMAND, *arguments], address=self.address)

    def work(self, module: str) -> Program:
        """A worker of that module, once it is there."""
        worker = self.start(module, "worker", "run", f"{module}:worker")
        with jobhall.Client(self.address) as client:
            eventually(lambda: _attached(client, worker), within=START_SECONDS, what=f"{module} is there")
        return worker

    def environment(self) -> dict[str, str]:
        return os.environ | {"JOBHALL_ADDRESS": self.address, "TERM": "xterm-256color", "COLUMNS": "160"}


def _attached(client: jobhall.Client, program: Program) -> bool:
    assert program.status is None, program.output
    return program.pid in {worker.runtime.process_id for worker in client.workers.list()}
