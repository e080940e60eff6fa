"""What it means when SQLite refuses: the disk takes no writes, or the database is away; anything else is a bug."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from datetime import timedelta
from enum import Enum

import structlog

from jobhall.errors import ApiError, DatabaseBusyError, DatabaseFullError

log = structlog.get_logger(__name__)

FULL_RETRY = timedelta(seconds=5)
AWAY_RETRY = timedelta(seconds=1)
QUIET_SECONDS = 2 * FULL_RETRY.total_seconds()
"""A full disk may take small writes between large ones that it refuses: it is over when none was for so long."""


class Refusal(Enum):
    """Why nothing was written."""

    FULL = "full"
    """The disk is full, read-only, over a quota, or takes no longer files. The transaction is rolled back."""
    AWAY = "away"
    """Another program holds the file, or it cannot be read."""


_FULL_EXTENDED = {
    # What SQLite makes of every errno of a write except ENOSPC: EROFS, EDQUOT, EFBIG, EIO. The commit mark is written
    # last, so a group whose write failed was not committed.
    sqlite3.SQLITE_IOERR_WRITE,
    # The index of the write-ahead log cannot grow. The next group takes the place of this one in the log.
    sqlite3.SQLITE_IOERR_SHMSIZE,
}
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}
_AWAY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


def refusal_of(error: BaseException | None) -> Refusal | None:
    """What the database means by this error; None when a unit, a statement or the file itself may be to blame."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    if code in _FULL_EXTENDED or code & 0xFF in _FULL:
        return Refusal.FULL
    return Refusal.AWAY if code & 0xFF in _AWAY else None


def surely_not_committed(error: BaseException) -> bool:
    """Whether a COMMIT that ended so was not made; after any other error nobody knows."""
    return refusal_of(error) is Refusal.FULL or getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def answer_to(refusal: Refusal, error: Exception) -> ApiError:
    """What a unit is answered that was refused so."""
    if refusal is Refusal.FULL:
        return DatabaseFullError(f"the database cannot be written: {error}", retry_after=FULL_RETRY)
    return DatabaseBusyError(f"the database is away: {error}", retry_after=AWAY_RETRY)


class Outage:
    """One line in the log when writes begin to be refused and one when it is over, however many are between."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._began_at: float | None = None
        self._last_at = 0.0
        self._groups = 0

    def refused(self, refusal: Refusal, error: Exception) -> None:
        """A group was refused."""
        self._last_at = self._monotonic()
        self._groups += 1
        if self._began_at is None:
            self._began_at = self._last_at
            log.error("writes_refused", why=refusal.value, error=str(error))

    def written(self) -> None:
        """A group was written."""
        if self._began_at is not None and self._monotonic() - self._last_at >= QUIET_SECONDS:
            seconds = round(self._last_at - self._began_at, 1)
            log.warning("writes_taken_again", refused_for_seconds=seconds, groups_refused=self._groups)
            self._began_at, self._groups = None, 0
