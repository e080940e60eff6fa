"""Lists of any length: as many entries as were asked for, and a word where there are more."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, TypeVar

from cyclopts import Parameter

from jobhall.cli.context import Context
from jobhall.cli.exits import UsageError
from jobhall.cli.remarks import remark
from jobhall.cli.tables import Table
from jobhall.limits import PAGE_SIZE_MAX

T = TypeVar("T")

_LIMIT_DEFAULT = 50

Limit = Annotated[int | None, Parameter(help="So many at most, 50 if not given; 0 means all.")]


def entries_max_of(limit: int | None) -> int:
    """How many to show; 0 means all."""
    if limit is not None and limit < 0:
        raise UsageError(f"--limit: {limit} is negative; 0 means all")
    return _LIMIT_DEFAULT if limit is None else limit


def page_size_of(limit: int | None) -> int:
    """How many to ask for at once."""
    return min(entries_max_of(limit) or PAGE_SIZE_MAX, PAGE_SIZE_MAX)


def show_list(table: Table[T], entries: Iterator[T], context: Context, *, limit: int | None) -> None:
    """Shows them up to the limit, and says that it left some out unless that was asked for."""
    entries_max = entries_max_of(limit)
    context.output.table(table, islice(entries, entries_max or None))
    if limit is None and next(entries, None) is not None:
        remark(f"there are more than these {entries_max}; --limit 0 lists all")
