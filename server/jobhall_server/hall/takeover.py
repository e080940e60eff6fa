"""What a Hello does in one unit: a session is opened or taken over, and what its worker holds is agreed on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jobhall.errors import SessionExpiredError, SessionSupersededError, WorkerDrainedError
from jobhall.limits import WORKER_LOSSES_MAX
from jobhall.states import JobState
from jobhall_server.domain import server_moves
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import JobRecord, Lease
from jobhall_server.domain.session import Disposition, NewSession, SessionRecord
from jobhall_server.domain.standing import Standing, standing
from jobhall_server.hall.frames import Cancel, CancelCause, HeldDecision, ListedTask
from jobhall_server.hall.held import cancel_of
from jobhall_server.hall.leases import lose
from jobhall_server.hall.registry import register_served
from jobhall_server.hall.store import Group, Unit
from jobhall_server.hall.views import HeldRow, QueueView


class Judged(NamedTuple):
    """What was decided on a task that the Hello lists."""

    token: bytes
    disposition: Disposition
    recorded: bool = False
    """Its outcome is on record: nobody holds it any more, and the worker will be told so when it says it again."""
    timeout: CancelCause | None = None
    """It is to be stopped since its time was over."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A session with a stream, the queues of the types that its Hello registered, and what became of tasks."""

    session: SessionRecord
    queues: tuple[QueueView, ...]
    listed: tuple[Judged, ...] = ()
    not_brought_back: int = 0
    """Tasks that the session held and the Hello did not list; they went back."""
    ready_queues: frozenset[int] = frozenset()
    drained: bool = False
    """It was to leave, and held nothing: it is closed now, and the worker stops."""


class OpenSession(Unit[Opened]):
    """Open a session for a Hello, or take over the one it names; register the types it serves where they are missing.

    SessionSupersededError: a newer Hello than this one was there. SessionExpiredError: it is over, or not theirs.
    WorkerDrainedError: it is over since it was drained.
    """

    def __init__(
        self,
        new: NewSession,
        *,
        auto_register: bool,
        held: Sequence[ListedTask] = (),
        losses_max: int = WORKER_LOSSES_MAX,
    ) -> None:
        self._new = new
        self._auto_register = auto_register
        self._losses_max = losses_max
        listed = {task.token: task for task in held}
        self._listed = [(task, Lease.parse(token)) for token, task in listed.items()]
        self.session_ids = (new.session_id,)
        self.job_keys = tuple({lease.job_key for _, lease in self._listed if lease is not None})

    def decide(self, group: Group) -> Opened:
        known = group.session_by_id(self._new.session_id)
        # The epoch first: from here on no claim of an older stream is served, and what is read as held stays so.
        session = group.open_session(self._new) if known is None else self._taken_over(group, known)
        listed = tuple(self._judge(group, session, task, lease) for task, lease in self._listed)
        count, ready = (0, set[int]()) if known is None else self._let_go(group, session)
        drained = session.drain_at is not None and not group.held(session.key)
        if drained:
            group.save_session(session.closed(group.now))
        served = self._new.namespaces, self._new.job_types
        queues = register_served(group, *served) if self._auto_register else ()
        return Opened(session, queues, listed, count, frozenset(ready), drained)

    def _taken_over(self, group: Group, known: SessionRecord) -> SessionRecord:
        new = self._new
        if known.unary or known.resume_digest != new.resume_digest:
            raise SessionExpiredError(new.session_id)
        if not known.state.alive:
            if known.drain_at is not None:
                raise WorkerDrainedError(f"session {new.session_id} was drained and is over")
            raise SessionExpiredError(new.session_id)
        if new.connection <= known.connection:
            raise SessionSupersededError(
                f"connection {new.connection} of session {new.session_id} is not newer than {known.connection}"
            )
        session = known.attached(replica_key=new.replica_key, connection=new.connection)
        group.save_session(session, new)
        return session

    def _judge(self, group: Group, session: SessionRecord, task: ListedTask, lease: Lease | None) -> Judged:
        job = group.job(lease.job_key) if lease is not None else None
        if job is None or lease is None:
            return Judged(task.token, Disposition.LOST)
        before = standing(job, lease)
        resumed = server_moves.resume(job, lease, session_key=session.key, started=task.started, now=group.now)
        if resumed.change is not None:
            group.change(job, resumed.change, resumed.values)
        timeout = _cause(job, group.now) if before is Standing.TIMED_OUT else None
        return Judged(task.token, resumed.disposition, before is Standing.RECORDED, timeout)

    def _let_go(self, group: Group, session: SessionRecord) -> tuple[int, set[int]]:
        """What the session held and its worker does not list: undelivered, or lost by the worker."""
        listed = {lease for _, lease in self._listed}
        count, ready = 0, set()
        for job in group.held(session.key):
            lease = Lease(job.key, job.fence, job.nonce)
            if lease in listed:
                continue
            count += 1
            if job.state is JobState.CLAIMED:
                decision, values = server_moves.return_undelivered(job, lease)
                if isinstance(decision, Change):
                    group.change(job, decision, values)
                    ready.add(job.queue_key)
            else:
                ready |= lose(group, job, confirmed=True, losses_max=self._losses_max)
        return count, ready


def _cause(job: JobRecord, now: int) -> CancelCause:
    code = server_moves.timeout_code(job, now)
    return CancelCause.RUN_TIMEOUT if code == server_moves.RUN_TIMEOUT else CancelCause.PROGRESS_TIMEOUT


def decisions(
    listed: Sequence[Judged], rows: Mapping[bytes, HeldRow], *, now_us: int, grace_seconds: float
) -> list[HeldDecision]:
    """What the worker is told of the tasks that it listed; `rows` are those that its session holds, read afterwards."""
    told = []
    for judged in listed:
        row = rows.get(judged.token)
        cancel = None
        if row is not None and row.state is JobState.CANCELLING:
            cancel = cancel_of(row, now_us)
        elif judged.timeout is not None:
            cancel = Cancel(judged.token, "its time was over", grace_seconds, judged.timeout)
        disposition = judged.disposition
        if cancel is not None:
            disposition = Disposition.CANCEL
        elif row is None and not judged.recorded:
            # Not held, or moved on since: a timeout, a cancel's end.
            disposition = Disposition.LOST
        told.append(HeldDecision(judged.token, disposition, cancel))
    return told


def resume_digest(resume_token: str) -> str:
    """What is kept of the secret by which a worker proves that a session is its own."""
    return hashlib.sha256(resume_token.encode()).hexdigest()
