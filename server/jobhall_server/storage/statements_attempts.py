"""The statements that keep attempts as history, and that tell of lines which were not kept."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from jobhall_server.storage.dialect import value_rows
from jobhall_server.storage.schema import Tables

_TOLD = "attempt session_key started_at outcome failure_kind failure_code item_error_count"
"""The columns that travel with a row, after job and fence; `ClosedAttempt` in its order."""


@lru_cache(maxsize=8)
def close_attempts(tables: Tables) -> sa.Insert:
    """How attempts ended, as rows of job, fence and `ClosedAttempt`; the rest is read from the jobs, which have not
    moved on yet. A row of the same lease is overwritten.
    """
    names = [column.name for column in tables.attempts.c if not column.primary_key]
    return _close(tables, f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in names)}")


@lru_cache(maxsize=8)
def close_attempts_if_new(tables: Tables) -> sa.Insert:
    """The same, leaving alone the rows that are there."""
    return _close(tables, "DO NOTHING")


def _close(tables: Tables, conflict: str) -> sa.Insert:
    jobs, attempts, told = tables.jobs, tables.attempts, _TOLD.split()
    rows = value_rows(*(attempts.c[name].type for name in ("job_key", "fence", *told)))
    values: dict[str, sa.ColumnElement[Any]] = {"job_key": rows.c.column1, "fence": rows.c.column2}
    values |= {name: rows.c[f"column{number}"] for number, name in enumerate(told, 3)}
    values |= {name: sa.func.coalesce(values[name], jobs.c[name]) for name in ("failure_kind", "failure_code")}
    values |= {
        "worker": jobs.c.worker,
        "claimed_at": jobs.c.claimed_at,
        "ended_at": sa.func.coalesce(jobs.c.ended_at, sa.bindparam("now", type_=sa.BigInteger)),
    }
    source = sa.select(*values.values()).join_from(rows, jobs, jobs.c.key == rows.c.column1)
    # The condition is for SQLite, which takes ON CONFLICT for a join's else.
    source = source.where(rows.c.column1.is_not(None)).suffix_with(f"ON CONFLICT (job_key, fence) {conflict}")
    return sa.insert(attempts).from_select(list(values), source)


@lru_cache(maxsize=8)
def forget_attempts(tables: Tables) -> sa.Delete:
    """These attempts go on after all, given as rows of job and fence."""
    attempts = tables.attempts
    rows = value_rows(sa.BigInteger(), sa.BigInteger())
    named = sa.select(rows.c.column1, rows.c.column2).where(rows.c.column1.is_not(None))
    return sa.delete(attempts).where(sa.tuple_(attempts.c.job_key, attempts.c.fence).in_(named))


@lru_cache(maxsize=8)
def drop_logs(tables: Tables) -> sa.Insert:
    """Up to which number lines were dropped, as rows of job, fence and number; a smaller one than before is ignored."""
    drops, name = tables.log_drops, "through_number"
    rows = value_rows(*(column.type for column in drops.c))
    source = sa.select(rows.c.column1, rows.c.column2, rows.c.column3).where(rows.c.column1.is_not(None))
    raised = f"UPDATE SET {name} = excluded.{name} WHERE excluded.{name} > {drops.name}.{name}"
    return sa.insert(drops).from_select(
        [column.name for column in drops.c], source.suffix_with(f"ON CONFLICT (job_key, fence) DO {raised}")
    )
