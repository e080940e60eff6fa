"""The use cases on job types: register, look up, list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobhall.limits import NAMESPACE_GLOBAL, PAGE_SIZE_DEFAULT
from jobhall_server.domain.access import Principal
from jobhall_server.hall import checks
from jobhall_server.hall.registry import split_job_type
from jobhall_server.hall.store import Group, Unit
from jobhall_server.hall.tokens import page_place, page_token
from jobhall_server.hall.views import JobTypeView, Place

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall


class JobTypes:
    """What clients do with job types."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall

    async def register(self, principal: Principal, namespace: str, name: str) -> tuple[JobTypeView, bool]:
        """Register a type; answers it, and whether it is new: one that is there already is the same registration."""
        namespace = checks.one_namespace(namespace, "namespace", or_global=True)
        scope, plain = split_job_type(checks.check_job_type(name, "name"))
        created = await self._hall.store.run(_RegisterJobType(scope or namespace, plain), refusable=True)
        await self._hall.registry.refresh()
        return await self.get(principal, scope or namespace, plain), created

    async def get(self, _principal: Principal, namespace: str, name: str) -> JobTypeView:
        """The type that this name means there: the namespace's own, else the global one. JobTypeNotFoundError."""
        namespace = checks.one_namespace(namespace, "namespace", or_global=True)
        return await self._hall.registry.job_type(namespace, checks.check_job_type(name, "name"))

    async def page(
        self, _principal: Principal, namespace: str, *, page_size: int, page_token_text: str
    ) -> tuple[list[JobTypeView], str]:
        """A page of the types that may be used in the namespace, its own and the global ones; `-`: of all."""
        chosen = NAMESPACE_GLOBAL if namespace == NAMESPACE_GLOBAL else checks.listed_namespace(namespace, "namespace")
        places = None if chosen is None else {chosen, NAMESPACE_GLOBAL}
        found = [
            job_type
            for job_type in await self._hall.store.reads.job_types()
            if places is None or job_type.namespace in places
        ]
        place = page_place(page_token_text, "job_types", namespace)
        start = 0 if place is None else place.key
        end = start + (page_size or PAGE_SIZE_DEFAULT)
        return found[start:end], page_token(Place(0, end), "job_types", namespace) if end < len(found) else ""


class _RegisterJobType(Unit[bool]):
    def __init__(self, namespace: str, name: str) -> None:
        self._namespace = namespace
        self._name = name

    def decide(self, group: Group) -> bool:
        _, created = group.job_type_key(group.namespace_key(self._namespace), self._name)
        return created
