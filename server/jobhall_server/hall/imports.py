"""Jobs brought in from elsewhere: checked as a whole, and the unit that writes them all or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobhall.errors import BatchNotFoundError, FieldInvalidError, FieldViolation, JobIdReusedError
from jobhall.limits import BATCH_SUBMIT_MAX, ITEM_ERRORS_KEPT_MAX, LOG_LINES_KEPT_MAX
from jobhall_server.domain.access import Principal, may_touch
from jobhall_server.domain.batch import BatchRecord, Sweep
from jobhall_server.domain.imports import Fault, faults, latest_fences, settled
from jobhall_server.domain.job import AttemptView, ItemError, JobRecord, JobView
from jobhall_server.hall import checks
from jobhall_server.hall.registry import open_queue
from jobhall_server.hall.store import Group, Home, UniqueKey, Unit
from jobhall_server.hall.submits import Rehearsed
from jobhall_server.hall.unique_keys import key_taken, taken_by
from jobhall_server.hall.views import JobTypeView, LogLine, PayloadKind, QueueView

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall


@dataclass(frozen=True, slots=True)
class NumberedLine:
    """A log line, by whose attempt it is, and which."""

    attempt: int
    number: int
    line: LogLine


@dataclass(frozen=True, slots=True)
class ImportedJob:
    """A job as it was elsewhere; what is not there to be known, such as keys, is 0. `spec` names its type here, and
    `field` is its path in the request, such as `jobs[3]`.
    """

    field: str
    spec: str
    job: JobView
    attempts: Sequence[AttemptView] = ()
    log_lines: Sequence[NumberedLine] = ()
    item_errors: Sequence[ItemError] = ()


class Imports:
    """What those who run the server do with jobs from elsewhere."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall

    async def import_jobs(
        self, principal: Principal, count: int, read: Callable[[int], ImportedJob], *, validate_only: bool = False
    ) -> list[JobView]:
        """Write so many jobs, all or none, durable when it returns; answers them as they are now. With `validate_only`
        as they would be, and nothing is stored. `read` gives each by its place; it raises FieldInvalidError.
        """
        checks.check_range(count, 1, BATCH_SUBMIT_MAX, "jobs")
        now = self._hall.clock.now_us()
        jobs = await self._read(count, read, now)
        types = await self._types(jobs)
        unit = ImportJobs(principal, jobs, types, validate_only=validate_only)
        try:
            written = await self._hall.store.run(unit, refusable=True)
        except Rehearsed:
            return [_as_here(one, types[_type_asked(one)], now) for one in jobs]
        self._hall.registry.add_queues(written.queues)
        self._hall.dispatcher.nudge({queue.key for queue in written.queues})
        return written.jobs

    async def _read(self, count: int, read: Callable[[int], ImportedJob], now: int) -> list[ImportedJob]:
        """The jobs, looked at one by one: a thousand at once would keep the streams waiting. FieldInvalidError names
        what is wrong in all of them.
        """
        jobs: list[ImportedJob] = []
        violations: list[FieldViolation] = []
        for place in range(count):
            began = self._hall.clock.monotonic()
            try:
                jobs.append(read(place))
                violations += _violations(jobs[-1], now)
            except FieldInvalidError as error:
                violations += error.violations
            await self._hall.pace.after(began)
        if violations:
            refused = FieldInvalidError(violations[0].field, violations[0].description)
            refused.violations = tuple(checks.shown(violations))
            raise refused
        return jobs

    async def _types(self, jobs: Sequence[ImportedJob]) -> Mapping[tuple[str, str], JobTypeView]:
        """Those of the jobs, to be used at once: one that is being deleted meanwhile is looked up again."""
        registry = self._hall.registry
        while True:
            withdrawn = registry.withdrawn
            asked = dict.fromkeys(map(_type_asked, jobs))
            types = {names: await registry.job_type(*names) for names in asked}
            if withdrawn == registry.withdrawn:
                return types


@dataclass(frozen=True, slots=True)
class Imported:
    """What is durable, and the queues that it is in."""

    jobs: list[JobView]
    queues: Sequence[QueueView]


