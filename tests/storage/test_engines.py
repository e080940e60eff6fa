"""Opening a database: what URLs name, what a connection is set to, and the clear refusals."""

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import structlog.testing

from jobhall_server.storage import engines
from jobhall_server.storage.engines import (
    Database,
    Synchronous,
    clearly_refused,
    open_write_engine,
    parse_database_url,
    serving,
    serving_in_turn,
)
from jobhall_server.storage.errors import DatabaseLockedError, DatabaseUnusableError, DatabaseUrlError
from tests.support.waiting import eventually_async


def test_a_relative_file_is_taken_from_the_given_folder_and_shown_as_an_absolute_path(tmp_path: Path) -> None:
    database = parse_database_url("sqlite:///jobs/jobhall.db", folder=tmp_path)

    assert database.path == tmp_path / "jobs" / "jobhall.db"
    assert str(database) == str(tmp_path / "jobs" / "jobhall.db")


def test_an_absolute_file_is_taken_as_it_is(tmp_path: Path) -> None:
    assert parse_database_url(f"sqlite:///{tmp_path}/jobhall.db").path == tmp_path / "jobhall.db"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_postgresql_url_is_read_by_psycopg_and_shown_without_its_password(scheme: str) -> None:
    database = parse_database_url(f"{scheme}://jobhall:hunter2@db.example:5433/jobs")

    assert database.path is None
    assert database.lock_path is None
    assert str(database) == "postgresql+psycopg://jobhall:***@db.example:5433/jobs"
    assert open_write_engine(database).dialect.driver == "psycopg"


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite://jobhall.db", "sqlite:///jobhall.db"),
        ("sqlite:///jobhall.db?mode=ro", "options"),
        ("mysql://localhost/jobs", "'mysql' are not supported"),
        ("jobhall.db", "malformed: write sqlite:///jobhall.db"),
    ],
)
def test_a_url_that_cannot_be_served_is_refused_with_what_to_write_instead(url: str, advice: str) -> None:
    with pytest.raises(DatabaseUrlError, match=re.escape(advice)):
        parse_database_url(url)


@pytest.mark.parametrize("synchronous", Synchronous)
def test_the_writer_works_in_wal_mode_as_durably_as_it_is_told(tmp_path: Path, synchronous: Synchronous) -> None:
    engine = open_write_engine(_database(tmp_path), synchronous=synchronous)

    with engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        }
    assert found == {"journal_mode": "wal", "synchronous": list(Synchronous).index(synchronous)}


