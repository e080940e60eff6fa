"""The statements that read what the attempts at a job left behind; whoever asks was shown the job before."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from jobhall.states import AttemptOutcome, JobState
from jobhall_server.storage.schema import Tables


@lru_cache(maxsize=8)
def attempts(tables: Tables) -> sa.Select[Any]:
    """Attempts with greater fences, in order, each with its session, its progress, and its failure as it is kept."""
    a = _attempts(tables).subquery("attempt")
    s, p, f = tables.sessions, tables.progress, tables.failures
    source = (
        a.outerjoin(s, s.c.key == a.c.session_key)
        .outerjoin(p, (p.c.job_key == _JOB_KEY) & (p.c.fence == a.c.fence))
        .outerjoin(f, (f.c.job_key == _JOB_KEY) & (f.c.fence == a.c.fence))
    )
    told = [a.c[name] for name in (*_TOLD.split(), "outcome", "failure_kind", "failure_code")]
    failure = [f.c[name] for name in _FAILURE.split()]
    return (
        sa.select(*told, s.c.session_id, p.c.data, *failure)
        .select_from(source)
        .where(a.c.fence > sa.bindparam("after", type_=sa.BigInteger))
        .order_by(a.c.fence)
        .limit(_LIMIT)
    )


@lru_cache(maxsize=8)
def attempt_fence(tables: Tables) -> sa.Select[Any]:
    """The newest fence of the attempt of a number, or with 0 of all."""
    a = _attempts(tables).subquery("attempt")
    number = sa.bindparam("attempt", type_=sa.BigInteger)
    return sa.select(sa.func.max(a.c.fence)).where((number == 0) | (a.c.attempt == number))


@lru_cache(maxsize=8)
def checkpoint(tables: Tables) -> sa.Select[Any]:
    """The checkpoint of a job."""
    c = tables.checkpoints.c
    return sa.select(c.text, c.data, c.content_type).where(c.job_key == _JOB_KEY)


@lru_cache(maxsize=8)
def item_errors(tables: Tables) -> sa.Select[Any]:
    """Item errors of a lease after a number, in order."""
    t = tables.item_errors.c
    return _of_lease(tables.item_errors, t.number, t.item_index, t.item_key, t.code, t.message)


@lru_cache(maxsize=8)
def log_lines(tables: Tables) -> sa.Select[Any]:
    """Log lines of a lease after a number and of at least a level, in order."""
    t = tables.logs.c
    lines = _of_lease(tables.logs, t.number, t.at, t.level, t.text, t.raw, t.fields)
    return lines.where(t.level >= sa.bindparam("min_level", type_=sa.BigInteger))


@lru_cache(maxsize=8)
def log_lines_dropped(tables: Tables) -> sa.Select[Any]:
    """Through which number the lines of a lease were not all kept; no row where all were."""
    d = tables.log_drops.c
    return sa.select(d.through_number).where(d.job_key == _JOB_KEY, d.fence == _FENCE)


_JOB_KEY = sa.bindparam("job_key", type_=sa.BigInteger)
_FENCE = sa.bindparam("fence", type_=sa.BigInteger)
_LIMIT = sa.bindparam("limit", type_=sa.Integer)
_TOLD = "attempt fence worker session_key claimed_at started_at ended_at item_error_count"
_FAILURE = "kind message code retryable details stack attempt"
_OUTCOMES = {
    JobState.COMPLETED: AttemptOutcome.COMPLETED,
    JobState.FAILED: AttemptOutcome.FAILED,
    JobState.CANCELLED: AttemptOutcome.CANCELLED,
}


def _attempts(tables: Tables) -> sa.CompoundSelect[Any]:
    """Those kept as history, and the one that the job's row tells of."""
    a, j = tables.attempts.c, tables.jobs.c
    names = _TOLD.split()
    kept = sa.select(*(a[name] for name in names), a.outcome, a.failure_kind, a.failure_code)
    known = sa.select(a.fence).where(a.job_key == _JOB_KEY, a.fence == j.fence).correlate(tables.jobs).exists()
    outcome = sa.case({int(state): int(one) for state, one in _OUTCOMES.items()}, value=j.state, else_=0)
    failed = j.state == int(JobState.FAILED)
    kind = sa.case((failed, j.failure_kind), else_=0)
    code = sa.case((failed, j.failure_code), else_=sa.literal_column("''"))
    present = sa.select(*(j[name] for name in names), outcome.label("outcome"), kind, code)
    own = present.where(j.key == _JOB_KEY, j.started_at.is_not(None), ~known)
    return sa.union_all(kept.where(a.job_key == _JOB_KEY), own)


def _of_lease(table: sa.Table, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    newer = table.c.number > sa.bindparam("after", type_=sa.BigInteger)
    of_lease = (table.c.job_key == _JOB_KEY, table.c.fence == _FENCE, newer)
    return sa.select(*columns).where(*of_lease).order_by(table.c.number).limit(_LIMIT)
