"""What the times and counters of a job say about its pace: waits, rates and estimates, never a division by zero."""

from __future__ import annotations

from dataclasses import dataclass

from jobhall.states import WAITING_STATES
from jobhall_server.domain.job import JobView

_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds, and items a second; None is "cannot be said yet"."""

    queue_us: int
    run_us: int | None = None
    items_per_second: float | None = None
    remaining_us: int | None = None
    """Estimated, while the job runs."""


def timing(job: JobView, now_us: int) -> Timing:
    """How long the latest attempt waited and ran, how fast it goes, and when it may be done.

    The rate is items processed by run time. Before the first item, and when the job does not run, there is no estimate.
    """
    # What waits to be tried again does not run, though an attempt before it did.
    started_at = None if job.state in WAITING_STATES else job.started_at
    waits_until = started_at or job.ended_at or now_us
    queue_us = max(0, waits_until - job.created_at)
    if started_at is None:
        return Timing(queue_us)
    run_us = max(0, (job.ended_at or now_us) - started_at)
    processed = job.progress.processed if job.progress is not None else None
    if not processed or not run_us:
        return Timing(queue_us, run_us)
    rate = processed * _SECOND_US / run_us
    total = job.progress.total if job.progress is not None else None
    if job.ended_at is not None or not job.state.held or total is None:
        return Timing(queue_us, run_us, rate)
    remaining_us = round((total - processed) * _SECOND_US / rate)
    return Timing(queue_us, run_us, rate, remaining_us)
