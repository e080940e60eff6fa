"""Tells of jobs as they end, in whatever order they do."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import jobhall
from jobhall import EventType, Job, OperationStatus, WatchUpdate


def monitor(client: jobhall.Client, job_ids: Sequence[str]) -> list[Job]:
    """The jobs, whole, in the order in which they ended; without those that were deleted meanwhile.

    Nothing is asked again and again: a watch says which have ended, and each is read once.
    """
    left, ended = set(job_ids), list[Job]()
    if not left:
        return ended
    print(f"Monitoring {len(job_ids)} jobs...")
    with closing(client.jobs.watch(job_ids=job_ids, include_snapshot=True, stop_when_terminal=True)) as updates:
        for update in updates:
            if over := _over(update) & left:
                newly = [job for job in client.jobs.get_jobs(sorted(over)) if job.done]
                left -= over
                ended += newly
                for job in newly:
                    status = OperationStatus.of(job)
                    icon = "✓" if status is OperationStatus.SUCCESS else "✗"
                    print(f"{icon} {job.operation} {job.id}: {status}")
                done = len(job_ids) - len(left)
                print(f"Progress: {done}/{len(job_ids)} ({done / len(job_ids):.1%}) completed")
    print("All jobs completed!")
    return ended


def _over(update: WatchUpdate) -> set[str]:
    """The jobs that have ended, or are gone."""
    told = {job.id for job in update.jobs if job.done}
    gone = {event.job_id for event in update.events if event.event_type is EventType.DELETED}
    return told | gone | {event.job_id for event in update.events if event.state.terminal}
