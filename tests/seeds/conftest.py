"""What the seeds' tests share: a server for each document, both kinds of client, and the rooms of a job library."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from jobhall import Client, JobManager
from tests.support.library_scene import Scene, library_server
from tests.support.processes import Processes, Server
from tests.support.queues import ASYNC, BLOCKING

_rooms = count(1)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts servers and workers in `tmp_path`; afterwards none of them runs, and none has shown a stack trace."""
    with Processes(tmp_path) as processes:
        yield processes


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests of a module, each of which has a namespace of its own."""
    with Processes(tmp_path_factory.mktemp("seed")) as processes:
        yield processes.serve(heartbeat_seconds=0.3, session_ttl_seconds=2, reaper_seconds=0.1)


@pytest.fixture(params=[BLOCKING, ASYNC])
def kind(request: pytest.FixtureRequest) -> str:
    """Of the client."""
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of a module; its threshold for dead workers is a second."""
    with Processes(tmp_path_factory.mktemp("library")) as processes:
        yield library_server(processes)


@pytest.fixture
def room() -> str:
    """A namespace of the test's own."""
    return f"room_{next(_rooms)}"


@pytest.fixture
def vis(library: Server, room: str) -> Iterator[Scene]:
    """A program with a JobManager in the test's room."""
    with Client(library.address) as client, JobManager(client, namespace=room) as jobs:
        jobs.context = vis = Scene(jobs)
        yield vis


@pytest.fixture
def client(vis: Scene) -> Client:
    """The client of that program."""
    return vis.jobs.client