def test_the_writer_is_as_durable_as_can_be_by_default(tmp_path: Path) -> None:
    with open_write_engine(_database(tmp_path)).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_a_transaction_of_the_writer_holds_the_file_from_its_beginning(tmp_path: Path) -> None:
    engine = open_write_engine(_database(tmp_path))

    with engine.begin():
        other = sqlite3.connect(tmp_path / "jobhall.db", timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_a_second_server_on_the_same_file_is_refused_and_told_who_serves_it(tmp_path: Path) -> None:
    database = _database(tmp_path)
    holder = f"""
import sys
from pathlib import Path
from jobhall_server.storage.engines import parse_database_url, serving
with serving(parse_database_url("sqlite:///jobhall.db", folder=Path({str(tmp_path)!r}))):
    print("held", flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", holder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"

        with pytest.raises(DatabaseLockedError, match=f"served by the process with pid {process.pid}") as refused:
            serving(database).__enter__()

        assert "--wait" in str(refused.value)
        assert refused.value.path == database.path
        assert refused.value.pid == process.pid
        process.kill()
    with serving(database):
        pass


def test_a_file_may_be_served_again_when_its_server_has_ended(tmp_path: Path) -> None:
    database = _database(tmp_path)
    for _ in range(2):
        with serving(database), pytest.raises(DatabaseLockedError), serving(database):
            pass


async def test_whoever_waits_serves_as_soon_as_the_other_has_ended_and_says_once_for_whom_it_waits(
    tmp_path: Path,
) -> None:
    database = _database(tmp_path)
    turns: list[str] = []

    async def wait() -> None:
        async with serving_in_turn(database):
            turns.append("second")

    with structlog.testing.capture_logs() as lines:
        with serving(database):
            waiting = asyncio.create_task(wait())
            await eventually_async(lambda: bool(lines), within=5, what="it says that it waits")
            await asyncio.sleep(3 * engines.STANDBY_SECONDS)  # sleeps: it must not say so again, nor serve
            turns.append("first")
        await asyncio.wait_for(waiting, 1)

    assert turns == ["first", "second"]
    assert [(line["event"], line.get("served_by_pid")) for line in lines] == [
        ("standing_by", os.getpid()),
        ("taking_over", None),
    ]


async def test_where_nobody_serves_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    database = _database(tmp_path)

    with structlog.testing.capture_logs() as lines:
        async with serving_in_turn(database):
            with pytest.raises(DatabaseLockedError):
                serving(database).__enter__()

    assert not lines


async def test_whoever_waits_can_be_told_to_stop_and_leaves_nothing_behind(tmp_path: Path) -> None:
    database = _database(tmp_path)
    with serving(database):
        descriptors = _descriptors()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), serving_in_turn(database):
                raise AssertionError("two serve one file")
        assert _descriptors() == descriptors

    with serving(database):
        pass


async def test_what_keeps_a_standby_from_ever_serving_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnusableError, match="does not exist"):
        await serving_in_turn(parse_database_url("sqlite:///missing/jobhall.db", folder=tmp_path)).__aenter__()


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (sqlite3.SQLITE_FULL, "its disk takes no writes: make room there, or make it writable"),
        (sqlite3.SQLITE_READONLY, "its disk takes no writes"),
        (sqlite3.SQLITE_IOERR_FSYNC, "its disk may fail"),
        (sqlite3.SQLITE_CORRUPT, "name another file"),
    ],
)
def test_a_disk_that_is_to_blame_is_named_with_what_to_do(tmp_path: Path, code: int, advice: str) -> None:
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = code

    said = pytest.raises(DatabaseUnusableError, match=f"jobhall.db cannot be used: what SQLite says; .*{advice}")
    with said, clearly_refused(_database(tmp_path)):
        raise error


def test_a_statement_that_is_to_blame_stays_the_bug_that_it_is(tmp_path: Path) -> None:
    bug = pytest.raises(sqlite3.OperationalError, match="no such table")
    with closing(sqlite3.connect(":memory:")) as connection, bug, clearly_refused(_database(tmp_path)):
        connection.execute("SELECT * FROM misspelled")


def test_databases_with_servers_of_their_own_need_no_lock() -> None:
    database = parse_database_url("postgresql://localhost/jobs")

    assert database.lock_path is None
    with serving(database), serving(database):
        pass


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    database = parse_database_url("sqlite:///missing/jobhall.db", folder=tmp_path)

    with pytest.raises(DatabaseUnusableError, match=f"{re.escape(str(tmp_path))}/missing does not exist"):
        serving(database).__enter__()


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnusableError, match="is a folder: name a file in it"):
        serving(parse_database_url(f"sqlite:///{tmp_path}")).__enter__()


def test_a_folder_where_nothing_can_be_written_is_refused() -> None:
    # Not even root writes here, so the test means the same for everybody.
    with pytest.raises(DatabaseUnusableError, match=r"/proc/jobhall.db.lock cannot be written"):
        serving(parse_database_url("sqlite:////proc/jobhall.db")).__enter__()


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    database = _database(tmp_path)
    text = "symbol,name\n" * 1000
    (tmp_path / "jobhall.db").write_text(text)

    with pytest.raises(DatabaseUnusableError, match="file is not a database; name another file"):
        open_write_engine(database)

    assert (tmp_path / "jobhall.db").read_text() == text


def test_a_file_that_another_program_keeps_locked_is_refused_after_a_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_SECONDS", 0.01)
    database = _database(tmp_path)
    other = sqlite3.connect(tmp_path / "jobhall.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    with pytest.raises(DatabaseUnusableError, match="database is locked; another program may hold it"):
        open_write_engine(database)
    other.close()

    open_write_engine(database)


def test_a_python_with_too_old_a_sqlite_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "SQLITE_VERSION_MIN", (99, 1))

    with pytest.raises(DatabaseUnusableError, match=f"SQLite {sqlite3.sqlite_version}; jobhall needs 99.1 or newer"):
        open_write_engine(_database(tmp_path))


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _database(folder: Path) -> Database:
    return parse_database_url("sqlite:///jobhall.db", folder=folder)
