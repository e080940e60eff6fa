"""The design's table of states, row by row: how a job leaves each state, and what that costs it."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from jobhall.limits import WORKER_LOSSES_MAX
from jobhall.states import AttemptOutcome, EventType, FailureKind, JobState
from jobhall_server.domain import moves, server_moves, worker_moves
from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.job import JobRecord, LeaseState
from jobhall_server.domain.moves import Decision
from tests.support.job_records import LEASE, NOW, SECOND, Saved, job_record, saved

S = JobState
E = EventType
DIGEST = 99


@dataclass(frozen=True, slots=True)
class Cost:
    """What a move adds to the job's counters, and what it leaves its lease worth."""

    lease: LeaseState
    attempt: int = 0
    losses: int = 0


FREE = Cost(LeaseState.SPENT)
COUNTED = Cost(LeaseState.SPENT, attempt=1)


def taken(job: JobRecord, decision: Decision, values: Values = ()) -> Saved:
    assert isinstance(decision, Change)
    return saved(job, decision, values)


def fail(job: JobRecord, *, retryable: bool | None = False, delay_us: int | None = None) -> tuple[Decision, Values]:
    kind = FailureKind.APPLICATION
    return worker_moves.fail(
        job, LEASE, DIGEST, kind=kind, code="BAD", now=NOW, chance=0, retryable=retryable, delay_us=delay_us
    )


def release(job: JobRecord, *, delay_us: int = 0) -> tuple[Decision, Values]:
    return worker_moves.release(job, LEASE, DIGEST, now=NOW, chance=0, delay_us=delay_us)


def after(job: JobRecord, what: str) -> tuple[Change, Saved]:
    """Do what a row of the table names."""
    ways: dict[str, Callable[[], tuple[Decision, Values]]] = {
        "accept": lambda: worker_moves.accept(job, LEASE, NOW),
        "accept timeout": lambda: server_moves.return_undelivered(job, LEASE),
        "release": lambda: release(job),
        "release, later": lambda: release(job, delay_us=SECOND),
        "complete": lambda: worker_moves.complete(job, LEASE, DIGEST),
        "fail": lambda: fail(job),
        "fail, retryable": lambda: fail(job, retryable=True),
        "fail, retryable now": lambda: fail(job, retryable=True, delay_us=0),
        "session lost": lambda: server_moves.lose(job, confirmed=True),
        "session lost unseen": lambda: server_moves.lose(job, confirmed=False),
        "cancel": lambda: moves.cancel(job, reason="why", by="who", stop_at=NOW + SECOND),
        "retry": lambda: (moves.retry(job), ()),
        "its time comes": lambda: server_moves.fall_due(job, NOW + 2 * SECOND, 0),
    }
    decision, values = ways[what]()
    assert isinstance(decision, Change)
    return decision, saved(job, decision, values)


OPEN = Cost(LeaseState.OPEN)
LIVES = Cost(LeaseState.SPENT, losses=-1)
"""The worker told an end: losses are not in a row any more."""
ROWS = [
    (S.SCHEDULED, "its time comes", [E.READY], S.PENDING, FREE),
    (S.SCHEDULED, "cancel", [E.CANCELLED], S.CANCELLED, FREE),
    (S.PENDING, "cancel", [E.CANCELLED], S.CANCELLED, FREE),
    (S.CLAIMED, "accept", [E.RUNNING], S.RUNNING, Cost(LeaseState.OPEN, attempt=1)),
    (S.CLAIMED, "accept timeout", [E.READY], S.PENDING, FREE),
    (S.CLAIMED, "release", [E.READY], S.PENDING, FREE),
    (S.CLAIMED, "release, later", [E.SCHEDULED], S.SCHEDULED, FREE),
    (S.CLAIMED, "complete", [E.RUNNING, E.COMPLETED], S.COMPLETED, COUNTED),
    (S.CLAIMED, "fail", [E.RUNNING, E.FAILED], S.FAILED, COUNTED),
    (S.CLAIMED, "fail, retryable", [E.RUNNING, E.SCHEDULED], S.SCHEDULED, Cost(LeaseState.SPENT, 1, -1)),
    (S.CLAIMED, "session lost unseen", [E.READY], S.PENDING, Cost(LeaseState.LOST_UNSTARTED)),
    (S.CLAIMED, "session lost", [E.READY], S.PENDING, Cost(LeaseState.LOST_UNSTARTED, losses=1)),
    (S.CLAIMED, "cancel", [E.CANCELLED], S.CANCELLED, FREE),
    (S.RUNNING, "complete", [E.COMPLETED], S.COMPLETED, FREE),
    (S.RUNNING, "fail", [E.FAILED], S.FAILED, FREE),
    (S.RUNNING, "fail, retryable", [E.SCHEDULED], S.SCHEDULED, LIVES),
    (S.RUNNING, "fail, retryable now", [E.READY], S.PENDING, LIVES),
    (S.RUNNING, "release", [E.READY], S.PENDING, Cost(LeaseState.SPENT, attempt=-1, losses=-1)),
    (S.RUNNING, "release, later", [E.SCHEDULED], S.SCHEDULED, Cost(LeaseState.SPENT, attempt=-1, losses=-1)),
    (S.RUNNING, "session lost", [E.READY], S.PENDING, Cost(LeaseState.LOST_STARTED, losses=1)),
    (S.RUNNING, "session lost unseen", [E.READY], S.PENDING, Cost(LeaseState.LOST_STARTED, losses=1)),
    (S.RUNNING, "cancel", [E.CANCELLING], S.CANCELLING, OPEN),
    (S.CANCELLING, "release", [E.CANCELLED], S.CANCELLED, FREE),
    (S.CANCELLING, "its time comes", [E.CANCELLED], S.CANCELLED, FREE),
    (S.CANCELLING, "session lost", [E.CANCELLED], S.CANCELLED, FREE),
    (S.CANCELLING, "fail, retryable", [E.CANCELLED], S.CANCELLED, FREE),
    (S.CANCELLING, "fail", [E.FAILED], S.FAILED, FREE),
    (S.CANCELLING, "complete", [E.COMPLETED], S.COMPLETED, FREE),
    (S.FAILED, "retry", [E.RETRIED], S.PENDING, Cost(LeaseState.SPENT, attempt=-1, losses=-1)),
    (S.CANCELLED, "retry", [E.RETRIED], S.PENDING, Cost(LeaseState.SPENT, attempt=-1, losses=-1)),
]


