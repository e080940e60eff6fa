"""Watches everything that happens to a server's jobs, to be compared with the server's log."""

from __future__ import annotations

import asyncio
from typing import Self

import jobhall
from jobhall.states import EventType
from tests.support.stored import Stored
from tests.support.waiting import eventually_async

NOT_LOGGED = {EventType.PROGRESS, EventType.LOG, EventType.ENTERED, EventType.LEFT}
LOGGED = [kind for kind in EventType if kind and kind not in NOT_LOGGED]
FIRST_SECONDS = 10
LAST_SECONDS = 15


class Onlooker:
    """A watch from the very first event on, within a block."""

    def __init__(self, client: jobhall.AsyncClient) -> None:
        self._client = client
        self._seen: list[tuple[str, int, EventType]] = []
        self._opened = asyncio.Event()

    async def has_missed_nothing(self, stored: Stored) -> None:
        """Whoever watched has seen the log, the whole log, in its order, and nothing else."""
        events = stored.events()
        await eventually_async(
            lambda: len(self._seen) >= len(events), within=LAST_SECONDS, what="the watch has seen it all"
        )
        assert self._seen == events

    async def __aenter__(self) -> Self:
        self._watcher = asyncio.create_task(self._watch())
        await asyncio.wait_for(self._opened.wait(), FIRST_SECONDS)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._watcher.cancel()
        await asyncio.wait([self._watcher])

    async def _watch(self) -> None:
        async for update in self._client.jobs.watch(namespace="-", event_types=LOGGED):
            self._opened.set()
            self._seen.extend((event.job_id, event.revision, event.event_type) for event in update.events)
