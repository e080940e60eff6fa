"""Where the database is and how it is opened: URLs, the write engine with its pragmas, the lock on a served file."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from jobhall_server.storage.errors import DatabaseLockedError, DatabaseUnusableError, DatabaseUrlError
from jobhall_server.storage.refusals import Refusal, refusal_of

log = structlog.get_logger(__name__)

BUSY_TIMEOUT_SECONDS = 5
"""How long a statement waits for a lock of another connection: a backup's, or that of a person with a shell."""

STANDBY_SECONDS = 0.1
"""How often a server that stands by asks for the file. The kernel would wake one that blocks for it, but a thread
that blocks cannot be told to stop."""

SQLITE_VERSION = sqlite3.sqlite_version
"""Of the library that this Python has."""
SQLITE_VERSION_MIN = (3, 38)
"""The first one that always has the JSON functions; RETURNING came with 3.35."""

_DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
}


class Synchronous(Enum):
    """When SQLite waits for the disk. Below FULL a power cut may take the newest commits, but never their order.

    The members stand in the order of SQLite's numbers for them, 0 to 3.
    """

    OFF = "OFF"
    NORMAL = "NORMAL"
    FULL = "FULL"
    EXTRA = "EXTRA"

    @property
    def every_commit(self) -> bool:
        """Whether it waits at each commit, so that a power cut takes nothing that was told."""
        return self in (Synchronous.FULL, Synchronous.EXTRA)


@dataclass(frozen=True, slots=True)
class Database:
    """A database that can be served; `path` is the absolute file on SQLite, None on PostgreSQL."""

    url: sa.URL
    path: Path | None = None

    def __str__(self) -> str:
        """For logs and errors: the file, or the URL without its password."""
        return str(self.path) if self.path else self.url.render_as_string(hide_password=True)

    @property
    def engine(self) -> str:
        """Its kind: `sqlite` or `postgresql`."""
        return self.url.get_backend_name()

    @property
    def lock_path(self) -> Path | None:
        """The file beside it whose lock says that it is being served."""
        return self.path.with_name(f"{self.path.name}.lock") if self.path else None


def parse_database_url(text: str, *, folder: Path | None = None) -> Database:
    """The database that `text` names; a relative file is taken from `folder`, else from the working directory."""
    try:
        url = make_url(text)
    except sa.exc.ArgumentError:
        # The text may hold a password, and a URL that cannot be parsed cannot be redacted.
        raise DatabaseUrlError("the database URL is malformed: write sqlite:///jobhall.db") from None
    if url.drivername not in _DRIVERS:
        raise DatabaseUrlError(f"databases of the kind {url.drivername!r} are not supported: write sqlite:///FILE")
    url = url.set(drivername=_DRIVERS[url.drivername])
    if url.get_backend_name() != "sqlite":
        return Database(url)
    if url.host:
        raise DatabaseUrlError(f"{text!r} has two slashes where three belong: write sqlite:///{url.host}")
    if url.query:
        raise DatabaseUrlError(f"{text!r} has options after the file; SQLite URLs take none here")
    if not url.database or url.database == ":memory:":
        raise DatabaseUrlError("a database in memory would lose what was acknowledged: write sqlite:///jobhall.db")
    path = ((folder or Path.cwd()) / Path(url.database).expanduser()).resolve()
    return Database(url.set(database=str(path)), path)


@contextmanager
def serving(database: Database) -> Iterator[None]:
    """Be the one process that serves this SQLite file, until the block ends; other databases have many servers.

    The lock is the kernel's: it ends with the process, however that dies. The file beside the database stays, since
    removing it would let two processes lock two files of one name.
    """
    if database.lock_path is None:
        yield
        return
    descriptor = _lock(database)
    try:
        yield
    finally:
        _write_pid(descriptor, b"")
        os.close(descriptor)


@asynccontextmanager
async def serving_in_turn(database: Database) -> AsyncIterator[None]:
    """The same, but where another process serves the file, first stand by until it ends, however it does."""
    told: set[int | None] = set()
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(serving(database))
                break
            except DatabaseLockedError as error:
                if error.pid not in told:
                    told.add(error.pid)
                    log.info("standing_by", database=str(database), served_by_pid=error.pid)
            await asyncio.sleep(STANDBY_SECONDS)
        if told:
            log.info("taking_over", database=str(database))
        yield


