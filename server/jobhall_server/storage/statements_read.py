"""The statements that read what is no job: the event log, names, and what a task wrote."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from jobhall_server.storage.schema import COUNTER_EVENT, Tables


@lru_cache(maxsize=8)
def item_errors(tables: Tables) -> sa.Select[Any]:
    """Item errors of a job's newest lease after a number, in order."""
    t = tables.item_errors.c
    return _of_newest_lease(tables, tables.item_errors, t.number, t.item_index, t.item_key, t.code, t.message)


@lru_cache(maxsize=8)
def log_lines(tables: Tables) -> sa.Select[Any]:
    """Log lines of a job's newest lease after a number, in order."""
    t = tables.logs.c
    return _of_newest_lease(tables, tables.logs, t.number, t.at, t.level, t.text, t.raw, t.fields)


@lru_cache(maxsize=8)
def log_place(tables: Tables) -> sa.Select[Any]:
    """The event log's name, its oldest number (None when it is empty) and the last number given."""
    oldest = sa.select(sa.func.min(tables.events.c.number)).scalar_subquery()
    newest = sa.select(tables.counters.c.value).where(tables.counters.c.name == COUNTER_EVENT).scalar_subquery()
    return sa.select(tables.service.c.log_id, oldest, newest)


@lru_cache(maxsize=8)
def events(tables: Tables) -> sa.Select[Any]:
    """Events after a number, in order, with the names of their namespace and type."""
    e, q, n, t = tables.events, tables.queues, tables.namespaces, tables.job_types
    source = (
        e.outerjoin(q, q.c.key == e.c.queue_key)
        .outerjoin(n, n.c.key == e.c.namespace_key)
        .outerjoin(t, t.c.key == q.c.job_type_key)
    )
    names = "event_type state revision attempt worker failure_kind failure_code owner organization_id labels at"
    return (
        sa.select(e.c.number, e.c.job_key, e.c.job_id, n.c.name, t.c.name, *(e.c[name] for name in names.split()))
        .select_from(source)
        .where(e.c.number > sa.bindparam("after", type_=sa.BigInteger))
        .order_by(e.c.number)
        .limit(_LIMIT)
    )


@lru_cache(maxsize=8)
def job_types(tables: Tables, *, of_one_namespace: bool) -> sa.Select[Any]:
    """Registered types by namespace and name, after a pair of them."""
    t, n = tables.job_types, tables.namespaces
    after = (sa.bindparam("after_namespace", type_=sa.Text), sa.bindparam("after_name", type_=sa.Text))
    statement = (
        sa.select(t.c.key, n.c.name, t.c.name, t.c.created_at)
        .join_from(t, n, n.c.key == t.c.namespace_key)
        .where(sa.tuple_(n.c.name, t.c.name) > sa.tuple_(*after))
        .order_by(n.c.name, t.c.name)
        .limit(_LIMIT)
    )
    named = n.c.name == sa.bindparam("namespace", type_=sa.Text)
    return statement.where(named) if of_one_namespace else statement


@lru_cache(maxsize=8)
def queues(tables: Tables) -> sa.Select[Any]:
    """Queues after a key, by key, with the names of their namespace, their type and its namespace."""
    q, t, own = tables.queues, tables.job_types, tables.namespaces
    of_type = tables.namespaces.alias("type_namespaces")
    return (
        sa.select(q.c.key, q.c.namespace_key, own.c.name, of_type.c.name, t.c.name)
        .join_from(q, own, own.c.key == q.c.namespace_key)
        .join(t, t.c.key == q.c.job_type_key)
        .join(of_type, of_type.c.key == t.c.namespace_key)
        .where(q.c.key > sa.bindparam("after", type_=sa.BigInteger))
        .order_by(q.c.key)
        .limit(_LIMIT)
    )


_LIMIT = sa.bindparam("limit", type_=sa.Integer)


def _of_newest_lease(tables: Tables, table: sa.Table, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    job_key = sa.bindparam("job_key", type_=sa.BigInteger)
    fence = sa.select(tables.jobs.c.fence).where(tables.jobs.c.key == job_key).scalar_subquery()
    newer = table.c.number > sa.bindparam("after", type_=sa.BigInteger)
    return (
        sa.select(*columns)
        .where(table.c.job_key == job_key, table.c.fence == fence, newer)
        .order_by(table.c.number)
        .limit(_LIMIT)
    )
