"""Running prepared statements on the driver's cursor, within the writer's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from jobhall_server.storage.dialect import ROWS_MAX, keys, prepared
from jobhall_server.storage.schema import Tables

_COLUMNS = tuple(f"column{number}" for number in range(1, 33))
"""The names that `row_values` gives, of as many as any statement has."""


class WrongViewError(RuntimeError):
    """A statement touched another number of rows than it was meant for: the group must not be committed."""


class Execution:
    """The writer's connection, as the group uses it: statements by their meaning, values by name."""

    def __init__(self, connection: sqlite3.Connection, tables: Tables) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self.tables = tables
        self.passed_over: dict[tuple[int, int], list[int]] = {}
        """Where claims go on that were in vain, by queue and lane: a hint, as good after a rollback as before."""

        self.stats_keys: dict[tuple[int, str, str], int] = {}
        """Rows of the counters, by queue, owner and organisation: such as were read, none that may be rolled back."""

    @property
    def changes(self) -> int:
        """How many rows this connection has ever changed."""
        return self._connection.total_changes

    def begin(self) -> None:
        """Open the transaction as a writer, waiting for other writers."""
        self._cursor.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make it durable. SQLite drops a transaction on some errors, and what follows is committed by itself."""
        if not self._connection.in_transaction:
            raise WrongViewError("the transaction is gone before its commit")
        self._cursor.execute("COMMIT")
        if self._connection.in_transaction:
            raise WrongViewError("the transaction is still open after its commit")

    def rollback(self) -> None:
        """Drop it, if SQLite has not done so itself."""
        if self._connection.in_transaction:
            self._cursor.execute("ROLLBACK")

    def scalar(self, statement: sa.ClauseElement, **values: Any) -> Any:
        """The first value of the first row, or None."""
        made = prepared(statement)
        found = self._cursor.execute(made.text, made.values(values)).fetchall()
        return found[0][0] if found else None

    def row(self, statement: sa.ClauseElement, **values: Any) -> tuple[Any, ...]:
        """The one row that there always is."""
        made = prepared(statement)
        [found] = self._cursor.execute(made.text, made.values(values)).fetchall()
        return tuple(found)

    def rows(self, statement: sa.ClauseElement, **values: Any) -> list[list[Any]]:
        """The rows of an `as_json` statement."""
        found: list[list[Any]] = orjson.loads(self.scalar(statement, **values))
        return found

    def rows_of_each(self, statement: sa.ClauseElement, **values: Any) -> list[list[list[Any]]]:
        """The rows of several `as_json` statements that stand in one."""
        return [orjson.loads(text) for text in self.row(statement, **values)]

    def write(self, statement: sa.ClauseElement, **values: Any) -> int:
        """How many rows it wrote."""
        made = prepared(statement)
        return self._cursor.execute(made.text, made.values(values)).rowcount

    def write_keys(self, statement: sa.ClauseElement, wanted: Sequence[int], **values: Any) -> None:
        """Write exactly one row for each key."""
        made = prepared(statement)
        written = self._cursor.execute(made.text, made.values({"keys": keys(wanted), **values})).rowcount
        self._check(written, len(wanted), made.text)

    def write_rows(
        self, statement: sa.ClauseElement, rows: Sequence[tuple[Any, ...]], *, exactly: bool = True, **values: Any
    ) -> None:
        """Write rows that travel with the statement: each one, unless `exactly` is off."""
        made = prepared(statement)
        for start in range(0, len(rows), ROWS_MAX):
            chunk = rows[start : start + ROWS_MAX]
            text, bound = made.with_rows(chunk, values)
            written = self._cursor.execute(text, bound).rowcount
            if exactly:
                self._check(written, len(chunk), text)

    def write_row(self, statement: sa.ClauseElement, row: Sequence[Any], **values: Any) -> None:
        """Write one row, by a statement with the values of one."""
        made = prepared(statement)
        written = self._cursor.execute(made.text, made.values(dict(zip(_COLUMNS, row, strict=False)) | values)).rowcount
        self._check(written, 1, made.text)

    @staticmethod
    def _check(written: int, wanted: int, text: str) -> None:
        if written != wanted:
            raise WrongViewError(f"{written} rows written where {wanted} were meant: {text[:200]}")
