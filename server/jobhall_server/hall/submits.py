"""Submits: what a client asks for, checked, and the unit that writes it once however often it is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from jobhall.errors import ApiError, BatchClosedError, BatchNotFoundError, FieldInvalidError, JobIdReusedError
from jobhall.limits import (
    ATTEMPTS_DEFAULT,
    ATTEMPTS_MAX,
    FILE_NAME_BYTES_MAX,
    INTEGER_MAX,
    NAMESPACE_DEFAULT,
    PATH_BYTES_MAX,
    PRIORITY_MAX,
    PRIORITY_MIN,
)
from jobhall.states import JobState, UniquePolicy
from jobhall_server.domain.access import Principal, may_touch
from jobhall_server.domain.batch import BatchRecord, Sweep
from jobhall_server.domain.job import JobView, NewJob, Payload
from jobhall_server.domain.rules import NO_RULES, RetryPolicy, Rules, rules_of
from jobhall_server.hall import checks
from jobhall_server.hall.registry import open_queue
from jobhall_server.hall.store import Group, UniqueKey, Unit
from jobhall_server.hall.unique_keys import key_taken, taken_by
from jobhall_server.hall.views import QueueView


class Submission(NamedTuple):
    """What a client asks for. `digest` tells it from other submits; 0 with no `job_id`, where the server chooses.

    What is None or 0 where that means nothing is for the type's defaults to say, else the server's. `field` is its
    path in the request, such as `jobs[3]`, for errors.
    """

    job_type: str
    namespace: str = NAMESPACE_DEFAULT
    parameters: Payload | None = None
    labels: Mapping[str, str] = MappingProxyType({})
    path: str = ""
    file_name: str | None = None
    file_size: int | None = None
    priority: int | None = None
    job_id: str = ""
    max_attempts: int = 0
    digest: int = 0
    field: str = "job"
    retry: RetryPolicy | None = None
    run_timeout_us: int | None = None
    progress_timeout_us: int | None = None
    schedule_at: int | None = None
    start_deadline: int | None = None
    batch_id: str = ""
    unique_key: str = ""
    unique_policy: UniquePolicy = UniquePolicy.RETURN_EXISTING
    unique_window_us: int | None = None
    retention_us: int | None = None
    access: str | None = None
    """What `AccessRules.text` wrote."""
    trace: str | None = None
    """A JSON array of traceparent and tracestate."""
    type_version: int = 0
    """Of the schemas under which its parameters were checked."""

    def check(self) -> None:
        """FieldInvalidError names the first field that is out of bounds; the names of type and namespace aside."""
        if self.labels:
            checks.check_labels(self.labels, f"{self.field}.labels")
        if self.path:
            checks.check_text(self.path, PATH_BYTES_MAX, f"{self.field}.path")
        if self.file_name:
            checks.check_text(self.file_name, FILE_NAME_BYTES_MAX, f"{self.field}.file_info.name")
        if self.file_size is not None:
            checks.check_range(self.file_size, 0, INTEGER_MAX, f"{self.field}.file_info.size_bytes")
        if self.priority:
            checks.check_range(self.priority, PRIORITY_MIN, PRIORITY_MAX, f"{self.field}.priority")
        if self.max_attempts:
            checks.check_range(self.max_attempts, 1, ATTEMPTS_MAX, f"{self.field}.max_attempts")

    @property
    def plain(self) -> bool:
        """Whether it says nothing of what few submits say: what is cheap to know, and is so of nearly all."""
        return self[_RARE_FROM:] == _NOTHING_RARE

    @property
    def special(self) -> bool:
        """Whether only its unit can tell all that may be wrong with it, or what is to become of it."""
        return bool(self.batch_id or self.unique_key) or self.start_deadline is not None

    def new_job(self, principal: Principal, queue: QueueView, job_id: str) -> NewJob:
        """The job to be written for it; its batch is for the unit to find."""
        job = NewJob(
            job_id=job_id,
            namespace_key=queue.namespace_key,
            queue_key=queue.key,
            parameters=self.parameters,
            owner=principal.subject,
            organization_id=principal.organization_id,
            created_by=principal.display_name,
            priority=self.priority or 0,
            max_attempts=self.max_attempts or ATTEMPTS_DEFAULT,
            labels=labels_text(self.labels) if self.labels else None,
            path=self.path or None,
            file_name=self.file_name,
            file_size=self.file_size,
            submit_digest=self.digest,
        )
        if self.plain:
            return job
        return job._replace(
            rules=self._rules(),
            schedule_at=self.schedule_at,
            start_deadline=self.start_deadline,
            unique_key=self.unique_key or None,
            unique_window_us=self.unique_window_us,
            retention_us=self.retention_us,
            access=self.access,
            trace=self.trace,
            type_version=self.type_version,
        )

    def _rules(self) -> str | None:
        if self.retry is None and self.run_timeout_us is self.progress_timeout_us is None:
            return None
        return Rules(self.retry or NO_RULES.retry, self.run_timeout_us, self.progress_timeout_us).text()


_RARE_FROM = Submission._fields.index("retry")
_NOTHING_RARE = tuple(Submission._field_defaults[name] for name in Submission._fields[_RARE_FROM:])


def labels_text(labels: Mapping[str, str]) -> str | None:
    """The labels as they are stored."""
    return json.dumps(dict(labels), sort_keys=True, ensure_ascii=False) if labels else None


class Submitted(NamedTuple):
    """A job that is durable: when it was first submitted, and whether that was before this submit."""

    job_id: str
    key: int
    revision: int
    created_at: int
    existing: bool


def fresh_view(job: NewJob, submitted: Submitted, queue: QueueView, batch_id: str = "") -> JobView:
    """A job as its submit left it, without reading it back."""
    now = submitted.created_at
    state, due_at = job.entry(now)
    return JobView(
        key=submitted.key,
        job_id=job.job_id,
        namespace=queue.namespace,
        job_type=queue.job_type,
        job_type_namespace=queue.type_namespace,
        state=state,
        priority=job.priority,
        attempt=0,
        max_attempts=job.max_attempts,
        worker_losses=0,
        revision=submitted.revision,
        owner=job.owner,
        organization_id=job.organization_id,
        created_by=job.created_by,
        created_at=now,
        ready_at=now if state is JobState.PENDING else None,
        claimed_at=None,
        started_at=None,
        ended_at=None,
        updated_at=now,
        due_at=due_at,
        rules=rules_of(job.rules),
        labels=json.loads(job.labels) if job.labels else {},
        path=job.path or "",
        file_name=job.file_name,
        file_size=job.file_size,
        parameters=job.parameters,
        schedule_at=job.schedule_at,
        start_deadline=job.start_deadline,
        batch_id=batch_id,
        unique_key=job.unique_key or "",
        retention_us=job.retention_us,
        access=job.access,
        trace=job.trace,
    )


class Special(NamedTuple):
    """What only some submits have: it is looked at within the group."""

    field: str
    batch_id: str
    policy: UniquePolicy
    queue: QueueView | None = None
    """One that is not made yet, of a submit that is only tried."""


class SubmitJobs(Unit[list[Submitted | ApiError]]):
    """Write jobs. One sent before under its id is that job, if it is the same and the caller's; one whose unique key
    is taken is dealt with by its policy. What is refused is refused alone, or with `atomic` all together.
    """

    def __init__(
        self,
        principal: Principal,
        jobs: Sequence[NewJob],
        *,
        atomic: bool,
        special: Mapping[int, Special] = MappingProxyType({}),
    ) -> None:
        self._principal = principal
        self._jobs = jobs
        self._atomic = atomic
        self._special = special
        self.job_ids = tuple(job.job_id for job in jobs if job.submit_digest)
        if special:
            self.batch_ids = tuple({about.batch_id for about in special.values() if about.batch_id})
        self._replaced: set[str] = set()

    @property
    def queue_keys(self) -> set[int]:
        """Where its jobs wait, once they are written: what the dispatcher is to be told of."""
        return {job.queue_key for job in self._jobs}

    def decide(self, group: Group) -> list[Submitted | ApiError]:
        return self.write(group)

    def write(self, group: Group, batch: BatchRecord | None = None) -> list[Submitted | ApiError]:
        """The same within another unit: all of them join the `batch` that it has just opened."""
        if not self._special and batch is None:
            return [self._submit(group, job) for job in self._jobs]
        found = self._special.get
        self._replaced = set()
        return [self._submit(group, job, found(place), batch) for place, job in enumerate(self._jobs)]

    def _submit(
        self, group: Group, job: NewJob, about: Special | None = None, batch: BatchRecord | None = None
    ) -> Submitted | ApiError:
        known = group.job_by_id(job.job_id) if job.submit_digest else None
        try:
            if known is not None:
                theirs = may_touch(self._principal, owner=known.owner, organization_id=known.organization_id)
                if not theirs or known.submit_digest != job.submit_digest:
                    raise JobIdReusedError(job.job_id)
                return Submitted(job.job_id, known.key, known.revision, known.created_at, existing=True)
            if self._replaced and job.job_id in self._replaced:
                # Its job was there when the request came, and gave its place to another one of it.
                raise JobIdReusedError(job.job_id)
            if batch is not None:
                job = _within(job, batch)
            if about is not None:
                job, existing = self._look(group, job, about)
                if existing is not None:
                    return existing
        except ApiError as refused:
            if self._atomic:
                raise
            return refused
        return Submitted(job.job_id, group.insert_job(job), 1, group.now, existing=False)

    def _look(self, group: Group, job: NewJob, about: Special) -> tuple[NewJob, Submitted | None]:
        """The job as it is to be written, and the one that is there in its place; makes room for it by its policy."""
        if about.queue is not None:
            queue = open_queue(group, about.queue.namespace, about.queue.type_namespace, about.queue.job_type)
            job = job._replace(queue_key=queue.key, namespace_key=queue.namespace_key)
        if job.start_deadline is not None and job.start_deadline <= group.now:
            raise FieldInvalidError(f"{about.field}.start_deadline", "is over already; the job could never begin")
        if about.batch_id:
            job = self._joined(group, job, about)
        holder = taken_by(group, UniqueKey.of(job)) if job.unique_key else None
        if holder is None:
            return job, None
        theirs = may_touch(self._principal, owner=holder.owner, organization_id=holder.organization_id)
        if theirs and about.policy is UniquePolicy.RETURN_EXISTING:
            return job, Submitted(holder.job_id, holder.key, holder.revision, holder.created_at, existing=True)
        replaceable = holder.state in (JobState.SCHEDULED, JobState.PENDING)
        if not (theirs and replaceable and about.policy is UniquePolicy.REPLACE_PENDING):
            raise key_taken(job.unique_key or "", holder.job_id if theirs else "")
        group.delete_job(holder)
        self._replaced.add(holder.job_id)
        return job, None

    def _joined(self, group: Group, job: NewJob, about: Special) -> NewJob:
        batch = group.batch_by_id(about.batch_id)
        if (
            batch is None
            or batch.sweep is Sweep.DELETE
            or not may_touch(self._principal, owner=batch.owner, organization_id=batch.organization_id)
        ):
            raise BatchNotFoundError(about.batch_id)
        if batch.namespace_key != job.namespace_key:
            fault = f"is a batch of namespace {batch.namespace!r}; submit its jobs there"
            raise FieldInvalidError(f"{about.field}.batch_id", fault)
        if batch.closed:
            raise BatchClosedError(
                f"batch {about.batch_id} is closed and takes no more jobs", metadata={"batch_id": about.batch_id}
            )
        return _within(job, batch)


def _within(job: NewJob, batch: BatchRecord) -> NewJob:
    return job._replace(batch_key=batch.key, held_back=not batch.active)


class Rehearsed(Exception):  # noqa: N818 - what it brings is no error
    """A unit that was only tried did everything and raises this, so that the group takes it all back."""

    def __init__(self, answers: list[Submitted | ApiError]) -> None:
        super().__init__()
        self.answers = answers


class TrySubmits(SubmitJobs):
    """Everything that submitting them would do, refusals included, and nothing of it stays: it raises Rehearsed."""

    def decide(self, group: Group) -> list[Submitted | ApiError]:
        raise Rehearsed(self.write(group))
