"""The statements that list jobs: which jobs a look goes over, where it ends, and those of them that match.

A look goes along one source, an index in the order of keys, and has an edge: the key at which it ends, so that it reads
a bounded number of rows whatever matches. A namespace is looked through queue by queue, all down to the same edge. The
states that wait for a worker or are with one have no such index, since every job passes through them; they are found
by the index of claims and that of holders, which hold nothing else.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from jobhall.states import JobState
from jobhall_server.hall.views import ListOrder
from jobhall_server.storage.dialect import in_keys, key_rows
from jobhall_server.storage.read_clauses import Condition, Sight, among, among_ids, label, visible
from jobhall_server.storage.schema import Tables
from jobhall_server.storage.statements_read_jobs import select_jobs


class Source(Enum):
    """Along what a list is looked through: the one that holds the fewest jobs that do not match."""

    ALL = "all"
    QUEUES = "queues"
    STATES = "states"
    BATCH = "batch"
    UNIQUE = "unique"
    IDS = "ids"


class ListShape(NamedTuple):
    """Which conditions of a JobFilter a list has, and how it is looked through; lists of one shape share statements.

    Of the source STATES, `resting` are the states of the column `aside`, `ready` and `held` those by their own index.
    """

    source: Source = Source.ALL
    order: ListOrder = ListOrder.CREATED_DESC
    resting: bool = False
    ready: bool = False
    held: bool = False
    namespace: bool = False
    job_types: bool = False
    job_ids: bool = False
    batch_id: bool = False
    unique_key: bool = False
    states: bool = False
    owners: bool = False
    labels: int = 0
    path: bool = False
    failure_kinds: bool = False
    failure_codes: bool = False
    priority_min: bool = False
    priority_max: bool = False
    created_after: bool = False
    created_before: bool = False
    updated_after: bool = False
    updated_before: bool = False
    ended_after: bool = False
    ended_before: bool = False

    @property
    def descending(self) -> bool:
        """Newest first."""
        return self.order in (ListOrder.CREATED_DESC, ListOrder.UPDATED_DESC)

    @property
    def by_update(self) -> bool:
        """By the time of the last change, which no index has."""
        return self.order in (ListOrder.UPDATED_DESC, ListOrder.UPDATED)


OWN = {Source.IDS: "job_ids", Source.BATCH: "batch_id", Source.UNIQUE: "unique_key"}
"""The condition that a source sees to by itself."""


@lru_cache(maxsize=256)
def edge(tables: Tables, shape: ListShape) -> sa.Select[Any]:
    """Where a look beyond a place ends that goes over `look` jobs, and at least `least` of each part; NULL: nowhere."""
    nearest = sa.func.max if shape.descending else sa.func.min
    parts = sa.union_all(*_edges(tables, shape)).subquery("edges")
    return sa.select(nearest(parts.c.edge))


@lru_cache(maxsize=256)
def page(tables: Tables, sight: Sight, shape: ListShape) -> sa.Select[Any]:
    """The first `limit` jobs that match of those between a place and an edge."""
    return select_jobs(tables, full=False).where(tables.jobs.c.key.in_(_chosen(tables, sight, shape)))


@lru_cache(maxsize=256)
def page_ids(tables: Tables, sight: Sight, shape: ListShape) -> sa.Select[Any]:
    """The same, only their keys, ids and times of the last change."""
    c = tables.jobs.c
    return sa.select(c.key, c.job_id, c.updated_at).where(c.key.in_(_chosen(tables, sight, shape)))


@lru_cache(maxsize=256)
def passed_over(tables: Tables, sight: Sight, shape: ListShape) -> sa.Select[Any]:
    """The same, only how many they are and the key of the last one."""
    chosen = _chosen(tables, sight, shape).subquery("chosen")
    last: Any = sa.func.min(chosen.c.key) if shape.descending else sa.func.max(chosen.c.key)
    return sa.select(sa.func.count(), last).select_from(chosen)


_BEYOND = sa.bindparam("beyond", type_=sa.BigInteger)
_UNTIL = sa.bindparam("until", type_=sa.BigInteger)
_LEAST = sa.bindparam("least", type_=sa.BigInteger)
_LOOK = sa.bindparam("look", type_=sa.BigInteger)
_LIMIT = sa.bindparam("limit", type_=sa.BigInteger)
_UNHURT = (int(JobState.COMPLETED), int(JobState.CANCELLED))
"""Whatever failed on the way there is not shown."""


def _chosen(tables: Tables, sight: Sight, shape: ListShape) -> sa.Select[Any]:
    """The keys of a page."""
    jobs, c = tables.jobs, tables.jobs.c
    matching: sa.Select[Any] = sa.select(c.key).where(*_conditions(tables, shape), visible(jobs, sight)).limit(_LIMIT)
    if not shape.by_update:
        looked_at = sa.union_all(*_between(tables, shape))
        return matching.where(c.key.in_(looked_at)).order_by(c.key.desc() if shape.descending else c.key)
    place = sa.tuple_(c.updated_at, c.key)
    after = sa.tuple_(sa.bindparam("after_at", type_=sa.BigInteger), _BEYOND)
    beyond = place < after if shape.descending else place > after
    order = [column.desc() if shape.descending else column for column in (c.updated_at, c.key)]
    of_states = [sa.select(key).where(of_part) for key, of_part in _states(tables, shape)]
    within = c.key.in_(sa.union_all(*of_states)) if of_states else _of(tables, shape, shape.source)
    return matching.where(within, beyond).order_by(*order).offset(sa.bindparam("skip", type_=sa.BigInteger))


def _conditions(tables: Tables, shape: ListShape) -> list[Condition]:
    """Everything that a listed job must be, but what its source sees to."""
    c, own = tables.jobs.c, OWN.get(shape.source)
    hurt = c.state.not_in([sa.literal_column(f"{state:d}") for state in _UNHURT])
    conditions = {
        **{name: _of(tables, shape, source) for source, name in OWN.items()},
        "states": in_keys(c.state, "states"),
        "owners": among(c.owner, "owners"),
        "path": c.path == sa.bindparam("path", type_=sa.Text),
        "failure_kinds": hurt & in_keys(c.failure_kind, "failure_kinds"),
        "failure_codes": hurt & among(c.failure_code, "failure_codes"),
        "priority_min": -c.priority_order >= _number("priority_min"),
        "priority_max": -c.priority_order <= _number("priority_max"),
        "created_after": c.created_at >= _number("created_after"),
        "created_before": c.created_at < _number("created_before"),
        "updated_after": c.updated_at >= _number("updated_after"),
        "updated_before": c.updated_at < _number("updated_before"),
        "ended_after": c.ended_at >= _number("ended_after"),
        "ended_before": c.ended_at < _number("ended_before"),
    }
    wanted = [condition for name, condition in conditions.items() if getattr(shape, name) and name != own]
    if shape.source is not Source.QUEUES and (shape.namespace or shape.job_types):
        wanted.append(c.queue_key.in_(_queues(tables, shape)))
    return wanted + [label(c.labels, number) for number in range(shape.labels)]


def _number(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(name, type_=sa.BigInteger)


def _between(tables: Tables, shape: ListShape) -> list[sa.Select[Any]]:
    """The keys of the source from the place to the edge."""
    key = tables.jobs.c.key
    if shape.source is not Source.STATES:
        return [sa.select(key).where(_of(tables, shape, shape.source), *_range(shape, key))]
    return [sa.select(key).where(of_part, *_range(shape, key)) for key, of_part in _states(tables, shape)]


def _range(shape: ListShape, key: sa.ColumnElement[Any]) -> tuple[Condition, Condition]:
    return (key < _BEYOND, key >= _UNTIL) if shape.descending else (key > _BEYOND, key <= _UNTIL)


def _of(tables: Tables, shape: ListShape, source: Source) -> Condition:
    """A job is of that source, which one index has."""
    c, b = tables.jobs.c, tables.batches.c
    batch = sa.select(b.key).where(b.batch_id == sa.bindparam("batch_id", type_=sa.LargeBinary)).scalar_subquery()
    match source:
        case Source.QUEUES:
            return c.queue_key.in_(_queues(tables, shape))
        case Source.BATCH:
            return c.batch_key == batch
        case Source.UNIQUE:
            return c.unique_key == sa.bindparam("unique_key", type_=sa.Text)
        case Source.IDS:
            return among_ids(c.job_id)
        case _:
            return sa.true()


def _states(tables: Tables, shape: ListShape) -> list[tuple[sa.ColumnElement[int], Condition]]:
    """The keys of the jobs in the wanted states, and in which index they are."""
    c = tables.jobs.c
    resting = (c.key, c.queue_key.in_(_queues(tables, shape)) & in_keys(c.aside, "resting"))
    return ([resting] if shape.resting else []) + _unordered(tables, shape)


def _unordered(tables: Tables, shape: ListShape) -> list[tuple[sa.ColumnElement[int], Condition]]:
    """The same of those states whose indexes have no order of keys."""
    c = tables.jobs.c
    # The sum keeps SQLite from walking through all jobs of a queue to find these few.
    key = c.key + sa.literal_column("0")
    lanes = c.lane.in_([sa.literal_column(lane) for lane in "01"])
    ready = (key, c.queue_key.in_(_queues(tables, shape)) & c.ready.is_not(None) & lanes)
    held = (key, c.held_by.is_not(None))
    return ([ready] if shape.ready else []) + ([held] if shape.held else [])


def _edges(tables: Tables, shape: ListShape) -> list[sa.Select[Any]]:
    """The edge of each part of the source, so far away that together they are about as long as the look."""
    c, queues = tables.jobs.c, _queues(tables, shape).subquery("q")
    share = _LOOK // _count(_queues(tables, shape))
    if shape.source is Source.QUEUES:
        nth = _nth(shape, c.key, c.queue_key == queues.c.key, at=_LEAST + share)
        return [sa.select(nth.label("edge")).select_from(queues)]
    if shape.source is not Source.STATES:
        return [sa.select(_nth(shape, c.key, _of(tables, shape, shape.source), at=_LEAST + _LOOK).label("edge"))]
    found = [
        sa.select(_nth(shape, key, of_part, at=_LEAST + _LOOK).label("edge"))
        for key, of_part in _unordered(tables, shape)
    ]
    if shape.resting:
        states = key_rows("resting")
        of_both = (c.queue_key == queues.c.key) & (c.aside == states.c.value)
        nth = _nth(shape, c.key, of_both, at=_LEAST + share // sa.bindparam("resting_count", type_=sa.BigInteger))
        found.append(sa.select(nth.label("edge")).select_from(queues.join(states, sa.true())))
    return found


def _nth(shape: ListShape, key: sa.ColumnElement[int], of_part: Condition, *, at: Any) -> sa.ScalarSelect[Any]:
    beyond = key < _BEYOND if shape.descending else key > _BEYOND
    ordered = sa.select(key).where(of_part, beyond).order_by(key.desc() if shape.descending else key)
    return ordered.limit(sa.literal_column("1")).offset(at).scalar_subquery()


def _count(rows: sa.Select[Any]) -> sa.ScalarSelect[Any]:
    return sa.select(sa.func.count()).select_from(rows.subquery("counted")).scalar_subquery()


def _queues(tables: Tables, shape: ListShape) -> sa.Select[Any]:
    """The queues of the named namespace and types; all where none are named."""
    q, n, t = tables.queues, tables.namespaces, tables.job_types
    queues = sa.select(q.c.key)
    if shape.namespace:
        named = sa.select(n.c.key).where(n.c.name == sa.bindparam("namespace", type_=sa.Text))
        queues = queues.where(q.c.namespace_key == named.scalar_subquery())
    if shape.job_types:
        queues = queues.where(q.c.job_type_key.in_(sa.select(t.c.key).where(among(t.c.name, "job_types"))))
    return queues
