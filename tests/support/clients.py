"""Both clients, spoken to in the same way: what blocks runs in a thread."""

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from jobhall import AsyncClient, Client
from tests.support.queues import ASYNC, Awaited


class AwaitedClient:
    """A blocking client whose methods are awaited."""

    def __init__(self, blocking: Client) -> None:
        for name in ("jobs", "batches", "types", "workers"):
            setattr(self, name, Awaited(getattr(blocking, name)))


@asynccontextmanager
async def open_client(kind: str, address: str, **settings: Any) -> AsyncIterator[Any]:
    """A client of that kind, which is closed in the end."""
    if kind == ASYNC:
        async with AsyncClient(address, **settings) as client:
            yield client
    else:
        with Client(address, **settings) as blocking:
            yield AwaitedClient(blocking)


async def everything(found: Any) -> list[Any]:
    """All that a list of either client goes through."""
    found = await found if inspect.isawaitable(found) else found
    return [it async for it in found] if hasattr(found, "__aiter__") else list(found)
