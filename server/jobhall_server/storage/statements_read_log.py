"""The statements that read the event log: where it begins and ends, and slices of it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from jobhall_server.storage.dialect import Written, as_json, in_keys
from jobhall_server.storage.read_clauses import Condition, among, among_ids
from jobhall_server.storage.schema import Tables
from jobhall_server.storage.schema_groups import LAST_EVENT, OF_THE_SERVICE

LOOKED_AT_MAX = 100_000
"""So many numbers of the log one slice goes through at the most, from the first event that there is: some 15 ms."""


class LogShape(NamedTuple):
    """Which conditions of a LogFilter are given; with none of them every event is read."""

    namespaces: bool = False
    queues: bool = False
    job_ids: bool = False
    job_keys: bool = False
    batch_keys: bool = False


@lru_cache(maxsize=8)
def log_place(tables: Tables) -> sa.Select[Any]:
    """The log's name, its oldest number (None when it is empty), the last number given, and its gaps in JSON."""
    return sa.select(tables.service.c.log_id, _end(tables, sa.func.min), _newest(tables), _gaps(tables))


@lru_cache(maxsize=64)
def log_slice(tables: Tables, shape: LogShape) -> sa.Select[Any]:
    """A slice of the log after a number: oldest, last and gaps as above, where it ends, and its events in JSON."""
    e = tables.events.c
    newest = _newest(tables)
    following = sa.select(sa.func.min(e.number)).where(e.number > _AFTER).scalar_subquery()
    reach = sa.func.coalesce(following, newest) + LOOKED_AT_MAX
    until = sa.select(_Least(sa.bindparam("until", type_=sa.BigInteger), newest, reach)).scalar_subquery()
    events = as_json(_events(tables, shape, until)).scalar_subquery()
    return sa.select(_end(tables, sa.func.min), newest, _gaps(tables), until, events)


@lru_cache(maxsize=8)
def job_keys(tables: Tables) -> sa.Select[Any]:
    """The keys and ids of the jobs of those ids."""
    return sa.select(tables.jobs.c.key, tables.jobs.c.job_id).where(among_ids(tables.jobs.c.job_id))


_AFTER = sa.bindparam("after", type_=sa.BigInteger)
_LIMIT = sa.bindparam("limit", type_=sa.Integer)


class _Least(Written):
    type = sa.BigInteger()
    sqlite = "min({})"
    postgresql = "least({})"


def _events(tables: Tables, shape: LogShape, until: sa.ColumnElement[int]) -> sa.Select[Any]:
    """Events in order, with the names of their namespace and type and the id of their batch: the columns of EventRow.
    The names are looked up of those only that are answered.
    """
    e, q, n, t, b = tables.events, tables.queues, tables.namespaces, tables.job_types, tables.batches
    source = (
        e.outerjoin(q, q.c.key == e.c.queue_key)
        .outerjoin(b, b.c.key == e.c.batch_key)
        .outerjoin(n, n.c.key == e.c.namespace_key)
        .outerjoin(t, t.c.key == q.c.job_type_key)
    )
    before, after = ([e.c[name] for name in names.split()] for names in (_BEFORE_BATCH, _AFTER_BATCH))
    columns = (e.c.number, e.c.job_key, e.c.job_id, n.c.name, t.c.name, *before, b.c.batch_id, *after)
    rows = sa.select(*columns).select_from(source).where(e.c.number > _AFTER, e.c.number <= until)
    conditions = _conditions(tables, shape)
    return (rows.where(sa.or_(*conditions)) if conditions else rows).order_by(e.c.number).limit(_LIMIT)


def _conditions(tables: Tables, shape: LogShape) -> list[Condition]:
    """Those given, by the columns of the event alone: names are looked up once, and not for each event."""
    e, q, n, t = tables.events.c, tables.queues.c, tables.namespaces.c, tables.job_types.c
    named = sa.select(n.key).where(among(n.name, "namespaces"))
    queues = sa.select(q.key).where(q.namespace_key == n.key, q.job_type_key == t.key)
    # A namespace's name holds no blank.
    queues = queues.where(among(n.name + sa.literal_column("' '") + t.name, "queues"))
    conditions: dict[str, Condition] = {
        "namespaces": e.namespace_key.in_(named.correlate(None)),
        "queues": e.queue_key.in_(queues.correlate(None)),
        "job_ids": among_ids(e.job_id),
        "job_keys": in_keys(e.job_key, "job_keys"),
        "batch_keys": in_keys(e.batch_key, "batch_keys"),
    }
    return [conditions[name] for name, given in zip(shape._fields, shape, strict=True) if given]


def _end(tables: Tables, which: Any) -> sa.ScalarSelect[int]:
    return sa.select(which(tables.events.c.number)).scalar_subquery()


def _newest(tables: Tables) -> sa.ScalarSelect[int]:
    """The last number given."""
    counters = tables.counters.c
    of_the_service = counters.key == sa.literal_column(f"{OF_THE_SERVICE}")
    return sa.select(counters[LAST_EVENT]).where(of_the_service).scalar_subquery()


def _gaps(tables: Tables) -> sa.ScalarSelect[str]:
    return as_json(sa.select(tables.log_gaps.c.after_number, tables.log_gaps.c.until_number)).scalar_subquery()


_BEFORE_BATCH = "event_type state revision attempt worker failure_kind failure_code owner organization_id labels at"
_AFTER_BATCH = "access previous batch_key fence path"
