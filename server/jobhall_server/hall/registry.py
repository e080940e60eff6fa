"""Names of namespaces, job types and queues with their keys, as this process knows them; the database is the truth."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence

from jobhall.errors import JobTypeNotFoundError
from jobhall.limits import (
    JOB_TYPE_PREFIX_GLOBAL,
    JOB_TYPE_PREFIX_OWN,
    NAMESPACE_ANY,
    NAMESPACE_GLOBAL,
)
from jobhall_server.hall.store import Group, Store, Unit
from jobhall_server.hall.views import JobTypeView, QueueView


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

    async def refresh(self) -> None:
        """Read the types, and the queues that are new."""
        for job_type in await self._store.reads.job_types():
            self._types[job_type.namespace, job_type.name] = job_type
        self._meant.clear()
        self.add_queues(await self._store.reads.queues(after_key=self._last_key))

    def add_queues(self, queues: Iterable[QueueView]) -> None:
        """Take in queues, for example those that a committed unit made."""
        for queue in queues:
            self._queues[queue.namespace, queue.type_namespace, queue.job_type] = queue
            self._by_key[queue.key] = queue
            self._last_key = max(self._last_key, queue.key)

    def queue(self, key: int) -> QueueView:
        """The queue of that key, which every job of this process has come by."""
        return self._by_key[key]

    def type_of(self, queue: QueueView) -> JobTypeView:
        """The type of the queue's jobs, as this process knows it."""
        return self._types[queue.type_namespace, queue.job_type]

    def queues(self) -> Collection[QueueView]:
        """All that are known."""
        return self._by_key.values()

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
        self._meant[namespace, spec] = queue
        return queue

    async def job_type(self, namespace: str, spec: str) -> JobTypeView:
        """The registered type that this name means in that namespace; JobTypeNotFoundError if there is none."""
        return self._types[await self._resolve(namespace, spec)]

    async def _resolve(self, namespace: str, spec: str) -> tuple[str, str]:
        scope, name = split_job_type(spec)
        places = (namespace, NAMESPACE_GLOBAL) if scope is None else (scope or namespace,)
        for attempt in ("known", "refreshed"):
            for place in places:
                if (place, name) in self._types:
                    return place, name
            if attempt == "known":
                await self.refresh()
        seen = [known for place, known in self._types if place in places]
        nearest = difflib.get_close_matches(name, seen, n=1, cutoff=0.5)
        raise JobTypeNotFoundError(spec, namespace=namespace, nearest=nearest[0] if nearest else "")


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
    """The queues that a worker of these namespaces and types serves; looked up anew only when there are more queues."""

    def __init__(self, registry: Registry, *, namespaces: Sequence[str], job_types: Sequence[str]) -> None:
        self._registry = registry
        self._namespaces = namespaces
        self._job_types = job_types
        self._looked_up = -1
        self._names: dict[int, str] = {}

    def names(self) -> dict[int, str]:
        """Each with the name under which the worker serves it."""
        queues = self._registry.queues()
        if self._looked_up != len(queues):
            self._looked_up = len(queues)
            names = {
                queue.key: served_as(queue, namespaces=self._namespaces, job_types=self._job_types) for queue in queues
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
