"""Units on tasks that somebody holds: given back unaccepted, lost with their session, stopped after their grace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from jobhall.states import FailureKind, JobState
from jobhall_server.domain import moves
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import JobFailure, JobRecord, Lease
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
            decision = moves.return_undelivered(job, lease)
            if job is not None and isinstance(decision, Change):
                group.change(job, decision)
                ready.add(job.queue_key)
        return ready


class LoseTasks(Unit[set[int]]):
    """Move on what lost sessions held (job key → session key); answers the queues that have a job again.

    A job that its session does not hold any more is left alone. `confirmed` are the jobs whose delivery the worker had
    confirmed before it was lost.
    """

    def __init__(self, held: Mapping[int, int], *, confirmed: AbstractSet[int]) -> None:
        self._held = held
        self._confirmed = confirmed
        self.job_keys = tuple(held)

    def decide(self, group: Group) -> set[int]:
        ready = set()
        for job_key, session_key in self._held.items():
            job = group.job(job_key)
            if job is None or not job.state.held or job.session_key != session_key:
                continue
            decision = moves.lose(job, confirmed=job_key in self._confirmed)
            if isinstance(decision, Change):
                group.change(job, decision)
                if decision.target is JobState.PENDING:
                    ready.add(job.queue_key)
                elif decision.target is JobState.FAILED:
                    group.save_failure(job_key, _loss(job, dict(decision.sets)["failure_code"]))
        return ready


class StopTasks(Unit[None]):
    """End cancelled jobs whose worker did not confirm within the grace."""

    def __init__(self, leases: Sequence[Lease]) -> None:
        self._leases = leases
        self.job_keys = tuple(lease.job_key for lease in leases)

    def decide(self, group: Group) -> None:
        for lease in self._leases:
            job = group.job(lease.job_key)
            decision = moves.stop(job, lease)
            if job is not None and isinstance(decision, Change):
                group.change(job, decision)


def _loss(job: JobRecord, code: object) -> JobFailure:
    return JobFailure(
        kind=FailureKind.WORKER_LOST,
        message=f"its worker was lost in attempt {job.attempt} of {job.max_attempts}; {job.worker_losses + 1} in a row",
        code=str(code),
        attempt=job.attempt,
    )
