"""The statements that load, move and remove jobs and log their events; one statement does any number of jobs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from jobhall.states import HELD_STATES, TERMINAL_STATES, JobState
from jobhall_server.domain.change import Change, Stamp
from jobhall_server.storage.columns import ASIDE
from jobhall_server.storage.dialect import as_json, in_keys, key_rows, value_rows
from jobhall_server.storage.read_clauses import among_ids
from jobhall_server.storage.schema import Tables
from jobhall_server.storage.statements_write import insert_selected

_BY_KEY = (
    "key state queue_key namespace_key fence nonce lease session_key attempt max_attempts worker_losses "
    "outcome_fence outcome_digest item_error_count revision due_at started_at releases rules batch_key stats_key "
    "start_deadline"
)
RECORD_BY_KEY = tuple(_BY_KEY.split())
"""The columns of `JobRecord`, in its order; by id some more."""

_MORE_BY_ID = "job_id owner organization_id submit_digest created_at labels access unique_key"
RECORD_BY_ID = (*RECORD_BY_KEY, *_MORE_BY_ID.split())
FIXED_BY_ID = ("job_id", "owner", "organization_id", "submit_digest", "created_at", "unique_key")
"""Those of them that never change."""


@lru_cache(maxsize=8)
def jobs_by_key(tables: Tables) -> sa.Select[Any]:
    """What decisions read of the jobs of those keys; they are locked for it."""
    jobs, wanted = tables.jobs, key_rows()
    rows = sa.select(*(jobs.c[name] for name in RECORD_BY_KEY)).select_from(
        wanted.join(jobs, jobs.c.key == wanted.c.value)
    )
    return as_json(rows.with_for_update(of=jobs))


@lru_cache(maxsize=8)
def jobs_by_id(tables: Tables) -> sa.Select[Any]:
    """The same of the jobs of those ids, with what a caller's rights and a repeated submit are judged by."""
    rows = sa.select(*(tables.jobs.c[name] for name in RECORD_BY_ID)).where(among_ids(tables.jobs.c.job_id))
    return as_json(rows.with_for_update())


@lru_cache(maxsize=8)
def job_id(tables: Tables) -> sa.Select[Any]:
    """The id of the job of a key."""
    return sa.select(tables.jobs.c.job_id).where(tables.jobs.c.key == sa.bindparam("job_key", type_=sa.BigInteger))


@lru_cache(maxsize=8)
def job_of_unique_key(tables: Tables) -> sa.Select[Any]:
    """The same of the job that has a unique key, and until when it keeps it even when it is terminal."""
    jobs, unique = tables.jobs, tables.unique_keys
    named = (
        unique.c.queue_key == sa.bindparam("queue_key", type_=sa.BigInteger),
        unique.c.scope == sa.bindparam("scope", type_=sa.Text),
        unique.c.text == sa.bindparam("text", type_=sa.Text),
    )
    columns = [jobs.c[name] for name in (*RECORD_BY_ID, "unique_until")]
    rows = sa.select(*columns).join_from(unique, jobs, jobs.c.key == unique.c.job_key)
    return as_json(rows.where(*named).with_for_update(of=jobs))


@lru_cache(maxsize=8)
def unique_until(tables: Tables) -> sa.Select[Any]:
    """Until when a job keeps its unique key even when it is terminal."""
    jobs = tables.jobs
    return sa.select(jobs.c.unique_until).where(jobs.c.key == sa.bindparam("job_key", type_=sa.BigInteger))


@lru_cache(maxsize=8)
def held_jobs(tables: Tables) -> sa.Select[Any]:
    """What decisions read of all jobs that a session holds; they are locked for it."""
    jobs = tables.jobs
    rows = sa.select(*(jobs.c[name] for name in RECORD_BY_KEY))
    return as_json(rows.where(jobs.c.held_by == sa.bindparam("session_key", type_=sa.BigInteger)).with_for_update())


