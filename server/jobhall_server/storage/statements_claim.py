"""The statements of a claim: what waits in a queue, who may have it, and the lease."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from jobhall.states import JobState
from jobhall_server.domain.job import LeaseState
from jobhall_server.storage.dialect import as_json, in_keys, key_rows
from jobhall_server.storage.schema import Tables

_CANDIDATE = (
    "priority_order ready key lane fence attempt max_attempts created_at parameters_bytes job_id labels path "
    "file_name file_size owner organization_id"
)
CANDIDATE = tuple(_CANDIDATE.split())
"""The columns of a candidate; the first three are the claim order."""


@lru_cache(maxsize=8)
def candidates(tables: Tables) -> sa.Select[Any]:
    """The first `limit` jobs of a queue and lane in claim order; what another replica is claiming is passed over."""
    jobs = tables.jobs
    rows = (
        sa.select(*(jobs.c[name] for name in CANDIDATE))
        .where(jobs.c.queue_key == sa.bindparam("queue_key", type_=sa.BigInteger))
        .where(jobs.c.lane == sa.bindparam("lane", type_=sa.BigInteger), jobs.c.ready.is_not(None))
        .order_by(jobs.c.priority_order, jobs.c.ready, jobs.c.key)
        .limit(sa.bindparam("limit", type_=sa.BigInteger))
        .with_for_update(skip_locked=True)
    )
    return as_json(rows)


@lru_cache(maxsize=8)
def holders_of_lost(tables: Tables) -> sa.Select[Any]:
    """Which of those sessions hold a job that was lost before."""
    jobs = tables.jobs
    return as_json(sa.select(jobs.c.held_by).distinct().where(in_keys(jobs.c.held_by), jobs.c.lane == 1))


@lru_cache(maxsize=8)
def lease_jobs(tables: Tables) -> sa.Update:
    """Lease the jobs of those keys to one session; as many as there are keys."""
    jobs = tables.jobs
    holder = sa.bindparam("holder", type_=sa.BigInteger)
    now = sa.bindparam("now", type_=sa.BigInteger)
    return (
        sa.update(jobs)
        .where(in_keys(jobs.c.key), jobs.c.state == int(JobState.PENDING))
        .values(
            state=int(JobState.CLAIMED),
            fence=jobs.c.fence + 1,
            nonce=sa.bindparam("lease_nonce", type_=sa.BigInteger),
            lease=int(LeaseState.OPEN),
            session_key=holder,
            held_by=holder,
            worker=sa.bindparam("holder_name", type_=sa.Text),
            ready=sa.null(),
            claimed_at=now,
            started_at=sa.null(),
            revision=jobs.c.revision + 1,
            updated_at=now,
        )
    )


@lru_cache(maxsize=8)
def parameters(tables: Tables) -> sa.Select[Any]:
    """The parameters of those jobs that have some."""
    given, wanted = tables.parameters, key_rows()
    rows = sa.select(given.c.job_key, given.c.content_type, given.c.text, given.c.data).select_from(
        wanted.join(given, given.c.job_key == wanted.c.value)
    )
    return as_json(rows)
