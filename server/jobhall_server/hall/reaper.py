"""The net under everything that waits for somebody: once a second it moves on what its owner's death left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from jobhall_server.domain.session import SessionState
from jobhall_server.hall.leases import LoseTasks
from jobhall_server.hall.sessions import MoveSessions

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall

log = structlog.get_logger(__name__)

JOBS_PER_PASS = 1000
"""What `Reads.expired` names at a time; a pass that moved so many on is followed by another at once."""


async def reap(hall: Hall) -> int:
    """One pass; answers how many jobs it moved on.

    Sessions of a replica that is gone are detached as of now, sessions detached for longer than their time to live are
    lost, and what lost sessions hold goes back to the queue, at most JOBS_PER_PASS jobs a pass.
    """
    ttl_us = int(hall.settings.stream.session_ttl_seconds * 1_000_000)
    expired = await hall.store.reads.expired(ttl_us=ttl_us)
    if expired.stale:
        count = await hall.store.run(MoveSessions(expired.stale, SessionState.ATTACHED, SessionState.DETACHED))
        log.info("sessions_detached", count=count, why="their replica is gone")
    newly_lost = expired.sessions
    if newly_lost:
        count = await hall.store.run(MoveSessions(newly_lost, SessionState.DETACHED, SessionState.LOST))
        log.warning("sessions_lost", count=count, after_seconds=hall.settings.stream.session_ttl_seconds)
        expired = await hall.store.reads.expired(ttl_us=ttl_us)
    held = dict(expired.held)
    for session_key in set(newly_lost).difference(held.values()):
        hall.workers.forget_session(session_key)
    if not held:
        return 0
    confirmed = {job_key for job_key, session in held.items() if job_key in hall.workers.confirmed(session)}
    ready = await hall.store.run(LoseTasks(held, confirmed=confirmed))
    hall.dispatcher.nudge(ready)
    for session_key in set(held.values()):
        hall.workers.forget_session(session_key)
    log.warning("tasks_lost", count=len(held), queues=len(ready))
    return len(held)
