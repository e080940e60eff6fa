"""The net under everything that waits for somebody: once a second it moves on whatever its owner's death, or a time
that has come, has left to the server.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from jobhall.states import JobState
from jobhall_server.domain import server_moves
from jobhall_server.hall.frames import Cancel, CancelCause
from jobhall_server.hall.leases import FallDue, Fallen, LoseTasks
from jobhall_server.hall.sessions import CloseDrained, DetachStale, ExpireSessions
from jobhall_server.hall.views import Expired

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall

log = structlog.get_logger(__name__)

JOBS_PER_PASS = 1000
"""What `Reads.expired` names at a time; a pass that moved so many on is followed by another at once."""


async def reap(hall: Hall) -> int:
    """One pass; answers how many sessions or jobs of one kind it moved on, at most JOBS_PER_PASS.

    Sessions of a replica that is gone are detached as of now; sessions detached for longer than their time to live are
    lost, and what lost sessions hold goes back to the queue; jobs whose time has come are moved on; workers whose drain
    is over are let go.
    """
    ttl_us = int(hall.settings.stream.session_ttl_seconds * 1_000_000)
    expired = await hall.store.reads.expired(ttl_us=ttl_us)
    moved = [0]
    if expired.stale:
        moved.append(await hall.store.run(DetachStale(expired.stale, replica_key=hall.store.replica_key)))
        if moved[-1]:
            log.info("sessions_detached", count=moved[-1], why="their replica is gone")
    newly_lost = expired.sessions
    if newly_lost:
        moved.append(await hall.store.run(ExpireSessions(newly_lost, ttl_us=ttl_us)))
        if moved[-1]:
            log.warning("sessions_lost", count=moved[-1], why="their workers did not come back in time")
        expired = await hall.store.reads.expired(ttl_us=ttl_us)
    moved.append(await _lose(hall, expired, newly_lost))
    moved.append(await _fall_due(hall, expired.due))
    if expired.drained:
        moved.append(await _let_go(hall, expired.drained))
    return max(moved)


async def _lose(hall: Hall, expired: Expired, newly_lost: Sequence[int]) -> int:
    held = dict(expired.held)
    if held:
        confirmed = {job_key for job_key, session in held.items() if job_key in hall.workers.confirmed(session)}
        ready = await hall.store.run(LoseTasks(held, confirmed=confirmed, losses_max=hall.settings.worker_losses_max))
        hall.dispatcher.nudge(ready)
        log.warning("tasks_lost", count=len(held), queues=len(ready))
    if len(held) < JOBS_PER_PASS:
        # Nothing of theirs is left for another pass, which would have to know what they had confirmed.
        for session_key in {*newly_lost, *held.values()}:
            hall.workers.forget_session(session_key)
    return len(held)


async def _fall_due(hall: Hall, job_keys: Sequence[int]) -> int:
    if not job_keys:
        return 0
    chances, speaking = [random.random() for _ in job_keys], hall.workers.speaking(job_keys)
    fallen = await hall.store.run(FallDue(job_keys, chances, speaking=speaking))
    for job in fallen:
        if job.session_key is None:
            continue
        if job.code:
            hall.workers.time_out(job.session_key, _cancel(job, hall.settings.stream.cancel_grace_seconds))
        else:
            hall.workers.forget(job.session_key, (job.lease,))
    hall.dispatcher.nudge({job.queue_key for job in fallen if job.target is JobState.PENDING})
    if held := [job for job in fallen if job.session_key is not None]:
        timeouts = sum(bool(job.code) for job in held)
        log.info("tasks_out_of_time", timed_out=timeouts, stopped=len(held) - timeouts)
    return len(fallen)


def _cancel(job: Fallen, grace_seconds: float) -> Cancel:
    if job.code == server_moves.RUN_TIMEOUT:
        return Cancel(job.lease.token(), "its run_timeout is over", grace_seconds, CancelCause.RUN_TIMEOUT)
    return Cancel(job.lease.token(), "it was silent for too long", grace_seconds, CancelCause.PROGRESS_TIMEOUT)


async def _let_go(hall: Hall, session_keys: Sequence[int]) -> int:
    let_go = await hall.store.run(CloseDrained(session_keys, chance=random.random()))
    for emptied in let_go:
        hall.workers.drained(emptied.session_key, emptied.leases)
        hall.dispatcher.nudge(emptied.ready_queues)
        log.info("worker_drained", session=emptied.session_id, tasks_released=len(emptied.leases))
    return len(let_go)
