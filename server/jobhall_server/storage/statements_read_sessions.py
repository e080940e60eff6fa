"""The statements that read sessions and what they hold, and what the reaper moves on."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from jobhall_server.domain.session import SessionState
from jobhall_server.storage.dialect import in_keys
from jobhall_server.storage.schema import Tables
from jobhall_server.storage.statements_sessions import SESSION

_TOLD = "worker_name namespaces job_types labels runtime tasks_max created_at"


@lru_cache(maxsize=8)
def held(tables: Tables) -> sa.Select[Any]:
    """Tasks of those sessions after a place in the order of the index: `after_session`, `after_lane`, `after_key`."""
    j, s, b = tables.jobs, tables.sessions, tables.batches
    order = (j.c.held_by, j.c.lane, j.c.key)
    after = [sa.bindparam(name, type_=sa.BigInteger) for name in ("after_session", "after_lane", "after_key")]
    lease = (j.c.key, j.c.fence, j.c.nonce, j.c.held_by, j.c.lane, s.c.epoch)
    names = "state attempt due_at cancel_reason job_id queue_key owner organization_id labels type_version"
    return (
        sa.select(*lease, *(j.c[name] for name in names.split()), b.c.batch_id)
        .join_from(j, s, s.c.key == j.c.held_by)
        .outerjoin(b, b.c.key == j.c.batch_key)
        .where(in_keys(j.c.held_by), sa.tuple_(*order) > sa.tuple_(*after))
        .order_by(*order)
        .limit(_LIMIT)
    )


@lru_cache(maxsize=8)
def session(tables: Tables) -> sa.Select[Any]:
    """The living session of an id."""
    return _sessions(tables).where(tables.sessions.c.session_id == sa.bindparam("session_id", type_=sa.Text))


@lru_cache(maxsize=8)
def sessions(tables: Tables) -> sa.Select[Any]:
    """Living sessions before a key, newest first."""
    key = tables.sessions.c.key
    before = key < sa.bindparam("before_key", type_=sa.BigInteger)
    return _sessions(tables).where(before).order_by(key.desc()).limit(_LIMIT)


@lru_cache(maxsize=8)
def expired_sessions(tables: Tables) -> sa.Select[Any]:
    """Sessions detached for their whole time to live, while the service was there to be called all that time."""
    s = tables.sessions
    ttl = sa.func.coalesce(s.c.ttl_us, _TTL)
    detached = (s.c.state == int(SessionState.DETACHED)) & s.c.ended_at.is_(None)
    return (
        sa.select(s.c.key)
        .where(detached, s.c.detached_at + ttl <= _NOW, _served(tables, _TTL), _served(tables, ttl))
        .order_by(s.c.detached_at)
        .limit(_LIMIT)
    )


@lru_cache(maxsize=8)
def drained_sessions(tables: Tables) -> sa.Select[Any]:
    """Living sessions that were to be gone by now, while the service was there to let them finish."""
    s = tables.sessions
    return sa.select(s.c.key).where(s.c.ended_at.is_(None), s.c.drain_at <= _NOW, _served(tables, _TTL)).limit(_LIMIT)


@lru_cache(maxsize=8)
def due_jobs(tables: Tables) -> sa.Select[Any]:
    """Jobs whose time has come; those that a session holds only when it could be heard all the while."""
    j = tables.jobs
    due = (j.c.due_at <= _NOW) & (j.c.held_by.is_(None) | _served(tables, _TTL))
    return sa.select(j.c.key).where(due).order_by(j.c.due_at).limit(_LIMIT)


@lru_cache(maxsize=8)
def stale_sessions(tables: Tables) -> sa.Select[Any]:
    """Sessions still attached to a replica that is not this one and does not renew its row, or has none."""
    s, r = tables.sessions, tables.replicas
    renewed = r.c.renewed_at >= sa.bindparam("renewed_after", type_=sa.BigInteger)
    alive = sa.select(sa.literal_column("1")).where(r.c.key == s.c.replica_key, renewed).correlate(s).exists()
    attached = (s.c.state == int(SessionState.ATTACHED)) & s.c.ended_at.is_(None)
    elsewhere = s.c.replica_key != sa.bindparam("replica_key", type_=sa.BigInteger)
    return sa.select(s.c.key).where(attached, elsewhere, ~alive).limit(_LIMIT)


@lru_cache(maxsize=8)
def held_by_lost_sessions(tables: Tables) -> sa.Select[Any]:
    """Jobs that ended sessions still hold, with the session; found from holder to holder, not over all that is held."""
    j, s = tables.jobs, tables.sessions
    first = sa.select(sa.func.min(j.c.held_by).label("key")).where(j.c.held_by.is_not(None))
    holders = first.cte("holders", recursive=True)
    following = sa.select(sa.func.min(j.c.held_by)).where(j.c.held_by > holders.c.key).scalar_subquery()
    # A closed one holds a job where a claim for it crossed its end and could not be given back.
    ended = (s.c.state == int(SessionState.LOST)) | (s.c.state == int(SessionState.CLOSED))
    holders = holders.union_all(sa.select(following).where(holders.c.key.is_not(None)))
    return (
        sa.select(j.c.key, j.c.held_by)
        .select_from(holders)
        .join(s, (s.c.key == holders.c.key) & ended)
        .join(j, j.c.held_by == s.c.key)
        .limit(_LIMIT)
    )


_LIMIT = sa.bindparam("limit", type_=sa.Integer)
_NOW = sa.bindparam("now", type_=sa.BigInteger)
_TTL = sa.bindparam("ttl", type_=sa.BigInteger)


def _served(tables: Tables, span: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """The service was there for so long without a pause, and still is."""
    service = tables.service
    heard = service.c.last_at >= sa.bindparam("heard_after", type_=sa.BigInteger)
    return sa.select(sa.literal_column("1")).where(service.c.resumed_at + span <= _NOW, heard).exists()


def _sessions(tables: Tables) -> sa.Select[Any]:
    s, r, j = tables.sessions, tables.replicas, tables.jobs
    holds = sa.select(sa.func.count()).where(j.c.held_by == s.c.key).scalar_subquery()
    attached = s.c.state == int(SessionState.ATTACHED)
    seen_at = sa.case((attached, sa.func.coalesce(r.c.renewed_at, s.c.created_at)), else_=s.c.detached_at)
    columns = [s.c[name] for name in (*SESSION, *_TOLD.split())]
    living = sa.select(*columns, holds, seen_at).join_from(s, r, r.c.key == s.c.replica_key, isouter=True)
    return living.where(s.c.ended_at.is_(None))
