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
    "priority_order ready key lane excluded fence attempt max_attempts created_at parameters_bytes checkpoint_bytes "
    "job_id labels path file_name file_size owner organization_id rules batch_key stats_key due_at trace type_version"
)
CANDIDATE = tuple(_CANDIDATE.split())
"""The columns of a candidate; the first three are the claim order."""


@lru_cache(maxsize=8)
def candidates(tables: Tables) -> sa.Select[Any]:
    """The first `limit_waiting` jobs of a queue in claim order, and the first `limit_lost` of those that were lost
    before. What another replica is claiming is passed over.
    """
    limits = (sa.bindparam("limit_waiting", type_=sa.BigInteger), sa.bindparam("limit_lost", type_=sa.BigInteger))
    lanes = [_in_claim_order(tables, sa.literal_column(f"{lane}"), limit) for lane, limit in enumerate(limits)]
    return sa.select(*(as_json(rows).scalar_subquery() for rows in lanes))


@lru_cache(maxsize=8)
def candidates_after(tables: Tables) -> sa.Select[Any]:
    """The first `limit` of a lane after a place in that order: `after_priority_order`, `after_ready`, `after_key`."""
    order = [tables.jobs.c[name] for name in CANDIDATE[:3]]
    after = [sa.bindparam(f"after_{column.name}", type_=sa.BigInteger) for column in order]
    lane, limit = (sa.bindparam(name, type_=sa.BigInteger) for name in ("lane", "limit"))
    return as_json(_in_claim_order(tables, lane, limit).where(sa.tuple_(*order) > sa.tuple_(*after)))


@lru_cache(maxsize=8)
def candidates_named(tables: Tables) -> sa.Select[Any]:
    """Those of the jobs of a list of keys that wait in a queue."""
    jobs = tables.jobs
    rows = (
        sa.select(*(jobs.c[name] for name in CANDIDATE))
        .where(in_keys(jobs.c.key), jobs.c.ready.is_not(None))
        # The sum keeps the planner from walking through the queue to find them.
        .where(jobs.c.queue_key + sa.literal_column("0") == sa.bindparam("queue_key", type_=sa.BigInteger))
        .with_for_update(skip_locked=True)
    )
    return as_json(rows)


def _in_claim_order(tables: Tables, lane: sa.ColumnElement[int], limit: sa.ColumnElement[int]) -> sa.Select[Any]:
    jobs = tables.jobs
    return (
        sa.select(*(jobs.c[name] for name in CANDIDATE))
        .where(jobs.c.queue_key == sa.bindparam("queue_key", type_=sa.BigInteger))
        .where(jobs.c.lane == lane, jobs.c.ready.is_not(None))
        .order_by(jobs.c.priority_order, jobs.c.ready, jobs.c.key)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


@lru_cache(maxsize=8)
def exclusions(tables: Tables) -> sa.Select[Any]:
    """Which sessions have given which of those jobs back as not theirs: pairs of job and session."""
    pairs, wanted = tables.exclusions, key_rows()
    rows = sa.select(pairs.c.job_key, pairs.c.session_key).select_from(
        wanted.join(pairs, pairs.c.job_key == wanted.c.value)
    )
    return as_json(rows)


@lru_cache(maxsize=8)
def holders_of_lost(tables: Tables) -> sa.Select[Any]:
    """Which of those sessions hold a job that was lost before."""
    jobs = tables.jobs
    holders = sa.select(jobs.c.held_by).distinct().where(in_keys(jobs.c.held_by), jobs.c.lane == 1).subquery("holders")
    return as_json(sa.select(holders.c.held_by))


@lru_cache(maxsize=8)
def lease_jobs(tables: Tables) -> sa.Update:
    """Lease the jobs of those keys to one session; as many as there are keys."""
    return _lease(tables.jobs)


@lru_cache(maxsize=8)
def lease_jobs_until(tables: Tables) -> sa.Update:
    """The same with a time until which they are to be accepted, or NULL where they had one to wait for."""
    return _lease(tables.jobs, due_at=sa.bindparam("accept_by", type_=sa.BigInteger))


def _lease(jobs: sa.Table, **more: sa.ColumnElement[Any]) -> sa.Update:
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
            **more,
        )
    )


@lru_cache(maxsize=8)
def parameters(tables: Tables) -> sa.Select[Any]:
    """The parameters of those jobs that have some."""
    return _of_jobs(tables.parameters, "content_type", "text", "data")


@lru_cache(maxsize=8)
def checkpoints(tables: Tables) -> sa.Select[Any]:
    """The checkpoints of those jobs that have one, and how far the job was then."""
    return _of_jobs(tables.checkpoints, "content_type", "text", "data", "progress")


@lru_cache(maxsize=8)
def batch_ids(tables: Tables) -> sa.Select[Any]:
    """The ids of batches, by key."""
    batches, wanted = tables.batches, key_rows()
    rows = sa.select(batches.c.key, batches.c.batch_id)
    return as_json(rows.select_from(wanted.join(batches, batches.c.key == wanted.c.value)))


def _of_jobs(table: sa.Table, *names: str) -> sa.Select[Any]:
    wanted = key_rows()
    rows = sa.select(table.c.job_key, *(table.c[name] for name in names)).select_from(
        wanted.join(table, table.c.job_key == wanted.c.value)
    )
    return as_json(rows)
