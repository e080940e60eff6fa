"""Tasks that serve one RPC together, and end together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


async def until_either_ends(writing: Coroutine[None, None, None], reading: Coroutine[None, None, None]) -> None:
    """Run both halves of a stream; when one returns or raises, the other is cancelled. The writer's error weighs more:
    it is the server's own word on why the stream ends.
    """
    tasks = (asyncio.create_task(writing, name="stream-writer"), asyncio.create_task(reading, name="stream-reader"))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        await cancel_all(tasks)


async def cancel_all(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel them and wait until they have ended; what they raise as they end is of no interest any more."""
    # A copy: tasks may leave the collection that the caller keeps them in as they end.
    ending = list(tasks)
    for task in ending:
        task.cancel()
    if ending:
        # Not `gather`: a cancel of the caller while it waits here must not be lost.
        await asyncio.wait(ending)
    for task in ending:
        # Looked at, so that asyncio does not complain of an error that nobody has seen.
        _ = task.cancelled() or task.exception()
