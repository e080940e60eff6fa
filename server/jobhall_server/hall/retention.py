"""What is removed when it is old: jobs that have ended, the event log at its old end, sessions that are over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from jobhall.errors import ApiError
from jobhall.states import JobState
from jobhall_server.hall.bulk import STEP_JOBS, purge
from jobhall_server.hall.clock import Clock
from jobhall_server.hall.store import Group, Store, Unit
from jobhall_server.hall.views import Retention

log = structlog.get_logger(__name__)

CUT_EVERY_SECONDS = 60.0
ROWS_PER_STEP = 1000
REST_SECONDS = 60.0
"""Between two rounds along the jobs."""
STEP_REST_SECONDS = 0.05
"""After each step: reports, submits and claims come in between."""
_ROUNDS_PER_RETENTION = 10


class _Cut(Unit[int]):
    """After what the other units of the group decided, so that nobody waits for it."""

    after_save = True

    def __init__(self, keep: Retention) -> None:
        self._keep = keep

    def decide(self, group: Group) -> int:
        before = group.now - self._keep.events_us
        return group.cut_old(before=before, events_max=self._keep.events_max, limit=ROWS_PER_STEP)


async def cut_what_is_old(store: Store, keep: Retention) -> int:
    """Remove events, and sessions that are over, from so long ago, and events that are too many; answers how many rows.
    Deleting jobs removes no event, so this is the only end that the log has.
    """
    removed = 0
    while step := await store.run(_Cut(keep)):
        removed += step
    return removed


class PurgeOld(Unit[int]):
    """Delete what was over at that time, unless it was tried again since."""

    def __init__(self, job_keys: Sequence[int], looked_at: int) -> None:
        self.job_keys = tuple(job_keys)
        self._looked_at = looked_at

    def decide(self, group: Group) -> int:
        jobs = (group.job(key) for key in self.job_keys)
        return purge(group, (job for job in jobs if job is not None), self._looked_at)


async def purge_what_is_over(
    store: Store, keep: Retention, clock: Clock, *, pause_seconds: float = STEP_REST_SECONDS
) -> int:
    """One round along all jobs: delete those that were kept long enough after their end; answers how many."""
    purged = 0
    place: int | None = 0
    while place is not None:
        looked_at = clock.now_us()
        step = await store.reads.jobs_to_purge(keep, after_key=place)
        for start in range(0, len(step.job_keys), STEP_JOBS):
            purged += await store.run(PurgeOld(step.job_keys[start : start + STEP_JOBS], looked_at), refusable=True)
            await asyncio.sleep(pause_seconds)
        if not step.job_keys:
            await asyncio.sleep(pause_seconds)
        place = step.next_key
    return purged


async def keep_purging(store: Store, keep: Retention, clock: Clock) -> None:
    """Round after round until cancelled; what the database could not do just now comes with a later one."""
    while True:
        try:
            purged = await purge_what_is_over(store, keep, clock)
            if purged:
                log.info("jobs_purged", jobs=purged)
        except ApiError as error:
            log.debug("housekeeping_waits", work="purge", error=str(error))
        await asyncio.sleep(rest_seconds(keep))


def rest_seconds(keep: Retention) -> float:
    """A minute between rounds, less where jobs are kept for minutes only."""
    kept = [us for us in (keep.completed_us, keep.failed_us, keep.cancelled_us) if us is not None]
    shortest = min(kept, default=None)
    if shortest is None:
        return REST_SECONDS
    return min(REST_SECONDS, max(STEP_REST_SECONDS, shortest / 1e6 / _ROUNDS_PER_RETENTION))


def kept_us(keep: Retention, state: JobState) -> int | None:
    """How long a job that ended in that state is kept if it says nothing itself; None: for ever."""
    match state:
        case JobState.COMPLETED:
            return keep.completed_us
        case JobState.FAILED:
            return keep.failed_us
        case JobState.CANCELLED:
            return keep.cancelled_us
        case _:
            return None
