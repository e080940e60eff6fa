"""The statements that find namespaces, job types and queues by their names."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from jobhall_server.domain.batch import Counts
from jobhall_server.storage.dialect import as_json
from jobhall_server.storage.schema import Tables

JOB_TYPE_TOLD = (
    "created_at updated_at description parameters_schema result_schema defaults version revision paused auto retired"
)
"""The columns of `JobTypeView` after its key and names, in its order."""


@lru_cache(maxsize=8)
def namespace_key(tables: Tables) -> sa.Select[Any]:
    """The key of a namespace."""
    return sa.select(tables.namespaces.c.key).where(tables.namespaces.c.name == sa.bindparam("name", type_=sa.Text))


@lru_cache(maxsize=8)
def job_type(tables: Tables) -> sa.Select[Any]:
    """A job type, retired or not, as `JobTypeView` has it; at most one row."""
    types, namespaces = tables.job_types, tables.namespaces
    columns = [types.c.key, namespaces.c.name, types.c.name, *(types.c[name] for name in JOB_TYPE_TOLD.split())]
    within = types.c.namespace_key == _number("namespace_key")
    named = types.c.name == sa.bindparam("name", type_=sa.Text)
    rows = sa.select(*columns).join_from(types, namespaces, namespaces.c.key == types.c.namespace_key)
    return as_json(rows.where(within, named).with_for_update(of=types))


@lru_cache(maxsize=8)
def queue_key(tables: Tables) -> sa.Select[Any]:
    """The key of a queue."""
    queues = tables.queues
    within = queues.c.namespace_key == _number("namespace_key")
    return sa.select(queues.c.key).where(within, queues.c.job_type_key == _number("job_type_key"))


@lru_cache(maxsize=8)
def jobs_waiting(tables: Tables) -> sa.Select[Any]:
    """How many jobs of a type have not ended, by the kept counters."""
    counters, queues = tables.counters, tables.queues
    left = sum((counters.c[name] for name in _TO_END[1:]), counters.c[_TO_END[0]])
    of_type = queues.c.job_type_key == _number("job_type_key")
    return sa.select(sa.func.sum(left)).join_from(queues, counters, counters.c.queue_key == queues.c.key).where(of_type)


_TO_END = Counts._fields[:5]
"""The states of jobs that have not ended."""


def _number(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(name, type_=sa.BigInteger)
