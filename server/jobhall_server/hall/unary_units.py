"""Units of the unary twins: a session opened or renewed by each call, and what it claimed, holds and reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobhall.errors import FieldInvalidError, SessionExpiredError, WorkerDrainedError
from jobhall.states import JobState
from jobhall_server.domain import worker_moves
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import Lease
from jobhall_server.domain.session import NewSession, SessionRecord, SessionState
from jobhall_server.hall.frames import Report
from jobhall_server.hall.leases import lose
from jobhall_server.hall.registry import register_served
from jobhall_server.hall.reports import Judged, JudgeReports
from jobhall_server.hall.store import Claimed, Group, Unit, Want
from jobhall_server.hall.views import QueueView


@dataclass(frozen=True, slots=True)
class Opened:
    """A unary session, and the queues of the types that were registered for it."""

    session: SessionRecord
    queues: tuple[QueueView, ...] = ()


class OpenUnarySession(Unit[Opened]):
    """Open a session without a stream, and register the types it serves where they are missing."""

    def __init__(self, new: NewSession, *, auto_register: bool) -> None:
        self._new = new
        self._auto_register = auto_register

    def decide(self, group: Group) -> Opened:
        session = group.open_session(self._new)
        if not self._auto_register:
            return Opened(session)
        return Opened(session, register_served(group, self._new.namespaces, self._new.job_types))


class RenewUnarySession(Unit[SessionRecord]):
    """It claims: its time to live begins anew, with another length if the call says so. SessionExpiredError when it is
    over, WorkerDrainedError when it is given no more work, or is over since it was drained.
    """

    def __init__(self, session_id: str, *, ttl_us: int | None = None) -> None:
        self.session_ids = (session_id,)
        self._ttl_us = ttl_us

    def decide(self, group: Group) -> SessionRecord:
        known = group.session_by_id(self.session_ids[0])
        if known is not None and known.drain_at is not None:
            raise WorkerDrainedError(f"session {known.session_id} is drained: report what it holds, and stop")
        return _renewed(group, _unary(group, self.session_ids[0]), self._ttl_us)


class ClaimJobs(Unit[list[Claimed]]):
    """Claim those of the named jobs that wait."""

    after_save = True

    def __init__(self, want: Want) -> None:
        self.session_keys = (want.session_key,)
        self._want = want

    def decide(self, group: Group) -> list[Claimed]:
        return group.claim([self._want])[0]


class AcceptTasks(Unit[SessionRecord]):
    """Start what was just claimed, where the caller asked for that, and renew the session."""

    def __init__(self, session_id: str, leases: Sequence[Lease]) -> None:
        self.session_ids = (session_id,)
        self.job_keys = tuple(lease.job_key for lease in leases)
        self._leases = leases

    def decide(self, group: Group) -> SessionRecord:
        session = _renewed(group, _living(group, self.session_ids[0]))
        for lease in self._leases:
            job = group.job(lease.job_key)
            decision, values = worker_moves.accept(job, lease, group.now)
            if job is not None and isinstance(decision, Change):
                group.change(job, decision, values)
        return session


class ReportSession(Unit[tuple[Judged, SessionRecord | None]]):
    """Take reports; those of a session renew it, those of none are judged by their tokens alone."""

    def __init__(self, session_id: str, reports: Sequence[Report], *, chance: float) -> None:
        self.session_ids = (session_id,) if session_id else ()
        self._reports = JudgeReports(reports, chance=chance)
        self.job_keys = self._reports.job_keys

    def decide(self, group: Group) -> tuple[Judged, SessionRecord | None]:
        session = None
        for session_id in self.session_ids:
            session = _renewed(group, _living(group, session_id))
            self._reports.session_key = session.key
        judged = self._reports.decide(group)
        return judged, session and _over_if_drained(group, session)


class BeatSession(Unit[tuple[set[bytes], set[int], SessionRecord]]):
    """Renew the session and agree on what it holds; answers the listed tokens that it does not hold any more, and the
    queues that have a job again.

    A started task that is not listed is lost by its worker, unless it was started within `fresh_us`: the answer that
    named it may still be on its way. One that was not started goes back by its own time.
    """

    def __init__(self, session_id: str, tokens: Sequence[bytes], *, fresh_us: int, losses_max: int) -> None:
        self.session_ids = (session_id,)
        self._listed = frozenset(tokens)
        self._fresh_us = fresh_us
        self._losses_max = losses_max

    def decide(self, group: Group) -> tuple[set[bytes], set[int], SessionRecord]:
        session = _renewed(group, _unary(group, self.session_ids[0]))
        ready: set[int] = set()
        held = set()
        for job in group.held(session.key):
            token = Lease(job.key, job.fence, job.nonce).token()
            fresh = job.started_at is not None and job.started_at > group.now - self._fresh_us
            if token in self._listed or fresh or job.state is JobState.CLAIMED:
                held.add(token)
            else:
                ready |= lose(group, job, confirmed=True, losses_max=self._losses_max)
        return set(self._listed - held), ready, _over_if_drained(group, session)


def _living(group: Group, session_id: str) -> SessionRecord:
    session = group.session_by_id(session_id)
    if session is None or not session.state.alive:
        raise SessionExpiredError(session_id)
    return session


def _unary(group: Group, session_id: str) -> SessionRecord:
    """A living session without a stream. Who knows the id of another, as everybody may, takes nothing from it."""
    session = _living(group, session_id)
    if not session.unary:
        raise FieldInvalidError("session_id", "is that of a stream: its worker claims and beats there")
    return session


def _over_if_drained(group: Group, session: SessionRecord) -> SessionRecord:
    """A drained session ends when it holds nothing; one that a stream carries, by its stream."""
    if session.drain_at is None or session.state is not SessionState.DETACHED or group.held(session.key):
        return session
    closed = session.closed(group.now)
    group.save_session(closed)
    return closed


def _renewed(group: Group, session: SessionRecord, ttl_us: int | None = None) -> SessionRecord:
    """A session that a stream carries needs no renewal."""
    if session.state is not SessionState.DETACHED:
        return session
    renewed = session.renewed(group.now, ttl_us=ttl_us if session.unary else None)
    group.save_session(renewed)
    return renewed
