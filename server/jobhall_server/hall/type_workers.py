"""Which workers serve a job type: looked up among the sessions that are there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from jobhall.limits import NAMESPACE_ANY, NAMESPACE_GLOBAL
from jobhall_server.hall.registry import split_job_type
from jobhall_server.hall.roster import WorkerState, worker_state
from jobhall_server.hall.views import JobTypeView, SessionView

NAMES_SHOWN_MAX = 100
_READ_AT_ONCE = 500


@dataclass(slots=True)
class Serving:
    """How many workers serve a type now, and the names of some of them."""

    count: int = 0
    names: tuple[str, ...] = ()


class _Sessions(Protocol):
    async def sessions(self, *, after_key: int | None, limit: int) -> list[SessionView]:
        """As `Reads` has it."""


async def workers_of(sessions: _Sessions, job_types: Collection[JobTypeView]) -> dict[int, Serving]:
    """Those of each type, by its key; workers that are away or leave do not count."""
    serving = {job_type.key: Serving() for job_type in job_types}
    by_name: dict[str, list[JobTypeView]] = {}
    for job_type in job_types:
        by_name.setdefault(job_type.name, []).append(job_type)
    after_key: int | None = None
    while some := await sessions.sessions(after_key=after_key, limit=_READ_AT_ONCE):
        after_key = some[-1].record.key
        for session in some:
            if worker_state(session) is WorkerState.ATTACHED:
                for key in _served(session.namespaces, session.job_types, by_name):
                    known = serving[key]
                    known.count += 1
                    if len(known.names) < NAMES_SHOWN_MAX:
                        known.names += (session.worker_name,)
        if len(some) < _READ_AT_ONCE:
            break
    return serving


def _served(namespaces: Iterable[str], specs: Iterable[str], by_name: dict[str, list[JobTypeView]]) -> set[int]:
    """Keys of the types that a worker of those namespaces serves under those names."""
    chosen = frozenset(namespaces)
    return {
        job_type.key
        for spec in specs
        for scope, name in (split_job_type(spec),)
        for job_type in by_name.get(name, ())
        if (
            scope in (None, NAMESPACE_GLOBAL)
            if job_type.namespace == NAMESPACE_GLOBAL
            else scope in (None, "") and (job_type.namespace in chosen or NAMESPACE_ANY in chosen)
        )
    }
