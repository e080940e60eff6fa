"""When the write-ahead log is brought into the database: between groups when it has grown, and when nobody writes."""

from __future__ import annotations

import sqlite3
import time

import structlog

from jobhall_server.storage.engines import BUSY_TIMEOUT_SECONDS

log = structlog.get_logger(__name__)

LOG_PAGES = 4096
"""The log is brought in at about so many pages: 16 MB, some 16 ms of work."""
RESTART_MS = 100
"""How long the log waits for readers that keep it from starting again: the server's own take milliseconds, but a backup
reads until it is done, and the log grows meanwhile."""
ROOM_EVERY_SECONDS = 1.0


class Checkpoints:
    """Runs on the writer's thread. SQLite does not say how long its log is, so that is reckoned from the rows written
    since the last look, by what such rows took before.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._rows = 0
        self._pages_before = 0
        self._pages_per_row = 0.5
        self._room_at = 0.0
        self._failing = False

    def after_group(self, rows: int) -> None:
        """A group wrote about so many rows."""
        self._rows += rows
        if self._rows * self._pages_per_row >= LOG_PAGES:
            self.run()

    def run(self) -> None:
        """Bring in what no reader still needs apart; a log that one keeps from starting again waits a little for it."""
        if self._rows:
            self._bring_in()

    def make_room(self) -> None:
        """The disk takes nothing more: a log that is brought in is written again from its beginning, which is there."""
        now = time.monotonic()
        if now >= self._room_at:
            self._room_at = now + ROOM_EVERY_SECONDS
            self._bring_in()

    def _bring_in(self) -> None:
        rows, self._rows = self._rows, 0
        try:
            pages, done = self._checkpoint("PASSIVE")
            if pages >= 4 * LOG_PAGES:
                pages, done = self._restart()
        except sqlite3.OperationalError as error:
            # A full disk, for example: all that is committed stands in the log, and the next look tries again.
            if not self._failing:
                log.warning("checkpoint_waits", error=str(error))
            self._failing = True
            return
        self._failing = False
        if pages < 0:
            return  # Another program is bringing it in.
        if rows:
            self._pages_per_row = max(0.01, (pages - self._pages_before) / rows)
        self._pages_before = 0 if done >= pages else pages

    def _restart(self) -> tuple[int, int]:
        self._connection.execute(f"PRAGMA busy_timeout = {RESTART_MS}")
        try:
            return self._checkpoint("RESTART")
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_SECONDS * 1000:.0f}")

    def _checkpoint(self, mode: str) -> tuple[int, int]:
        _busy, pages, done = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        return pages, done
