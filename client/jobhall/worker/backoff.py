"""How long a worker waits before it opens the next stream."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from jobhall.limits import RECONNECT_BACKOFF_MAX
from jobhall.retry import CallRetry

_BACKOFF: Final = CallRetry(delay_first=timedelta(milliseconds=200))
_TRIES_PER_SESSION: Final = 3
"""At least so many within a session's time to live: else what is held would run again though a server was there."""


def reconnect_seconds(
    tries: int,
    *,
    session_seconds: float,
    retry_after: timedelta | None = None,
    draw: Callable[[], float] = random.random,
) -> float:
    """Full jitter; `tries` is how many streams in a row were not welcomed, `retry_after` the server's own word."""
    ceiling = min(RECONNECT_BACKOFF_MAX.total_seconds(), session_seconds / _TRIES_PER_SESSION)
    backoff = replace(_BACKOFF, delay_max=timedelta(seconds=ceiling))
    seconds = backoff.backoff_seconds(tries + 1, draw=draw)
    if retry_after is not None:
        seconds += retry_after.total_seconds()
    return min(seconds, RECONNECT_BACKOFF_MAX.total_seconds())
