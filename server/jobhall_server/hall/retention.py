"""What is removed when it is old: the event log at its old end, and sessions that are over; in small steps."""

from __future__ import annotations

from jobhall.limits import EVENT_LOG_AGE
from jobhall_server.hall.store import Group, Store, Unit

CUT_EVERY_SECONDS = 60.0
ROWS_PER_STEP = 1000
_AGE_US = int(EVENT_LOG_AGE.total_seconds()) * 1_000_000


class _Cut(Unit[int]):
    """After what the other units of the group decided, so that nobody waits for it."""

    after_save = True

    def decide(self, group: Group) -> int:
        return group.cut_old(before=group.now - _AGE_US, limit=ROWS_PER_STEP)


async def cut_what_is_old(store: Store) -> int:
    """Remove events, and sessions that are over, from more than 24 hours ago; answers how many rows. Deleting jobs
    removes no event, so this is the only end that the log has.
    """
    removed = 0
    while step := await store.run(_Cut()):
        removed += step
    return removed
