"""The statements of the kept counters: jobs by state for each queue and owner, and what ended in the last minutes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from jobhall_server.domain.batch import Counts
from jobhall_server.storage.dialect import row_values, value_rows
from jobhall_server.storage.schema import Tables

MINUTE_US = 60_000_000

REMOVED = ("removed_completed", "removed_failed", "removed_cancelled")
ENDED = ("completed", "failed")
"""What rates are told of: counted in `NAME_now` during a minute and kept in `NAME_before` during the next."""
RATES = tuple(f"{name}_now" for name in ENDED)
COUNTED = (*Counts._fields, *REMOVED, *RATES)
"""The columns that jobs count in."""


@lru_cache(maxsize=8)
def stats_key(tables: Tables) -> sa.Select[Any]:
    """The row that counts the jobs of a queue, owner and organisation."""
    counters = tables.counters.c
    return sa.select(counters.key).where(
        counters.queue_key == sa.bindparam("queue_key", type_=sa.BigInteger),
        counters.owner == sa.bindparam("owner", type_=sa.Text),
        counters.organization_id == sa.bindparam("organization_id", type_=sa.Text),
    )


@lru_cache(maxsize=64)
def count_jobs(tables: Tables, names: tuple[str, ...]) -> sa.Update:
    """Add to some of COUNTED, as rows of the key and what is added to each of them. With one of RATES among them,
    `minute` is the present one and so the row's from here on.
    """
    rows = value_rows(*_types(names))
    return _count(tables.counters, names, [rows.c[f"column{number}"] for number in range(1, 2 + len(names))])


@lru_cache(maxsize=64)
def count_jobs_of_one(tables: Tables, names: tuple[str, ...]) -> sa.Update:
    """The same of one row, as most groups have no more."""
    return _count(tables.counters, names, row_values(*_types(names)))


def _count(counters: sa.Table, names: tuple[str, ...], row: Sequence[sa.ColumnElement[Any]]) -> sa.Update:
    key, *added = row
    sets: dict[str, Any] = _rates_now(counters) if any(name in RATES for name in names) else {}
    for name, more in zip(names, added, strict=True):
        sets[name] = sets.get(name, counters.c[name]) + more
    return sa.update(counters).where(counters.c.key == key).values(sets)


def _rates_now(counters: sa.Table) -> dict[str, Any]:
    """The rates as they are in the present minute, when nothing has ended in it."""
    minute = sa.bindparam("minute", type_=sa.BigInteger)
    same, next_one = counters.c.minute == minute, counters.c.minute == minute - 1
    sets: dict[str, Any] = {"minute": minute}
    for name in ENDED:
        now, before = counters.c[f"{name}_now"], counters.c[f"{name}_before"]
        sets[now.name] = sa.case((same, now), else_=0)
        sets[before.name] = sa.case((same, before), (next_one, now), else_=0)
    return sets


def _types(names: tuple[str, ...]) -> list[sa.BigInteger]:
    return [sa.BigInteger()] * (1 + len(names))
