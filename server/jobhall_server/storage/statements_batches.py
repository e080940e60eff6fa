"""The statements that load, write and count batches, and that hold their jobs back."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from jobhall.states import JobState
from jobhall_server.domain.batch import Counts
from jobhall_server.storage.dialect import as_json, in_keys, key_rows, value_rows
from jobhall_server.storage.read_clauses import among_ids
from jobhall_server.storage.schema import Tables

SET_BY_UNITS = (
    "name closed active completion_policy completion completion_job completion_job_id access revision "
    "sweep sweep_reason sweep_by sweep_after"
)
"""The columns that units change after a batch was opened."""
FOUND = f"batch_id namespace_key owner organization_id created_by request_digest created_at {SET_BY_UNITS}"
"""Those that it is inserted with."""
ITEMS = ("items_total", "items_processed", "items_succeeded", "items_failed")
STARTED = "started"
COUNTED = (*Counts._fields, *ITEMS, STARTED)
"""What jobs count in: these columns, and how many were started."""
_TIMES = ("updated_at", "started_at", "ended_at")


def record_columns(tables: Tables) -> list[sa.ColumnElement[Any]]:
    """The columns of `batch_rows.record`, in its order."""
    batches = tables.batches.c
    names = ("key", *FOUND.split(), *_TIMES, *Counts._fields)
    return [*(batches[name] for name in names), tables.namespaces.c.name]


@lru_cache(maxsize=8)
def batches_by_key(tables: Tables) -> sa.Select[Any]:
    """The batches of those keys; they are locked for it."""
    batches, names, wanted = tables.batches, tables.namespaces, key_rows()
    source = wanted.join(batches, batches.c.key == wanted.c.value).join(names, names.c.key == batches.c.namespace_key)
    return as_json(sa.select(*record_columns(tables)).select_from(source).with_for_update(of=batches))


@lru_cache(maxsize=8)
def batches_by_id(tables: Tables) -> sa.Select[Any]:
    """The same of the batches of those ids."""
    batches, names = tables.batches, tables.namespaces
    rows = sa.select(*record_columns(tables)).select_from(batches.join(names, names.c.key == batches.c.namespace_key))
    return as_json(rows.where(among_ids(batches.c.batch_id)).with_for_update(of=batches))


@lru_cache(maxsize=8)
def set_batches(tables: Tables) -> sa.Update:
    """What units made of batches, as rows of the key and SET_BY_UNITS."""
    batches, names = tables.batches, SET_BY_UNITS.split()
    rows = value_rows(sa.BigInteger(), *(batches.c[name].type for name in names))
    values: dict[str, Any] = {name: rows.c[f"column{number}"] for number, name in enumerate(names, 2)}
    values |= {"updated_at": _NOW, "ended_at": _ended_at(batches, values["closed"], _still_to_end(batches))}
    return sa.update(batches).where(batches.c.key == rows.c.column1).values(values)


@lru_cache(maxsize=8)
def count_batches(tables: Tables) -> sa.Update:
    """Add to the counters, as rows of the key and COUNTED; the times follow from it."""
    batches = tables.batches
    rows = value_rows(*[sa.BigInteger()] * (1 + len(COUNTED)))
    more = {name: rows.c[f"column{number}"] for number, name in enumerate(COUNTED, 2)}
    begun = sa.and_(batches.c.started_at.is_(None), more.pop(STARTED) > 0)
    sets: dict[str, Any] = {name: batches.c[name] + added for name, added in more.items()}
    left = sum((sets[name] for name in _TO_END[1:]), sets[_TO_END[0]])
    sets |= {
        "updated_at": _NOW,
        "started_at": sa.case((begun, _NOW), else_=batches.c.started_at),
        "ended_at": _ended_at(batches, batches.c.closed, left),
    }
    return sa.update(batches).where(batches.c.key == rows.c.column1).values(sets)


@lru_cache(maxsize=8)
def ended_batches(tables: Tables) -> sa.Select[Any]:
    """The keys of those of the batches of those keys that are over."""
    batches = tables.batches.c
    return as_json(sa.select(batches.key).where(in_keys(batches.key), batches.ended_at.is_not(None)))


@lru_cache(maxsize=8)
def delete_batches(tables: Tables) -> sa.Delete:
    """Remove the batches of those keys; as many as there are keys."""
    return sa.delete(tables.batches).where(in_keys(tables.batches.c.key))


@lru_cache(maxsize=8)
def newest_progress(tables: Tables) -> sa.Select[Any]:
    """What each of those jobs reported last of all, whatever its attempt: job key, fence and progress."""
    progress, wanted = tables.progress, key_rows()
    newer = progress.alias("newer")
    last = sa.select(sa.func.max(newer.c.fence)).where(newer.c.job_key == wanted.c.value).scalar_subquery()
    found = sa.and_(progress.c.job_key == wanted.c.value, progress.c.fence == last)
    rows = sa.select(progress.c.job_key, progress.c.fence, progress.c.data)
    return as_json(rows.select_from(wanted.join(progress, found)))


@lru_cache(maxsize=8)
def hold_back(tables: Tables) -> sa.Update:
    """Take the jobs of those keys out of the ready index."""
    return _hold(tables, 1, ready=sa.null(), aside=_PENDING)


@lru_cache(maxsize=8)
def hand_out(tables: Tables) -> sa.Update:
    """Put them back into it, with the turn that they had."""
    return _hold(tables, 0, ready=tables.jobs.c.ready_at, aside=sa.null())


def _hold(tables: Tables, held_back: int, **of_pending: sa.ColumnElement[Any]) -> sa.Update:
    jobs = tables.jobs
    # What is COMPLETED can never become PENDING again.
    wanted = (in_keys(jobs.c.key), jobs.c.held_back == 1 - held_back, jobs.c.state != int(JobState.COMPLETED))
    pending = jobs.c.state == _PENDING
    sets = {name: sa.case((pending, value), else_=jobs.c[name]) for name, value in of_pending.items()}
    return sa.update(jobs).where(*wanted).values(held_back=held_back, **sets)


def _ended_at(batches: sa.Table, closed: sa.ColumnElement[int], left: sa.ColumnElement[int]) -> sa.Case[Any]:
    """When it was closed and its last job ended: kept while that is so."""
    return sa.case((sa.and_(closed == 1, left == 0), sa.func.coalesce(batches.c.ended_at, _NOW)))


def _still_to_end(batches: sa.Table) -> sa.ColumnElement[int]:
    return sum((batches.c[name] for name in _TO_END[1:]), batches.c[_TO_END[0]])


_TO_END = Counts._fields[:5]
"""The states of jobs that have not ended."""
_PENDING: sa.ColumnElement[int] = sa.literal_column(f"{JobState.PENDING:d}")
_NOW = sa.bindparam("now", type_=sa.BigInteger)
