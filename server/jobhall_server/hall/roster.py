"""The workers that are there, for operators: read one, list them, let one finish and leave."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from jobhall.errors import WorkerNotFoundError
from jobhall.limits import NAMESPACE_ANY, REASON_BYTES_MAX
from jobhall_server.domain.session import SessionState
from jobhall_server.hall import checks
from jobhall_server.hall.registry import split_job_type
from jobhall_server.hall.tokens import page_place, page_token
from jobhall_server.hall.views import Place, SessionView

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall

_READ_AT_ONCE = 500


class WorkerState(IntEnum):
    """Whether a worker is there; numbers as in the contract."""

    ATTACHED = 1
    """Its stream is open, or, of a unary session, its lease is not over."""
    DETACHED = 2
    """Its stream is gone; it has session_ttl to come back."""
    DRAINING = 3
    """An operator sent it away: it gets no more tasks, and leaves when it holds none."""


@dataclass(frozen=True, slots=True)
class WorkerFilter:
    """Which workers a list names; None does not count. `job_types` and `name` as the worker gave them."""

    namespace: str | None = None
    states: frozenset[WorkerState] | None = None
    job_types: frozenset[str] | None = None
    name: str | None = None
    labels: tuple[tuple[str, str], ...] = ()


def worker_state(session: SessionView) -> WorkerState:
    """What an operator sees of the session's state."""
    if session.record.drain_at is not None:
        return WorkerState.DRAINING
    here = session.record.state is SessionState.ATTACHED or session.record.unary
    return WorkerState.ATTACHED if here else WorkerState.DETACHED


class Roster:
    """What operators do with workers."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._reads = hall.store.reads

    async def get(self, worker_id: str) -> SessionView:
        """One worker that is there; WorkerNotFoundError."""
        session = await self._reads.session(checks.job_id(worker_id, "worker_id"))
        if session is None:
            raise WorkerNotFoundError(worker_id)
        return self._present([session])[0]

    async def page(
        self, where: WorkerFilter, *, page_size: int, page_token_text: str, skip: int
    ) -> tuple[list[SessionView], str]:
        """A page of matching workers, newest first, and the token of the next one (empty at the end)."""
        start = page_place(page_token_text, "workers", where)
        left_out = skip if start is None else 0
        after_key = None if start is None else start.key
        found: list[SessionView] = []
        while len(found) < page_size + left_out:
            some = await self._reads.sessions(after_key=after_key, limit=_READ_AT_ONCE)
            for session in some:
                after_key = session.record.key
                if _matches(where, session):
                    found.append(session)
                    if len(found) == page_size + left_out:
                        break
            if len(some) < _READ_AT_ONCE:
                break
        page = self._present(found[left_out:])
        more = len(found) == page_size + left_out
        return page, page_token(Place(0, page[-1].record.key), "workers", where) if more else ""

    async def drain(self, worker_id: str, *, timeout_seconds: float | None, reason: str) -> SessionView:
        """Let it finish what it holds, at most for so long (None: `drain_timeout`), and leave; WorkerNotFoundError."""
        checks.check_text(reason, REASON_BYTES_MAX, "reason")
        session = await self.get(worker_id)
        seconds = self._hall.settings.stream.drain_seconds if timeout_seconds is None else timeout_seconds
        drain_at = self._hall.clock.now_us() + round(seconds * 1e6)
        drained = await self._hall.workers.drain(session.record.session_id, reason=reason, drain_at=drain_at)
        return replace(session, record=drained)

    def _present(self, sessions: list[SessionView]) -> list[SessionView]:
        """The same with the tasks that each takes now, which a worker whose stream is here may change at any time."""
        here = self._hall.workers.attached()
        return [
            replace(session, tasks_max=here[session.record.key].machine.tasks_max)
            if session.record.key in here
            else session
            for session in sessions
        ]


def _matches(where: WorkerFilter, session: SessionView) -> bool:
    if where.namespace is not None and not {where.namespace, NAMESPACE_ANY}.intersection(session.namespaces):
        return False
    if where.states is not None and worker_state(session) not in where.states:
        return False
    if where.job_types is not None:
        plain = {split_job_type(spec)[1] for spec in session.job_types}
        if not where.job_types.intersection(plain.union(session.job_types)):
            return False
    if where.name is not None and session.worker_name != where.name:
        return False
    return all(session.labels.get(key) == value for key, value in where.labels)
