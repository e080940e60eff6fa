"""The two halves of a stream, as two tasks that end together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


async def until_either_ends(writing: Coroutine[None, None, None], reading: Coroutine[None, None, None]) -> None:
    """Run both; when one returns or raises, the other is cancelled. The writer's error weighs more: it is the server's
    own word on why the stream ends.
    """
    tasks = (asyncio.create_task(writing, name="stream-writer"), asyncio.create_task(reading, name="stream-reader"))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            # Looked at, so that asyncio does not complain of an error that nobody has seen.
            task.cancelled() or task.exception()
