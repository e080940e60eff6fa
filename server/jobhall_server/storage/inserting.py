"""Columns inserted as rows, with as little bound as can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from jobhall_server.storage.execution import Execution

Insert = Callable[[sa.Table, tuple[str, ...], tuple[str, ...]], sa.ClauseElement]
"""One of `statements_write.insert`, `replace` and `insert_new`."""


def as_columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, Sequence[Any]]:
    """The rows, of which there are some, by column."""
    return dict(zip(names, zip(*rows, strict=True), strict=True))


def insert_columns(
    execution: Execution,
    insert: Insert,
    table: sa.Table,
    columns: dict[str, Sequence[Any]],
    *,
    exactly: bool = True,
    same: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Insert the columns as rows, the first being their key, and `same` for all; equal values are bound once."""
    constant, varying = dict(same), columns
    # Of one row all would be equal: a lone submit need not find that out.
    if len(next(iter(columns.values()))) > 1:
        varying = {}
        for name, values in columns.items():
            if varying and values.count(values[0]) == len(values):
                constant[name] = values[0]
            else:
                varying[name] = values
    rows = list(zip(*varying.values(), strict=True))
    shared = {f"all_{name}": value for name, value in constant.items()}
    execution.write_rows(insert(table, tuple(constant), tuple(varying)), rows, exactly=exactly, **shared)
