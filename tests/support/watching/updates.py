"""A watch of a hall as one stream of updates, without gRPC."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from jobhall_server.domain.access import ANYBODY
from jobhall_server.hall.hall import Hall
from jobhall_server.hall.watch import WatchRequest, WatchUpdate, watching


async def watch(hall: Hall, request: WatchRequest) -> AsyncGenerator[WatchUpdate, None]:
    """All that this watcher is told, the first at once."""
    async with watching(hall.feed, hall.store.reads, ANYBODY, request) as watcher, aclosing(watcher.updates()) as told:
        async for update in told:
            yield update
