"""What SQLAlchemy has no word for, written once for both databases; statements made ready for the driver's cursor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import TypeEngine

ROWS_MAX = 512
"""Rows of values in one statement; more take several."""

_ROWS = "/* rows */"


class Written(FunctionElement[Any]):
    """An expression whose text is written for each dialect; its arguments stand in for the braces."""

    inherit_cache = True
    sqlite: ClassVar[str]
    postgresql: ClassVar[str]


def in_keys(column: sa.ColumnElement[Any], name: str = "keys") -> sa.ColumnElement[bool]:
    """The column is one of the keys bound as `name` (see `keys`): one text for any number of them."""
    return _InKeys(column, sa.bindparam(name))


def key_rows(name: str = "keys") -> TableValuedAlias:
    """The keys bound as `name` as rows: `value`, and `position` from 0."""
    return _KeyRows(sa.bindparam(name)).table_valued("value", "position", name="k")


def keys(values: Iterable[int]) -> str:
    """The value of `in_keys` and `key_rows` on SQLite; psycopg takes the list itself."""
    # By hand: as fast as a JSON library for numbers.
    return f"[{','.join(map(int.__repr__, values))}]"


def value_rows(*types: TypeEngine[Any]) -> TableValuedAlias:
    """Rows of values that travel with the statement: `column1`, `column2`, … of these types.

    The first is a key and never NULL. SQLite gets them as VALUES, of which a few lengths are made ready and filled up
    with rows of NULL; ask for `column1 IS NOT NULL`. PostgreSQL gets a list for each column.
    """
    names = [f"column{number}" for number in range(1, len(types) + 1)]
    lists = [sa.bindparam(name, type_=sa.ARRAY(kind)) for name, kind in zip(names, types, strict=True)]
    return _ValueRows(*lists).table_valued(*names, name="r")


def row_values(*types: TypeEngine[Any]) -> list[sa.BindParameter[Any]]:
    """The same values of one row alone, bound by the names of the columns. With rows to take them from, SQLite makes an
    UPDATE a table of its own first.
    """
    return [sa.bindparam(f"column{number}", type_=kind) for number, kind in enumerate(types, 1)]


def as_json(rows: sa.Select[Any]) -> sa.Select[tuple[str]]:
    """All rows of a query as one row of one text: a JSON array of arrays, in no order. One that is DISTINCT goes into a
    subquery first.

    The driver gives up the interpreter's lock at every row that it fetches; this fetches one. Bytes come as hex.
    """
    columns = [_Hex(column) if isinstance(column.type, sa.LargeBinary) else column for column in rows.selected_columns]
    # A text is made of each row where it is found: what passes through a subquery is copied, column by column.
    row = _JsonRow(*columns).label("row_text")
    source = rows.with_only_columns(row, maintain_column_froms=True).subquery("rows")
    return sa.select(_JsonRows(source.c.row_text)).select_from(source)


class Prepared:
    """A statement as SQLite's driver takes it: positional parameters, looked up by name here."""

    def __init__(self, statement: sa.ClauseElement) -> None:
        made = statement.compile(dialect=_SQLITE)
        self.text = str(made)
        self._names = tuple(getattr(made, "positiontup", None) or ())
        self._constants = {name: value for name, value in made.params.items() if value is not None}
        self._head_length = self.text.partition(_ROWS)[0].count("?")
        self._texts: dict[int, str] = {}

    def values(self, given: dict[str, Any]) -> list[Any]:
        """The parameters of a statement without rows of values."""
        bound = self._constants | given if self._constants else given
        return [bound[name] for name in self._names]

    def with_rows(self, rows: Sequence[tuple[Any, ...]], given: dict[str, Any]) -> tuple[str, list[Any]]:
        """The text for so many rows, at most ROWS_MAX, and its parameters."""
        length = 1 << (len(rows) - 1).bit_length()
        width = len(rows[0])
        text = self._texts.get(length)
        if text is None:
            row = f"({', '.join('?' * width)})"
            text = self._texts[length] = self.text.replace(_ROWS, ", ".join([row] * length))
        bound = self.values(given)
        head = bound[: self._head_length]
        filling = (None,) * ((length - len(rows)) * width)
        return text, [*head, *chain.from_iterable(rows), *filling, *bound[self._head_length :]]


@lru_cache(maxsize=512)
def prepared(statement: sa.ClauseElement) -> Prepared:
    """Compiled once for each statement object; the functions that make statements keep them."""
    return Prepared(statement)


_SQLITE = sqlite.dialect(paramstyle="qmark")
# Else a condition of ours gets `= 1` behind it, and SQLite takes no index for it.
_SQLITE.supports_native_boolean = True


class _InKeys(Written):
    type = sa.Boolean()
    sqlite = "{} IN (SELECT value FROM json_each({}))"
    postgresql = "{} = ANY (CAST({} AS BIGINT[]))"


class _KeyRows(Written):
    name = "key_rows"
    sqlite = "(SELECT value, key AS position FROM json_each({}))"
    postgresql = (
        "(SELECT value, number - 1 AS position FROM unnest(CAST({} AS BIGINT[])) WITH ORDINALITY AS u (value, number))"
    )


class _Hex(Written):
    type = sa.Text()
    sqlite = "hex({})"
    postgresql = "encode({}, 'hex')"


class _JsonRow(Written):
    type = sa.Text()
    sqlite = "json_array({})"
    postgresql = "CAST(json_build_array({}) AS TEXT)"


class _JsonRows(Written):
    type = sa.Text()
    sqlite = "'[' || coalesce(group_concat({}, ','), '') || ']'"
    postgresql = "'[' || coalesce(string_agg({}, ','), '') || ']'"


class _ValueRows(FunctionElement[Any]):
    inherit_cache = True
    name = "value_rows"


@compiles(Written)
def _write(element: Written, compiler: SQLCompiler, **options: Any) -> str:
    template: str = getattr(element, compiler.dialect.name)
    arguments = [compiler.process(clause, **options) for clause in element.clauses]
    if template.count("{}") == 1:
        return template.format(", ".join(arguments))
    return template.format(*arguments)


@compiles(_ValueRows, "sqlite")
def _write_values(_element: _ValueRows, _compiler: SQLCompiler, **_options: Any) -> str:
    return f"(VALUES {_ROWS})"


@compiles(_ValueRows, "postgresql")
def _write_lists(element: _ValueRows, compiler: SQLCompiler, **options: Any) -> str:
    lists = [compiler.process(clause, **options) for clause in element.clauses]
    names = ", ".join(f"column{number}" for number in range(1, len(lists) + 1))
    return f"(SELECT * FROM unnest({', '.join(lists)}) AS u ({names}))"  # noqa: S608 - names are numbers, values are bound
