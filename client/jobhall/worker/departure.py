"""The steps by which a worker leaves: stop what still runs, give it back, be gone; each at its time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

STOP_SECONDS: Final = 1.0
"""For handlers to end once they are told, at the end of a drain."""
FAREWELL_SECONDS: Final = 2.0
"""For the last reports to be acked, and for the stream to end."""


class Departure:
    """Knows no clock: `now` comes in. To be asked often; nothing is due before `begin`."""

    def __init__(self, *, stop: Callable[[], None], abandon: Callable[[], None], be_gone: Callable[[], None]) -> None:
        self._actions: Sequence[Callable[[], None]] = (stop, abandon, be_gone)
        self._steps: deque[tuple[float, Callable[[], None]]] = deque()
        self._stop_at: float | None = None

    def begin(self, now: float, *, drain_seconds: float) -> bool:
        """Lets handlers go on for so long at most; whether that is sooner than before, if it had begun."""
        stop_at = now + drain_seconds
        if self._stop_at is not None and stop_at >= self._stop_at:
            return False
        self._stop_at = stop_at
        times = (stop_at, stop_at + STOP_SECONDS, stop_at + STOP_SECONDS + FAREWELL_SECONDS)
        self._steps = deque(zip(times, self._actions, strict=True))
        return True

    def take(self, now: float) -> bool:
        """Takes the steps that are due; whether there was one."""
        taken = False
        while self._steps and self._steps[0][0] <= now:
            self._steps.popleft()[1]()
            taken = True
        return taken
