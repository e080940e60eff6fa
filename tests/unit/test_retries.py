"""When a failed attempt is followed by another: policies, their delays, and the worker's own word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobhall.states import FailureKind, JobState
from jobhall_server.domain import moves, server_moves, worker_moves
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import JobRecord, LeaseState
from jobhall_server.domain.moves import Refusal
from jobhall_server.domain.rules import NO_RULES, Backoff, RetryPolicy, Rules, rules_of
from tests.support.job_records import LEASE, NOW, SECOND, job_record, saved

S = JobState
DIGEST = 99


def after_failure(
    job: JobRecord, *, code: str = "BAD", retryable: bool | None = None, delay_us: int | None = None
) -> JobRecord:
    change, values = worker_moves.fail(
        job,
        LEASE,
        DIGEST,
        kind=FailureKind.APPLICATION,
        code=code,
        now=NOW,
        chance=0.0,
        retryable=retryable,
        delay_us=delay_us,
    )
    assert isinstance(change, Change)
    return saved(job, change, values).record


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        (RetryPolicy(), [1, 2, 4, 8]),
        (RetryPolicy(max_delay_us=3 * SECOND), [1, 2, 3, 3]),
        (RetryPolicy(multiplier=3.0), [1, 3, 9, 27]),
        (RetryPolicy(Backoff.LINEAR, initial_delay_us=2 * SECOND), [2, 4, 6, 8]),
        (RetryPolicy(Backoff.LINEAR, max_delay_us=SECOND), [1, 1, 1, 1]),
        (RetryPolicy(Backoff.FIXED, initial_delay_us=5 * SECOND), [5, 5, 5, 5]),
    ],
)
def test_delays_grow_as_the_policy_says_up_to_its_cap(policy: RetryPolicy, seconds: list[int]) -> None:
    assert [policy.delay_us(failures, 0.0) for failures in (1, 2, 3, 4)] == [second * SECOND for second in seconds]


@given(st.integers(1, 1000), st.floats(0, 1), st.floats(0, 1))
def test_jitter_only_ever_takes_away_its_share(failures: int, chance: float, jitter: float) -> None:
    policy = RetryPolicy(jitter=jitter)
    whole = RetryPolicy(jitter=0.0).delay_us(failures, chance)

    assert (1 - jitter) * whole - 1 <= policy.delay_us(failures, chance) <= whole <= policy.max_delay_us


def test_a_failure_is_tried_again_after_its_delay_until_no_attempt_is_left() -> None:
    first = after_failure(job_record(S.RUNNING, attempt=1, max_attempts=2))
    last = after_failure(job_record(S.RUNNING, attempt=2, max_attempts=2))

    assert (first.state, first.due_at) == (S.SCHEDULED, NOW + SECOND)
    assert (last.state, last.due_at) == (S.FAILED, None)


@pytest.mark.parametrize(
    ("retryable", "code", "target"),
    [
        (None, "BAD", S.SCHEDULED),
        (None, "INVALID", S.FAILED),
        (False, "BAD", S.FAILED),
        (True, "INVALID", S.SCHEDULED),
    ],
)
def test_the_policy_names_codes_that_end_the_job_and_the_worker_has_the_last_word(
    retryable: bool | None, code: str, target: JobState
) -> None:
    rules = Rules(RetryPolicy(non_retryable_codes=("INVALID",))).text()

    assert after_failure(job_record(S.RUNNING, rules=rules), code=code, retryable=retryable).state is target


@pytest.mark.parametrize(("delay_us", "due_at"), [(7 * SECOND, NOW + 7 * SECOND), (0, None)])
def test_the_worker_may_say_when_to_try_again(delay_us: int, due_at: int | None) -> None:
    after = after_failure(job_record(S.RUNNING), delay_us=delay_us)

    assert after.state is (S.PENDING if due_at is None else S.SCHEDULED)
    assert after.due_at == due_at


def test_a_failure_of_a_task_that_was_never_accepted_counts_its_attempt() -> None:
    after = after_failure(job_record(S.CLAIMED, attempt=3, max_attempts=4))

    assert (after.state, after.attempt) == (S.FAILED, 4)


def test_a_failure_resent_after_it_was_scheduled_changes_nothing() -> None:
    after = after_failure(job_record(S.RUNNING))

    again = worker_moves.fail(
        after, LEASE, DIGEST, kind=FailureKind.APPLICATION, code="BAD", now=NOW + SECOND, chance=0.0
    )

    assert again == (None, ())


@pytest.mark.parametrize("state", [S.FAILED, S.CANCELLED])
def test_a_failure_resent_after_a_retry_by_hand_changes_nothing(state: JobState) -> None:
    """RetryJob keeps what was recorded: else the worker's resend would be told that its lease is lost, and the new
    life of the job could be taken for the old one.
    """
    job = job_record(state, attempt=4, outcome_fence=LEASE.fence, outcome_digest=DIGEST, releases=3)
    change = moves.retry(job)
    assert isinstance(change, Change)

    after = saved(job, change).record
    resent = worker_moves.fail(after, LEASE, DIGEST, kind=FailureKind.APPLICATION, code="BAD", now=NOW, chance=0.0)

    assert resent == (None, ())
    assert (after.state, after.attempt, after.worker_losses, after.releases) == (S.PENDING, 0, 0, 0)
    assert after.fence == job.fence


def test_a_completed_job_is_not_retried_and_one_that_lives_is_left_alone() -> None:
    assert moves.retry(job_record(S.COMPLETED)) is Refusal.JOB_TERMINAL
    for state in (S.SCHEDULED, S.PENDING, S.CLAIMED, S.RUNNING, S.CANCELLING):
        assert moves.retry(job_record(state)) is None


@pytest.mark.parametrize(
    ("releases", "delay_us", "due_at"),
    [
        (0, 0, None),
        (1, 0, None),
        (2, 0, NOW + SECOND),
        (3, 0, NOW + 2 * SECOND),
        (2, 9 * SECOND, NOW + 9 * SECOND),
        (0, SECOND, NOW + SECOND),
    ],
)
def test_from_the_third_release_on_a_job_backs_off(releases: int, delay_us: int, due_at: int | None) -> None:
    job = job_record(S.RUNNING, releases=releases)

    change, values = worker_moves.release(job, LEASE, DIGEST, now=NOW, chance=0.0, delay_us=delay_us)

    assert isinstance(change, Change)
    after = saved(job, change, values).record
    assert (after.due_at, after.releases) == (due_at, releases + 1)


def test_a_release_not_mine_says_that_somebody_is_excluded() -> None:
    job = job_record(S.CLAIMED)

    change, values = worker_moves.release(job, LEASE, DIGEST, now=NOW, chance=0.0, not_mine=True)

    assert isinstance(change, Change)
    assert saved(job, change, values).shown["excluded"] == 1


RUN_10S = Rules(run_timeout_us=10 * SECOND).text()
SILENT_5S = Rules(progress_timeout_us=5 * SECOND).text()
BOTH = Rules(run_timeout_us=10 * SECOND, progress_timeout_us=5 * SECOND).text()


@pytest.mark.parametrize(
    ("rules", "due_at"), [(None, None), (RUN_10S, 10), (SILENT_5S, 5), (BOTH, 5)], ids=["none", "run", "silent", "both"]
)
def test_an_accepted_attempt_has_until_its_timeouts(rules: str | None, due_at: int | None) -> None:
    job = job_record(S.CLAIMED, rules=rules)

    change, values = worker_moves.accept(job, LEASE, NOW)

    assert isinstance(change, Change)
    assert saved(job, change, values).record.due_at == (None if due_at is None else NOW + due_at * SECOND)


def test_whatever_a_task_says_puts_off_the_silence_but_never_the_run_timeout() -> None:
    job = job_record(S.RUNNING, rules=BOTH, started_at=NOW, due_at=NOW + 5 * SECOND)

    early = saved(job, *_change(worker_moves.accept(job, LEASE, NOW + 3 * SECOND))).record
    late = saved(job, *_change(worker_moves.accept(job, LEASE, NOW + 9 * SECOND))).record

    assert early.due_at == NOW + 8 * SECOND
    assert late.due_at == NOW + 10 * SECOND


@pytest.mark.parametrize(
    ("rules", "at", "code"),
    [(RUN_10S, 10, "RUN_TIMEOUT"), (SILENT_5S, 5, "PROGRESS_TIMEOUT"), (BOTH, 10, "RUN_TIMEOUT")],
)
def test_a_timeout_is_a_failure_of_its_own_kind_and_only_a_late_completion_is_taken(
    rules: str, at: int, code: str
) -> None:
    now = NOW + at * SECOND
    job = job_record(S.RUNNING, rules=rules, started_at=NOW, due_at=now)
    assert server_moves.fall_due(job, now - 1, 0.0) == (None, ())

    over = saved(job, *_change(server_moves.fall_due(job, now, 0.0)))
    after = over.record

    assert (after.state, after.lease, after.due_at) == (S.SCHEDULED, LeaseState.TIMED_OUT, now + SECOND)
    assert (over.shown["failure_kind"], over.shown["failure_code"]) == (FailureKind.TIMEOUT, code)
    assert worker_moves.accept(after, LEASE, now)[0] is Refusal.LEASE_LOST
    failed = worker_moves.fail(after, LEASE, DIGEST, kind=FailureKind.APPLICATION, code="BAD", now=now, chance=0.0)
    assert failed == (None, ())
    assert worker_moves.release(after, LEASE, DIGEST, now=now, chance=0.0) == (None, ())
    completed = saved(after, *_change(worker_moves.complete(after, LEASE, DIGEST))).record
    assert (completed.state, completed.attempt) == (S.COMPLETED, job.attempt)


def test_a_timeout_of_the_last_attempt_fails_the_job_for_good() -> None:
    job = job_record(S.RUNNING, rules=RUN_10S, attempt=4, due_at=NOW)

    after = saved(job, *_change(server_moves.fall_due(job, NOW, 0.0))).record

    assert (after.state, after.lease) == (S.FAILED, LeaseState.SPENT)
    assert worker_moves.complete(after, LEASE, DIGEST) == (Refusal.LEASE_LOST, ())


def test_a_policy_may_say_that_a_timeout_is_final() -> None:
    rules = Rules(RetryPolicy(non_retryable_codes=("RUN_TIMEOUT",)), run_timeout_us=SECOND).text()
    job = job_record(S.RUNNING, rules=rules, due_at=NOW)

    assert saved(job, *_change(server_moves.fall_due(job, NOW, 0.0))).record.state is S.FAILED


@given(
    st.builds(
        Rules,
        st.builds(
            RetryPolicy,
            st.sampled_from(Backoff),
            st.integers(0, 10**12),
            st.integers(0, 10**12),
            st.floats(1, 100),
            st.floats(0, 1),
            st.lists(st.text(max_size=5), max_size=3).map(tuple),
        ),
        st.none() | st.integers(1, 10**12),
        st.none() | st.integers(1, 10**12),
    )
)
def test_rules_are_read_as_they_were_written(rules: Rules) -> None:
    assert rules_of(rules.text()) == rules


def test_a_job_without_rules_stores_none() -> None:
    assert Rules().text() is None
    assert rules_of(None) is NO_RULES


def _change(
    decided: tuple[moves.Decision, tuple[int | str | None, ...]],
) -> tuple[Change, tuple[int | str | None, ...]]:
    decision, values = decided
    assert isinstance(decision, Change)
    return decision, values
