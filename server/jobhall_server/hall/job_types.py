"""The use cases on job types: register, look up, list, pause, delete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from jobhall.errors import JobTypeInUseError, RoleRequiredError
from jobhall.limits import NAMESPACE_GLOBAL, TEXT_BYTES_MAX
from jobhall_server.domain.access import ADMIN_ROLE, Principal
from jobhall_server.domain.batch import Counts
from jobhall_server.hall import checks
from jobhall_server.hall.job_type_units import (
    CountWaiting,
    DeleteJobType,
    RegisterJobType,
    Registration,
    SetPaused,
)
from jobhall_server.hall.registry import split_job_type
from jobhall_server.hall.schemas import check_schema
from jobhall_server.hall.tokens import named_place, page_place, page_token
from jobhall_server.hall.type_workers import Serving, workers_of
from jobhall_server.hall.views import JobTypeView, QueueStats

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall


@dataclass(frozen=True, slots=True)
class JobTypeReport:
    """A job type with what is true of it just now."""

    job_type: JobTypeView
    workers: Serving
    counts: Counts


@dataclass(frozen=True, slots=True)
class JobTypeFilter:
    """Which types a list names; None does not count."""

    names: frozenset[str] | None = None
    namespaces: frozenset[str] | None = None
    paused: bool | None = None

    def takes(self, job_type: JobTypeView) -> bool:
        """Whether the type is one of those."""
        return (
            (self.names is None or job_type.name in self.names)
            and (self.namespaces is None or job_type.namespace in self.namespaces)
            and (self.paused is None or job_type.paused is self.paused)
        )


class JobTypeOrder(Enum):
    """In which order a list of types comes."""

    NAME = "name"
    NAME_DESC = "name desc"
    CREATED = "create_time"
    CREATED_DESC = "create_time desc"

    @property
    def descending(self) -> bool:
        """Whether the greatest comes first."""
        return self in (JobTypeOrder.NAME_DESC, JobTypeOrder.CREATED_DESC)

    @property
    def by_name(self) -> bool:
        """Else it is by time."""
        return self in (JobTypeOrder.NAME, JobTypeOrder.NAME_DESC)

    def place(self, job_type: JobTypeView) -> tuple[str | int, int]:
        """Where the type stands in such a list."""
        return job_type.name if self.by_name else job_type.created_at, job_type.key


class JobTypes:
    """What clients do with job types."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall

    async def register(
        self, principal: Principal, registration: Registration, *, replace: bool
    ) -> tuple[JobTypeReport, bool]:
        """Register a type; answers it, and whether it was not there before. JobTypeSchemaConflictError."""
        namespace = checks.one_namespace(registration.namespace, "job_type.namespace", or_global=True)
        scope, name = split_job_type(checks.check_job_type(registration.name, "job_type.name"))
        checks.check_text(registration.description, TEXT_BYTES_MAX, "job_type.description")
        if registration.parameters_schema is not None:
            check_schema(registration.parameters_schema, "job_type.parameters_schema")
        if registration.result_schema is not None:
            check_schema(registration.result_schema, "job_type.result_schema")
        placed = registration._replace(namespace=scope or namespace, name=name)
        _check_may_change(principal, placed.namespace)
        job_type, created = await self._hall.store.run(RegisterJobType(placed, replace=replace), refusable=True)
        self._hall.registry.put(job_type)
        return await self._report(principal, job_type), created

    async def get(self, principal: Principal, namespace: str, name: str) -> JobTypeReport:
        """The type that this name means there: the namespace's own, else the global one. JobTypeNotFoundError."""
        namespace = checks.one_namespace(namespace, "namespace", or_global=True)
        job_type = await self._hall.registry.job_type(namespace, checks.check_job_type(name, "name"))
        return await self._report(principal, job_type)

    async def page(
        self,
        principal: Principal,
        namespace: str,
        where: JobTypeFilter,
        order: JobTypeOrder,
        *,
        page_size: int,
        page_token_text: str,
        skip: int,
    ) -> tuple[list[JobTypeReport], str]:
        """A page of the types that may be used in the namespace, its own and the global ones; `-`: of all."""
        chosen = NAMESPACE_GLOBAL if namespace == NAMESPACE_GLOBAL else checks.listed_namespace(namespace, "namespace")
        request = ("job_types", chosen, where, order.value)
        read = named_place if order.by_name else page_place
        after = read(page_token_text, *request)
        places = None if chosen is None else (chosen, NAMESPACE_GLOBAL)
        found = [
            (order.place(job_type), job_type)
            for job_type in await self._hall.store.reads.job_types()
            if (places is None or job_type.namespace in places) and where.takes(job_type)
        ]
        found.sort(key=lambda placed: placed[0], reverse=order.descending)
        if after is not None:
            found = [placed for placed in found if _beyond(placed[0], after, descending=order.descending)]
        page = found[skip if after is None else 0 :]
        token = page_token(page[page_size - 1][0], *request) if len(page) > page_size else ""
        return await self._reports(principal, [job_type for _, job_type in page[:page_size]]), token

    async def pause(self, principal: Principal, namespace: str, name: str) -> JobTypeReport:
        """Hand out nothing of the type any more; what is handed out already goes on. JobTypeNotFoundError."""
        known = await self._to_change(principal, namespace, name)
        with self._hall.registry.shut(known):
            # A claim that was asked for before may still bring some; after the answer none does.
            await self._hall.dispatcher.settle(rounds=1)
            job_type = await self._hall.store.run(SetPaused(known, paused=True), refusable=True)
            self._hall.registry.put(job_type)
        return await self._report(principal, job_type)

    async def resume(self, principal: Principal, namespace: str, name: str) -> JobTypeReport:
        """End a pause. JobTypeNotFoundError."""
        known = await self._to_change(principal, namespace, name)
        job_type = await self._hall.store.run(SetPaused(known, paused=False), refusable=True)
        self._hall.registry.put(job_type)
        self._hall.dispatcher.nudge(self._hall.registry.queues_of(job_type))
        return await self._report(principal, job_type)

    async def delete(self, principal: Principal, namespace: str, name: str, *, etag: str = "") -> JobTypeReport:
        """Delete; answers the type as it last was. JobTypeNotFoundError, JobTypeInUseError, EtagMismatchError."""
        known = await self._to_change(principal, namespace, name)
        report = await self._report(principal, known)
        await self.retire(known, etag=etag)
        return report

    async def retire(self, known: JobTypeView, *, etag: str = "", auto_only: bool = False) -> None:
        """Delete a type of which no job waits; `auto_only`: and that nobody but a worker's Hello registered."""
        store, registry = self._hall.store, self._hall.registry
        if waiting := await store.run(CountWaiting(known, etag), refusable=True):
            raise _in_use(known, waiting)
        with registry.hidden(known):
            # Submits that found it before are counted when this is committed; those that come now do not find it.
            await store.run(CountWaiting(known, etag), refusable=True)
            retired, waiting = await store.run(DeleteJobType(known, etag, auto_only=auto_only), refusable=True)
            if waiting:
                raise _in_use(known, waiting)
            registry.put(retired)

    async def _to_change(self, principal: Principal, namespace: str, name: str) -> JobTypeView:
        """The type that is registered in that very namespace; JobTypeNotFoundError, RoleRequiredError."""
        namespace = checks.one_namespace(namespace, "namespace", or_global=True)
        known = await self._hall.registry.registered(namespace, checks.check_job_type(name, "name"))
        _check_may_change(principal, known.namespace)
        return known

    async def _report(self, principal: Principal, job_type: JobTypeView) -> JobTypeReport:
        (report,) = await self._reports(principal, [job_type])
        return report

    async def _reports(self, principal: Principal, job_types: Sequence[JobTypeView]) -> list[JobTypeReport]:
        if not job_types:
            return []
        namespaces = {job_type.namespace for job_type in job_types}
        one = namespaces.pop() if len(namespaces) == 1 and NAMESPACE_GLOBAL not in namespaces else None
        stats = await self._hall.store.reads.stats(principal, one, job_types={known.name for known in job_types})
        counts = _counts_of(stats)
        workers = await workers_of(self._hall.store.reads, job_types)
        return [
            JobTypeReport(job_type, workers[job_type.key], counts.get((job_type.namespace, job_type.name)) or Counts())
            for job_type in job_types
        ]


