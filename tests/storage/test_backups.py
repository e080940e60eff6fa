"""A backup is one moment of the database, whatever is written meanwhile; one that cannot be made leaves nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from jobhall_server.storage import backups
from jobhall_server.storage.backups import Backup, back_up
from jobhall_server.storage.engines import parse_database_url
from jobhall_server.storage.errors import BackupError
from jobhall_server.storage.schema import PREFIX_DEFAULT
from tests.support.stored import Stored
from tests.support.stores import FILE_NAME, Floor, sql_only


def made(folder: Path, target: str = "copy.db", *, prefix: str = PREFIX_DEFAULT) -> Backup:
    return back_up(parse_database_url(f"sqlite:///{folder / FILE_NAME}"), folder / target, prefix=prefix)


def log_id(path: Path) -> object:
    [(found,)] = Stored(path).rows("SELECT log_id FROM jobhall_service")
    return found


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def at_each_sync(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Copies page by page from here on, and does that after each."""

    def act(what: Callable[[], None]) -> None:
        monkeypatch.setattr(backups, "STEP_PAGES", 1)
        monkeypatch.setattr(backups, "STEPS_PER_SYNC", 1)
        monkeypatch.setattr(os, "fdatasync", lambda _: what())

    return act


@sql_only
async def test_the_copy_is_whole_and_one_file_with_the_rights_of_the_original(floor: Floor, tmp_path: Path) -> None:
    await floor.submit(3)
    (tmp_path / FILE_NAME).chmod(0o640)

    backup = made(tmp_path)

    assert backup.path == tmp_path / "copy.db"
    assert backup.jobs == 3
    assert backup.size_bytes == backup.path.stat().st_size
    assert backup.path.stat().st_mode & 0o777 == 0o640
    assert {name for name in files(tmp_path) if name.startswith("copy.db")} == {"copy.db"}
    Stored(backup.path).check()
    assert Stored(backup.path).states() == Stored(tmp_path / FILE_NAME).states()


@sql_only
async def test_the_copy_is_another_log_and_the_original_stays_the_one_that_it_was(floor: Floor, tmp_path: Path) -> None:
    """Cursors that the original gave out after the backup stand for events that the copy gives other numbers' places:
    a watcher that resumed there would pass over whatever the copy logs up to them.
    """
    before = log_id(tmp_path / FILE_NAME)

    first, second = made(tmp_path, "first.db"), made(tmp_path, "second.db")

    assert log_id(tmp_path / FILE_NAME) == before
    assert len({before, log_id(first.path), log_id(second.path)}) == 3


@sql_only
async def test_what_is_written_while_the_copy_is_made_is_not_in_it_and_does_not_begin_it_again(
    floor: Floor, tmp_path: Path, at_each_sync: Callable[[Callable[[], None]], None]
) -> None:
    """SQLite's backup begins again when another process has written between two of its steps, for ever under load,
    unless its source holds one read transaction all the while.
    """
    await floor.submit(50)
    before = Stored(tmp_path / FILE_NAME).states()
    writes = 0

    def write() -> None:
        nonlocal writes
        writes += 1
        assert writes < 10_000, "it begins again and again"
        with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
            other.execute("UPDATE jobhall_jobs SET path = coalesce(path, 0) + 1")

    at_each_sync(write)
    backup = made(tmp_path)

    assert writes > 10
    assert Stored(backup.path).rows("SELECT DISTINCT path FROM jobhall_jobs") == [(None,)]
    assert Stored(backup.path).states() == before
    assert Stored(tmp_path / FILE_NAME).rows("SELECT DISTINCT path FROM jobhall_jobs") == [(str(writes),)]


@pytest.mark.parametrize("interruption", [SystemExit(143), KeyboardInterrupt(), OSError(5, "Input/output error")])
@sql_only
async def test_a_backup_that_is_interrupted_leaves_nothing(
    floor: Floor,
    tmp_path: Path,
    at_each_sync: Callable[[Callable[[], None]], None],
    interruption: BaseException,
) -> None:
    await floor.submit()
    before = files(tmp_path)

    def interrupt() -> None:
        assert (tmp_path / "copy.db.part").exists()
        raise interruption

    at_each_sync(interrupt)
    with pytest.raises(BackupError if isinstance(interruption, OSError) else type(interruption)):
        made(tmp_path)

    assert files(tmp_path) == before


@sql_only
async def test_a_file_that_exists_is_never_written_over(floor: Floor, tmp_path: Path) -> None:
    await floor.submit()
    (tmp_path / "copy.db").write_text("precious")
    (tmp_path / "link.db").symlink_to("nowhere")

    for name in ("copy.db", "link.db", FILE_NAME, "."):
        with pytest.raises(BackupError, match="exists already: name a new file"):
            made(tmp_path, name)

    assert (tmp_path / "copy.db").read_text() == "precious"


@sql_only
async def test_one_that_appears_while_the_copy_is_made_is_not_written_over_either(
    floor: Floor, tmp_path: Path, at_each_sync: Callable[[Callable[[], None]], None]
) -> None:
    await floor.submit()

    at_each_sync((tmp_path / "copy.db").touch)
    with pytest.raises(BackupError, match="exists already"):
        made(tmp_path)

    assert (tmp_path / "copy.db").stat().st_size == 0
    assert "copy.db.part" not in files(tmp_path)


@sql_only
async def test_two_backups_to_one_file_do_not_write_into_each_other(floor: Floor, tmp_path: Path) -> None:
    await floor.submit()
    (tmp_path / "copy.db.part").write_text("of another backup")

    with pytest.raises(BackupError, match=r"copy\.db\.part exists: another backup writes it, or one was cut short"):
        made(tmp_path)

    assert (tmp_path / "copy.db.part").read_text() == "of another backup"


def test_what_is_no_database_of_ours_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"jobhall\.db does not exist, so there is nothing to back up"):
        made(tmp_path)
    (tmp_path / FILE_NAME).write_text("symbol,name\n" * 1000)
    with pytest.raises(BackupError, match="is no database that this jobhall-server can read: file is not a database"):
        made(tmp_path)
    with closing(sqlite3.connect(tmp_path / "empty.db")) as empty:
        empty.execute("PRAGMA user_version = 1")
    (tmp_path / "empty.db").replace(tmp_path / FILE_NAME)
    with pytest.raises(BackupError, match="no such table: jobhall_service"):
        made(tmp_path)
    with pytest.raises(BackupError, match=r"missing.copy\.db\.part cannot be written: No such file or directory"):
        made(tmp_path, "missing/copy.db")

    assert files(tmp_path) == {FILE_NAME}


def test_of_postgresql_its_own_tool_makes_the_backup(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="pg_dump"):
        back_up(parse_database_url("postgresql://localhost/jobs"), tmp_path / "copy.db", prefix=PREFIX_DEFAULT)


@sql_only
async def test_a_copy_that_is_damaged_is_not_given_out(floor: Floor, tmp_path: Path) -> None:
    """A page that a failing disk has changed is copied as it is, and found by the check."""
    await floor.submit(200)
    made(tmp_path, "whole.db")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    pages = bytearray((tmp_path / "whole.db").read_bytes())
    [(page,)] = Stored(tmp_path / "whole.db").rows(
        "SELECT rootpage FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'jobhall_jobs' LIMIT 1"
    )
    assert isinstance(page, int)
    pages[(page - 1) * 4096 + 100 : page * 4096] = bytes(3996)
    (damaged / FILE_NAME).write_bytes(pages)

    with pytest.raises(BackupError, match=r"damaged|malformed"):
        made(damaged)

    assert not [name for name in files(damaged) if name.startswith("copy")]
