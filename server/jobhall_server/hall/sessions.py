"""Units on sessions after they were opened: detached, expired, drained and closed; and what a Hello may say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jobhall.errors import FieldInvalidError, ProtocolUnsupportedError, WorkerNotFoundError
from jobhall.limits import (
    CAPACITY_MAX,
    NAMESPACE_ANY,
    PROTOCOL_VERSION,
    RESUME_TOKEN_BYTES_MAX,
    UNACKED_ITEMS_MAX,
    WORKER_JOB_TYPES_MAX,
    WORKER_NAME_BYTES_MAX,
    WORKER_NAMESPACES_MAX,
)
from jobhall.states import JobState
from jobhall_server.domain import worker_moves
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import Lease
from jobhall_server.domain.rules import chance_of
from jobhall_server.domain.session import SessionRecord, SessionState
from jobhall_server.hall.checks import check_job_type, check_labels, check_text, job_id, namespace_fault
from jobhall_server.hall.frames import Hello
from jobhall_server.hall.store import Group, Unit

_LISTED_MAX = CAPACITY_MAX + UNACKED_ITEMS_MAX
"""Tasks that a Hello lists: those in hand, and those whose outcome is not acked."""
_RELEASED_BY_SERVER = 2
"""The digest of a release that no worker sent."""


class DetachSession(Unit[SessionState | None]):
    """Its stream is over. With `close` it is, too, if nothing is left in its name. Answers what it is now, or None when
    it was attached anew meanwhile, or moved on.
    """

    def __init__(self, session_key: int, epoch: int, *, close: bool) -> None:
        self.session_keys = (session_key,)
        self._epoch = epoch
        self._close = close

    def decide(self, group: Group) -> SessionState | None:
        session = group.session(self.session_keys[0])
        if session is None or session.state is not SessionState.ATTACHED or session.epoch != self._epoch:
            return None
        over = self._close and not group.held(session.key)
        session = session.closed(group.now) if over else session.detached(group.now)
        group.save_session(session)
        return session.state


class DetachStale(Unit[int]):
    """Detach sessions that a replica other than this one left attached, as of now; answers how many there were."""

    def __init__(self, session_keys: Sequence[int], *, replica_key: int) -> None:
        self.session_keys = tuple(session_keys)
        self._replica_key = replica_key

    def decide(self, group: Group) -> int:
        detached = 0
        for key in self.session_keys:
            session = group.session(key)
            if session is None or session.state is not SessionState.ATTACHED:
                continue
            if session.replica_key != self._replica_key:
                group.save_session(session.detached(group.now))
                detached += 1
        return detached


class ExpireSessions(Unit[int]):
    """End detached sessions that are past their time to live; answers how many there were. One that came back since it
    was found is left alone.
    """

    def __init__(self, session_keys: Sequence[int], *, ttl_us: int) -> None:
        self.session_keys = tuple(session_keys)
        self._ttl_us = ttl_us

    def decide(self, group: Group) -> int:
        lost = 0
        for key in self.session_keys:
            session = group.session(key)
            if session is None or session.state is not SessionState.DETACHED or session.detached_at is None:
                continue
            ttl_us = self._ttl_us if session.ttl_us is None else session.ttl_us
            if session.detached_at + ttl_us <= group.now:
                group.save_session(session.lost(group.now))
                lost += 1
        return lost


class DrainSession(Unit[SessionRecord]):
    """It is given no more work, and what it holds at `drain_at` (microseconds UTC) is taken from it. One that no stream
    carries and that holds nothing is closed at once. WorkerNotFoundError when it is over.
    """

    def __init__(self, session_id: str, *, drain_at: int) -> None:
        self.session_ids = (session_id,)
        self._drain_at = drain_at

    def decide(self, group: Group) -> SessionRecord:
        session = group.session_by_id(self.session_ids[0])
        if session is None or not session.state.alive:
            raise WorkerNotFoundError(self.session_ids[0])
        session = session.draining(self._drain_at)
        if session.state is SessionState.DETACHED and not group.held(session.key):
            session = session.closed(group.now)
        group.save_session(session)
        return session


class Emptied(NamedTuple):
    """What was taken from a drained session."""

    session_key: int
    session_id: str
    leases: tuple[Lease, ...]
    ready_queues: frozenset[int]


class CloseDrained(Unit[list[Emptied]]):
    """End sessions whose drain is over: what they still hold is released, and costs no attempt. `chance` (0..1) is the
    random part of the delay of what was released too often.
    """

    def __init__(self, session_keys: Sequence[int], *, chance: float) -> None:
        self.session_keys = tuple(session_keys)
        self._chance = chance

    def decide(self, group: Group) -> list[Emptied]:
        sessions = [session for key in self.session_keys if (session := group.session(key)) is not None]
        return [self._empty(group, session) for session in sessions if _is_over(session, group.now)]

    def _empty(self, group: Group, session: SessionRecord) -> Emptied:
        leases, ready = [], set()
        for job in group.held(session.key):
            lease = Lease(job.key, job.fence, job.nonce)
            decision, values = worker_moves.release(
                job, lease, _RELEASED_BY_SERVER, now=group.now, chance=chance_of(job.key, self._chance)
            )
            if isinstance(decision, Change):
                group.change(job, decision, values)
                leases.append(lease)
                if decision.target is JobState.PENDING:
                    ready.add(job.queue_key)
        group.save_session(session.closed(group.now))
        return Emptied(session.key, session.session_id, tuple(leases), frozenset(ready))


def _is_over(session: SessionRecord, now: int) -> bool:
    return session.state.alive and session.drain_at is not None and session.drain_at <= now


def check_hello(hello: Hello) -> None:
    """ProtocolUnsupportedError, or FieldInvalidError naming the field, where no session can be opened for it."""
    if hello.protocol_version != PROTOCOL_VERSION:
        raise ProtocolUnsupportedError(hello.protocol_version, minimum=PROTOCOL_VERSION, maximum=PROTOCOL_VERSION)
    if not 1 <= len(hello.worker_name.encode()) <= WORKER_NAME_BYTES_MAX:
        raise FieldInvalidError("hello.worker_name", f"must have 1 to {WORKER_NAME_BYTES_MAX} bytes")
    if not 1 <= len(hello.job_types) <= WORKER_JOB_TYPES_MAX:
        raise FieldInvalidError("hello.job_types", f"must name 1 to {WORKER_JOB_TYPES_MAX} job types")
    if not 1 <= len(hello.namespaces) <= WORKER_NAMESPACES_MAX:
        raise FieldInvalidError("hello.namespaces", f"must name 1 to {WORKER_NAMESPACES_MAX} namespaces")
    if not 0 <= hello.tasks_max <= CAPACITY_MAX:
        raise FieldInvalidError("hello.capacity.tasks_max", f"is {hello.tasks_max}; it must lie in 0..{CAPACITY_MAX}")
    if len(hello.held) > _LISTED_MAX:
        raise FieldInvalidError("hello.held_tasks", f"lists {len(hello.held)} tasks; the limit is {_LISTED_MAX}")
    for place, namespace in enumerate(hello.namespaces):
        fault = None if namespace == NAMESPACE_ANY else namespace_fault(namespace, or_global=True)
        if fault is not None:
            raise FieldInvalidError(f"hello.namespaces[{place}]", fault)
    for place, spec in enumerate(hello.job_types):
        check_job_type(spec, f"hello.job_types[{place}]")
    check_labels(hello.labels, "hello.labels")
    check_text(hello.resume_token, RESUME_TOKEN_BYTES_MAX, "hello.resume_token")
    if hello.session_id:
        job_id(hello.session_id, "hello.session_id")