@pytest.mark.parametrize(
    ("state", "what", "events", "target", "cost"),
    ROWS,
    ids=lambda value: getattr(value, "name", value if isinstance(value, str) else ""),
)
def test_a_job_leaves_its_state_as_the_design_says(
    state: JobState, what: str, events: list[EventType], target: JobState, cost: Cost
) -> None:
    job = job_record(state, attempt=1, worker_losses=1)

    change, then = after(job, what)

    assert change.target is target
    assert [event for event, _ in change.events] == events
    assert then.record.attempt == job.attempt + cost.attempt
    assert then.record.worker_losses == job.worker_losses + cost.losses
    assert then.record.lease == cost.lease


@pytest.mark.parametrize("state", [S.CLAIMED, S.RUNNING])
def test_the_third_loss_in_a_row_fails_the_job_as_worker_lost(state: JobState) -> None:
    job = job_record(state, worker_losses=WORKER_LOSSES_MAX - 1)

    change, then = after(job, "session lost")

    assert [event for event, _ in change.events] == [E.FAILED]
    assert then.record.worker_losses == WORKER_LOSSES_MAX
    assert then.shown["failure_kind"] == FailureKind.WORKER_LOST
    assert then.shown["failure_code"] == "WORKER_LOSSES_EXHAUSTED"


def test_a_loss_says_why_the_attempt_ended_until_its_worker_takes_it_back() -> None:
    _, lost = after(job_record(S.RUNNING), "session lost")
    back = server_moves.resume(lost.record, LEASE, session_key=5, started=True, now=NOW)

    assert (lost.shown["failure_kind"], lost.shown["failure_code"]) == (FailureKind.WORKER_LOST, "WORKER_LOST")
    assert back.change is not None
    assert saved(lost.record, back.change, back.values).shown["failure_kind"] == FailureKind.UNSPECIFIED


def test_the_loss_of_the_last_attempt_fails_the_job() -> None:
    _, then = after(job_record(S.RUNNING, attempt=2, max_attempts=2), "session lost")

    assert then.record.state is S.FAILED
    assert then.shown["failure_code"] == "ATTEMPTS_EXHAUSTED"


def test_a_job_of_one_attempt_never_runs_twice_but_is_delivered_again_while_it_was_not_started() -> None:
    _, started = after(job_record(S.RUNNING, attempt=1, max_attempts=1), "session lost")
    _, unstarted = after(job_record(S.CLAIMED, attempt=0, max_attempts=1), "session lost")

    assert started.record.state is S.FAILED
    assert unstarted.record.state is S.PENDING


def test_a_delivery_that_the_worker_never_saw_is_never_the_loss_that_fails_a_job() -> None:
    _, then = after(job_record(S.CLAIMED, worker_losses=WORKER_LOSSES_MAX - 1), "session lost unseen")

    assert then.record.state is S.PENDING
    assert then.record.worker_losses == WORKER_LOSSES_MAX - 1


def test_a_cancelled_job_has_no_failure() -> None:
    for what in ("release", "its time comes", "session lost", "fail, retryable"):
        _, then = after(job_record(S.CANCELLING), what)

        assert "failure_kind" not in then.shown


def test_a_failed_job_says_of_which_kind_and_code() -> None:
    _, then = after(job_record(S.RUNNING), "fail")

    assert then.shown["failure_kind"] == FailureKind.APPLICATION
    assert then.shown["failure_code"] == "BAD"


def test_a_resend_of_item_errors_never_lowers_their_count() -> None:
    job = job_record(S.RUNNING)

    first_word = taken(job, *worker_moves.note_item_errors(job, 3)).record
    resent = taken(first_word, *worker_moves.note_item_errors(first_word, 2)).record
    more = taken(resent, *worker_moves.note_item_errors(resent, 5)).record

    assert [first_word.item_error_count, resent.item_error_count, more.item_error_count] == [3, 3, 5]


def test_an_accept_clears_the_item_errors_of_the_attempt_before() -> None:
    _, then = after(job_record(S.CLAIMED, item_error_count=40), "accept")

    assert then.record.item_error_count == 0


def test_a_release_takes_its_attempt_back_and_is_kept_as_history() -> None:
    """Its attempt is not counted, but who looks at the job's attempts sees that it began, and when."""
    running = job_record(S.RUNNING, start_deadline=NOW)

    change, then = after(running, "release")

    assert change.closes is AttemptOutcome.RELEASED
    assert (then.record.attempt, then.record.started_at) == (0, running.started_at)
    assert then.record.start_deadline is None


@pytest.mark.parametrize("state", [S.CLAIMED, S.RUNNING, S.CANCELLING])
def test_an_end_has_its_time_and_an_outcome_implies_the_start(state: JobState) -> None:
    _, then = after(job_record(state), "complete")

    assert then.shown["ended_at"] == NOW
    assert (then.record.started_at == NOW) == (state is S.CLAIMED)
