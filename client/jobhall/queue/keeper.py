"""Keeps the leases of a blocking queue or worker alive; `aio_keeper` is its twin."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Final, TypeVar

from jobhall.client_driver import Driver
from jobhall.errors import ApiError
from jobhall.procedures import Procedure
from jobhall.queue.leases import Leases

T = TypeVar("T")
PROGRESS_SECONDS: Final = 0.2
"""Between two reports of progress."""


class LeaseKeeper:
    """Renews the leases in a thread of its own, which begins with the first claim, and sends what progress there is."""

    def __init__(self, driver: Driver, leases: Leases) -> None:
        self.leases = leases
        leases.woken = self.wake
        self._driver = driver
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def run(self, procedure: Procedure[T]) -> T:
        """Does what the procedure asks for; from the first one on the leases are kept."""
        with self._starting:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._keep, name="jobhall-leases", daemon=True)
                self._thread.start()
        return self._driver.run(procedure)

    def wake(self) -> None:
        """There is progress to be sent."""
        self._woken.set()

    def close(self) -> None:
        """Renews no more."""
        self._closing.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join()

    def _keep(self) -> None:
        beat_at = monotonic() + self.leases.beat_seconds
        while not self._closing.is_set():
            self._woken.wait(max(0.0, beat_at - monotonic()))
            self._woken.clear()
            try:
                if not self._closing.is_set():
                    self._driver.run(self.leases.say())
                if monotonic() >= beat_at:
                    beat_at = monotonic() + self.leases.beat_seconds
                    self._driver.run(self.leases.beat())
            except ApiError:
                # The connection was closed; everything else is dealt with where it happens.
                return
            self._closing.wait(PROGRESS_SECONDS)
