"""Units on tasks that somebody holds: given back unaccepted, lost with their session, moved on when they fall due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import NamedTuple

from jobhall.limits import WORKER_LOSSES_MAX
from jobhall.spans import span_text
from jobhall.states import FailureKind, JobState
from jobhall_server.domain import server_moves
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import JobFailure, JobRecord, Lease
from jobhall_server.domain.rules import rules_of
from jobhall_server.hall.store import Group, Unit


class ReturnTasks(Unit[set[int]]):
    """Put deliveries that nobody accepted back in the queue, at no cost; answers the queues that have a job again."""

    def __init__(self, leases: Sequence[Lease]) -> None:
        self._leases = leases
        self.job_keys = tuple(lease.job_key for lease in leases)

    def decide(self, group: Group) -> set[int]:
        ready = set()
        for lease in self._leases:
            job = group.job(lease.job_key)
            decision, values = server_moves.return_undelivered(job, lease)
            if job is not None and isinstance(decision, Change):
                group.change(job, decision, values)
                ready.add(job.queue_key)
        return ready


class LoseTasks(Unit[set[int]]):
    """Move on what lost sessions held (job key → session key); answers the queues that have a job again.

    A job that its session does not hold any more is left alone. `confirmed` are the jobs whose delivery the worker had
    confirmed before it was lost; `losses_max` losses in a row fail a job.
    """

    def __init__(
        self, held: Mapping[int, int], *, confirmed: AbstractSet[int], losses_max: int = WORKER_LOSSES_MAX
    ) -> None:
        self._held = held
        self._confirmed = confirmed
        self._losses_max = losses_max
        self.job_keys = tuple(held)

    def decide(self, group: Group) -> set[int]:
        ready = set()
        for job_key, session_key in self._held.items():
            job = group.job(job_key)
            if job is not None and job.state.held and job.session_key == session_key:
                ready |= lose(group, job, confirmed=job_key in self._confirmed, losses_max=self._losses_max)
        return ready


def lose(group: Group, job: JobRecord, *, confirmed: bool, losses_max: int = WORKER_LOSSES_MAX) -> set[int]:
    """Its holder lost it; answers the queue that has it again, if one has."""
    decision, values = server_moves.lose(job, confirmed=confirmed, losses_max=losses_max)
    if isinstance(decision, Change):
        group.change(job, decision, values)
        code = dict(decision.sets).get("failure_code")
        if code is not None:
            group.save_failure(job.key, _loss(job, str(code), final=decision.target is JobState.FAILED))
        if decision.target is JobState.PENDING:
            return {job.queue_key}
    return set()


class Fallen(NamedTuple):
    """A job that the server moved on since its time had come. `session_key` is who held it, if it was held; `code`
    stands where that was a timeout.
    """

    lease: Lease
    queue_key: int
    source: JobState
    target: JobState
    session_key: int | None
    code: str


class FallDue(Unit[list[Fallen]]):
    """Move on jobs whose time has come; `chances` (0..1, one for each) are for the delays of those tried again. Those
    that are `speaking`, since they said something that is not stored yet, are not silent.
    """

    def __init__(
        self, job_keys: Sequence[int], chances: Sequence[float], *, speaking: AbstractSet[int] = frozenset()
    ) -> None:
        self.job_keys = tuple(job_keys)
        self._chances = tuple(chances)
        self._speaking = speaking

    def decide(self, group: Group) -> list[Fallen]:
        moved = []
        for job_key, chance in zip(self.job_keys, self._chances, strict=True):
            job = group.job(job_key)
            if job is None:
                continue
            code = server_moves.timeout_code(job, group.now) if job.state is JobState.RUNNING else ""
            if code == server_moves.PROGRESS_TIMEOUT and job_key in self._speaking:
                continue
            decision, values = server_moves.fall_due(job, group.now, chance)
            if isinstance(decision, Change):
                group.change(job, decision, values)
                if code:
                    group.save_failure(job_key, _timeout(job, code, final=decision.target is JobState.FAILED))
                elif decision.target is JobState.FAILED:
                    group.save_failure(job_key, _EXPIRED)
                lease = Lease(job.key, job.fence, job.nonce)
                session_key = job.session_key if job.state.held else None
                moved.append(Fallen(lease, job.queue_key, job.state, decision.target, session_key, code))
        return moved


def _loss(job: JobRecord, code: str, *, final: bool) -> JobFailure:
    unsaid = job.state is JobState.CLAIMED
    when = f"before it said that it began attempt {job.attempt + 1}" if unsaid else f"in attempt {job.attempt}"
    return JobFailure(
        kind=FailureKind.WORKER_LOST,
        message=f"its worker was lost {when} of {job.max_attempts}; {job.worker_losses + 1} in a row",
        code=code,
        retryable=not final,
        attempt=job.attempt,
    )


_EXPIRED = JobFailure(
    kind=FailureKind.EXPIRED,
    message="no worker had begun it when its start_deadline passed",
    code=server_moves.START_DEADLINE,
)


def _timeout(job: JobRecord, code: str, *, final: bool) -> JobFailure:
    rules = rules_of(job.rules)
    if code == server_moves.RUN_TIMEOUT:
        what, allowed_us = "ran for longer than its run_timeout", rules.run_timeout_us
    else:
        what, allowed_us = "was silent for longer than its progress_timeout", rules.progress_timeout_us
    allowed = span_text(timedelta(microseconds=allowed_us or 0))
    return JobFailure(
        kind=FailureKind.TIMEOUT,
        message=f"attempt {job.attempt} of {job.max_attempts} {what} of {allowed}",
        code=code,
        retryable=not final,
        attempt=job.attempt,
    )
