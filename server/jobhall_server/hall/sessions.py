"""Units on sessions: opened by a Hello with the types it serves, moved when a stream or its time to live ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobhall.errors import ApiError, FieldInvalidError, SessionExpiredError
from jobhall.limits import (
    CAPACITY_MAX,
    NAMESPACE_ANY,
    NAMESPACE_GLOBAL,
    RESUME_TOKEN_BYTES_MAX,
    WORKER_JOB_TYPES_MAX,
    WORKER_NAME_BYTES_MAX,
    WORKER_NAMESPACES_MAX,
)
from jobhall_server.domain.session import NewSession, SessionRecord, SessionState
from jobhall_server.hall.checks import check_job_type, check_labels, check_text, job_id, namespace_fault
from jobhall_server.hall.frames import Hello
from jobhall_server.hall.registry import open_queue, split_job_type
from jobhall_server.hall.store import Group, QueueView, Unit


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session, and the queues of the types that its Hello registered."""

    session: SessionRecord
    queues: tuple[QueueView, ...]


class OpenSession(Unit[Opened]):
    """Open a session for a Hello and register the types it serves where they are missing."""

    def __init__(self, new: NewSession, *, auto_register: bool) -> None:
        self._new = new
        self._auto_register = auto_register

    def decide(self, group: Group) -> Opened:
        if group.has_session(self._new.session_id):
            # Not taken over: the worker comes back at once with a new one, and its tokens are judged one by one.
            raise SessionExpiredError(self._new.session_id)
        session = group.open_session(self._new)
        queues: list[QueueView] = []
        if self._auto_register:
            for namespace in self._new.namespaces:
                for spec in self._new.job_types:
                    queues.extend(_register(group, namespace, spec))
        return Opened(session, tuple(queues))


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


class MoveSessions(Unit[int]):
    """Move those of the sessions that are in `source` to `target`; answers how many there were."""

    def __init__(self, session_keys: Sequence[int], source: SessionState, target: SessionState) -> None:
        self.session_keys = tuple(session_keys)
        self._source = source
        self._target = target

    def decide(self, group: Group) -> int:
        moved = 0
        for key in self.session_keys:
            session = group.session(key)
            if session is not None and session.state is self._source:
                group.set_session_state(session, self._target)
                moved += 1
        return moved


def hello_fault(hello: Hello) -> ApiError | None:
    """What is wrong with a Hello, naming the field; None when a session may be opened for it."""
    if not 1 <= len(hello.worker_name.encode()) <= WORKER_NAME_BYTES_MAX:
        return FieldInvalidError("hello.worker_name", f"must have 1 to {WORKER_NAME_BYTES_MAX} bytes")
    if not 1 <= len(hello.job_types) <= WORKER_JOB_TYPES_MAX:
        return FieldInvalidError("hello.job_types", f"must name 1 to {WORKER_JOB_TYPES_MAX} job types")
    if not 1 <= len(hello.namespaces) <= WORKER_NAMESPACES_MAX:
        return FieldInvalidError("hello.namespaces", f"must name 1 to {WORKER_NAMESPACES_MAX} namespaces")
    if not 0 <= hello.tasks_max <= CAPACITY_MAX:
        return FieldInvalidError("hello.capacity.tasks_max", f"is {hello.tasks_max}; it must lie in 0..{CAPACITY_MAX}")
    for place, namespace in enumerate(hello.namespaces):
        fault = None if namespace == NAMESPACE_ANY else namespace_fault(namespace, or_global=True)
        if fault is not None:
            return FieldInvalidError(f"hello.namespaces[{place}]", fault)
    try:
        for place, spec in enumerate(hello.job_types):
            check_job_type(spec, f"hello.job_types[{place}]")
        check_labels(hello.labels, "hello.labels")
        check_text(hello.resume_token, RESUME_TOKEN_BYTES_MAX, "hello.resume_token")
        if hello.session_id:
            job_id(hello.session_id, "hello.session_id")
    except FieldInvalidError as error:
        return error
    return None
