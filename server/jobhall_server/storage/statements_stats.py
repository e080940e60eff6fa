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


@lru_cache(maxsize=8)
def stats_key(tables: Tables) -> sa.Select[Any]:
    """The row that counts the jobs of a queue, owner and organisation."""
    stats = tables.stats.c
    return sa.select(stats.key).where(
        stats.queue_key == sa.bindparam("queue_key", type_=sa.BigInteger),
        stats.owner == sa.bindparam("owner", type_=sa.Text),
        stats.organization_id == sa.bindparam("organization_id", type_=sa.Text),
    )


@lru_cache(maxsize=8)
def count_stats(tables: Tables) -> sa.Update:
    """Add to the counters, as rows of the key, the states of `Counts`, REMOVED and ENDED; `minute` is the present one,
    and so the row's from here on.
    """
    rows = value_rows(*_TYPES)
    return _count(tables.stats, [rows.c[f"column{number}"] for number in range(1, 1 + len(_TYPES))])


@lru_cache(maxsize=8)
def count_stats_of_one(tables: Tables) -> sa.Update:
    """The same of one row, as most groups have no more."""
    return _count(tables.stats, row_values(*_TYPES))


def _count(stats: sa.Table, row: Sequence[sa.ColumnElement[Any]]) -> sa.Update:
    key, *added = row
    minute = sa.bindparam("minute", type_=sa.BigInteger)
    sets: dict[str, Any] = {name: stats.c[name] + added[place] for place, name in enumerate(_COUNTED)}
    for place, name in enumerate(ENDED, len(_COUNTED)):
        now, before = stats.c[f"{name}_now"], stats.c[f"{name}_before"]
        same, next_one = stats.c.minute == minute, stats.c.minute == minute - 1
        sets[now.name] = sa.case((same, now), else_=0) + added[place]
        sets[before.name] = sa.case((same, before), (next_one, now), else_=0)
    return sa.update(stats).where(stats.c.key == key).values(sets | {"minute": minute})


_COUNTED = (*Counts._fields, *REMOVED)
_TYPES = [sa.BigInteger()] * (1 + len(_COUNTED) + len(ENDED))