@lru_cache(maxsize=8)
def saved_progress(tables: Tables) -> sa.Select[Any]:
    """The newest progress of one lease, else that of the job's checkpoint."""
    progress, checkpoints = tables.progress, tables.checkpoints
    job_key, fence = (sa.bindparam(name, type_=sa.BigInteger) for name in ("job_key", "fence"))
    of_lease = sa.select(progress.c.data).where(progress.c.job_key == job_key, progress.c.fence == fence)
    of_checkpoint = sa.select(checkpoints.c.progress).where(checkpoints.c.job_key == job_key)
    return sa.select(sa.func.coalesce(of_lease.scalar_subquery(), of_checkpoint.scalar_subquery()))


class ChangeShape(NamedTuple):
    """What of a Change is in its statement's text; changes of one shape differ only in what is bound."""

    source: JobState
    target: JobState
    constants: tuple[str, ...]
    stamps: tuple[tuple[str, Stamp], ...]
    adds: tuple[str, ...]
    row_columns: tuple[str, ...]
    logged: bool

    @classmethod
    def of(cls, change: Change) -> ChangeShape:
        """The shape of that change."""
        return cls(
            change.source,
            change.target,
            tuple(name for name, value in change.sets if not isinstance(value, Stamp)),
            tuple((name, value) for name, value in change.sets if isinstance(value, Stamp)),
            tuple(name for name, _ in change.adds),
            change.row_columns,
            logged=bool(change.events),
        )


class MoveStatement(NamedTuple):
    """How a change is made in the database."""

    statement: sa.Update
    values: dict[str, Any]
    """What it binds beside `now`, keys and rows."""
    fails: bool
    """Whether the job fails by it."""


@lru_cache(maxsize=1024)
def move_statement(tables: Tables, change: Change) -> MoveStatement:
    """That of the change; most jobs move by one of the few changes that are made once and shared."""
    values: dict[str, Any] = {f"set_{name}": value for name, value in change.sets if not isinstance(value, Stamp)}
    values |= {f"add_{name}": step for name, step in change.adds}
    values |= {"source": change.source, "target": change.target, "events": len(change.events)}
    fails = any(name == "failure_kind" for name, _ in change.sets)
    return MoveStatement(move_jobs(tables, ChangeShape.of(change)), values, fails)


@lru_cache(maxsize=1024)
def move_jobs(tables: Tables, shape: ChangeShape) -> sa.Update:
    """Make one change to all jobs of those keys; as many rows as keys are touched, or the group's view was wrong."""
    jobs = tables.jobs
    sets: dict[str, Any] = {name: sa.bindparam(f"set_{name}", type_=jobs.c[name].type) for name in shape.constants}
    sets |= {name: _NOW if stamp is Stamp.NOW else jobs.c.fence for name, stamp in shape.stamps}
    sets |= {name: jobs.c[name] + sa.bindparam(f"add_{name}", type_=sa.BigInteger) for name in shape.adds}
    statement = sa.update(jobs)
    if shape.row_columns:
        rows = value_rows(sa.BigInteger(), *(jobs.c[name].type for name in shape.row_columns))
        sets |= {name: rows.c[f"column{number}"] for number, name in enumerate(shape.row_columns, 2)}
        statement = statement.where(jobs.c.key == rows.c.column1)
    else:
        statement = statement.where(in_keys(jobs.c.key))
    sets |= _derived(jobs, shape, sets)
    return statement.where(jobs.c.state == sa.bindparam("source", type_=sa.BigInteger)).values(sets)


