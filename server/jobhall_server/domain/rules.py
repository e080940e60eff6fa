"""The rules that a job brings along for its attempts: when to try again, and how long one may run or be silent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from functools import lru_cache

from jobhall.limits import RETRY_INITIAL_DELAY, RETRY_JITTER, RETRY_MAX_DELAY, RETRY_MULTIPLIER

INITIAL_DELAY_US = RETRY_INITIAL_DELAY // timedelta(microseconds=1)
MAX_DELAY_US = RETRY_MAX_DELAY // timedelta(microseconds=1)
_GOLDEN_RATIO = 0.6180339887498949


class Backoff(IntEnum):
    """How the delay grows from one failure to the next; numbers as in the contract."""

    EXPONENTIAL = 1
    LINEAR = 2
    FIXED = 3


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Whether and when a failed attempt is followed by another; `jitter` is the share of each delay that is random."""

    backoff: Backoff = Backoff.EXPONENTIAL
    initial_delay_us: int = INITIAL_DELAY_US
    max_delay_us: int = MAX_DELAY_US
    multiplier: float = RETRY_MULTIPLIER
    jitter: float = RETRY_JITTER
    non_retryable_codes: tuple[str, ...] = ()

    def delay_us(self, failures: int, chance: float) -> int:
        """How long to wait after so many failures (from 1); `chance` in 0..1 is the random part, drawn by the caller.

        Full delays are d, d·m, d·m², … (exponential), d, 2d, 3d, … (linear) or d, d, d, …, none above the cap; what
        is waited lies between (1 - jitter) and 1 of that.
        """
        if self.backoff is Backoff.EXPONENTIAL:
            # The power alone may be too large for a float; the cap is reached long before.
            grown = self.initial_delay_us * self.multiplier ** min(failures - 1, 64)
        elif self.backoff is Backoff.LINEAR:
            grown = float(self.initial_delay_us * failures)
        else:
            grown = float(self.initial_delay_us)
        return int(min(grown, float(self.max_delay_us)) * (1.0 - self.jitter * chance))


@dataclass(frozen=True, slots=True)
class Rules:
    """What a job says of its attempts; microseconds, None: without bound."""

    retry: RetryPolicy = RetryPolicy()
    run_timeout_us: int | None = None
    progress_timeout_us: int | None = None

    def text(self) -> str | None:
        """As it is stored: canonical JSON of what differs from the defaults; None when nothing does."""
        if self == NO_RULES:
            return None
        retry = self.retry
        said = {
            "backoff": int(retry.backoff),
            "initial": retry.initial_delay_us,
            "max": retry.max_delay_us,
            "multiplier": retry.multiplier,
            "jitter": retry.jitter,
            "codes": list(retry.non_retryable_codes),
        }
        told = {"retry": said} if retry != NO_RULES.retry else {}
        timeouts = {"run": self.run_timeout_us, "progress": self.progress_timeout_us}
        return json.dumps(told | {name: us for name, us in timeouts.items() if us is not None}, separators=(",", ":"))

    def deadline(self, *, started_at: int, now: int) -> int | None:
        """When an attempt that was heard of now is over unless it is heard of again; None: never."""
        ends = []
        if self.run_timeout_us is not None:
            ends.append(started_at + self.run_timeout_us)
        if self.progress_timeout_us is not None:
            ends.append(now + self.progress_timeout_us)
        return min(ends, default=None)


NO_RULES = Rules()
"""Those of a job that says nothing: tried again with exponential delays, without time limits."""


def chance_of(job_key: int, drawn: float) -> float:
    """The random part (0..1) for one of several jobs that fail together, of the one number `drawn` for all of them:
    by steps of the golden ratio, so that they are spread evenly and come back apart.
    """
    return (drawn + job_key * _GOLDEN_RATIO) % 1.0


@lru_cache(maxsize=1024)
def rules_of(text: str | None) -> Rules:
    """The rules that `Rules.text` wrote."""
    if text is None:
        return NO_RULES
    said = json.loads(text)
    retry = said.get("retry")
    return Rules(
        NO_RULES.retry
        if retry is None
        else RetryPolicy(
            Backoff(retry["backoff"]),
            retry["initial"],
            retry["max"],
            retry["multiplier"],
            retry["jitter"],
            tuple(retry["codes"]),
        ),
        said.get("run"),
        said.get("progress"),
    )
