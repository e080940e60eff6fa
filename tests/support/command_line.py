"""The `jobhall` command as a user calls it, on a running server."""

from __future__ import annotations

import os
import pty
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

    def command(self, *arguments: str) -> list[str]:
        """The line as a program that starts others takes it."""
        return [COMMAND, *arguments]

    def start(self, name: str, *arguments: str) -> Program:
        return self.processes.start(name, self.command(*arguments), address=self.address)

    def on_terminal(self, *arguments: str, typed: str = "", **variables: str) -> tuple[int, str]:
        """The exit code, and what the command writes where all its streams are a terminal at which that is typed."""
        leader, follower = pty.openpty()
        try:
            os.write(leader, typed.encode())
            process = subprocess.Popen(
                [COMMAND, *arguments],
                cwd=self.folder,
                env=self.environment() | variables,
                stdin=follower,
                stdout=follower,
                stderr=follower,
            )
        finally:
            os.close(follower)
        written = bytearray()
        try:
            while chunk := os.read(leader, 4096):
                written += chunk
        except OSError:
            pass  # Linux says EIO when the last writer has closed its end.
        finally:
            os.close(leader)
            process.wait(timeout=30)
        return process.returncode, written.decode()

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
