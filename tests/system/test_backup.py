"""`jobhall-server backup`, from under a server at work, and the copy served in its place."""

import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import jobhall
from jobhall.errors import CursorMismatchError
from jobhall.states import JobState
from tests.support.disks import small_disk
from tests.support.processes import Processes
from tests.support.stored import Stored
from tests.support.tools import BIN
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def back_up(database: Path, target: Path, *entering: str) -> "subprocess.CompletedProcess[str]":
    url = f"sqlite:///{database}"
    command = [*entering, str(BIN / "jobhall-server"), "backup", "--database-url", url, str(target)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@contextmanager
def submitting(client: jobhall.Client) -> Iterator[list[str]]:
    """Submits on its own thread, one after the other; what was acknowledged so far."""
    acknowledged: list[str] = []
    stopping = threading.Event()

    def submit() -> None:
        while not stopping.is_set():
            acknowledged.append(client.jobs.submit("note", {"text": "x" * 2000}).id)

    thread = threading.Thread(target=submit, name="submitting")
    thread.start()
    try:
        yield acknowledged
    finally:
        stopping.set()
        thread.join()


def test_a_backup_of_a_server_at_work_holds_what_was_acknowledged_and_can_be_served(
    processes: Processes, tmp_path: Path, figures: Callable[..., None]
) -> None:
    """The original goes on: its numbers stand for other events than the same numbers of the copy, once that is served.
    A watcher that came with a cursor of the original would silently miss some, so the copy refuses them all.
    """
    server = processes.serve()
    with jobhall.Client(server.address) as client:
        client.types.register("note")
        with submitting(client) as acknowledged:
            eventually(lambda: len(acknowledged) > 50, within=20, what="fifty submits are acknowledged")
            before = set(acknowledged)
            cursor = next(client.jobs.watch()).cursor
            done = back_up(server.database, tmp_path / "copy.db")
            after_count = len(acknowledged)
            eventually(lambda: len(acknowledged) > after_count, within=20, what="submits go on")

    assert done.returncode == 0, done.stderr
    assert server.status is None
    copy = Stored(tmp_path / "copy.db")
    copy.check()
    assert before <= copy.states().keys() <= set(acknowledged)
    assert f"copy.db: {len(copy.states())} jobs" in done.stdout
    figures(acknowledged_before=len(before), in_the_copy=len(copy.states()), acknowledged_in_all=len(acknowledged))

    restored = processes.serve("copy.db")
    processes.work("worker", restored.address, concurrency=8)
    with jobhall.Client(restored.address) as client:
        job_id = min(before)
        assert client.jobs.wait_for_job(job_id, timeout=20).state is JobState.COMPLETED
        with pytest.raises(CursorMismatchError):
            next(client.jobs.watch(cursor=cursor))


def test_a_stopped_database_and_one_that_was_left_in_the_middle_are_copied_just_so(
    processes: Processes, tmp_path: Path
) -> None:
    """What a killed server had committed stands in the write-ahead log beside the file."""
    server = processes.serve()
    with jobhall.Client(server.address) as client:
        client.types.register("note")
        job = client.jobs.submit("note")
    server.kill()

    killed = back_up(server.database, tmp_path / "killed.db")
    assert processes.serve().stop() == 0
    stopped = back_up(server.database, tmp_path / "stopped.db")

    for done, name in ((killed, "killed.db"), (stopped, "stopped.db")):
        assert done.returncode == 0, done.stderr
        assert Stored(tmp_path / name).states() == {job.id: JobState.PENDING}
    assert not list(tmp_path.glob("*.db-*")), "nor is the original changed, or anything left beside it"


def test_a_disk_without_room_for_the_copy_is_an_error_that_leaves_nothing(processes: Processes, tmp_path: Path) -> None:
    server = processes.serve()
    with jobhall.Client(server.address) as client, small_disk(tmp_path / "disk", size="256k") as disk:
        client.types.register("note")
        client.jobs.submit("note", "x" * 300_000)

        done = back_up(server.database, disk.folder / "copy.db", *disk.entering)

        assert done.returncode == 1
        assert done.stderr.startswith(f"jobhall-server: {disk.folder} has no room for the copy, about ")
        assert done.stderr.count("\n") == 1
        assert not list(disk.path.iterdir())
        assert client.jobs.submit("note").id


def test_a_backup_that_is_told_to_stop_leaves_no_half_of_a_copy(processes: Processes, tmp_path: Path) -> None:
    """A time limit of cron or systemd ends it by SIGTERM, of which a process dies where it stands by itself."""
    server = processes.serve()
    assert server.stop() == 0
    with closing(sqlite3.connect(server.database, isolation_level=None)) as database:
        database.execute("CREATE TABLE large AS SELECT zeroblob(150000000)")
    copy, part = tmp_path / "copy.db", tmp_path / "copy.db.part"
    command = [str(BIN / "jobhall-server"), "backup", "--database-url", f"sqlite:///{server.database}", str(copy)]

    backing_up = processes.start("backup", command)
    eventually(
        lambda: part.exists() or copy.exists() or backing_up.status is not None, within=20, what="the copy is begun"
    )
    status = backing_up.stop()

    assert not part.exists()
    assert (status, copy.exists()) in {(128 + signal.SIGTERM, False), (0, True)}
