"""A consistent copy of a SQLite database, taken while a server writes to it or while none does."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jobhall.ids import new_id
from jobhall_server.storage import statements_backup
from jobhall_server.storage.engines import BUSY_TIMEOUT_SECONDS, Database
from jobhall_server.storage.errors import BackupError
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.refusals import Refusal, refusal_of
from jobhall_server.storage.schema import Tables, tables

STEP_PAGES = 1024
"""Pages copied between two looks at whether we are to stop: 4 MB, some milliseconds."""
STEPS_PER_SYNC = 16
"""What a copy leaves to be written is bounded, so that no commit of the server waits behind gigabytes of it."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy that was made."""

    path: Path
    size_bytes: int
    jobs: int
    seconds: float


def back_up(database: Database, target: Path, *, prefix: str) -> Backup:
    """Copy the database as it is at this moment to a new file, checked and on the disk when this returns.

    The copy is another log: its `log_id` is new, so that a cursor of the original is CURSOR_MISMATCH there and does not
    silently pass over what the original logged later. BackupError says why there is none; then nothing is left over.
    """
    began_at = time.monotonic()
    source = database.path
    if source is None:
        raise BackupError(f"{database} is no file: PostgreSQL's own pg_dump makes its backups")
    if not source.is_file():
        raise BackupError(f"{source} does not exist, so there is nothing to back up")
    target = target.absolute()
    with _part_of(target, like=source) as (part, descriptor), _clearly(source, target.parent):
        _copy(source, part, descriptor, tables(prefix))
        jobs = _begin_another_log(part, tables(prefix))
        os.fsync(descriptor)
        size_bytes = os.fstat(descriptor).st_size
        _refuse_existing(target)
        part.rename(target)
        _sync_folder(target.parent)
    return Backup(target, size_bytes, jobs, time.monotonic() - began_at)


@contextmanager
def _part_of(target: Path, *, like: Path) -> Iterator[tuple[Path, int]]:
    """A new file beside the target, which is gone when the block ends, unless it was renamed; its descriptor."""
    _refuse_existing(target)
    part = target.with_name(f"{target.name}.part")
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise BackupError(f"{part} exists: another backup writes it, or one was cut short; then remove it") from None
    except OSError as error:
        raise BackupError(f"{part} cannot be written: {error.strerror}") from None
    try:
        os.fchmod(descriptor, like.stat().st_mode & 0o777)
        yield part, descriptor
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            part.with_name(f"{part.name}{suffix}").unlink(missing_ok=True)
        # Not earlier: the kernel drops SQLite's locks on a file when any descriptor of it is closed.
        os.close(descriptor)


def _copy(source: Path, part: Path, descriptor: int, known: Tables) -> None:
    """Page by page, from one snapshot: readers of a write-ahead log do not stop its writer, and see nothing of it."""
    steps = 0

    def sync(_status: int, _left: int, _all: int) -> None:
        nonlocal steps
        steps += 1
        if steps % STEPS_PER_SYNC == 0:
            os.fdatasync(descriptor)

    with _connection(source) as reading, _connection(part) as writing:
        for pragma in ("journal_mode = OFF", "synchronous = OFF"):
            writing.execute(f"PRAGMA {pragma}")
        reading.execute("BEGIN")
        if Execution(reading, known).scalar(statements_backup.log_id(known)) is None:
            raise BackupError(f"{source} was never served, so there is nothing to back up")
        reading.backup(writing, pages=STEP_PAGES, progress=sync, sleep=0)


def _begin_another_log(part: Path, known: Tables) -> int:
    """Make the copy a file of its own that is whole; answers how many jobs it holds."""
    with _connection(part) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        copy = Execution(connection, known)
        copy.write(statements_backup.begin_another_log(known), log_id=new_id())
        [(found,)] = connection.execute("PRAGMA integrity_check(1)").fetchall()
        if found != "ok":
            raise BackupError(f"the copy is damaged, and the database may be as well: {found}")
        jobs: int = copy.scalar(statements_backup.count_jobs(known))
        return jobs


@contextmanager
def _connection(path: Path) -> Iterator[sqlite3.Connection]:
    address = f"file:{quote(str(path))}?mode=rw"
    opened = sqlite3.connect(address, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_SECONDS)
    with closing(opened) as connection:
        yield connection


@contextmanager
def _clearly(source: Path, folder: Path) -> Iterator[None]:
    """What the disk or SQLite says, as one line for people."""
    try:
        yield
    except OSError as error:
        raise BackupError(f"the copy cannot be written to {folder}: {error.strerror}") from error
    except sqlite3.Error as error:
        match refusal_of(error):
            case Refusal.FULL:
                wanted = f"{source.stat().st_size / 1e6:.1f} MB"
                raise BackupError(f"{folder} has no room for the copy, about {wanted}: {error}") from error
            case Refusal.AWAY:
                raise BackupError(f"{source} cannot be read now: {error}") from error
        raise BackupError(f"{source} is no database that this jobhall-server can read: {error}") from error


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise BackupError(f"{target} exists already: name a new file")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