class ImportJobs(Unit[Imported]):
    """Write jobs from elsewhere, which have no faults. With `validate_only` it raises Rehearsed when all is well."""

    def __init__(
        self,
        principal: Principal,
        jobs: Sequence[ImportedJob],
        types: Mapping[tuple[str, str], JobTypeView],
        *,
        validate_only: bool,
    ) -> None:
        self._principal = principal
        self._jobs = jobs
        self._types = types
        self._validate_only = validate_only
        self.job_ids = tuple(one.job.job_id for one in jobs)
        self.batch_ids = tuple({one.job.batch_id for one in jobs if one.job.batch_id})

    def decide(self, group: Group) -> Imported:
        queues = {
            names: open_queue(group, names[0], job_type.namespace, job_type.name)
            for names, job_type in self._types.items()
        }
        jobs = [self._import(group, one, queues[_type_asked(one)]) for one in self._jobs]
        if self._validate_only:
            raise Rehearsed([])
        return Imported(jobs, [*queues.values()])

    def _import(self, group: Group, one: ImportedJob, queue: QueueView) -> JobView:
        if group.job_by_id(one.job.job_id) is not None:
            raise JobIdReusedError(one.job.job_id)
        batch = self._batch(group, one, queue)
        job_type = self._types[_type_asked(one)]
        home = Home(
            queue.key,
            queue.namespace_key,
            None if batch is None else batch.key,
            held_back=batch is not None and not batch.active,
            type_version=job_type.schema_version,
        )
        job, attempts = settled(one.job, one.attempts, group.now)
        record = group.import_job(job, attempts, home)
        if record.unique_key is not None and not record.state.terminal:
            self._take_unique_key(group, record)
        _bring_along(group, record, job, attempts, one)
        return job._replace(key=record.key, job_type=queue.job_type, job_type_namespace=queue.type_namespace)

    def _batch(self, group: Group, one: ImportedJob, queue: QueueView) -> BatchRecord | None:
        batch_id = one.job.batch_id
        if not batch_id:
            return None
        batch = group.batch_by_id(batch_id)
        if batch is None or batch.sweep is Sweep.DELETE:
            raise BatchNotFoundError(batch_id)
        if batch.namespace_key != queue.namespace_key:
            raise FieldInvalidError(f"{one.field}.job.batch_id", f"is a batch of namespace {batch.namespace!r}")
        return batch

    def _take_unique_key(self, group: Group, record: JobRecord) -> None:
        holder = taken_by(group, UniqueKey.of(record))
        if holder is not None:
            seen = may_touch(self._principal, owner=holder.owner, organization_id=holder.organization_id)
            raise key_taken(record.unique_key or "", holder.job_id if seen else "")
        group.take_unique_key(record)


def _violations(one: ImportedJob, now: int) -> Iterator[FieldViolation]:
    found = list(faults(one.job, one.attempts, now)) or list(_faults_of_lines(one, now))
    return (FieldViolation(f"{one.field}.{path}", description) for path, description in found)


def _faults_of_lines(one: ImportedJob, now: int) -> Iterator[Fault]:
    """What is wrong with that which belongs to the attempts, which are well."""
    fences = latest_fences(*settled(one.job, one.attempts, now))
    seen: set[tuple[int, int]] = set()
    for place, line in enumerate(one.log_lines):
        field = f"log_entries[{place}]"
        if line.attempt not in fences or not line.attempt:
            yield f"{field}.attempt", f"is {line.attempt}, of which no attempt is given"
        if not 1 <= line.number <= LOG_LINES_KEPT_MAX:
            yield f"{field}.number", f"is {line.number}; it must lie in 1..{LOG_LINES_KEPT_MAX}"
        elif (line.attempt, line.number) in seen:
            yield f"{field}.number", f"is {line.number} again; no two lines of an attempt share one"
        seen.add((line.attempt, line.number))
    if len(one.item_errors) > ITEM_ERRORS_KEPT_MAX:
        yield "item_errors", f"has {len(one.item_errors)} entries; the limit is {ITEM_ERRORS_KEPT_MAX}"
    if one.item_errors and not fences:
        yield "item_errors", "is given, though there was no attempt"


def _bring_along(
    group: Group, record: JobRecord, job: JobView, attempts: Sequence[AttemptView], one: ImportedJob
) -> None:
    """What belongs to the job beside its attempts."""
    key = record.key
    for kind, payload in ((PayloadKind.PARAMETERS, job.parameters), (PayloadKind.RESULT, job.result)):
        if payload is not None:
            group.save_payload(key, kind, payload)
    if job.checkpoint is not None:
        group.save_checkpoint(key, job.checkpoint, job.progress)
    # An attempt that has told nothing yet is where the checkpoint is, and that has it.
    silent = any(attempt.fence == job.fence and attempt.progress is None for attempt in attempts)
    if job.progress is not None and not (silent and job.checkpoint is not None):
        group.save_progress(key, job.fence, job.progress)
    if job.failure is not None:
        group.save_failure(key, job.failure)
    fences = latest_fences(job, attempts)
    for line in one.log_lines:
        group.add_logs(key, fences[line.attempt], line.number, [line.line])
    if one.item_errors:
        group.add_item_errors(key, fences[0], 1, one.item_errors)


def _type_asked(one: ImportedJob) -> tuple[str, str]:
    return one.job.namespace, one.spec


def _as_here(one: ImportedJob, job_type: JobTypeView, now: int) -> JobView:
    job, _ = settled(one.job, one.attempts, now)
    return job._replace(job_type=job_type.name, job_type_namespace=job_type.namespace)
