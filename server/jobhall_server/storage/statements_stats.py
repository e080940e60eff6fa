"""The statements of the kept counters: jobs by state for each queue and owner, and what ended in the last minutes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from jobhall_server.domain.batch import Counts
from jobhall_server.storage.dialect import value_rows
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
    stats, minute = tables.stats, sa.bindparam("minute", type_=sa.BigInteger)
    names = (*Counts._fields, *REMOVED)
    rows = value_rows(*[sa.BigInteger()] * (1 + len(names) + len(ENDED)))
    added = [rows.c[f"column{number}"] for number in range(2, 2 + len(names) + len(ENDED))]
    sets: dict[str, Any] = {name: stats.c[name] + added[place] for place, name in enumerate(names)}
    for place, name in enumerate(ENDED, len(names)):
        now, before = stats.c[f"{name}_now"], stats.c[f"{name}_before"]
        same, next_one = stats.c.minute == minute, stats.c.minute == minute - 1
        sets[now.name] = sa.case((same, now), else_=0) + added[place]
        sets[before.name] = sa.case((same, before), (next_one, now), else_=0)
    return sa.update(stats).where(stats.c.key == rows.c.column1).values(sets | {"minute": minute})
