"""The statements that read batches, and the counters that are kept of all jobs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from jobhall.states import BatchState
from jobhall_server.domain.batch import Counts, Sweep
from jobhall_server.storage.dialect import in_keys, key_rows
from jobhall_server.storage.read_clauses import Condition, Sight, among, visible
from jobhall_server.storage.schema import Tables
from jobhall_server.storage.schema_groups import AT_WORK
from jobhall_server.storage.statements_batches import ITEMS, record_columns
from jobhall_server.storage.statements_stats import ENDED, REMOVED


@lru_cache(maxsize=8)
def batch(tables: Tables, sight: Sight) -> sa.Select[Any]:
    """The batch of one id, and the sums of its items."""
    wanted = tables.batches.c.batch_id == sa.bindparam("batch_id", type_=sa.LargeBinary)
    return _batches(tables, sight).where(wanted)


@lru_cache(maxsize=64)
def batches(
    tables: Tables, sight: Sight, *, of_one_namespace: bool, by_name: bool, newest_first: bool
) -> sa.Select[Any]:
    """A page of such batches; what is not asked for is bound so that every batch has it."""
    b = tables.batches.c
    order = (b.name, b.key) if by_name else (b.key,)
    place = [sa.bindparam(f"after_{column.name}", type_=column.type) for column in order]
    after = sa.tuple_(*order) > sa.tuple_(*place)
    found = _batches(tables, sight).where(
        b.key < sa.bindparam("before_key", type_=sa.BigInteger) if newest_first else after,
        in_keys(_state(tables), "states"),
        in_keys(b.active, "active"),
        in_keys(b.closed, "closed"),
        _any("every_owner") | among(b.owner, "owners"),
        _any("every_name") | (b.name == sa.bindparam("named", type_=sa.Text)),
        b.created_at >= sa.bindparam("created_after", type_=sa.BigInteger),
        b.created_at < sa.bindparam("created_before", type_=sa.BigInteger),
    )
    if of_one_namespace:
        n = tables.namespaces.alias("wanted").c
        named = sa.select(n.key).where(n.name == sa.bindparam("namespace", type_=sa.Text)).scalar_subquery()
        found = found.where(b.namespace_key == named)
    found = found.order_by(*([b.key.desc()] if newest_first else order)).limit(_LIMIT)
    return found.offset(sa.bindparam("skip", type_=sa.BigInteger))


@lru_cache(maxsize=8)
def batches_at_work(tables: Tables) -> sa.Select[Any]:
    """The batches after a key that the server itself has something to do for."""
    of_batches = tables.batches.join(tables.namespaces, tables.namespaces.c.key == tables.batches.c.namespace_key)
    key = tables.batches.c.key
    work = sa.select(*record_columns(tables)).select_from(of_batches).where(sa.text(f"({AT_WORK})"))
    return work.where(key > sa.bindparam("after_key", type_=sa.BigInteger)).order_by(key).limit(_LIMIT)


@lru_cache(maxsize=8)
def members(tables: Tables) -> sa.Select[Any]:
    """The jobs of a batch after a key, by key."""
    jobs = tables.jobs.c
    of_batch = jobs.batch_key == sa.bindparam("batch_key", type_=sa.BigInteger)
    after = jobs.key > sa.bindparam("after_key", type_=sa.BigInteger)
    return sa.select(jobs.key).where(of_batch, after).order_by(jobs.key).limit(_LIMIT)


@lru_cache(maxsize=8)
def running_members(tables: Tables) -> sa.Select[Any]:
    """What workers hold of those batches: the batch's key, and the progress of the attempt."""
    jobs, progress = tables.jobs, tables.progress
    of_attempt = sa.and_(progress.c.job_key == jobs.c.key, progress.c.fence == jobs.c.fence)
    rows = sa.select(jobs.c.batch_key, progress.c.data).select_from(jobs.outerjoin(progress, of_attempt))
    # What is held is few, however large a batch is: the sum keeps SQLite from walking through the batch.
    of_batches = in_keys(jobs.c.batch_key + sa.literal_column("0"), "batch_keys")
    return rows.where(jobs.c.held_by.is_not(None), of_batches).limit(_LIMIT)


@lru_cache(maxsize=8)
def stats(tables: Tables, sight: Sight, *, of_one_namespace: bool) -> sa.Select[Any]:
    """Queues after a key with the sums of their counters; `left` is what still counts of the minute before."""
    s, q, t, own = tables.counters.c, tables.queues.c, tables.job_types.c, tables.namespaces.c
    of_type = tables.namespaces.alias("type_namespaces")
    names = (q.key, q.namespace_key, own.name, of_type.c.name, t.name)
    source = (
        tables.counters.join(tables.queues, q.key == s.queue_key)
        .join(tables.job_types, t.key == q.job_type_key)
        .join(tables.namespaces, own.key == q.namespace_key)
        .join(of_type, of_type.c.key == t.namespace_key)
    )
    sums = [sa.func.sum(s[name]) for name in (*Counts._fields, *REMOVED)]
    rates = [sa.func.sum(_lately(s[f"{name}_now"], s[f"{name}_before"], s.minute)) for name in ENDED]
    found = (
        sa.select(*names, *sums, *rates)
        .select_from(source)
        .where(
            s.queue_key > sa.bindparam("after_key", type_=sa.BigInteger),
            visible(tables.counters, sight),
            _any("every_type") | among(t.name, "job_types"),
            _of_owner(tables),
        )
    )
    if of_one_namespace:
        found = found.where(own.name == sa.bindparam("namespace", type_=sa.Text))
    return found.group_by(*names).order_by(q.key).limit(_LIMIT)


