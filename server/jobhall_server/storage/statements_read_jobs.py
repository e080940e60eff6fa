"""The statements that read jobs for a caller; each takes the caller's sight, and ends in the access clause for it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from jobhall.limits import NAMESPACE_GLOBAL
from jobhall_server.storage.dialect import in_keys
from jobhall_server.storage.read_clauses import Condition, Sight, among, among_ids, label, visible
from jobhall_server.storage.schema import Tables


class ListShape(NamedTuple):
    """Which conditions of a JobFilter a list has; lists of one shape share one statement."""

    namespace: bool = False
    job_ids: bool = False
    job_types: bool = False
    states: bool = False
    owners: bool = False
    labels: int = 0
    path: bool = False
    created_after: bool = False
    created_before: bool = False
    before_key: bool = False
    skip: bool = False


@lru_cache(maxsize=64)
def job(tables: Tables, sight: Sight, *, full: bool) -> sa.Select[Any]:
    """The job of one id."""
    jobs = tables.jobs
    wanted = jobs.c.job_id == sa.bindparam("job_id", type_=sa.LargeBinary)
    return _select(tables, full=full).where(wanted, visible(jobs, sight))


@lru_cache(maxsize=64)
def jobs_by_id(tables: Tables, sight: Sight, *, full: bool) -> sa.Select[Any]:
    """The jobs of a list of ids, in no order."""
    return _select(tables, full=full).where(among_ids(tables.jobs.c.job_id), visible(tables.jobs, sight))


@lru_cache(maxsize=256)
def jobs(tables: Tables, sight: Sight, shape: ListShape) -> sa.Select[Any]:
    """A page of the jobs that match, newest first."""
    c = tables.jobs.c
    # Named jobs are few: the sum keeps SQLite from walking through the namespace to find them.
    namespace_key = c.namespace_key + sa.literal_column("0") if shape.job_ids else c.namespace_key
    conditions = {
        "namespace": namespace_key == _namespace_key(tables),
        "job_ids": among_ids(c.job_id),
        "job_types": c.queue_key.in_(_queues_of(tables)),
        "states": in_keys(c.state, "states"),
        "owners": among(c.owner, "owners"),
        "path": c.path == sa.bindparam("path", type_=sa.Text),
        "created_after": c.created_at >= sa.bindparam("created_after", type_=sa.BigInteger),
        "created_before": c.created_at < sa.bindparam("created_before", type_=sa.BigInteger),
        "before_key": c.key < sa.bindparam("before_key", type_=sa.BigInteger),
    }
    wanted: list[Condition] = [condition for name, condition in conditions.items() if getattr(shape, name)]
    wanted += [label(c.labels, number) for number in range(shape.labels)]
    statement = _select(tables, full=False).where(*wanted, visible(tables.jobs, sight)).order_by(c.key.desc())
    statement = statement.limit(sa.bindparam("limit", type_=sa.Integer))
    return statement.offset(sa.bindparam("skip", type_=sa.Integer)) if shape.skip else statement


_JOB = (
    "key job_id state priority_order attempt max_attempts worker_losses revision fence owner organization_id "
    "created_by created_at ready_at claimed_at started_at ended_at updated_at due_at rules labels path file_name "
    "file_size failure_kind failure_code cancel_reason cancelled_by item_error_count worker"
)
_FAILURE = "kind message code retryable details stack attempt"


def _select(tables: Tables, *, full: bool) -> sa.Select[Any]:
    """The columns of `reader_rows.JobRow`, with `full` those of `FullRow` after them.

    Everything beside the job is joined from outside, so that no planner begins with another table: the order of the
    list is that of the jobs' own key. An attempt that has reported no progress is where the last checkpoint was.
    """
    j, q, n, t, s = tables.jobs, tables.queues, tables.namespaces, tables.job_types, tables.sessions
    p, c = tables.progress, tables.checkpoints
    source = (
        j.outerjoin(q, q.c.key == j.c.queue_key)
        .outerjoin(n, n.c.key == j.c.namespace_key)
        .outerjoin(t, t.c.key == q.c.job_type_key)
        .outerjoin(s, s.c.key == j.c.held_by)
        .outerjoin(p, (p.c.job_key == j.c.key) & (p.c.fence == j.c.fence))
        .outerjoin(c, (c.c.job_key == j.c.key) & j.c.checkpoint_bytes.is_not(None))
    )
    type_namespace = sa.case((t.c.namespace_key == j.c.namespace_key, n.c.name), else_=NAMESPACE_GLOBAL)
    progress = sa.func.coalesce(p.c.data, c.c.progress)
    columns = [*(j.c[name] for name in _JOB.split()), n.c.name, t.c.name, type_namespace, s.c.session_id, progress]
    if not full:
        return sa.select(*columns).select_from(source)
    given, made, failed = tables.parameters, tables.results, tables.failures
    for table in (given, made, failed):
        source = source.outerjoin(table, table.c.job_key == j.c.key)
    for payload in (given, made):
        columns += [payload.c.text, payload.c.data, payload.c.content_type]
    columns += [failed.c[name] for name in _FAILURE.split()]
    return sa.select(*columns).select_from(source)


def _namespace_key(tables: Tables) -> sa.ScalarSelect[Any]:
    named = tables.namespaces.c.name == sa.bindparam("namespace", type_=sa.Text)
    return sa.select(tables.namespaces.c.key).where(named).scalar_subquery()


def _queues_of(tables: Tables) -> sa.Select[Any]:
    queues, types = tables.queues, tables.job_types
    return (
        sa.select(queues.c.key)
        .join_from(queues, types, types.c.key == queues.c.job_type_key)
        .where(among(types.c.name, "job_types"))
    )