def _check_may_change(principal: Principal, namespace: str) -> None:
    """What is in `@global` is everybody's, in every namespace."""
    if namespace == NAMESPACE_GLOBAL and not principal.admin:
        raise RoleRequiredError(
            f"changing job types of {NAMESPACE_GLOBAL} needs the role {ADMIN_ROLE!r}", metadata={"role": ADMIN_ROLE}
        )


def _counts_of(stats: Iterable[QueueStats]) -> dict[tuple[str, str], Counts]:
    """The jobs of each type, by namespace and name, in all its queues."""
    counts: dict[tuple[str, str], Counts] = {}
    for of_queue in stats:
        name = (of_queue.queue.type_namespace, of_queue.queue.job_type)
        before = counts.get(name, Counts())
        counts[name] = Counts(*(one + other for one, other in zip(before, of_queue.counts, strict=True)))
    return counts


def _beyond(place: tuple[str | int, int], after: tuple[str | int, int], *, descending: bool) -> bool:
    # Both are of one list: names are compared with names, and times with times.
    return place < after if descending else place > after


def _in_use(job_type: JobTypeView, waiting: int) -> JobTypeInUseError:
    jobs = "1 job" if waiting == 1 else f"{waiting} jobs"
    message = f"{jobs} of job type {job_type.name!r} in {job_type.namespace!r} have not ended; wait, or cancel them"
    return JobTypeInUseError(message, metadata={"job_type": job_type.name})
