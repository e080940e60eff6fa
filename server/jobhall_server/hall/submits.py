"""Submits: what a client asks for, checked, and the unit that writes it once however often it is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from jobhall.errors import ApiError, JobIdReusedError
from jobhall.limits import (
    ATTEMPTS_DEFAULT,
    ATTEMPTS_MAX,
    FILE_NAME_BYTES_MAX,
    NAMESPACE_DEFAULT,
    PATH_BYTES_MAX,
    PRIORITY_MAX,
    PRIORITY_MIN,
)
from jobhall.states import JobState
from jobhall_server.domain.access import Principal, may_touch
from jobhall_server.domain.job import JobView, NewJob, Payload
from jobhall_server.domain.rules import rules_of
from jobhall_server.hall import checks
from jobhall_server.hall.store import Group, Unit
from jobhall_server.hall.views import QueueView


class Submission(NamedTuple):
    """What a client asks for. `digest` tells it from other submits; 0 with no `job_id`, where the server chooses.

    `field` is its path in the request, such as `jobs[3]`, for errors.
    """

    job_type: str
    namespace: str = NAMESPACE_DEFAULT
    parameters: Payload | None = None
    labels: Mapping[str, str] = MappingProxyType({})
    path: str = ""
    file_name: str | None = None
    file_size: int | None = None
    priority: int = 0
    job_id: str = ""
    max_attempts: int = 0
    rules: str | None = None
    """What `Rules.text` wrote, checked."""
    digest: int = 0
    field: str = "job"

    def check(self) -> None:
        """FieldInvalidError names the first field that is out of bounds; the names of type and namespace aside."""
        if self.labels:
            checks.check_labels(self.labels, f"{self.field}.labels")
        if self.path:
            checks.check_text(self.path, PATH_BYTES_MAX, f"{self.field}.path")
        if self.file_name:
            checks.check_text(self.file_name, FILE_NAME_BYTES_MAX, f"{self.field}.file_info.name")
        if self.file_size is not None:
            checks.check_range(self.file_size, 0, 2**53 - 1, f"{self.field}.file_info.size_bytes")
        if self.priority:
            checks.check_range(self.priority, PRIORITY_MIN, PRIORITY_MAX, f"{self.field}.priority")
        if self.max_attempts:
            checks.check_range(self.max_attempts, 1, ATTEMPTS_MAX, f"{self.field}.max_attempts")

    def new_job(self, principal: Principal, queue: QueueView, job_id: str) -> NewJob:
        """The job to be written for it."""
        return NewJob(
            job_id=job_id,
            namespace_key=queue.namespace_key,
            queue_key=queue.key,
            parameters=self.parameters,
            owner=principal.subject,
            organization_id=principal.organization_id,
            created_by=principal.display_name,
            priority=self.priority,
            max_attempts=self.max_attempts or ATTEMPTS_DEFAULT,
            labels=json.dumps(dict(self.labels), sort_keys=True, ensure_ascii=False) if self.labels else None,
            path=self.path or None,
            file_name=self.file_name,
            file_size=self.file_size,
            submit_digest=self.digest,
            rules=self.rules,
        )


class Submitted(NamedTuple):
    """A job that is durable: when it was first submitted, and whether that was before this submit."""

    job_id: str
    key: int
    revision: int
    created_at: int
    existing: bool


def fresh_view(job: NewJob, submitted: Submitted, queue: QueueView) -> JobView:
    """A job as its submit left it, without reading it back."""
    return JobView(
        key=submitted.key,
        job_id=job.job_id,
        namespace=queue.namespace,
        job_type=queue.job_type,
        job_type_namespace=queue.type_namespace,
        state=JobState.PENDING,
        priority=job.priority,
        attempt=0,
        max_attempts=job.max_attempts,
        worker_losses=0,
        revision=submitted.revision,
        owner=job.owner,
        organization_id=job.organization_id,
        created_by=job.created_by,
        created_at=submitted.created_at,
        ready_at=submitted.created_at,
        claimed_at=None,
        started_at=None,
        ended_at=None,
        updated_at=submitted.created_at,
        rules=rules_of(job.rules),
        labels=json.loads(job.labels) if job.labels else {},
        path=job.path or "",
        file_name=job.file_name,
        file_size=job.file_size,
        parameters=job.parameters,
    )


class SubmitJobs(Unit[list[Submitted | ApiError]]):
    """Write jobs. One sent before under its id is that job, if it is the same and the caller's; else refused alone, or
    with `atomic` all together.
    """

    def __init__(self, principal: Principal, jobs: Sequence[NewJob], *, atomic: bool) -> None:
        self._principal = principal
        self._jobs = jobs
        self._atomic = atomic
        self.job_ids = tuple(job.job_id for job in jobs if job.submit_digest)

    def decide(self, group: Group) -> list[Submitted | ApiError]:
        return [self._submit(group, job) for job in self._jobs]

    def _submit(self, group: Group, job: NewJob) -> Submitted | ApiError:
        known = group.job_by_id(job.job_id) if job.submit_digest else None
        if known is None:
            return Submitted(job.job_id, group.insert_job(job), 1, group.now, existing=False)
        theirs = may_touch(self._principal, owner=known.owner, organization_id=known.organization_id)
        if theirs and known.submit_digest == job.submit_digest:
            return Submitted(job.job_id, known.key, known.revision, known.created_at, existing=True)
        refused = JobIdReusedError(job.job_id)
        if self._atomic:
            raise refused
        return refused
