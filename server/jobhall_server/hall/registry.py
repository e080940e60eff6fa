"""Names of namespaces, job types and queues with their keys, as this process knows them; the database is the truth."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from heapq import nlargest
from os.path import commonprefix

from jobhall.errors import JobTypeNotFoundError
from jobhall.limits import (
    JOB_TYPE_PREFIX_GLOBAL,
    JOB_TYPE_PREFIX_OWN,
    NAMESPACE_ANY,
    NAMESPACE_GLOBAL,
)
from jobhall_server.domain.job import JobView
from jobhall_server.hall.store import Group, Store, Unit
from jobhall_server.hall.views import JobTypeView, QueueView

_COMPARED_MAX = 100
"""Of long names a comparison takes a fifth of a millisecond."""


def split_job_type(spec: str) -> tuple[str | None, str]:
    """The scope that a type's name asks for, and the name: `public:` is @global, `private:` the namespace's own (an
    empty scope), no prefix is either (None).
    """
    if spec.startswith(JOB_TYPE_PREFIX_GLOBAL):
        return NAMESPACE_GLOBAL, spec.removeprefix(JOB_TYPE_PREFIX_GLOBAL)
    if spec.startswith(JOB_TYPE_PREFIX_OWN):
        return "", spec.removeprefix(JOB_TYPE_PREFIX_OWN)
    return None, spec


class Registry:
    """Known job types and queues. Lives on the loop; a miss reads what other processes have added meanwhile."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._types: dict[tuple[str, str], JobTypeView] = {}
        self._queues: dict[tuple[str, str, str], QueueView] = {}
        self._by_key: dict[int, QueueView] = {}
        self._meant: dict[tuple[str, str], QueueView] = {}
        self._last_key = 0
        # Twice in these where two callers are about the same type.
        self._shut: list[tuple[str, str]] = []
        self._hidden: list[tuple[str, str]] = []
        self._changes = 0
        self._mark = (0, 0)
        self.ruled: dict[int, JobTypeView] = {}
        """By the key of their queues, the types that have schemas or defaults: most submits find nothing here."""
        self.paused: set[int] = set()
        """Keys of queues of which nothing is handed out."""
        self.withdrawn = 0
        """Counts the types that were about to be deleted: who looked one up before must look again."""
        self.turn = 0
        """Counts what changes the queues that workers serve."""
        self.checks_results = False
        """Whether there is, or ever was, a type that has a schema for results: jobs of a deleted one may be retried."""

    async def refresh(self) -> None:
        """Read the types, and the queues that are new."""
        while True:
            changes = self._changes
            types = {(known.namespace, known.name): known for known in await self._store.reads.job_types()}
            # What was read before something changed here would undo that for a moment.
            if changes == self._changes:
                break
        if types != self._types:
            self._types = types
            self._meant.clear()
            self._changed()
        self.add_queues(await self._store.reads.queues(after_key=self._last_key))

    async def look(self) -> None:
        """Take in what other processes have changed."""
        mark = await self._store.reads.job_types_mark()
        if mark != self._mark:
            await self.refresh()
            self.checks_results = self.checks_results or await self._store.reads.any_result_schema()
            self._mark = mark

    def add_queues(self, queues: Iterable[QueueView]) -> None:
        """Take in queues, for example those that a committed unit made."""
        for queue in queues:
            if queue.key not in self._by_key:
                self._queues[queue.namespace, queue.type_namespace, queue.job_type] = queue
                self._by_key[queue.key] = queue
                self._last_key = max(self._last_key, queue.key)
                self.turn += 1
                self._look_up(queue)

    def put(self, job_type: JobTypeView) -> None:
        """A committed unit has made this of the type."""
        name = (job_type.namespace, job_type.name)
        if job_type.retired:
            self._types.pop(name, None)
        else:
            self._types[name] = job_type
        self._meant.clear()
        self._changed()

    @contextmanager
    def shut(self, job_type: JobTypeView) -> Iterator[None]:
        """Meanwhile nothing of the type is handed out, whatever is read of it: it is about to be paused."""
        name = (job_type.namespace, job_type.name)
        self._shut.append(name)
        self._changed()
        try:
            yield
        finally:
            self._shut.remove(name)
            self._changed()

    @contextmanager
    def hidden(self, job_type: JobTypeView) -> Iterator[None]:
        """Meanwhile submits do not find the type: it is about to be deleted."""
        name = (job_type.namespace, job_type.name)
        self._hidden.append(name)
        self._meant.clear()
        self.withdrawn += 1
        try:
            yield
        finally:
            self._hidden.remove(name)

    def _changed(self) -> None:
        self._changes += 1
        self.turn += 1
        self.ruled.clear()
        self.paused.clear()
        if not self.checks_results:
            self.checks_results = any(known.result_schema is not None for known in self._types.values())
        for queue in self._by_key.values():
            self._look_up(queue)

    def _look_up(self, queue: QueueView) -> None:
        name = (queue.type_namespace, queue.job_type)
        known = self._types.get(name)
        if name in self._shut or (known is not None and known.paused):
            self.paused.add(queue.key)
        if known is not None and not known.plain:
            self.ruled[queue.key] = known

    def queue(self, key: int) -> QueueView:
        """The queue of that key, which every job of this process has come by."""
        return self._by_key[key]

    def queue_of(self, job: JobView) -> QueueView | None:
        """The queue of a job that was read; None where another process made it, and this one has not looked since."""
        return self._queues.get((job.namespace, job.job_type_namespace, job.job_type))

    def queues(self) -> Collection[QueueView]:
        """All that are known."""
        return self._by_key.values()

    def open_queues(self) -> list[int]:
        """Keys of those whose type is not paused."""
        return [key for key in self._by_key if key not in self.paused]

    def known_queue(self, namespace: str, spec: str) -> QueueView | None:
        """The queue that these names meant before; what is registered later in the namespace itself comes first."""
        return self._meant.get((namespace, spec))

    async def queue_for(self, namespace: str, spec: str) -> QueueView:
        """The queue for jobs of that type in that namespace, made on first use; JobTypeNotFoundError names the nearest
        registered type.
        """
        type_namespace, name = await self._resolve(namespace, spec)
        queue = self._queues.get((namespace, type_namespace, name))
        if queue is None:
            queue = await self._store.run(_OpenQueue(namespace, type_namespace, name))
            self.add_queues((queue,))
        if (type_namespace, name) not in self._hidden:
            self._meant[namespace, spec] = queue
        return queue

    def type_of(self, queue: QueueView) -> JobTypeView | None:
        """The type of the queue's jobs; None when it was deleted."""
        return self._types.get((queue.type_namespace, queue.job_type))

    def queues_of(self, job_type: JobTypeView) -> list[int]:
        """Keys of the queues of the type, in all namespaces."""
        names = (job_type.namespace, job_type.name)
        return [queue.key for queue in self._by_key.values() if (queue.type_namespace, queue.job_type) == names]

    def types(self) -> Collection[JobTypeView]:
        """All that are known."""
        return self._types.values()

    async def job_type(self, namespace: str, spec: str) -> JobTypeView:
        """The registered type that this name means in that namespace; JobTypeNotFoundError if there is none."""
        return self._types[await self._resolve(namespace, spec)]

    async def registered(self, namespace: str, spec: str) -> JobTypeView:
        """The type of that name in that very namespace, `public:` in @global; JobTypeNotFoundError."""
        scope, name = split_job_type(spec)
        return self._types[await self._find((scope or namespace,), name, spec)]

    async def _resolve(self, namespace: str, spec: str) -> tuple[str, str]:
        scope, name = split_job_type(spec)
        places = (namespace, NAMESPACE_GLOBAL) if scope is None else (scope or namespace,)
        return await self._find(places, name, spec)

    async def _find(self, places: Sequence[str], name: str, spec: str) -> tuple[str, str]:
        for attempt in ("known", "refreshed"):
            for place in places:
                if (place, name) in self._types and (place, name) not in self._hidden:
                    return place, name
            if attempt == "known":
                await self.refresh()
        seen = [known for place, known in self._types if place in places]
        raise JobTypeNotFoundError(spec, namespace=places[0], nearest=nearest(name, seen))


