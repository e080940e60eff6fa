"""Real servers for tests: one in the test's own loop, or one as a process; and the proof that nothing is left over."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc

from jobhall.channel import CHANNEL_OPTIONS
from jobhall.v1 import admin_service_pb2_grpc, job_service_pb2_grpc, job_type_service_pb2_grpc, worker_service_pb2_grpc
from jobhall_server import app
from jobhall_server.app import App
from jobhall_server.hall.clock import Clock
from jobhall_server.rpc.caller import Authenticator
from jobhall_server.settings import Settings
from tests.support.waiting import eventually, eventually_async

READY_SECONDS = 20.0
GONE_SECONDS = 10.0
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Running:
    """A server in this loop, with a channel to it and the stubs of its services."""

    app: App
    address: str
    channel: grpc.aio.Channel

    def __post_init__(self) -> None:
        self.jobs = job_service_pb2_grpc.JobServiceStub(self.channel)
        self.job_types = job_type_service_pb2_grpc.JobTypeServiceStub(self.channel)
        self.workers = worker_service_pb2_grpc.WorkerServiceStub(self.channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(self.channel)


def settings_in(folder: Path, **settings: Any) -> Settings:
    """Settings for a server on a free port with its database in `folder`, quick to stop."""
    url = f"sqlite:///{folder / 'jobhall.db'}"
    return Settings(**{"listen": "127.0.0.1:0", "database_url": url, "drain_seconds": 1.0, **settings})


@asynccontextmanager
async def running_server(
    folder: Path, *, authenticator: Authenticator | None = None, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[Running]:
    """A real server in the test's loop; when it has stopped, nothing of it may be left over."""
    chosen = settings_in(folder, **settings)
    async with (
        nothing_left_over(folder),
        app.build(chosen, authenticator=authenticator, clock=clock) as server,
        grpc.aio.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel,
    ):
        yield Running(server, server.address, channel)


@asynccontextmanager
async def nothing_left_over(folder: Path) -> AsyncIterator[None]:
    """After the block: no new task, thread, socket or open file of `folder`, and no transaction open on a database."""
    tasks, threads, sockets = asyncio.all_tasks(), set(threading.enumerate()), _open_sockets()
    yield
    await eventually_async(
        lambda: not _left(asyncio.all_tasks() - tasks), within=GONE_SECONDS, what="every task of the server has ended"
    )
    await eventually_async(
        lambda: not _own(set(threading.enumerate()) - threads),
        within=GONE_SECONDS,
        what="every thread of the server has ended",
    )
    await eventually_async(
        lambda: _open_sockets() <= sockets + _GRPC_SOCKETS, within=GONE_SECONDS, what="every socket is closed"
    )
    assert not _open_files(folder), f"files still open: {_open_files(folder)}"
    _assert_unlocked(folder)


_GRPC_SOCKETS = 4
"""gRPC keeps a few descriptors of its own for the whole process, from its first use on."""


@contextmanager
def server_process(folder: Path, **settings: Any) -> Iterator["ServerProcess"]:
    """`jobhall-server serve` as a process of its own, for blocking clients and other programs; stopped by SIGTERM."""
    server = ServerProcess(folder, **settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class ServerProcess:
    """A server that can be started, stopped, killed and started again on the same database (and port, if named)."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.address = ""
        self.log = folder / "server.log"
        self._settings = {"listen": "127.0.0.1:0", "database_url": f"sqlite:///{folder / 'jobhall.db'}", **settings}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    def start(self) -> None:
        """Start it and wait until it is ready."""
        address_file = self.folder / "address"
        address_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "jobhall_server", "serve", "--address-file", str(address_file)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=server_environment(self._settings))
        eventually(
            lambda: address_file.exists() or self.process.poll() is not None, within=READY_SECONDS, what="server ready"
        )
        assert self.process.poll() is None, self.log.read_text()
        self.address = address_file.read_text().strip()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop it and answer its exit code; one that does not stop is killed and fails the test."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(timeout=READY_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not stop on {how.name}\n{self.log.read_text()}") from None

    def kill(self) -> None:
        """As a power cut would, short of the disk."""
        self.stop(signal.SIGKILL)


def server_environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a server's process with these settings, and none of the developer's."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JOBHALL_")}
    named = {f"JOBHALL_{name.upper()}": str(value) for name, value in settings.items()}
    path = os.pathsep.join((str(ROOT / "client"), str(ROOT / "server")))
    return {**clean, **named, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _assert_unlocked(folder: Path) -> None:
    for database in folder.glob("*.db"):
        with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("ROLLBACK")


def _left(tasks: set[asyncio.Task[Any]]) -> list[str]:
    current = asyncio.current_task()
    return [task.get_name() for task in tasks if task is not current and not task.done()]


def _own(threads: set[threading.Thread]) -> list[str]:
    """Those that are ours to end: gRPC's poller and asyncio's executor stay for the whole process."""
    return [t.name for t in threads if not t.name.startswith(("asyncio_", "Dummy")) and not _of_grpc(t)]


def _of_grpc(thread: threading.Thread) -> bool:
    return "_poll_wrapper" in thread.name or "grpc" in repr(cast("Any", thread)._target).lower()


def _links() -> list[str]:
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except OSError:  # Closed while we looked.
            continue
    return links


def _open_sockets() -> int:
    return sum(link.startswith("socket:") for link in _links())


def _open_files(folder: Path) -> list[str]:
    return [link for link in _links() if link.startswith(str(folder))]
