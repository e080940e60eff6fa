"""A real server in the test's own loop, and the proof that it leaves nothing over (`processes` starts real ones)."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc

from jobhall.channel import CHANNEL_OPTIONS
from jobhall.v1 import (
    admin_service_pb2_grpc,
    batch_service_pb2_grpc,
    job_service_pb2_grpc,
    job_type_service_pb2_grpc,
    worker_service_pb2_grpc,
)
from jobhall_server import app
from jobhall_server.app import App
from jobhall_server.hall.clock import Clock
from jobhall_server.rpc.caller import Authenticator
from jobhall_server.settings import Settings
from tests.support.schemas import lay_schema
from tests.support.waiting import eventually_async

FILE_NAME = "jobhall.db"
GONE_SECONDS = 10.0


@dataclass
class Running:
    """A server in this loop, with a channel to it and the stubs of its services."""

    app: App
    address: str
    channel: grpc.aio.Channel

    def __post_init__(self) -> None:
        self.batches = batch_service_pb2_grpc.BatchServiceStub(self.channel)
        self.jobs = job_service_pb2_grpc.JobServiceStub(self.channel)
        self.job_types = job_type_service_pb2_grpc.JobTypeServiceStub(self.channel)
        self.workers = worker_service_pb2_grpc.WorkerServiceStub(self.channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(self.channel)


def settings_in(folder: Path, **settings: Any) -> Settings:
    """Settings for a server on a free port with its database in `folder`, quick to stop."""
    url = f"sqlite:///{folder / FILE_NAME}"
    return Settings(**{"listen": "127.0.0.1:0", "database_url": url, "drain_seconds": 1.0, **settings})


@asynccontextmanager
async def running_server(
    folder: Path, *, authenticator: Authenticator | None = None, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[Running]:
    """A real server in the test's loop; when it has stopped, nothing of it may be left over."""
    chosen = settings_in(folder, **settings)
    lay_schema(folder / FILE_NAME, prefix=chosen.table_prefix)
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
