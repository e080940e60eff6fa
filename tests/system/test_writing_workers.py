"""docs/writing-workers.md, practice six: the page's own handler, cut off in the midst, writes nothing when it wakes."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import jobhall
from jobhall.states import JobState
from tests.support.documents import blocks_of
from tests.support.processes import Processes, Program
from tests.support.tools import BIN
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "writing-workers.md"


def test_a_worker_that_was_cut_off_changes_nothing_once_a_newer_attempt_has_written(processes: Processes) -> None:
    """The row of the newer fence stays; the late handler is told by its own database, and its report is refused."""
    (source,) = [block.text for block in blocks_of(PAGE.read_text()) if block.directive == ("file", "charges.py")]
    (processes.folder / "charges.py").write_text(source)
    server = processes.serve(session_ttl_seconds=1, heartbeat_seconds=0.3, reaper_seconds=0.1)
    with jobhall.Client(server.address) as client:
        client.types.register("charge")
        first = start(processes, "first", server.address)
        job = client.jobs.submit("charge", {"order": "A1", "cents": 950, "seconds": 1})
        eventually(lambda: client.jobs.get_job(job.id).state is JobState.RUNNING, within=20, what="it runs")
        first.pause()
        second = start(processes, "second", server.address)
        charged = client.jobs.wait_for_job(job.id, timeout=30)
        rows = charges(processes.folder)

        first.go_on()
        first.says("is too old")

        assert [fence for *_, fence in rows] == [charged.attempt] == [2]
        assert charges(processes.folder) == rows
        assert client.jobs.get_job(job.id) == charged
        assert "charged by fence 2" in second.output
        assert "charged by" not in first.output


def start(processes: Processes, name: str, address: str) -> Program:
    command = [str(BIN / "jobhall"), "worker", "run", "charges:worker"]
    worker = processes.start(name, command, address=address)
    worker.says("connected")
    return worker


def charges(folder: Path) -> list[tuple[str, int, int]]:
    with closing(sqlite3.connect(folder / "charges.db")) as database:
        return database.execute("SELECT order_id, cents, fence FROM charges").fetchall()
