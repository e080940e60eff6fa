"""The statements that read names: job types, their schemas, and queues."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from jobhall_server.storage.schema import Tables


@lru_cache(maxsize=8)
def job_types(tables: Tables, *, of_one_namespace: bool) -> sa.Select[Any]:
    """Registered types by namespace and name, after a pair of them; the columns of a JobTypeView."""
    t, n = tables.job_types, tables.namespaces
    after = (sa.bindparam("after_namespace", type_=sa.Text), sa.bindparam("after_name", type_=sa.Text))
    statement = (
        sa.select(t.c.key, n.c.name, t.c.name, *(t.c[name] for name in _TYPE.split()))
        .join_from(t, n, n.c.key == t.c.namespace_key)
        .where(t.c.retired == 0)
        .where(sa.tuple_(n.c.name, t.c.name) > sa.tuple_(*after))
        .order_by(n.c.name, t.c.name)
        .limit(_LIMIT)
    )
    named = n.c.name == sa.bindparam("namespace", type_=sa.Text)
    return statement.where(named) if of_one_namespace else statement


@lru_cache(maxsize=8)
def job_types_mark(tables: Tables) -> sa.Select[Any]:
    """How many types there are, and how often they were changed."""
    changes: Any = sa.func.sum(tables.job_types.c.revision)
    return sa.select(sa.func.count(), changes).select_from(tables.job_types)


@lru_cache(maxsize=8)
def schemas(tables: Tables) -> sa.Select[Any]:
    """The schemas of a version of a type."""
    t = tables.type_schemas.c
    wanted = [column == sa.bindparam(column.name, type_=sa.BigInteger) for column in (t.job_type_key, t.version)]
    return sa.select(t.parameters_schema, t.result_schema).where(*wanted)


@lru_cache(maxsize=8)
def type_of_queue(tables: Tables) -> sa.Select[Any]:
    """The key of a queue's type."""
    q = tables.queues.c
    return sa.select(q.job_type_key).where(q.key == sa.bindparam("queue_key", type_=sa.BigInteger))


@lru_cache(maxsize=8)
def any_result_schema(tables: Tables) -> sa.Select[Any]:
    """Whether a version of any type, retired or not, has a schema of results."""
    return sa.select(sa.exists().where(tables.type_schemas.c.result_schema.is_not(None)))


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
_TYPE = (
    "created_at updated_at description parameters_schema result_schema defaults version revision paused auto retired"
)
