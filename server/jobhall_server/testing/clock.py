"""The clock of a server under test: the machine's, which a test may set forward."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from jobhall.spans import seconds
from jobhall_server.hall.clock import SystemClock


class AheadClock(SystemClock):
    """Wall time so many microseconds ahead of the machine's. Monotonic time goes on as ever: streams live by it, and a
    worker that is there does not fall silent because a test moves the time.
    """

    def __init__(self, ahead_us: int = 0) -> None:
        self.ahead_us = ahead_us

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us

    def set_ahead(self, by_us: int) -> None:
        """Set it ahead by so much more."""
        self.ahead_us += by_us


class ServerClock:
    """`jobhall.clock`: the time as the test's server has it. It runs on by itself."""

    def __init__(self, clock: AheadClock, advance: Callable[[int], None]) -> None:
        self._clock = clock
        self._advance = advance

    def now(self) -> datetime:
        """What time it is for the server, aware and UTC."""
        return datetime.fromtimestamp(self._clock.now_us() / 1e6, UTC)

    def advance(self, by: float | timedelta) -> None:
        """Sets it forward, by seconds or a timedelta, and returns when all that became due meanwhile has been done:
        jobs scheduled until then are PENDING, deadlines and timeouts have struck, what was kept long enough is deleted.

        Workers with a stream count as present all the while; one without, such as a JobQueue, as silent.
        """
        self._advance(round(seconds(by, field="by") * 1e6))
