"""The time as the server sees it; a test brings its own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for what is stored and shown, monotonic time for timers."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds of a clock that is never set back."""


class WrittenTime:
    """The time that a store writes and compares with what it wrote: the clock's, but never before `last_us`, which was
    written already. Where the machine's clock was set back it goes on from there by the monotonic one, or whatever is
    due would wait until the clock has caught up.
    """

    def __init__(self, clock: Clock, *, last_us: int) -> None:
        self._clock = clock
        self._last = (last_us, clock.monotonic())

    def __call__(self) -> int:
        now, at = self._clock.now_us(), self._clock.monotonic()
        last, since = self._last
        if now < last:
            now = last + max(0, int((at - since) * 1e6))
        self._last = (now, at)
        return now


class SystemClock:
    """The machine's own clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()
