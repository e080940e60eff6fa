"""The watches that the waits of the async client share, a task each; `client_waits` is its twin."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from jobhall.errors import ApiError
from jobhall.procedures import Await
from jobhall.waits import Group

if TYPE_CHECKING:
    from jobhall.aio_driver import AsyncDriver


class AsyncFollowers:
    """Opens what watches the waits want, and tells the waits what comes."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver
        self._tasks: set[asyncio.Task[None]] = set()

    async def wait(self, step: Await) -> None:
        """Lets the time pass until the waiter is ready."""
        ready = asyncio.Event()
        step.waiter.listen(ready.set)
        self._open(step)
        with suppress(TimeoutError):
            async with asyncio.timeout(step.seconds):
                await ready.wait()

    async def join(self) -> None:
        """Waits for the tasks, after their streams were closed."""
        while self._tasks:
            await asyncio.wait([*self._tasks])

    def _open(self, step: Await) -> None:
        # The task asks which jobs when it runs: by then all waits that begin together are there.
        if step.waits.wants_watch():
            task = asyncio.create_task(self._follow(step), name="jobhall-waits")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _follow(self, step: Await) -> None:
        try:
            if (group := step.waits.next_group()) is not None:
                await self._tell(step, group)
        finally:
            self._open(step)

    async def _tell(self, step: Await, group: Group) -> None:
        try:
            async with aclosing(self._driver.watch(group.place)) as updates:
                async for update in updates:
                    ended = step.waits.take(group, update)
                    self._open(step)
                    if ended:
                        step.waits.settle(await self._driver.run(step.fetch(ended)))
        except ApiError as error:
            step.waits.fail(group, error)
        finally:
            step.waits.close(group)
