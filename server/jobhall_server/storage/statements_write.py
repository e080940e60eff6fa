"""The statements that write rows as they come, in whatever table; those of the counters, replicas and the service."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from jobhall_server.storage.dialect import row_values, value_rows
from jobhall_server.storage.schema import Tables
from jobhall_server.storage.schema_groups import LAST_NUMBERS, OF_THE_SERVICE

PAUSE_US = 7_000_000
"""A service that was silent for longer was away: what runs by its time begins anew."""
RENEWED_US = 10_000_000
"""A replica that could not renew its row for longer may have been taken for dead, and goes on as another."""


@lru_cache(maxsize=256)
def insert(table: sa.Table, constant: tuple[str, ...], varying: tuple[str, ...]) -> sa.Insert:
    """Rows of a table, a key first; a `constant` column has one value for all of them, bound as `all_NAME`."""
    return _insert(table, constant, varying, "")


@lru_cache(maxsize=64)
def replace(table: sa.Table, constant: tuple[str, ...], varying: tuple[str, ...]) -> sa.Insert:
    """The same, in place of rows of the same key."""
    key = [column.name for column in table.primary_key]
    sets = ", ".join(f"{name} = excluded.{name}" for name in (*varying, *constant) if name not in key)
    return _insert(table, constant, varying, f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sets}")


@lru_cache(maxsize=64)
def insert_new(table: sa.Table, constant: tuple[str, ...], varying: tuple[str, ...]) -> sa.Insert:
    """The same, leaving alone the rows that are there."""
    return _insert(table, constant, varying, "ON CONFLICT DO NOTHING")


def _insert(table: sa.Table, constant: tuple[str, ...], varying: tuple[str, ...], conflict: str) -> sa.Insert:
    rows = value_rows(*(table.c[name].type for name in varying))
    shared = [sa.bindparam(f"all_{name}", type_=table.c[name].type) for name in constant]
    columns = [rows.c[f"column{number}"] for number in range(1, len(varying) + 1)]
    source = sa.select(*columns, *shared).where(rows.c.column1.is_not(None))
    if conflict:
        # SQLAlchemy has a clause of its own for each of the two; the words are the same.
        source = source.suffix_with(conflict)
    return sa.insert(table).from_select([*varying, *constant], source)


@lru_cache(maxsize=16)
def set_rows(table: sa.Table, names: tuple[str, ...]) -> sa.Update:
    """New values of those columns of a table, as rows of the `key` and the values."""
    rows = value_rows(sa.BigInteger(), *(table.c[name].type for name in names))
    values = {name: rows.c[f"column{number}"] for number, name in enumerate(names, 2)}
    return sa.update(table).where(table.c.key == rows.c.column1).values(values)


@lru_cache(maxsize=8)
def log_submitted(tables: Tables) -> sa.Insert:
    """The first event of each job from key `first` to key `last`, all just inserted, numbered from `base`."""
    jobs = tables.jobs
    first, last = (sa.bindparam(name, type_=sa.BigInteger) for name in ("first", "last"))
    values = {
        "number": sa.bindparam("base", type_=sa.BigInteger) + (jobs.c.key - first),
        "job_key": jobs.c.key,
        "event_type": sa.bindparam("event_type", type_=sa.BigInteger),
        "at": jobs.c.created_at,
    }
    values |= {name: jobs.c[name] for name in _OF_NEW_JOB}
    return insert_selected(tables.events, values, jobs, jobs.c.key.between(first, last))


def insert_selected(
    table: sa.Table, values: Mapping[str, sa.ColumnElement[Any]], source: sa.FromClause, *where: sa.ColumnElement[bool]
) -> sa.Insert:
    """Rows made from others. In the order of the table's columns, the first of which are all given: SQLite then takes
    each row as it was selected, and does not copy it column by column.
    """
    names = [column.name for column in table.c if column.name in values]
    selected = sa.select(*(values[name] for name in names)).select_from(source).where(*where)
    return sa.insert(table).from_select(names, selected)


@lru_cache(maxsize=8)
def last_numbers(tables: Tables) -> sa.Select[Any]:
    """LAST_NUMBERS; locked, since a group that asks is about to give some."""
    return (
        sa.select(*(tables.counters.c[name] for name in LAST_NUMBERS)).where(_of_the_service(tables)).with_for_update()
    )


@lru_cache(maxsize=64)
def set_last_numbers(tables: Tables, names: tuple[str, ...]) -> sa.Update:
    """Some of them anew, as one row."""
    values = dict(zip(names, row_values(*[sa.BigInteger()] * len(names)), strict=True))
    return sa.update(tables.counters).where(_of_the_service(tables)).values(values)


def _of_the_service(tables: Tables) -> sa.ColumnElement[bool]:
    return tables.counters.c.key == sa.literal_column(f"{OF_THE_SERVICE}")


_HEARD_AT = sa.bindparam("heard_at", type_=sa.BigInteger)


@lru_cache(maxsize=8)
def renew_replica(tables: Tables) -> sa.Update:
    """Say that this process serves; no row is touched when its own is gone, or is too old to be believed."""
    replicas, now = tables.replicas, sa.bindparam("now", type_=sa.BigInteger)
    mine = replicas.c.key == sa.bindparam("replica_key", type_=sa.BigInteger)
    return sa.update(replicas).where(mine, replicas.c.renewed_at >= now - RENEWED_US).values(renewed_at=_HEARD_AT)


@lru_cache(maxsize=8)
def serve_on(tables: Tables) -> sa.Update:
    """Keep the served time: after a pause it begins anew at `now`."""
    service, now = tables.service, sa.bindparam("now", type_=sa.BigInteger)
    resumed = sa.case((service.c.last_at < now - PAUSE_US, now), else_=service.c.resumed_at)
    return sa.update(service).values(resumed_at=resumed, last_at=_HEARD_AT)


@lru_cache(maxsize=8)
def begin_serving(tables: Tables) -> sa.Update:
    """Begin the served time anew: what was away while nobody served has its whole time to come back."""
    now = sa.bindparam("now", type_=sa.BigInteger)
    return sa.update(tables.service).values(resumed_at=now, last_at=now)


@lru_cache(maxsize=8)
def last_served(tables: Tables) -> sa.Select[Any]:
    """The newest time that any server of this database has written."""
    return sa.select(tables.service.c.last_at)


@lru_cache(maxsize=8)
def last_run_synced(tables: Tables) -> sa.Select[Any]:
    """Whether the last run, or the one that goes on, waited for the disk at each commit."""
    return sa.select(tables.service.c.synced)


@lru_cache(maxsize=8)
def set_synced(tables: Tables) -> sa.Update:
    """Remember whether this run waits for the disk at each commit."""
    return sa.update(tables.service).values(synced=sa.bindparam("synced", type_=sa.BigInteger))


_OF_NEW_JOB_NAMES = (
    "job_id namespace_key queue_key batch_key state revision attempt fence worker failure_kind failure_code owner "
    "organization_id labels access path"
)
_OF_NEW_JOB = _OF_NEW_JOB_NAMES.split()
