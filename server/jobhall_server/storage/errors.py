"""Why a database cannot be served: errors for whoever starts the server, each saying what to do."""

from __future__ import annotations

from pathlib import Path

from jobhall.errors import JobhallError


class DatabaseError(JobhallError):
    """The database cannot be used as it is; the message says what to do. Raised at start only."""


class DatabaseUrlError(DatabaseError):
    """The database URL names nothing that this server can keep jobs in."""


class DatabaseUnusableError(DatabaseError):
    """The file or its folder cannot be opened for reading and writing, or is no SQLite database."""


class DatabaseLockedError(DatabaseError):
    """Another process serves the file: one serves it at a time."""

    def __init__(self, path: Path, *, pid: int | None) -> None:
        holder = f"the process with pid {pid}" if pid else "another process"
        super().__init__(
            f"{path} is being served by {holder}: stop that server first, start this one with --wait to take over "
            f"when it ends, or give it another file (JOBHALL_DATABASE_URL=sqlite:///other.db)"
        )
        self.path = path
        self.pid = pid


class BackupError(DatabaseError):
    """No backup could be made; the message says why, and nothing of it is left over."""


class SchemaTooNewError(DatabaseError):
    """A newer server has changed the schema, and this one would not understand what it reads."""

    def __init__(self, database: str, *, found: str, known: str) -> None:
        super().__init__(
            f"the schema of {database} is at revision {found}, made by a newer jobhall-server; this one "
            f"knows up to {known}: run the newer server, or give this one another database"
        )
        self.found = found
        self.known = known
