"""Real processes for system tests: each with its output in a file, ended by its own pid, every wait with a deadline."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self, TypeVar

from tests.support.schemas import lay_schema
from tests.support.tools import BIN
from tests.support.waiting import eventually

P = TypeVar("P", bound="Program")

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 20.0
STOP_SECONDS = 20.0


class Program:
    """A running program."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log = log

    @property
    def output(self) -> str:
        """Everything that it printed so far, errors among it."""
        return self._log.read_text(errors="replace")

    @property
    def status(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None while it runs."""
        return self._process.poll()

    def wait(self, *, within: float = STOP_SECONDS) -> int:
        """Its exit code, once it has ended by itself."""
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {within:g} s\n{self.output}") from None

    def kill(self) -> float:
        """Ends it with SIGKILL, and answers when, by the monotonic clock."""
        self._process.kill()
        killed_at = time.monotonic()
        self._process.wait()
        return killed_at

    def stop(self, how: signal.Signals = signal.SIGTERM, *, within: float = STOP_SECONDS) -> int:
        """Asks it to end, and answers its exit code."""
        self._process.send_signal(how)
        return self.wait(within=within)

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def says(self, text: str, *, within: float = START_SECONDS) -> None:
        """Waits until it has printed that."""
        eventually(
            lambda: text in self.output or self.status is not None, within=within, what=f"{self.name} says {text!r}"
        )
        assert text in self.output, f"{self.name} ended ({self.status}) without saying {text!r}\n{self.output}"


class Server(Program):
    """A running jobhall-server."""

    address: str = ""
    database: Path
    address_file: Path

    @property
    def ready(self) -> bool:
        """Whether it has said where it listens."""
        return self.address_file.exists() and bool(self.address_file.read_text().strip())


class Processes:
    """Programs under test; leaving the context ends those that still run and prints what each said.

    It fails where one would not end when asked, or where a bug shows as a stack trace in the output.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._programs: list[Program] = []

    def start(self, name: str, command: Sequence[str], **settings: object) -> Program:
        """Starts a command in the folder; `session_ttl_seconds=2` becomes JOBHALL_SESSION_TTL_SECONDS=2."""
        return self._start(Program, name, command, settings)

    def serve(
        self,
        database: str = "jobhall.db",
        *,
        listen: str = "127.0.0.1:0",
        under: Sequence[str] = (),
        **settings: object,
    ) -> Server:
        """A server on a database file in the folder, once it says where it listens.

        `under` is a command that runs it, such as strace; the server's pid is that command's then. Without it the file
        has its schema by a copy already; `start_server`, the documents and the demo begin without a file.
        """
        if not under:
            lay_schema(self.folder / database)
        server = self.start_server(database, listen=listen, under=under, **settings)
        self.await_ready(server)
        return server

    def start_server(
        self,
        database: str = "jobhall.db",
        *,
        listen: str = "127.0.0.1:0",
        under: Sequence[str] = (),
        **settings: object,
    ) -> Server:
        """The same without waiting; one that will not come up is no failure here."""
        path = self.folder / database
        address_file = self.folder / f"{len(self._programs)}.address"
        program = str(BIN / "jobhall-server")
        command = [*under, program, "serve", "--listen", listen, "--address-file", str(address_file)]
        settings = {"database_url": f"sqlite:///{path}", "log_format": "json", **settings}
        server = self._start(Server, "server", command, settings)
        server.database = path
        server.address_file = address_file
        return server

    def await_ready(self, server: Server) -> None:
        """Waits until the server says where it listens."""

        def listens() -> bool:
            assert server.status is None, f"the server ended ({server.status})\n{server.output}"
            return server.ready

        eventually(listens, within=START_SECONDS, what="the server says where it listens")
        server.address = server.address_file.read_text().strip()

    def work(self, name: str, address: str, *, concurrency: int = 1, life: int = 1) -> Program:
        """A worker with the handlers of `journal_worker`; its journal is `NAME.journal` in the folder.

        Several processes may have the same name, as different `life` of it: each has a journal of its own.
        """
        journal = self.folder / (f"{name}.journal" if life == 1 else f"{name}.{life}.journal")
        command = [sys.executable, "-m", "tests.support.journal_worker", name, str(journal), str(concurrency)]
        return self.start(journal.stem, command, address=address)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_error: object) -> None:
        # In reverse: workers say goodbye to a server that still listens.
        stubborn = [program.name for program in reversed(self._programs) if not _end(program)]
        for program in self._programs:
            sys.stdout.write(f"--- {program.name} (pid {program.pid}): {program.status}\n{program.output}\n")
        assert not stubborn, f"had to be killed: {stubborn}"
        traces = [program.name for program in self._programs if "Traceback (most recent call last)" in program.output]
        assert not traces, f"stack traces in the output of {traces}"

    def _start(self, kind: type[P], name: str, command: Sequence[str], settings: dict[str, object]) -> P:
        log = self.folder / f"{len(self._programs)}-{name}.log"
        variables = {f"JOBHALL_{setting.upper()}": str(value) for setting, value in settings.items()}
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **variables},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        program = kind(name, process, log)
        self._programs.append(program)
        return program


def _end(program: Program) -> bool:
    """Whether the program has ended as it was asked to."""
    if program.status is not None:
        return True
    program.go_on()
    try:
        program.stop()
    except AssertionError:
        program.kill()
        return False
    return True
