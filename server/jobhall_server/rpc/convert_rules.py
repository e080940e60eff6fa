"""A job's rules for its attempts, pb2 ↔ domain: retry policy and timeouts, each bound checked and named."""

from __future__ import annotations

import math
from datetime import timedelta
from functools import lru_cache
from types import MappingProxyType

from google.protobuf.duration_pb2 import Duration

from jobhall.errors import FieldInvalidError
from jobhall.limits import (
    CODE_BYTES_MAX,
    NON_RETRYABLE_CODES_MAX,
    RETENTION_MAX,
    RETRY_JITTER,
    RETRY_MULTIPLIER,
    RULE_DURATION_MAX,
)
from jobhall.v1 import job_pb2
from jobhall_server.domain.rules import (
    INITIAL_DELAY_US,
    MAX_DELAY_US,
    Backoff,
    RetryPolicy,
    Rules,
)
from jobhall_server.hall.checks import check_count, check_text
from jobhall_server.rpc.convert import duration, seconds_of

_BACKOFFS = MappingProxyType(
    {
        job_pb2.BACKOFF_STRATEGY_UNSPECIFIED: Backoff.EXPONENTIAL,
        job_pb2.BACKOFF_STRATEGY_EXPONENTIAL: Backoff.EXPONENTIAL,
        job_pb2.BACKOFF_STRATEGY_LINEAR: Backoff.LINEAR,
        job_pb2.BACKOFF_STRATEGY_FIXED: Backoff.FIXED,
    }
)


def rules_out(rules: Rules, message: job_pb2.Job) -> None:
    """Writes the policy, defaults spelled out, and the timeouts into the job."""
    message.retry_policy.CopyFrom(policy_out(rules.retry))
    if rules.run_timeout_us is not None:
        message.run_timeout.CopyFrom(duration(rules.run_timeout_us / 1e6))
    if rules.progress_timeout_us is not None:
        message.progress_timeout.CopyFrom(duration(rules.progress_timeout_us / 1e6))


@lru_cache(maxsize=256)
def policy_out(retry: RetryPolicy) -> job_pb2.RetryPolicy:
    """The policy, defaults spelled out; not to be changed."""
    # Made once: nearly every job has the same, and each answer to a submit shows it.
    return job_pb2.RetryPolicy(
        strategy=int(retry.backoff),  # type: ignore[arg-type]  # equal numbers, proven by a test
        initial_delay=duration(retry.initial_delay_us / 1e6),
        max_delay=duration(retry.max_delay_us / 1e6),
        multiplier=retry.multiplier,
        jitter=retry.jitter,
        non_retryable_codes=retry.non_retryable_codes,
    )


def span_in(message: Duration, field: str, longest: timedelta = RULE_DURATION_MAX) -> int:
    """Microseconds from zero to a year; FieldInvalidError."""
    seconds, most = seconds_of(message, field), longest.total_seconds()
    if seconds > most:
        raise FieldInvalidError(field, f"is {seconds:g} s; the longest is {most:g} s")
    return round(seconds * 1e6)


def retention_in(message: Duration, field: str) -> int:
    """Microseconds from zero to a hundred years; FieldInvalidError."""
    return span_in(message, field, RETENTION_MAX)


def timeout_in(message: Duration, field: str) -> int:
    """Microseconds from one to a year; FieldInvalidError."""
    us = span_in(message, field)
    if not us:
        raise FieldInvalidError(field, "is 0 s; leave it out for no timeout")
    return us


def policy_in(message: job_pb2.RetryPolicy, field: str) -> RetryPolicy:
    """The policy, with defaults for what it does not say; FieldInvalidError."""
    backoff = _BACKOFFS.get(message.strategy)
    if backoff is None:
        raise FieldInvalidError(f"{field}.strategy", f"{message.strategy} is no strategy")
    multiplier = message.multiplier or RETRY_MULTIPLIER
    if not (math.isfinite(multiplier) and 1 <= multiplier <= 100):
        raise FieldInvalidError(f"{field}.multiplier", f"is {multiplier:g}; it must lie in 1..100")
    jitter = message.jitter if message.HasField("jitter") else RETRY_JITTER
    if not 0 <= jitter <= 1:
        raise FieldInvalidError(f"{field}.jitter", f"is {jitter:g}; it must lie in 0..1")
    check_count(len(message.non_retryable_codes), NON_RETRYABLE_CODES_MAX, f"{field}.non_retryable_codes")
    for place, code in enumerate(message.non_retryable_codes):
        check_text(code, CODE_BYTES_MAX, f"{field}.non_retryable_codes[{place}]")
    initial = INITIAL_DELAY_US
    if message.HasField("initial_delay"):
        initial = span_in(message.initial_delay, f"{field}.initial_delay")
    longest = max(initial, MAX_DELAY_US)
    if message.HasField("max_delay"):
        longest = span_in(message.max_delay, f"{field}.max_delay")
        if message.HasField("initial_delay") and longest < initial:
            raise FieldInvalidError(f"{field}.max_delay", "is shorter than initial_delay")
    return RetryPolicy(backoff, initial, longest, multiplier, jitter, tuple(message.non_retryable_codes))
