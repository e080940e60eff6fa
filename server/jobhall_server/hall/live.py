"""Progress and log lines on their way to watchers: at most ten a second of each job, and the last one always."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from jobhall_server.hall.watch_queue import LIVE, LiveEvents, Place, WatchEvent

LIVE_EVERY_SECONDS = 0.1
"""How often watchers are told of one job's progress, and of its log; what comes between is merged."""


class Throttle:
    """Tells the first at once; what follows too soon waits for its time, and the latest of it is told."""

    def __init__(self, tell: Callable[[WatchEvent], None]) -> None:
        self._tell = tell
        self._waiting = LiveEvents()
        self._rests: dict[Place, float] = {}
        """Until when a place has to rest, by the loop's clock; the soonest first."""
        self._timer: asyncio.TimerHandle | None = None

    def publish(self, event: WatchEvent) -> None:
        """Tell it, now or soon."""
        if Place.of(event.row) in self._rests:
            self._waiting.put(event)
        else:
            self._tell_now(event)

    def flush(self, job_key: int, attempt: int) -> None:
        """Tell at once what waits of an attempt: it has ended."""
        if not self._waiting:
            return
        for event_type in LIVE:
            event = self._waiting.pop(Place(event_type, job_key, attempt))
            if event is not None:
                self._tell(event)

    def _tell_now(self, event: WatchEvent) -> None:
        loop = asyncio.get_running_loop()
        self._rests[Place.of(event.row)] = due = loop.time() + LIVE_EVERY_SECONDS
        if self._timer is None:
            self._timer = loop.call_at(due, self._rested)
        self._tell(event)

    def _rested(self) -> None:
        loop = asyncio.get_running_loop()
        now, self._timer = loop.time(), None
        rested = []
        for place, due in self._rests.items():
            if due > now:
                self._timer = loop.call_at(due, self._rested)
                break
            rested.append(place)
        for place in rested:
            del self._rests[place]
        for place in rested:
            event = self._waiting.pop(place)
            if event is not None:
                self._tell_now(event)
