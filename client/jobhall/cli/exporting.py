"""`jobhall export`: jobs with all that belongs to them as files, one folder for each status."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobhall.cli.context import Injected
from jobhall.cli.event_spool import EventSpool
from jobhall.cli.exits import Exit
from jobhall.cli.job_choice import JobChoice
from jobhall.cli.phrases import amount
from jobhall.cli.remarks import remark
from jobhall.errors import BatchNotFoundError, JobNotFoundError, JobTypeNotFoundError
from jobhall.limits import BATCH_GET_MAX, NAMESPACE_ANY, NAMESPACE_DEFAULT, PAGE_SIZE_MAX
from jobhall.plain import Plain

if TYPE_CHECKING:
    from jobhall.archive import Archive, ArchivedJob
    from jobhall.calls import PageOptions
    from jobhall.calls_events import EventOptions
    from jobhall.client import Client
    from jobhall.model import Job

_LOOKS_MAX = 5
"""How often a job is read again that changes while it is read; then it is taken as it is."""
_CLOCKS_APART_MAX = timedelta(seconds=1)

_ONE_NAMESPACE = f" in namespace {NAMESPACE_DEFAULT}; -n {NAMESPACE_ANY} takes all"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOutcome(Plain):
    """What `jobhall export` did, as `--json` tells it."""

    jobs: int
    moved: int
    """Of these, from one folder to another."""
    pruned: int
    """Files of jobs that the server has no more, removed."""
    job_types: int
    batches: int


def export(
    directory: Annotated[Path, Parameter(name="DIR", help="The folder; made if it is not there.")],
    /,
    *,
    choice: JobChoice | None = None,
    prune: Annotated[bool, Parameter(help="Remove files of jobs that the server has no more.")] = False,
    context: Injected,
) -> Exit:
    """Writes jobs to files, with their attempts, logs, item errors and events.

    DIR has a folder for each status: pending, running, complete, failed and
    cancelled, in it a JSON file for each job, named by its id; job_types and
    batches hold what the jobs name. Said again, it brings DIR up to date: a job
    that has another status now moves to its folder. Without --namespace only
    jobs of the namespace default are taken, with -n - all. See jobhall import.

    For example:

      jobhall export jobs --namespace -
      jobhall export failed --state failed --since 1d
      jq -r '.log_entries[].message' failed/failed/*.json
    """
    from jobhall.archive import Archive

    archive = Archive(directory)
    options = (choice or JobChoice()).options()
    with context.connect() as client, archive.writing():
        exporter = _Exporter(client, archive)
        exporter.write_jobs(options)
        exporter.write_batches()
        pruned = sum(_pruned(client, archive)) if prune else 0
        hint = "" if options.get("namespace") or not _jobs_elsewhere(client) else _ONE_NAMESPACE
    outcome = exporter.outcome(pruned)
    words = [amount(outcome.jobs, "job"), f"{outcome.moved} of them moved", amount(outcome.job_types, "job type")]
    words += [amount(outcome.batches, "batch", "batches"), *([f"{pruned} pruned"] if prune else [])]
    context.output.said(outcome, "exported", ", ".join(words) + hint)
    return Exit.OK


@dataclass(slots=True)
class _Exporter:
    client: Client
    archive: Archive
    jobs: int = 0
    moved: int = 0
    asked_types: set[tuple[str, str]] = field(default_factory=set)
    types: set[tuple[str, str]] = field(default_factory=set)
    batches: set[str] = field(default_factory=set)

    def write_jobs(self, options: PageOptions) -> None:
        """Page by page, the oldest first; those that come while it runs are left out, so that it ends."""
        now = self.client.server_info().server_time
        if now is not None and "created_before" not in options:
            options["created_before"] = now + _CLOCKS_APART_MAX
        options |= {"order_by": "create_time", "page_size": PAGE_SIZE_MAX}
        briefs = self.client.jobs.list_jobs(**options)
        page = list(islice(briefs, PAGE_SIZE_MAX))
        events: EventOptions = {"namespace": options.get("namespace", "")}
        if len(page) < PAGE_SIZE_MAX:
            events = {"job_ids": [job.id for job in page]}
        with EventSpool(self.client, events) as spool:
            while page:
                for brief in page:
                    self._write_job(brief, spool)
                self.archive.sync()
                page = list(islice(briefs, PAGE_SIZE_MAX))

    def write_batches(self) -> None:
        """Those that jobs named, after these: their counts are to cover them."""
        for batch_id in sorted(self.batches):
            try:
                batch = self.client.batches.get(batch_id)
            except BatchNotFoundError:
                remark(f"there is no batch {batch_id} any more")
                self.batches.discard(batch_id)
                continue
            self.archive.write_batch(batch)
            if batch.completion_job is not None:
                self._write_type(batch.namespace, batch.completion_job.job_type)

    def outcome(self, pruned: int) -> ExportOutcome:
        """The counts."""
        return ExportOutcome(
            jobs=self.jobs,
            moved=self.moved,
            pruned=pruned,
            job_types=len(self.types),
            batches=len(self.batches),
        )

    def _write_job(self, brief: Job, spool: EventSpool) -> None:
        try:
            archived = _read_whole(self.client, brief.id, spool)
        except JobNotFoundError:
            return  # Deleted meanwhile.
        job = archived.job
        self.jobs += 1
        self.moved += self.archive.write_job(replace(archived, place=self.jobs))
        self._write_type(job.job_type_namespace or job.namespace, job.job_type)
        if job.batch_id:
            self.batches.add(job.batch_id)

    def _write_type(self, namespace: str, name: str) -> None:
        if (namespace, name) in self.asked_types:
            return
        self.asked_types.add((namespace, name))
        try:
            it = self.client.types.get(name, namespace=namespace)
        except JobTypeNotFoundError:
            remark(f"job type {name} is not registered any more: register it again before an import")
            return
        self.archive.write_type(it)
        self.types.add((it.namespace, it.name))


def _jobs_elsewhere(client: Client) -> bool:
    queues = client.jobs.stats(namespace=NAMESPACE_ANY).queues
    return any(queue.counts.total for queue in queues if queue.namespace != NAMESPACE_DEFAULT)


def _read_whole(client: Client, job_id: str, spool: EventSpool) -> ArchivedJob:
    """The job with all that belongs to it, as they were at one moment."""
    archived = _look_at(client, job_id)
    for _ in range(_LOOKS_MAX):
        if client.jobs.get_job(job_id, brief=True).revision == archived.job.revision:
            break
        archived = _look_at(client, job_id)
    return replace(archived, events=spool.of(archived.job))


def _look_at(client: Client, job_id: str) -> ArchivedJob:
    from jobhall.archive import ArchivedJob

    job = client.jobs.get_job(job_id, include_checkpoint=True)
    if not job.fence:
        return ArchivedJob(job=job)
    attempts = tuple(client.jobs.attempts(job_id))
    # Of attempts of one number, which a retry makes, the server tells the log of the latest.
    numbers = sorted({attempt.attempt for attempt in attempts})
    lines = tuple(line for number in numbers for line in client.jobs.logs(job_id, attempt=number))
    errors = tuple(client.jobs.item_errors(job_id)) if job.item_error_count else ()
    return ArchivedJob(job=job, attempts=attempts, log_entries=lines, item_errors=errors)


def _pruned(client: Client, archive: Archive) -> Iterator[int]:
    """Removes the files of jobs that the server has no more, and says how many, group by group."""
    ids = archive.job_ids()
    while group := list(islice(ids, BATCH_GET_MAX)):
        missing = client.jobs.get_jobs(group, brief=True).missing_ids
        for job_id in missing:
            archive.remove_job(job_id)
        yield len(missing)
