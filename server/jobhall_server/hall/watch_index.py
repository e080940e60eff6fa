"""Who may be concerned by an event, found by what it names: never by asking all watchers."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from jobhall.states import EventType
from jobhall_server.hall.views import EventRow, LogFilter
from jobhall_server.hall.watch_filter import WatchFilter, labels_before, labels_of
from jobhall_server.hall.watch_queue import Subscription

K = TypeVar("K", bound=Hashable)

NAMED_MAX = 1000
"""Names by which the log is read; of more than that everything is read, and most of it laid aside."""

_Group = dict[K, set[Subscription]]


class _Job(NamedTuple):
    key: int | None
    watchers: set[Subscription]


class WatchIndex:
    """The subscriptions, each under the narrowest thing that it names."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        self._keys: set[int] = set()
        self._unknown: set[str] = set()
        """Jobs of which no key is known for sure: their events are found by their id."""
        self._learned: set[str] = set()
        """Of these those whose key is known by now, but was not yet when events were written that are still to be read.
        """
        self._deleted: set[str] = set()
        """Of these those whose job is gone. Another may come with the same id, and only its event tells its key: what a
        query answers may be of before.
        """
        self.newcomers: set[str] = set()
        """Jobs that nobody watched when it was last cleared."""
        self._batches: _Group[int] = {}
        self._batch_keys: dict[str, int] = {}
        self._labels: _Group[tuple[str | None, str, str]] = {}
        self._owners: _Group[tuple[str | None, str]] = {}
        self._queues: _Group[tuple[str, str]] = {}
        self._namespaces: _Group[str] = {}
        self._rest: set[Subscription] = set()
        self._wide: tuple[set[str | None], LogFilter] | None = None
        """The namespaces (None: all) and all that is to be read for those that watch more than named jobs; to be made
        anew where it is None.
        """

    def __len__(self) -> int:
        """How many places there are."""
        groups: Sequence[Collection[object]] = (
            *(self._jobs, self._batches, self._labels, self._owners, self._queues, self._namespaces, self._rest),
        )
        return sum(map(len, groups))

    def add(self, subscription: Subscription) -> None:
        """From now on it is found."""
        where = subscription.where
        for job_id in where.job_ids:
            known = self._jobs.get(job_id)
            if known is None:
                known = self._jobs[job_id] = _Job(None, set())
                self._unknown.add(job_id)
                self.newcomers.add(job_id)
            known.watchers.add(subscription)
        if where.job_ids:
            return
        self._wide = None
        for group, name in self._groups(where):
            group.setdefault(name, set()).add(subscription)
        if where.batch_key is not None:
            self._batch_keys[where.batch_id] = where.batch_key
        elif _nowhere(where):
            self._rest.add(subscription)

    def remove(self, subscription: Subscription) -> None:
        """It is found no more, and nothing of it stays."""
        where = subscription.where
        for job_id in where.job_ids:
            known = self._jobs[job_id]
            known.watchers.discard(subscription)
            if not known.watchers:
                del self._jobs[job_id]
                for ids in (self._unknown, self._learned, self._deleted, self.newcomers):
                    ids.discard(job_id)
                if known.key is not None:
                    self._keys.discard(known.key)
        if where.job_ids:
            return
        self._wide = None
        for group, name in self._groups(where):
            group[name].discard(subscription)
            if not group[name]:
                del group[name]
        if where.batch_key not in self._batches and self._batch_keys.get(where.batch_id) == where.batch_key:
            self._batch_keys.pop(where.batch_id, None)
        self._rest.discard(subscription)

    def learn(self, job_id: str, key: int) -> None:
        """The key of a job that is watched by its id, as a query tells it."""
        if job_id in self._unknown and job_id not in self._deleted:
            self._know(job_id, key)

    def learned(self) -> frozenset[str]:
        """The jobs whose keys are new; to be settled when everything is read that is written by now."""
        return frozenset(self._learned)

    def settle(self, learned: frozenset[str]) -> None:
        """From here on their keys are enough to find their events."""
        settled = learned & self._learned
        self._learned -= settled
        self._unknown -= settled

    def frees(self, rows: Sequence[EventRow]) -> bool:
        """Whether some of these events delete jobs that were found by their keys alone. From here on they are found by
        their ids: in the very next event such an id may be another job's.
        """
        gone = {row.job_id for row in rows if row.event_type is EventType.DELETED} & self._jobs.keys()
        freed = gone - self._unknown
        self._unknown |= gone
        self._deleted |= gone
        self._learned -= gone
        return bool(freed)

    def unknown(self, job_ids: Collection[str]) -> list[str]:
        """Those of the watched jobs whose keys are not known."""
        return [job_id for job_id in job_ids if job_id in self._unknown]

    def batch_key(self, batch_id: str) -> int | None:
        """The key of a batch that is watched."""
        return self._batch_keys.get(batch_id) if batch_id else None

    def of_batch(self, batch_key: int) -> Collection[Subscription]:
        """Those that watch the whole batch."""
        return self._batches.get(batch_key, ())

    def watched(self, keys: Collection[int]) -> set[int]:
        """Those of the jobs that are watched by name."""
        return self._keys.intersection(keys)

    def read(self, concerned: frozenset[int]) -> LogFilter | None:
        """What to read of the log for all watchers, where it has something of the `concerned` jobs; None: nothing."""
        if self._wide is None:
            self._wide = self._widest()
        namespaces, wide = self._wide
        parts = (wide.namespaces, wide.queues, wide.batch_keys, self._unknown, concerned)
        if None in namespaces or any(len(part) > NAMED_MAX for part in parts):
            return LogFilter()
        if not any(parts):
            return None
        return LogFilter(
            namespaces=wide.namespaces,
            queues=wide.queues,
            batch_keys=wide.batch_keys,
            job_ids=frozenset(self._unknown),
            job_keys=concerned,
        )

    def _widest(self) -> tuple[set[str | None], LogFilter]:
        namespaces: set[str | None] = {None} if self._rest else set()
        namespaces |= self._namespaces.keys()
        for name in (*self._labels, *self._owners):
            namespaces.add(name[0])
        named = frozenset(name for name in namespaces if name is not None)
        return namespaces, LogFilter(named, frozenset(self._queues), batch_keys=frozenset(self._batches))

    def find(self, row: EventRow) -> Iterator[Subscription]:
        """Those that the event may concern; one may come twice."""
        if self._jobs:
            yield from self._named(row)
        if self._batches and row.batch_key is not None:
            yield from self._batches.get(row.batch_key, ())
        if self._labels:
            yield from self._labelled(row)
        if self._owners:
            yield from self._owners.get((row.namespace, row.owner), ())
            yield from self._owners.get((None, row.owner), ())
        if self._queues:
            yield from self._queues.get((row.namespace, row.job_type), ())
        if self._namespaces:
            yield from self._namespaces.get(row.namespace, ())
        yield from self._rest

    def _named(self, row: EventRow) -> Iterator[Subscription]:
        known = self._jobs.get(row.job_id)
        if known is None:
            return
        if row.event_type is EventType.DELETED:
            self._keys.discard(row.job_key)
            self._learned.discard(row.job_id)
            self._unknown.add(row.job_id)
            self._deleted.add(row.job_id)
            self._jobs[row.job_id] = known._replace(key=None)
        elif known.key is None and row.number:
            self._deleted.discard(row.job_id)
            self._know(row.job_id, row.job_key)
        yield from known.watchers

    def _know(self, job_id: str, key: int) -> None:
        self._keys.add(key)
        self._learned.add(job_id)
        self._jobs[job_id] = self._jobs[job_id]._replace(key=key)

    def _labelled(self, row: EventRow) -> Iterator[Subscription]:
        for labels in (labels_of(row.labels), labels_before(row) or {}):
            for pair in labels.items():
                yield from self._labels.get((row.namespace, *pair), ())
                yield from self._labels.get((None, *pair), ())

    def _groups(self, where: WatchFilter) -> Iterator[tuple[_Group[Any], object]]:
        """The groups and names that a subscription stands under which names no jobs."""
        if where.batch_key is not None:
            yield self._batches, where.batch_key
        elif where.labels:
            yield self._labels, (where.namespace, *where.labels[0])
        elif where.owner:
            yield self._owners, (where.namespace, where.owner)
        elif where.namespace is not None and where.job_types:
            for name in where.job_types:
                yield self._queues, (where.namespace, name)
        elif where.namespace is not None:
            yield self._namespaces, where.namespace


def _nowhere(where: WatchFilter) -> bool:
    """Whether there is nothing to find it by but by everything that happens."""
    return where.namespace is None and not where.labels and not where.owner
