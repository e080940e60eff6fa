"""`jobhall import`: brings the jobs of an export into a server, as they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobhall.cli.context import Injected
from jobhall.cli.exits import Exit
from jobhall.cli.import_faults import NotImportedError, by_file, by_name
from jobhall.cli.import_order import ArchiveOrder, grouped
from jobhall.cli.phrases import amount
from jobhall.cli.remarks import remark
from jobhall.errors import BatchNotFoundError, JobhallError, JobIdReusedError, JobTypeNotFoundError
from jobhall.limits import BATCH_GET_MAX
from jobhall.plain import Plain
from jobhall.states import BatchState, CompletionPolicy

if TYPE_CHECKING:
    from jobhall.archive import Archive, ArchivedJob
    from jobhall.client import Client
    from jobhall.model_batches import Batch
    from jobhall.model_types import JobType
    from jobhall.submission import Submission


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOutcome(Plain):
    """What `jobhall import` did, or in a dry run would do, as `--json` tells it."""

    jobs: int
    skipped: int
    """There already."""
    job_types: int
    batches: int
    log_lines_left_out: int
    """Of jobs that are too large for one request with their whole log."""
    dry_run: bool


def import_(
    directory: Annotated[Path, Parameter(name="DIR", help="A folder that jobhall export wrote.")],
    /,
    *,
    dry_run: Annotated[bool, Parameter(help="Check every file, ask the server, and store nothing.")] = False,
    skip_existing: Annotated[bool, Parameter(help="Leave out jobs that are there already, and go on.")] = False,
    context: Injected,
) -> Exit:
    """Brings the jobs of an export into this server, as they were.

    Job types and batches that are not there are made first. A job that a worker
    held is PENDING here. Nothing that is there is changed: where one job of the
    export is there none is imported, unless --skip-existing leaves such jobs
    out; with it an import goes on where it was interrupted.

    For example:

      jobhall import jobs --dry-run
      jobhall --address other.example:50051 import jobs
    """
    from jobhall.archive import Archive

    archive = Archive(directory)
    archive.check()
    with context.connect() as client:
        outcome = _Importer(client, archive, dry_run=dry_run, skip_existing=skip_existing).run()
    words = [amount(outcome.jobs, "job"), amount(outcome.job_types, "job type")]
    words += [amount(outcome.batches, "batch", "batches")]
    words += [f"{amount(outcome.skipped, 'job')} already there"] if outcome.skipped else []
    context.output.said(outcome, "would import" if dry_run else "imported", ", ".join(words))
    return Exit.OK


@dataclass(slots=True)
class _Importer:
    client: Client
    archive: Archive
    dry_run: bool
    skip_existing: bool
    jobs: int = 0
    skipped: int = 0
    left_out: int = 0
    new_types: set[tuple[str, str]] = field(default_factory=set)
    new_batches: set[str] = field(default_factory=set)

    def run(self) -> ImportOutcome:
        """All of it: what the jobs name, the jobs themselves, and the ends of their batches."""
        with ArchiveOrder(self.archive) as order:
            self._refuse_existing(order)
            for it in self.archive.types():
                with by_name(f"job type {it.name!r} of {it.namespace}"):
                    self._make_type(it)
            for batch in self.archive.batches():
                with by_name(f"batch {batch.id}"):
                    self._make_batch(batch)
            try:
                self._import_jobs(order)
            except (JobhallError, KeyboardInterrupt):
                if self.jobs and not self.dry_run:
                    remark(f"imported {amount(self.jobs, 'job')} until then; --skip-existing goes on after them")
                raise
        if not self.dry_run:
            for batch in self.archive.batches():
                self._close_batch(batch)
        return ImportOutcome(
            jobs=self.jobs,
            skipped=self.skipped,
            job_types=len(self.new_types),
            batches=len(self.new_batches),
            log_lines_left_out=self.left_out,
            dry_run=self.dry_run,
        )

    # --- what jobs name ---

    def _make_type(self, it: JobType) -> None:
        try:
            # One of that name may be registered for all namespaces, and is another then.
            if self.client.types.get(it.name, namespace=it.namespace).namespace == it.namespace:
                return
        except JobTypeNotFoundError:
            pass
        self.new_types.add((it.namespace, it.name))
        if self.dry_run:
            return
        self.client.types.register(
            it.name,
            namespace=it.namespace,
            description=it.description,
            parameters_schema=it.parameters_schema,
            result_schema=it.result_schema,
            defaults=it.defaults,
        )
        if it.paused:
            self.client.types.pause(it.name, namespace=it.namespace)

    def _make_batch(self, it: Batch) -> None:
        if self._batch(it.id) is not None:
            if not self.skip_existing:
                raise NotImportedError(f"batch {it.id} is there already; --skip-existing goes on with it")
            return
        self.new_batches.add(it.id)
        self.client.batches.create(
            it.name,
            namespace=it.namespace,
            active=it.active,
            completion_job=self._completion_job(it),
            completion_policy=it.completion_policy,
            access_control=it.access_control,
            batch_id=it.id,
            validate_only=self.dry_run,
        )

    def _completion_job(self, it: Batch) -> Submission | None:
        last = it.completion_job
        # What was submitted there already is a job like others; what was not to be submitted there is not here either,
        # where the job that failed may be missing.
        missed = it.state is BatchState.FAILED and it.completion_policy is CompletionPolicy.ALL_COMPLETED
        if last is None or it.completion_job_id or missed:
            return None
        unknown = self.dry_run and any(name == last.job_type for _, name in self.new_types)
        return None if unknown else last

    def _close_batch(self, it: Batch) -> None:
        """Only now, that its completion job is not submitted while jobs of it are still to come."""
        here = self._batch(it.id)
        if here is None or here.closed or not it.closed:
            return
        if not it.done and here.counts.total < it.counts.total:
            remark(f"batch {it.id} stays open: {here.counts.total} of {amount(it.counts.total, 'job')} are here")
            return
        self.client.batches.close(it.id)

    def _batch(self, batch_id: str) -> Batch | None:
        try:
            return self.client.batches.get(batch_id)
        except BatchNotFoundError:
            return None

    # --- jobs ---

    def _refuse_existing(self, job_ids: Iterable[str]) -> None:
        if self.skip_existing:
            return
        existing = [job_id for group in _groups(job_ids) for job_id in self._existing(group)]
        if existing:
            are = f"and {len(existing) - 1} more are" if len(existing) > 1 else "is"
            raise NotImportedError(f"job {existing[0]} {are} there already; --skip-existing imports the others")

    def _existing(self, job_ids: Sequence[str]) -> set[str]:
        return {job.id for job in self.client.jobs.get_jobs(job_ids, brief=True)}

    def _import_jobs(self, job_ids: Iterable[str]) -> None:
        for group, left_out in grouped(self.archive, self._wanted(job_ids)):
            if left_out:
                lines = amount(left_out, "log line")
                remark(f"left out {lines}, the oldest: a job with its log has to fit into one request")
            with by_file(self.archive, group):
                self._import(group)
            self.jobs += len(group)
            self.left_out += left_out

    def _wanted(self, job_ids: Iterable[str]) -> Iterator[ArchivedJob]:
        for group in _groups(job_ids):
            existing = self._existing(group) if self.skip_existing else set()
            self.skipped += len(existing)
            yield from (self.archive.job(job_id) for job_id in group if job_id not in existing)

    def _import(self, jobs: Sequence[ArchivedJob]) -> None:
        if self.dry_run:
            # The server can judge only jobs whose type and batch are there.
            known = [it for it in jobs if not self._names_new(it)]
            if known:
                with by_file(self.archive, known):
                    self.client.admin.import_jobs(known, validate_only=True)
            return
        try:
            self.client.admin.import_jobs(jobs)
        except JobIdReusedError:
            # It is all or none: if all are there now, only the answer to a first try was lost.
            if len(self._existing([it.job.id for it in jobs])) < len(jobs):
                raise

    def _names_new(self, it: ArchivedJob) -> bool:
        job = it.job
        return (job.job_type_namespace, job.job_type) in self.new_types or job.batch_id in self.new_batches


def _groups(job_ids: Iterable[str]) -> Iterator[list[str]]:
    them = iter(job_ids)
    while group := list(islice(them, BATCH_GET_MAX)):
        yield group
