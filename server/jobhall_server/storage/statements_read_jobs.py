"""The statements that read jobs by their ids for a caller, and what the server itself asks of one job."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from jobhall.limits import NAMESPACE_GLOBAL
from jobhall_server.storage.dialect import in_keys
from jobhall_server.storage.read_clauses import Sight, among_ids, visible
from jobhall_server.storage.schema import Tables


@lru_cache(maxsize=64)
def job(tables: Tables, sight: Sight, *, full: bool) -> sa.Select[Any]:
    """The job of one id."""
    jobs = tables.jobs
    wanted = jobs.c.job_id == sa.bindparam("job_id", type_=sa.LargeBinary)
    return select_jobs(tables, full=full).where(wanted, visible(jobs, sight))


@lru_cache(maxsize=64)
def jobs_by_id(tables: Tables, sight: Sight, *, full: bool) -> sa.Select[Any]:
    """The jobs of a list of ids, in no order."""
    return select_jobs(tables, full=full).where(among_ids(tables.jobs.c.job_id), visible(tables.jobs, sight))


@lru_cache(maxsize=8)
def jobs_ahead(tables: Tables) -> sa.Select[Any]:
    """How many jobs of its queue stand before a waiting job in claim order, counted up to `limit`."""
    jobs, own = tables.jobs, tables.jobs.alias("own")
    turn = ("priority_order", "ready", "key")
    before = sa.tuple_(*(jobs.c[name] for name in turn)) < sa.tuple_(*(own.c[name] for name in turn))
    ahead: sa.Select[Any] = (
        sa.select(sa.literal_column("1"))
        .select_from(own.join(jobs, jobs.c.queue_key == own.c.queue_key))
        .where(own.c.key == _JOB_KEY, own.c.ready.is_not(None), jobs.c.ready.is_not(None))
        .where(jobs.c.lane.in_(sa.literal_column(lane) for lane in "01"), before)
        .limit(_LIMIT)
    )
    return sa.select(sa.func.count()).select_from(ahead.subquery("ahead"))


@lru_cache(maxsize=8)
def excluded_sessions(tables: Tables) -> sa.Select[Any]:
    """The sessions that gave a job back as not theirs."""
    pairs = tables.exclusions.c
    return sa.select(pairs.session_key).where(pairs.job_key == _JOB_KEY)


@lru_cache(maxsize=8)
def type_versions(tables: Tables) -> sa.Select[Any]:
    """Key, queue and type version of the jobs of those keys."""
    c = tables.jobs.c
    return sa.select(c.key, c.queue_key, c.type_version).where(in_keys(c.key))


@lru_cache(maxsize=8)
def ends(tables: Tables) -> sa.Select[Any]:
    """The next `limit` jobs after a key, in order: key, state, since when it is terminal, and own retention."""
    c = tables.jobs.c
    after = c.key > sa.bindparam("after", type_=sa.BigInteger)
    return sa.select(c.key, c.state, c.terminal, c.retention_us).where(after).order_by(c.key).limit(_LIMIT)


_JOB_KEY = sa.bindparam("job_key", type_=sa.BigInteger)
_LIMIT = sa.bindparam("limit", type_=sa.Integer)
_JOB = (
    "key job_id updated_at state priority_order attempt max_attempts worker_losses revision fence owner "
    "organization_id created_by created_at ready_at claimed_at started_at ended_at due_at rules labels path file_name "
    "file_size failure_kind failure_code cancel_reason cancelled_by item_error_count worker schedule_at "
    "start_deadline unique_key retention_us access trace held_back terminal"
)
_FAILURE = "kind message code retryable details stack attempt"


def select_jobs(tables: Tables, *, full: bool) -> sa.Select[Any]:
    """The columns of `reader_rows.JobRow`, with `full` those of `FullRow` after them; the caller adds what is theirs.

    Everything beside the job is joined from outside, so that no planner begins with another table. An attempt that has
    reported no progress is where the last checkpoint was. What failed is told until the job ends, whoever has it now.
    """
    j, q, n, t, s = tables.jobs, tables.queues, tables.namespaces, tables.job_types, tables.sessions
    p, c, b = tables.progress, tables.checkpoints, tables.batches
    source = (
        j.outerjoin(q, q.c.key == j.c.queue_key)
        .outerjoin(n, n.c.key == j.c.namespace_key)
        .outerjoin(t, t.c.key == q.c.job_type_key)
        .outerjoin(s, s.c.key == j.c.held_by)
        .outerjoin(b, b.c.key == j.c.batch_key)
        .outerjoin(p, (p.c.job_key == j.c.key) & (p.c.fence == j.c.fence))
        .outerjoin(c, (c.c.job_key == j.c.key) & j.c.checkpoint_bytes.is_not(None))
    )
    type_namespace = sa.case((t.c.namespace_key == j.c.namespace_key, n.c.name), else_=NAMESPACE_GLOBAL)
    progress = sa.func.coalesce(p.c.data, c.c.progress)
    named = (n.c.name, t.c.name, type_namespace, s.c.session_id, b.c.batch_id, progress)
    columns = [*(j.c[name] for name in _JOB.split()), *named]
    if not full:
        return sa.select(*columns).select_from(source)
    given, made, failed = tables.parameters, tables.results, tables.failures
    source = (
        source.outerjoin(given, given.c.job_key == j.c.key)
        .outerjoin(made, made.c.job_key == j.c.key)
        .outerjoin(failed, (failed.c.job_key == j.c.key) & (failed.c.fence == _newest_failure(tables)))
    )
    for payload in (given, made):
        columns += [payload.c.text, payload.c.data, payload.c.content_type]
    columns += [failed.c[name] for name in _FAILURE.split()]
    return sa.select(*columns).select_from(source)


def _newest_failure(tables: Tables) -> sa.ScalarSelect[Any]:
    kept = tables.failures.alias("kept")
    return sa.select(sa.func.max(kept.c.fence)).where(kept.c.job_key == tables.jobs.c.key).scalar_subquery()
