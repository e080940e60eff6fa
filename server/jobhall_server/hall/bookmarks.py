"""Which watchers have heard nothing for a while: they are woken for a bookmark, a few at a time."""

from __future__ import annotations

import asyncio
from math import ceil

from jobhall_server.hall.watch_queue import Subscription

TICK_SECONDS = 0.05
QUIET_SECONDS = 9.2
"""After about so long without a word a bookmark comes."""
QUIET_SECONDS_MIN = 6.0
QUIET_SECONDS_MAX = 9.5
"""Between these it may come sooner or later, so that thousands that were opened at once are not all told at once."""


class Bookmarks:
    """The watchers that wait, those first that have heard nothing for the longest. One timer serves them all."""

    def __init__(self) -> None:
        self._told_at: dict[Subscription, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def told(self, subscription: Subscription) -> None:
        """It has just heard something, and waits."""
        loop = asyncio.get_running_loop()
        self._told_at.pop(subscription, None)
        self._told_at[subscription] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(TICK_SECONDS, self._tick)

    def forget(self, subscription: Subscription) -> None:
        """It waits no more."""
        self._told_at.pop(subscription, None)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        # As many as make the round in time, and whoever has to hear something now.
        share = ceil(len(self._told_at) * TICK_SECONDS / QUIET_SECONDS)
        due = []
        for place, (subscription, told_at) in enumerate(self._told_at.items()):
            if told_at > now - (QUIET_SECONDS_MIN if place < share else QUIET_SECONDS_MAX):
                break
            due.append(subscription)
        for subscription in due:
            # It comes back when it waits again; one that writes to a client which does not read takes no turns.
            del self._told_at[subscription]
            subscription.wake()
        self._timer = loop.call_later(TICK_SECONDS, self._tick) if self._told_at else None
