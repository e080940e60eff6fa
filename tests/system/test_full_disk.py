"""A disk that is full, or takes no writes, under a server at work: nothing is acknowledged that is not stored."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jobhall
from jobhall.errors import DatabaseFullError
from jobhall.ids import new_id
from jobhall.states import JobState
from tests.support import journal
from tests.support.disks import SmallDisk, no_file_longer_than, small_disk
from tests.support.processes import Processes, Program
from tests.support.stored import Stored
from tests.support.tools import BIN
from tests.support.waiting import eventually

HELD = 20
TTL_SECONDS, TTL_SECONDS_LONG = 2, 12
REFUSING_SECONDS, REFUSING_SECONDS_LONG = 3, 40
"""Longer than a worker may be away; longer than a server goes on without saying in the database that it lives."""
NOTHING_BYTES = 65_536
"""Of the database and its log all that is written stands beyond; what the server prints does not."""
ONCE = jobhall.CallRetry(attempts_max=1)
SETTINGS: dict[str, Any] = {
    "session_ttl_seconds": TTL_SECONDS,
    "heartbeat_seconds": 0.5,
    "log_format": "json",
    "log_level": "warning",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90), pytest.mark.long_timeout(150)]


class Work:
    """Tasks that run until `finish`, on a server that has no room for their results meanwhile."""

    def __init__(self, processes: Processes, folder: Path, address: str) -> None:
        self.client = jobhall.Client(address, retry=ONCE)
        self.submitted: list[str] = []
        self._folder = folder
        processes.work("worker", address, concurrency=HELD)
        for name in ("hold", "note", "nobody_runs_it"):
            self.client.types.register(name)
        gate = str(folder / "gate")
        self.held = [self.client.jobs.submit("hold", {"gate": gate}).id for _ in range(HELD)]
        eventually(self._run, within=30, what="the server knows that every task has started")

    def finish(self) -> None:
        """Let the handlers come to their end; their results are on the way then."""
        (self._folder / "gate").touch()
        eventually(self._ended, within=30, what="every handler has ended")

    def fill_up(self) -> list[str]:
        """Submit until nothing more fits; answers the refused ones."""
        refused: list[str] = []
        waits: list[object] = []
        while len(refused) < 5:
            job_id = new_id()
            try:
                self.client.jobs.submit("nobody_runs_it", "x" * 100_000, job_id=job_id)
            except DatabaseFullError as error:
                refused.append(job_id)
                waits.append(error.retry_after)
            else:
                self.submitted.append(job_id)
        assert None not in waits
        return refused

    def ended_once(self) -> None:
        """Every task completes, and none was run again."""
        for job_id in self.held:
            assert self.client.jobs.wait_for_job(job_id, timeout=30).attempt == 1
            assert len(journal.starts(self._folder, job_id)) == 1

    def goes_on(self) -> None:
        """New work is taken, claimed and done."""
        job = self.client.jobs.submit("note")
        assert self.client.jobs.wait_for_job(job.id, timeout=30).state is JobState.COMPLETED

    def _run(self) -> bool:
        return all(job.state is JobState.RUNNING for job in self.client.jobs.get_jobs(self.held))

    def _ended(self) -> bool:
        return sum(entry.what == "end" for entry in journal.read(self._folder)) >= HELD


def test_on_a_full_disk_submits_are_refused_results_wait_and_all_goes_on_when_there_is_room(
    processes: Processes, tmp_path: Path, figures: Callable[..., None]
) -> None:
    """A real file system without a byte left: nobody may be told OK for what the disk has not taken."""
    with small_disk(tmp_path / "disk", size="16m") as disk:
        server, address = serve_on(processes, disk)
        work = Work(processes, tmp_path, address)
        disk.fill()
        refused = work.fill_up()
        work.finish()

        assert image(server, disk, tmp_path / "full").states().keys() == {*work.held, *work.submitted}
        disk.empty()
        work.ended_once()
        work.goes_on()
        image(server, disk, tmp_path / "over").check()
        for job_id in refused:
            assert work.client.jobs.submit("note", job_id=job_id).id == job_id
        figures(submitted=len(work.submitted), refused=len(refused), tasks=HELD)
        check_log(server)


def test_on_a_disk_that_takes_no_writes_nothing_is_acked_and_nothing_is_run_again(
    processes: Processes, tmp_path: Path, *, long: bool
) -> None:
    """A disk that the kernel has made read-only, or a quota that is used up, refuses every write with another errno
    than a full one. Here the kernel refuses with EFBIG, by a limit on the lengths of files, and for longer than a
    worker may be away: no result is stored, so no worker may be told that it is, and none may be taken for lost.
    """
    server = processes.serve(**SETTINGS | ({"session_ttl_seconds": TTL_SECONDS_LONG} if long else {}))
    stored = Stored(server.database)
    work = Work(processes, tmp_path, server.address)

    with no_file_longer_than(NOTHING_BYTES, pid=server.pid):
        refused = work.fill_up()
        assert not work.submitted
        work.finish()
        seconds = REFUSING_SECONDS_LONG if long else REFUSING_SECONDS
        time.sleep(seconds)  # sleeps: nothing may happen, however long it lasts
        assert stored.states() == dict.fromkeys(work.held, JobState.RUNNING)
        assert work.client.jobs.get_job(work.held[0]).state is JobState.RUNNING, "reading goes on"

    work.ended_once()
    work.goes_on()
    stored.check()
    assert not stored.states().keys() & set(refused)
    check_log(server)


def test_a_server_does_not_start_on_a_disk_that_takes_no_writes_and_says_so_in_a_line(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size="1m") as disk:
        assert migrate_on(disk).returncode == 0
        disk.fill()
        full = migrate_on(disk, "serve", "--listen", "127.0.0.1:0")
        disk.empty()
        disk.make_read_only()
        read_only = migrate_on(disk, "serve", "--listen", "127.0.0.1:0")

    for said in (full, read_only):
        assert said.returncode == 1
        assert said.stderr.startswith(f"jobhall-server: {disk.folder}/jobhall.db")
        assert said.stderr.count("\n") == 1
    assert "its disk takes no writes: make room there" in full.stderr
    assert "cannot be written (Read-only file system)" in read_only.stderr


def serve_on(processes: Processes, disk: SmallDisk) -> tuple[Program, str]:
    """A server whose database is on that disk, and where it listens."""
    address_file = processes.folder / "address"
    command = [str(BIN / "jobhall-server"), "serve", "--listen", "127.0.0.1:0", "--address-file", str(address_file)]
    url = f"sqlite:///{disk.folder}/jobhall.db"
    server = processes.start("server", [*disk.entering, *command], database_url=url, **SETTINGS)
    eventually(lambda: address_file.exists() or server.status is not None, within=20, what="it listens")
    return server, address_file.read_text().strip()


def migrate_on(disk: SmallDisk, *command: str) -> "subprocess.CompletedProcess[str]":
    url = f"sqlite:///{disk.folder}/jobhall.db"
    words = [*disk.entering, str(BIN / "jobhall-server"), *(command or ["migrate"]), "--database-url", url]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)


def image(server: Program, disk: SmallDisk, folder: Path) -> Stored:
    """What is on the disk at one moment: SQLite itself would not open a file by a way that leads through /proc."""
    server.pause()
    try:
        return Stored(disk.path / "jobhall.db").copy(folder)
    finally:
        server.go_on()


def check_log(server: Program) -> None:
    """It has told of the outage as it began, and not again and again; none of it was taken for a bug."""
    assert server.status is None
    assert server.output.count('"writes_refused"') == 1
    assert "Traceback" not in server.output
    assert "internal" not in server.output.lower()
    lines = server.output.splitlines()
    assert len(lines) <= 10, f"{len(lines)} lines"
