"""The mirror of docs/watching.md is right also when the log does not lead on from its cursor."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import jobhall
from tests.support.documents import blocks_of
from tests.support.processes import Processes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "watching.md"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    [mirror] = [block for block in blocks_of(PAGE.read_text()) if block.directive == ("file", "mirror.py")]
    (tmp_path / "mirror.py").write_text(mirror.text)
    with Processes(tmp_path) as processes:
        yield processes


def test_after_a_reset_the_mirror_has_every_job_as_it_is(processes: Processes) -> None:
    """While it is away one of its jobs ends, one is deleted and one comes; then its cursor is of another database."""
    command = [sys.executable, "mirror.py"]
    server = processes.serve()
    with jobhall.Client(server.address) as client:
        client.types.register("resize")
        ended, deleted, left = (client.jobs.submit("resize").id for _ in range(3))
        first = processes.start("mirror", command, address=server.address)
        first.says("mirrored {'PENDING': 3}")
        first.stop()
        client.jobs.cancel_job(ended)
        client.jobs.delete_job(deleted)
        new = client.jobs.submit("resize").id
        with closing(sqlite3.connect(processes.folder / "mirror.db", isolation_level=None)) as table:
            table.execute("UPDATE place SET cursor = 'of another database'")

            processes.start("mirror again", command, address=server.address).says("mirrored {'CANCELLED'")

            rows = dict(table.execute("SELECT id, state FROM jobs"))
            assert rows == {ended: "CANCELLED", left: "PENDING", new: "PENDING"}
            assert table.execute("SELECT cursor FROM place").fetchone() != ("of another database",)
