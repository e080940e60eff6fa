"""Retry policies and timeouts on the wire: what is said comes back, what cannot be said is refused by its field."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from jobhall import BackoffStrategy, RetryPolicy, Submission
from jobhall.errors import FieldInvalidError
from jobhall.v1 import job_pb2
from jobhall.wire import job_from_wire
from jobhall.wire_submissions import retry_policy_from_wire, retry_policy_to_wire, submission_to_wire
from jobhall.wire_values import span_to_wire, time_to_wire

spans = st.timedeltas(timedelta(), timedelta(days=365 * 200))
retry_policies = st.builds(
    RetryPolicy,
    strategy=st.sampled_from([strategy for strategy in BackoffStrategy if strategy]),
    initial_delay=spans,
    max_delay=st.none() | spans,
    multiplier=st.floats(1, 100),
    jitter=st.floats(0, 1),
    non_retryable_codes=st.lists(st.text(max_size=20), max_size=3).map(tuple),
)


@given(retry_policies)
def test_a_retry_policy_comes_back(policy: RetryPolicy) -> None:
    message = retry_policy_to_wire(policy, field="job.retry_policy")

    assert message is not None
    assert retry_policy_from_wire(message) == policy


def test_a_retry_policy_that_says_nothing_reads_as_the_documented_defaults() -> None:
    policy = retry_policy_from_wire(job_pb2.RetryPolicy())

    assert policy == RetryPolicy()
    assert policy.strategy is BackoffStrategy.EXPONENTIAL
    assert (policy.initial_delay, policy.max_delay) == (timedelta(seconds=1), None)
    assert (policy.multiplier, policy.jitter) == (2.0, 0.2)


@pytest.mark.parametrize(
    ("span", "why"),
    [
        (-1, "zero or more"),
        (timedelta(microseconds=-1), "zero or more"),
        (math.nan, "zero or more"),
        (math.inf, "ten thousand years"),
        (timedelta.max, "ten thousand years"),
        ("soon", "seconds or a timedelta"),
    ],
)
def test_a_span_that_no_message_can_hold_is_refused_by_name(span: Any, why: str) -> None:
    with pytest.raises(FieldInvalidError, match=why) as caught:
        span_to_wire(span, field="job.run_timeout")

    assert caught.value.violations[0].field == "job.run_timeout"


def test_a_span_is_seconds_or_a_timedelta() -> None:
    assert span_to_wire(1.5, field="grace") == span_to_wire(timedelta(seconds=1.5), field="grace")
    assert span_to_wire(0, field="grace") == Duration()
    assert span_to_wire(None, field="grace") is None


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"run_timeout": -1}, "jobs[3].run_timeout"),
        ({"progress_timeout": -1}, "jobs[3].progress_timeout"),
        ({"retry_policy": RetryPolicy(initial_delay=timedelta(-1))}, "jobs[3].retry_policy.initial_delay"),
        ({"retry_policy": RetryPolicy(max_delay=timedelta(-1))}, "jobs[3].retry_policy.max_delay"),
    ],
)
def test_a_span_in_a_submission_is_named_by_its_whole_path(options: dict[str, Any], field: str) -> None:
    with pytest.raises(FieldInvalidError) as caught:
        submission_to_wire(Submission("resize", **options), job_id="j1", field="jobs[3]")

    assert [violation.field for violation in caught.value.violations] == [field]


def test_a_job_that_is_to_run_again_reads_with_its_last_failure_and_when() -> None:
    message = job_pb2.Job(
        id="j1",
        state=job_pb2.JOB_STATE_SCHEDULED,
        error=job_pb2.JobError(kind=job_pb2.FAILURE_KIND_WORKER_LOST, retryable=True, attempt=2),
        schedule_time=time_to_wire(datetime(2026, 1, 31, tzinfo=UTC)),
        worker_losses=1,
        retry_policy=job_pb2.RetryPolicy(strategy=job_pb2.BACKOFF_STRATEGY_FIXED, non_retryable_codes=["DECLINED"]),
        run_timeout=span_to_wire(90, field="run_timeout"),
        progress_timeout=span_to_wire(5, field="progress_timeout"),
    )

    job = job_from_wire(message)

    assert job.error is not None
    assert (job.error.attempt, job.worker_losses, job.done) == (2, 1, False)
    assert job.scheduled_at == datetime(2026, 1, 31, tzinfo=UTC)
    assert job.retry_policy == RetryPolicy(strategy=BackoffStrategy.FIXED, non_retryable_codes=("DECLINED",))
    assert (job.run_timeout, job.progress_timeout) == (timedelta(seconds=90), timedelta(seconds=5))
