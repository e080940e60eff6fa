"""Which workers serve a job type: looked up among the sessions that are there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass

from jobhall.limits import NAMESPACE_ANY, NAMESPACE_GLOBAL
from jobhall_server.hall.reads import Reads
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


async def workers_of(reads: Reads, job_types: Collection[JobTypeView]) -> dict[int, Serving]:
    """Those of each type, by its key; workers that are away or leave do not count."""
    serving = {job_type.key: Serving() for job_type in job_types}
    async for session, keys in _sessions(reads, job_types):
        if worker_state(session) is WorkerState.ATTACHED:
            for key in keys:
                known = serving[key]
                known.count += 1
                if len(known.names) < NAMES_SHOWN_MAX:
                    known.names += (session.worker_name,)
    return serving


async def sessions_serve(reads: Reads, job_types: Collection[JobTypeView]) -> set[int]:
    """Keys of the types for which there is a session that has not ended, away or not."""
    return {key async for _, keys in _sessions(reads, job_types) for key in keys}


async def _sessions(
    reads: Reads, job_types: Collection[JobTypeView]
) -> AsyncIterator[tuple[SessionView, Collection[int]]]:
    """Every session, with the keys of the types that it serves."""
    by_name: dict[str, list[JobTypeView]] = {}
    for job_type in job_types:
        by_name.setdefault(job_type.name, []).append(job_type)
    after_key: int | None = None
    while by_name:
        some = await reads.sessions(after_key=after_key, limit=_READ_AT_ONCE)
        for session in some:
            after_key = session.record.key
            yield session, _served(session.namespaces, session.job_types, by_name)
        if len(some) < _READ_AT_ONCE:
            return


def _served(namespaces: Iterable[str], specs: Iterable[str], by_name: dict[str, list[JobTypeView]]) -> set[int]:
    chosen = frozenset(namespaces)
    return {
        job_type.key
        for spec in specs
        for scope, name in (split_job_type(spec),)
        for job_type in by_name.get(name, ())
        if (
            scope in (None, NAMESPACE_GLOBAL)
            if job_type.namespace == NAMESPACE_GLOBAL
            else scope in (None, "") and not chosen.isdisjoint((job_type.namespace, NAMESPACE_ANY))
        )
    }
