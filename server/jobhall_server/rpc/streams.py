"""A stream as its handler sees it, and the two halves of one as tasks that end together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any

import grpc

_LAST_WRITE_SECONDS = 5.0


class Stream:
    """Reading and writing, by one task each.

    A task must not be cancelled while it writes: gRPC goes on with the write, refuses the status that ends the call
    ("too many operations"), and the caller waits until its deadline. So whoever cancels a writer closes the stream
    first, which waits for the write under way and lets no other one begin.
    """

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.read = context.read
        self._context = context
        self._closed = False
        self._writing = False
        self._writing_since = 0.0
        self._written: asyncio.Event | None = None

    def stuck(self, *, seconds: float) -> bool:
        """Whether its caller has taken nothing for so long, though there is something."""
        return self._writing and asyncio.get_running_loop().time() >= self._writing_since + seconds

    async def write(self, message: Any) -> None:
        """Send a message; on a closed stream the writer is cancelled."""
        if self._closed:
            raise asyncio.CancelledError
        self._writing, self._writing_since = True, asyncio.get_running_loop().time()
        try:
            await self._context.write(message)
        finally:
            self._writing = False
            if self._written is not None:
                self._written.set()

    async def close(self) -> None:
        """Let no more writes begin, and wait for the one under way, though not for a caller that reads no more."""
        self._closed = True
        if self._writing:
            self._written = asyncio.Event()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._written.wait(), _LAST_WRITE_SECONDS)


async def until_either_ends(
    stream: Stream, writing: Coroutine[None, None, None], reading: Coroutine[None, None, None]
) -> None:
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
        await end(tasks, stream)


async def end(tasks: Iterable[asyncio.Future[Any]], stream: Stream | None) -> None:
    """Close the stream, then cancel what served it.

    gRPC cancels a handler when its caller goes away, also while the handler waits here for a write that will fail: it
    must not leave before that, or nobody sees the tasks' errors and asyncio complains of them.
    """

    async def end_all() -> None:
        if stream is not None:
            await stream.close()
        await cancel_all(tasks)

    ending = asyncio.create_task(end_all())
    try:
        await asyncio.shield(ending)
    except asyncio.CancelledError:
        await ending
        raise


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