def nearest(name: str, known: Sequence[str]) -> str:
    """The name that was meant, perhaps; empty where none is like it. Of many only those are compared that begin and end
    most like it, categories aside: it is done on the loop.
    """
    if len(known) > _COMPARED_MAX:
        known = nlargest(_COMPARED_MAX, known, key=partial(_likeness, _own(name)))
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return found[0] if found else ""


def _likeness(name: str, other: str) -> int:
    """How many letters they share from the begin on, and from the end on."""
    other = _own(other)
    # Letter by letter is what is meant: these are no paths.
    return len(commonprefix((name, other))) + len(commonprefix((name[::-1], other[::-1])))  # noqa: RUF071


def _own(name: str) -> str:
    return name.rpartition(":")[2]


def served_as(queue: QueueView, *, namespaces: Iterable[str], job_types: Iterable[str]) -> str | None:
    """The name under which a worker of these namespaces and types serves the queue; None when it does not."""
    chosen = frozenset(namespaces)
    if queue.namespace not in chosen and NAMESPACE_ANY not in chosen:
        return None
    for spec in job_types:
        scope, name = split_job_type(spec)
        if name == queue.job_type and (scope is None or queue.type_namespace == (scope or queue.namespace)):
            return spec
    return None


class Served:
    """The queues that a worker of these namespaces and types serves; looked up anew only when that may have changed."""

    def __init__(self, registry: Registry, *, namespaces: Sequence[str], job_types: Sequence[str]) -> None:
        self._registry = registry
        self._namespaces = namespaces
        self._job_types = job_types
        self._looked_up = -1
        self._names: dict[int, str] = {}

    def names(self) -> dict[int, str]:
        """Each with the name under which the worker serves it; those of paused types are left out."""
        registry = self._registry
        if self._looked_up != registry.turn:
            self._looked_up = registry.turn
            names = {
                queue.key: served_as(queue, namespaces=self._namespaces, job_types=self._job_types)
                for queue in registry.queues()
                if queue.key not in registry.paused
            }
            self._names = {key: name for key, name in names.items() if name is not None}
        return self._names


