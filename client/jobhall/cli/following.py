"""Follows jobs by name until all have ended, whoever shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from jobhall.cli.exits import Exit
from jobhall.cli.output import Follower
from jobhall.errors import JobNotFoundError
from jobhall.model import Job

if TYPE_CHECKING:
    from jobhall.client import Client


def follow_jobs(client: Client, job_ids: Sequence[str], follower: Follower) -> list[Job]:
    """Shows the jobs until they have ended, and returns them whole; raises JobNotFoundError for the first not there."""
    shown: dict[str, int] = {}
    with follower:
        for job in _read(client, job_ids):
            shown[job.id] = job.revision
            follower.show(job)
        for update in client.jobs.watch(job_ids=job_ids, include_snapshot=True, stop_when_terminal=True):
            for job in update.jobs:
                # What changed between the two looks; the same revision again would only be briefer.
                if job.revision > shown.get(job.id, 0):
                    shown[job.id] = job.revision
                    follower.show(job)
            for event in update.events:
                follower.tell(event)
        ended = _read(client, job_ids)
        for job in ended:
            follower.show(job)  # The last progress comes with the job, not with the event of its end.
    return ended


def exit_of(jobs: Iterable[Job]) -> Exit:
    """Whether all of them completed."""
    return Exit.OK if all(job.succeeded for job in jobs) else Exit.FAILED


def _read(client: Client, job_ids: Sequence[str]) -> list[Job]:
    jobs = client.jobs.get_jobs(job_ids)
    if jobs.missing_ids:
        raise JobNotFoundError(jobs.missing_ids[0])
    return list(jobs)