def _derived(jobs: sa.Table, shape: ChangeShape, sets: dict[str, Any]) -> dict[str, Any]:
    """The columns that follow from where a job comes from and goes to."""
    source, target = shape.source, shape.target
    derived: dict[str, Any] = {}
    if shape.logged:
        derived |= {"updated_at": _NOW, "revision": jobs.c.revision + sa.bindparam("events", type_=sa.BigInteger)}
    if target is not source:
        derived["state"] = sa.bindparam("target", type_=sa.BigInteger)
        if target is JobState.PENDING:
            held_back = jobs.c.held_back == 1
            derived |= {
                "ready": sa.case((held_back, sa.null()), else_=_NOW),
                "ready_at": _NOW,
                "aside": sa.case((held_back, int(target))),
            }
        elif source is JobState.PENDING:
            derived["ready"] = sa.null()
        if target in TERMINAL_STATES:
            derived["terminal"] = _NOW
        elif source in TERMINAL_STATES:
            derived["terminal"] = sa.null()
        if target in ASIDE:
            derived["aside"] = int(target)
        elif target is not JobState.PENDING and (source in ASIDE or source is JobState.PENDING):
            derived["aside"] = sa.null()
    if target not in HELD_STATES:
        if source in HELD_STATES:
            derived["held_by"] = sa.null()
    elif "session_key" in sets or source not in HELD_STATES:
        derived["held_by"] = sets.get("session_key", jobs.c.session_key)
    if "worker_losses" in sets:
        derived["lane"] = sa.case((sets["worker_losses"] > 0, 1), else_=0)
    return derived


@lru_cache(maxsize=8)
def log_events(tables: Tables) -> sa.Insert:
    """One event of one kind for each job, after its move, numbered on from `base` in the order of the keys.

    `later` events of the same move follow it; with `failed` it tells the failure that stands in the row.
    """
    return _log(tables, sa.bindparam("state", type_=sa.BigInteger))


@lru_cache(maxsize=8)
def log_as_they_are(tables: Tables) -> sa.Insert:
    """The same for jobs in whatever state: imported ones, and those about to go, of which `later` is -1: no row will
    have this revision.
    """
    return _log(tables, tables.jobs.c.state)


@lru_cache(maxsize=8)
def log_updated(tables: Tables) -> sa.Insert:
    """The same for jobs that were updated, as rows of the key, the event's number, and what was before."""
    rows = value_rows(sa.BigInteger(), sa.BigInteger(), sa.Text())
    state = sa.bindparam("state", type_=sa.BigInteger)
    source = rows.join(tables.jobs, tables.jobs.c.key == rows.c.column1)
    return _logged(tables, source, rows.c.column2, state, previous=rows.c.column3)


def _log(tables: Tables, state: sa.ColumnElement[int]) -> sa.Insert:
    wanted = key_rows()
    source = wanted.join(tables.jobs, tables.jobs.c.key == wanted.c.value)
    return _logged(tables, source, sa.bindparam("base", type_=sa.BigInteger) + wanted.c.position, state)


def _logged(
    tables: Tables, source: sa.FromClause, number: sa.ColumnElement[int], state: sa.ColumnElement[int], **more: Any
) -> sa.Insert:
    jobs = tables.jobs
    later = sa.bindparam("later", type_=sa.BigInteger)
    failed = sa.bindparam("failed", type_=sa.BigInteger) == 1
    values = {
        "number": number,
        "job_key": jobs.c.key,
        "event_type": sa.bindparam("event_type", type_=sa.BigInteger),
        "state": state,
        "revision": jobs.c.revision - later,
        "failure_kind": sa.case((failed, jobs.c.failure_kind), else_=0),
        "failure_code": sa.case((failed, jobs.c.failure_code), else_=sa.literal_column("''")),
        "at": _NOW,
        **{name: jobs.c[name] for name in _OF_THE_JOB},
        **more,
    }
    return insert_selected(tables.events, values, source)


@lru_cache(maxsize=32)
def delete_side_rows(table: sa.Table) -> sa.Delete:
    """Remove what a side table keeps of those jobs."""
    return sa.delete(table).where(in_keys(table.c.job_key))


@lru_cache(maxsize=8)
def delete_jobs(tables: Tables) -> sa.Delete:
    """Remove the jobs of those keys; as many as there are keys."""
    return sa.delete(tables.jobs).where(in_keys(tables.jobs.c.key))


_NOW = sa.bindparam("now", type_=sa.BigInteger)

_OF_THE_JOB_NAMES = (
    "job_id namespace_key queue_key batch_key attempt fence worker owner organization_id labels access path"
)
_OF_THE_JOB = tuple(_OF_THE_JOB_NAMES.split())
