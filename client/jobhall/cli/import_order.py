"""In what order an archive's jobs are imported, and which in one request: the oldest first, as queues had them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Self

from jobhall.cli.import_faults import NotImportedError, by_file
from jobhall.limits import BATCH_SUBMIT_MAX, MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    from jobhall.archive import Archive, ArchivedJob
    from jobhall.model import Job

_OVERHEAD_BYTES = 8
"""What a job takes in a request besides its own bytes."""


class ArchiveOrder:
    """The ids of an archive's jobs by the time of their submit; to know it, every file is read once and checked."""

    def __init__(self, archive: Archive) -> None:
        # A database without a name is a file that goes away with it: there may be any number of jobs.
        self._store = sqlite3.connect("")
        self._store.execute("CREATE TABLE job (created, place, id)")
        rows = ((_moment(it.job), it.place, it.job.id) for it in archive.jobs())
        self._store.executemany("INSERT INTO job VALUES (?, ?, ?)", rows)

    def __iter__(self) -> Iterator[str]:
        return (job_id for (job_id,) in self._store.execute("SELECT id FROM job ORDER BY created, place, id"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._store.close()


def grouped(archive: Archive, jobs: Iterable[ArchivedJob]) -> Iterator[tuple[list[ArchivedJob], int]]:
    """The jobs in groups that fit into one request each; with each group how many log lines had to be left out."""
    from jobhall.wire_admin import imported_job_bytes

    group: list[ArchivedJob] = []
    size = left_out = 0
    for whole in jobs:
        with by_file(archive, [whole]):
            job = fitted(whole)
            job_size = imported_job_bytes(job) + _OVERHEAD_BYTES
        if job_size > MESSAGE_BYTES_MAX:
            fault = f"has {job_size} bytes without its log; one request takes {MESSAGE_BYTES_MAX}: move the file away"
            raise NotImportedError(f"{archive.path_of(job.job.id)}: {fault}")
        if group and (len(group) == BATCH_SUBMIT_MAX or size + job_size > MESSAGE_BYTES_MAX):
            yield group, left_out
            group, size, left_out = [], 0, 0
        group.append(job)
        size += job_size
        left_out += len(whole.log_entries) - len(job.log_entries)
    if group:
        yield group, left_out


def fitted(job: ArchivedJob) -> ArchivedJob:
    """The job, without the oldest lines of its log where it is too large for a request with them."""
    from jobhall.wire_admin import imported_job_bytes

    while job.log_entries and imported_job_bytes(job) + _OVERHEAD_BYTES > MESSAGE_BYTES_MAX:
        job = replace(job, log_entries=job.log_entries[len(job.log_entries) // 8 + 1 :])
    return job


def _moment(job: Job) -> str:
    return "" if job.created_at is None else job.created_at.astimezone(UTC).isoformat(timespec="microseconds")
