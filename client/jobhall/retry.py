"""When a call is tried again, and after how long: pure decisions, shared by both clients, streams and workers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from jobhall.api_error import ApiError, Code
from jobhall.limits import WATCH_SILENCE_MAX

_AGAIN_CODES = frozenset({Code.UNAVAILABLE, Code.CANCELLED})
"""Nobody answered, the server is stopping or its database away; or it cancelled the call, as a full one does.

A call may be sent twice unless it says otherwise (`Call.repeatable`): a submit carries a job_id chosen here, a verb on
many jobs goes on with the next of them, a report names its lease, and most others are idempotent by nature.
"""


@dataclass(frozen=True, slots=True)
class CallRetry:
    """Exponential back-off with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015)."""

    attempts_max: int = 10
    """Tries in all; 1 means never again."""
    delay_first: timedelta = timedelta(milliseconds=100)
    """The ceiling of the first delay; it doubles with each further one."""
    delay_max: timedelta = timedelta(seconds=2)
    silence_max: timedelta = WATCH_SILENCE_MAX
    """A watch that hears nothing for so long is opened anew, from where it was."""

    def delay_seconds(
        self,
        error: ApiError,
        *,
        attempt: int,
        remaining_seconds: float | None,
        draw: Callable[[], float] = random.random,
    ) -> float | None:
        """How long to wait after this failure of the attempt (from 1), or None when the error is the answer.

        `remaining_seconds` is what is left until the caller's deadline; `draw` gives a number in [0, 1).
        """
        if attempt >= self.attempts_max or not may_try_again(error):
            return None
        delay = self.backoff_seconds(attempt, draw=draw)
        if error.retry_after is not None:
            # The server knows best when; the jitter keeps its callers apart.
            delay += error.retry_after.total_seconds()
        if remaining_seconds is not None and delay >= remaining_seconds:
            return None
        return delay

    def backoff_seconds(self, attempt: int, *, draw: Callable[[], float] = random.random) -> float:
        """The delay after the attempt (from 1) alone, for those who never give up."""
        ceiling = self.delay_first.total_seconds() * 2.0 ** min(attempt - 1, 30)
        return draw() * min(self.delay_max.total_seconds(), ceiling)


def may_try_again(error: ApiError) -> bool:
    """Whether the same call may succeed later without anybody changing it."""
    if error.code in _AGAIN_CODES:
        return True
    if error.code is Code.INTERNAL and not error.reason:
        # Not the server's word, which has a reason, but gRPC's own: a connection died in the middle of a call.
        return True
    # A full queue or a rate limit says with RetryInfo that it passes; a watcher limit does not.
    return error.code is Code.RESOURCE_EXHAUSTED and error.retry_after is not None


def passes(error: ApiError) -> bool:
    """The same for one who is patient: the call's own time may have been over as well."""
    return may_try_again(error) or error.code is Code.DEADLINE_EXCEEDED
