"""When the write-ahead log is brought into the database: between groups when it has grown, and when nobody writes."""

from __future__ import annotations

import sqlite3

import structlog

log = structlog.get_logger(__name__)

LOG_PAGES = 4096
"""The log is brought in at about so many pages: 16 MB, some 16 ms of work."""


class Checkpoints:
    """Runs on the writer's thread. SQLite does not say how long its log is, so that is reckoned from the rows written
    since the last look, by what such rows took before.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._rows = 0
        self._pages_before = 0
        self._pages_per_row = 0.5

    def after_group(self, rows: int) -> None:
        """A group wrote about so many rows."""
        self._rows += rows
        if self._rows * self._pages_per_row >= LOG_PAGES:
            self.run()

    def run(self) -> None:
        """Bring in what no reader still needs apart; a log that readers keep from starting again is waited for."""
        if not self._rows:
            return
        try:
            pages, done = self._checkpoint("PASSIVE")
            if pages >= 4 * LOG_PAGES:
                pages, done = self._checkpoint("RESTART")
        except sqlite3.OperationalError as error:
            # A full disk, for example: all that is committed stands in the log, and the next look tries again.
            log.warning("checkpoint_waits", error=str(error))
            self._rows = 0
            return
        self._pages_per_row = max(0.01, (pages - self._pages_before) / self._rows)
        self._pages_before = 0 if done >= pages else pages
        self._rows = 0

    def _checkpoint(self, mode: str) -> tuple[int, int]:
        _busy, pages, done = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        return pages, done