@lru_cache(maxsize=8)
def oldest_ready(tables: Tables) -> sa.Select[Any]:
    """When the job that waits longest in each of those queues became PENDING; queues without one are left out."""
    # The ready index has a queue's jobs by lane and priority first: the first of each is looked at, and no other.
    jobs, queue = tables.jobs, key_rows()
    firsts = sa.select(queue.c.value.label("queue_key"), _first(jobs, jobs.c.queue_key == queue.c.value).label("key"))
    found = firsts.cte("firsts", recursive=True)
    one = jobs.alias("one")
    next_one = jobs.alias("next_one")
    queue_of = next_one.c.queue_key == found.c.queue_key
    # In two: SQLite would walk through all of one priority to compare pairs.
    same_lane = (next_one.c.lane == one.c.lane, next_one.c.priority_order > one.c.priority_order)
    behind = [_first(next_one, queue_of, *same_lane), _first(next_one, queue_of, next_one.c.lane > one.c.lane)]
    step = sa.select(found.c.queue_key, sa.func.coalesce(*behind))
    found = found.union_all(step.select_from(found.join(one, one.c.key == found.c.key)))
    rows = sa.select(found.c.queue_key, sa.func.min(jobs.c.ready))
    return rows.select_from(found.join(jobs, jobs.c.key == found.c.key)).group_by(found.c.queue_key)


@lru_cache(maxsize=8)
def oldest_own(tables: Tables, sight: Sight) -> sa.Select[Any]:
    """The same of one owner's jobs or of those that a caller sees, as far as they are among a queue's next `look`."""
    jobs, stats, queue = tables.jobs, tables.counters, key_rows()
    waiting = sa.select(jobs.c.ready, jobs.c.stats_key).where(jobs.c.queue_key == queue.c.value)
    waiting = waiting.where(jobs.c.ready.is_not(None)).order_by(*_claim_order(jobs))
    first = waiting.limit(sa.bindparam("look", type_=sa.Integer)).correlate(queue).subquery("first")
    own = sa.select(sa.func.min(first.c.ready)).join_from(first, stats, stats.c.key == first.c.stats_key)
    own = own.where(visible(stats, sight), _of_owner(tables))
    return sa.select(queue.c.value, own.scalar_subquery())


def _batches(tables: Tables, sight: Sight) -> sa.Select[Any]:
    batches, names = tables.batches, tables.namespaces
    return (
        sa.select(*(batches.c[name] for name in ITEMS), *record_columns(tables))
        .select_from(batches.join(names, names.c.key == batches.c.namespace_key))
        .where(batches.c.sweep != sa.literal_column(f"{Sweep.DELETE:d}"), visible(batches, sight))
    )


def _state(tables: Tables) -> sa.ColumnElement[int]:
    """`BatchRecord.state` as an expression."""
    b = tables.batches.c
    return sa.case(
        (sa.and_(b.ended_at.is_not(None), b.failed + b.cancelled == 0), int(BatchState.COMPLETED)),
        (b.ended_at.is_not(None), int(BatchState.FAILED)),
        (b.started_at.is_(None), int(BatchState.PENDING)),
        else_=int(BatchState.PROCESSING),
    )


def _any(name: str) -> Condition:
    """Whether the condition beside it does not count."""
    return sa.bindparam(name, type_=sa.BigInteger) == 1


def _of_owner(tables: Tables) -> Condition:
    """Whether the counters are of the owner that was asked for."""
    return _any("every_owner") | (tables.counters.c.owner == sa.bindparam("of_owner", type_=sa.Text))


def _first(jobs: Any, *wanted: Condition) -> sa.ScalarSelect[int]:
    """The first job in claim order of those that wait."""
    first = sa.select(jobs.c.key).where(*wanted, jobs.c.ready.is_not(None)).order_by(*_claim_order(jobs))
    return first.limit(1).scalar_subquery()


def _claim_order(jobs: Any) -> tuple[sa.ColumnElement[Any], ...]:
    return jobs.c.lane, jobs.c.priority_order, jobs.c.ready, jobs.c.key


def _lately(
    now: sa.ColumnElement[int], before: sa.ColumnElement[int], counted_in: sa.ColumnElement[int]
) -> sa.ColumnElement[float]:
    """How many within about the last minute, from the buckets of this minute and the one before."""
    minute, left = sa.bindparam("minute", type_=sa.BigInteger), sa.bindparam("left", type_=sa.Float)
    return sa.case((counted_in == minute, before * left + now), (counted_in == minute - 1, now * left), else_=0.0)


_LIMIT = sa.bindparam("limit", type_=sa.Integer)
