"""Keeps the leases of an async queue or worker alive; `keeper` is its twin."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from jobhall.aio_driver import AsyncDriver
from jobhall.errors import ApiError
from jobhall.procedures import Procedure
from jobhall.queue.keeper import PROGRESS_SECONDS
from jobhall.queue.leases import Leases

T = TypeVar("T")


class AsyncLeaseKeeper:
    """Renews the leases in a task of its own, which begins with the first claim, and sends what progress there is."""

    def __init__(self, driver: AsyncDriver, leases: Leases) -> None:
        self.leases = leases
        leases.woken = self.wake
        self._driver = driver
        self._woken = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def run(self, procedure: Procedure[T]) -> T:
        """Does what the procedure asks for; from the first one on the leases are kept."""
        if self._task is None and not self._closing.is_set():
            self._task = asyncio.create_task(self._keep(), name="jobhall-leases")
        return await self._driver.run(procedure)

    def wake(self) -> None:
        """There is progress to be sent."""
        self._woken.set()

    async def close(self) -> None:
        """Renews no more."""
        self._closing.set()
        self._woken.set()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _keep(self) -> None:
        beat_at = monotonic() + self.leases.beat_seconds
        while not self._closing.is_set():
            await _passed(self._woken, max(0.0, beat_at - monotonic()))
            self._woken.clear()
            try:
                if not self._closing.is_set():
                    await self._driver.run(self.leases.say())
                if monotonic() >= beat_at:
                    beat_at = monotonic() + self.leases.beat_seconds
                    await self._driver.run(self.leases.beat())
            except ApiError:
                # The connection was closed; everything else is dealt with where it happens.
                return
            await _passed(self._closing, PROGRESS_SECONDS)


async def _passed(event: asyncio.Event, seconds: float) -> None:
    """The event is set, or the time is over."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
