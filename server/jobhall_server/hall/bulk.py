"""Units of the verbs on many jobs: each job by the same decision as the verb on one, some hundred jobs a unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from jobhall.errors import JobNotFoundError, JobTerminalError, UniqueKeyTakenError
from jobhall_server.domain.access import Principal
from jobhall_server.domain.job import JobRecord
from jobhall_server.hall.job_units import Asked, cancel_job, delete_job, retry_job, theirs
from jobhall_server.hall.store import Group, Unit

STEP_JOBS = 200
"""Jobs of one unit: few enough that nobody in its commit group waits for them."""


def _those_left(group: Group, principal: Principal, job_ids: Sequence[str]) -> Iterator[JobRecord]:
    """Those of the jobs that are still there for the caller."""
    for job_id in job_ids:
        try:
            yield theirs(group, principal, job_id)
        except JobNotFoundError:
            continue


class CancelJobs(Unit[list[Asked]]):
    """Answers what was cancelled, or asked to stop; what has ended meanwhile is left out."""

    def __init__(self, principal: Principal, job_ids: Sequence[str], reason: str, grace_us: int) -> None:
        self.job_ids = tuple(job_ids)
        self._principal = principal
        self._reason = reason
        self._grace_us = grace_us

    def decide(self, group: Group) -> list[Asked]:
        asked = []
        by = self._principal.display_name
        for job in _those_left(group, self._principal, self.job_ids):
            try:
                asked.append(cancel_job(group, job, reason=self._reason, by=by, grace_us=self._grace_us))
            except JobTerminalError:
                continue
        return [one for one in asked if one.changed]


@dataclass(slots=True)
class Retried:
    """How many jobs were made PENDING, in which queues, and how many another job's unique key keeps from it."""

    count: int = 0
    skipped_count: int = 0
    queue_keys: set[int] = field(default_factory=set)


class RetryJobs(Unit[Retried]):
    """What is not FAILED or CANCELLED any more is left out."""

    def __init__(self, principal: Principal, job_ids: Sequence[str]) -> None:
        self.job_ids = tuple(job_ids)
        self._principal = principal

    def decide(self, group: Group) -> Retried:
        retried = Retried()
        for job in _those_left(group, self._principal, self.job_ids):
            try:
                queue_key = retry_job(group, self._principal, job)
            except JobTerminalError:
                continue
            except UniqueKeyTakenError:
                retried.skipped_count += 1
                continue
            if queue_key is not None:
                retried.count += 1
                retried.queue_keys.add(queue_key)
        return retried


class PurgeJobs(Unit[int]):
    """Delete those that had ended by `ended_by`; answers how many. What was tried again meanwhile is left out."""

    def __init__(self, principal: Principal, job_ids: Sequence[str], ended_by: int) -> None:
        self.job_ids = tuple(job_ids)
        self._principal = principal
        self._ended_by = ended_by

    def decide(self, group: Group) -> int:
        return purge(group, _those_left(group, self._principal, self.job_ids), self._ended_by)


def purge(group: Group, jobs: Iterator[JobRecord], ended_by: int) -> int:
    """Delete those of the jobs that are terminal, unless they began after that time; answers how many."""
    count = 0
    for job in jobs:
        if not job.state.terminal or (job.started_at is not None and job.started_at > ended_by):
            continue
        delete_job(group, job, purged=True)
        count += 1
    return count