def open_write_engine(database: Database, *, synchronous: Synchronous = Synchronous.FULL) -> sa.Engine:
    """The engine for the one writer and for migrations, tried once so that what is wrong with the file shows here.

    Every connection is new, belongs to whoever opens it, and on SQLite begins with BEGIN IMMEDIATE.
    """
    if database.path is None:
        return sa.create_engine(database.url, pool_pre_ping=True, pool_size=2)
    if sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
        wanted = ".".join(map(str, SQLITE_VERSION_MIN))
        raise DatabaseUnusableError(f"this Python has SQLite {SQLITE_VERSION}; jobhall needs {wanted} or newer")
    engine = sa.create_engine(
        database.url,
        poolclass=NullPool,
        # None: the driver begins nothing by itself. A deferred transaction that turns into a write fails when locked.
        connect_args={"isolation_level": None, "check_same_thread": False, "timeout": BUSY_TIMEOUT_SECONDS},
    )
    sa.event.listen(engine, "connect", lambda raw, _: _tune(raw, synchronous))
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with clearly_refused(database), engine.begin():
        pass
    return engine


@contextmanager
def clearly_refused(database: Database) -> Iterator[None]:
    """Where the file or its disk is what is wrong, DatabaseUnusableError says so; bugs stay what they are."""
    try:
        yield
    except (sa.exc.DatabaseError, sqlite3.DatabaseError) as error:
        cause = error.orig if isinstance(error, sa.exc.DatabaseError) else error
        advice = _advice(cause)
        if advice is None:
            raise
        raise DatabaseUnusableError(f"{database} cannot be used: {cause}; {advice}") from error


def _lock(database: Database) -> int:
    path = database.path
    assert path is not None
    assert database.lock_path is not None
    if path.is_dir():
        raise DatabaseUnusableError(f"{path} is a folder: name a file in it, such as sqlite:///{path}/jobhall.db")
    if not path.parent.is_dir():
        raise DatabaseUnusableError(f"the folder {path.parent} does not exist: make it first, or name another file")
    try:
        descriptor = os.open(database.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DatabaseUnusableError(
            f"{database.lock_path} cannot be written ({error.strerror}): the server needs the right "
            f"to write in the folder of its database"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        pid = os.read(descriptor, 32).strip()
        os.close(descriptor)
        raise DatabaseLockedError(path, pid=int(pid) if pid.isdigit() else None) from error
    _write_pid(descriptor, b"%d\n" % os.getpid())
    return descriptor


def _write_pid(descriptor: int, text: bytes) -> None:
    """The number is for people; a disk that has no room for it, or takes no writes, takes nothing from the lock."""
    with suppress(OSError):
        os.truncate(descriptor, 0)
        os.write(descriptor, text)


@contextmanager
def synced(connection: sqlite3.Connection) -> Iterator[Synchronous]:
    """What is committed in the block waits for the disk, and all before it is safe then, whenever this connection waits
    otherwise: as SQLite itself tells it.
    """
    number: int = connection.execute("PRAGMA synchronous").fetchone()[0]
    level = list(Synchronous)[number]
    if level.every_commit:
        yield level
        return
    connection.execute(f"PRAGMA synchronous = {Synchronous.FULL.value}")
    yield level
    connection.execute(f"PRAGMA synchronous = {level.value}")


def _tune(raw: Any, synchronous: Synchronous) -> None:
    """The pragmas of a connection that writes."""
    for pragma in (
        "journal_mode = WAL",
        f"synchronous = {synchronous.value}",
        # Rows of side tables are removed by the statement that removes their job; checking costs a look-up a row.
        "foreign_keys = OFF",
        # The writer checkpoints between its groups; a commit that does so on its own would stop everybody.
        "wal_autocheckpoint = 0",
        "journal_size_limit = 67108864",
        "temp_store = MEMORY",
        "cache_size = -32768",
        "mmap_size = 0",  # Mapped pages count as the server's memory, and the cache above holds the hot ones.
    ):
        raw.execute(f"PRAGMA {pragma}").close()


def _advice(error: BaseException | None) -> str | None:
    match refusal_of(error):
        case Refusal.FULL:
            return "its disk takes no writes: make room there, or make it writable"
        case Refusal.AWAY:
            return f"another program may hold it locked (waited {BUSY_TIMEOUT_SECONDS} s), or its disk may fail"
    damaged = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
    return "name another file, or a new one" if getattr(error, "sqlite_errorcode", None) in damaged else None
