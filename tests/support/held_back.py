"""Many units as one commit group, as they are behind a busy writer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jobhall_server.hall.store import Group, Store
from tests.support.stores import Act


@asynccontextmanager
async def held_back(store: Store) -> AsyncIterator[None]:
    """Units queued in the block wait for each other, as they do behind a busy writer."""
    loop, held, go = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def hold(_: Group) -> None:
        loop.call_soon_threadsafe(held.set)
        go.wait(10)

    holding = store.run(Act(hold))
    await held.wait()
    try:
        yield
    finally:
        go.set()
        await holding