class _OpenQueue(Unit[QueueView]):
    """Make the queue of a registered type in a namespace where it was not used yet."""

    def __init__(self, namespace: str, type_namespace: str, job_type: str) -> None:
        self._names = (namespace, type_namespace, job_type)

    def decide(self, group: Group) -> QueueView:
        return open_queue(group, *self._names)


def open_queue(group: Group, namespace: str, type_namespace: str, job_type: str) -> QueueView:
    """The queue of that type in that namespace, registered and made where it is missing."""
    namespace_key = group.namespace_key(namespace)
    type_key, _ = group.job_type_key(group.namespace_key(type_namespace), job_type)
    key = group.queue_key(namespace_key, type_key)
    return QueueView(key, namespace_key, namespace, type_namespace, job_type)


def register_served(group: Group, namespaces: Iterable[str], job_types: Iterable[str]) -> tuple[QueueView, ...]:
    """Register the types that a worker serves where they are missing; answers the queues that jobs of them go to."""
    return tuple(queue for namespace in namespaces for spec in job_types for queue in _register(group, namespace, spec))


def _register(group: Group, namespace: str, spec: str) -> list[QueueView]:
    """Register one type where no type of that name can be meant yet; a `-` or `public:` registers in @global."""
    scope, name = split_job_type(spec)
    everywhere = namespace == NAMESPACE_ANY
    if everywhere or scope == NAMESPACE_GLOBAL:
        group.job_type_key(group.namespace_key(NAMESPACE_GLOBAL), name)
        return [] if everywhere else [open_queue(group, namespace, NAMESPACE_GLOBAL, name)]
    if scope is None and group.has_job_type(NAMESPACE_GLOBAL, name) and not group.has_job_type(namespace, name):
        return [open_queue(group, namespace, NAMESPACE_GLOBAL, name)]
    return [open_queue(group, namespace, namespace, name)]
