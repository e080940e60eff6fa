"""Job types that a worker's Hello registered and that nobody has anything to do with any more, deleted after a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from jobhall.errors import ApiError
from jobhall_server.hall.store import Group, Unit
from jobhall_server.hall.type_workers import sessions_serve
from jobhall_server.hall.views import JobTypeView

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall

log = structlog.get_logger(__name__)


class TypeSweep:
    """Looks now and then; a type must have been without workers and waiting jobs all the time in between."""

    def __init__(self, hall: Hall, *, after_seconds: float) -> None:
        self._hall = hall
        self._after_seconds = after_seconds
        self._idle_since: dict[int, float] = {}

    async def look(self) -> None:
        """Delete those whose time is over."""
        now = self._hall.clock.monotonic()
        ours = [job_type for job_type in self._hall.registry.types() if job_type.auto and not job_type.paused]
        served = await sessions_serve(self._hall.store.reads, ours)
        idle = {job_type.key: job_type for job_type in ours if job_type.key not in served}
        self._idle_since = {key: self._idle_since.get(key, now) for key in idle}
        for key, since in list(self._idle_since.items()):
            if now - since >= self._after_seconds:
                # One with jobs that wait is left; it is looked at again after as long.
                del self._idle_since[key]
                try:
                    await self._hall.job_types.retire(idle[key], auto_only=True)
                except ApiError as error:
                    log.debug("job_type_kept", job_type=idle[key].name, error=str(error))
                    continue
                if await sessions_serve(self._hall.store.reads, [idle[key]]):
                    # A worker came in the very moment; it would not say Hello again.
                    await self._hall.store.run(_Again(idle[key]))
                    await self._hall.registry.refresh()
                log.info("job_type_swept", job_type=idle[key].name, namespace=idle[key].namespace)


class _Again(Unit[None]):
    """Register a type again, as the Hello of its worker did."""

    def __init__(self, job_type: JobTypeView) -> None:
        self._job_type = job_type

    def decide(self, group: Group) -> None:
        _ = group.job_type_key(group.namespace_key(self._job_type.namespace), self._job_type.name)
