"""A real server for each test of the edges, and what it wrote to its log meanwhile."""

import io
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from jobhall_server.logs import configure_logs
from tests.support.servers import Running, running_server


@pytest.fixture
def server_log() -> Iterator[io.StringIO]:
    """Everything that the server logs during the test, as JSON lines."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs(form="json", level="debug", stream=stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
async def server(tmp_path: Path, server_log: io.StringIO) -> AsyncIterator[Running]:
    async with running_server(tmp_path) as running:
        yield running
    assert "Traceback" not in server_log.getvalue(), server_log.getvalue()
