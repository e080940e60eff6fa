"""Every pair of state and move: those of the table are reached by the pure functions, all others refused or ignored."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from jobhall.states import HELD_STATES, WAITING_STATES, FailureKind, JobState
from jobhall_server.domain import moves, server_moves, worker_moves
from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.job import JobRecord, Lease, LeaseState
from jobhall_server.domain.moves import MOVES, Decision, JobUpdate, Refusal
from jobhall_server.domain.rules import RetryPolicy, Rules
from jobhall_server.domain.session import Disposition
from jobhall_server.domain.worker_moves import NO_RESULT_DIGEST
from tests.support.job_records import LEASE, LOST, NOW, SECOND, STATES, TERMINAL, job_record, saved

S = JobState
DIGEST = 99
SESSION = 5
AT_ONCE = Rules(RetryPolicy(initial_delay_us=0)).text()
"""A job that is tried again without delay."""
Move = Callable[[JobRecord, Lease], tuple[Decision, Values]]


def _fail(job: JobRecord, lease: Lease, *, retryable: bool | None) -> tuple[Decision, Values]:
    return worker_moves.fail(
        job, lease, DIGEST, kind=FailureKind.APPLICATION, code="BAD", now=NOW, chance=0.5, retryable=retryable
    )


def _release(job: JobRecord, lease: Lease, *, delay_us: int = 0) -> tuple[Decision, Values]:
    return worker_moves.release(job, lease, DIGEST, now=NOW, chance=0.5, delay_us=delay_us)


def _due(job: JobRecord) -> tuple[Decision, Values]:
    return server_moves.fall_due(job, NOW + 10 * SECOND, 0.5)


def _too_late(job: JobRecord) -> bool:
    """Whether it waits and its time to begin is over by then."""
    return job.state in WAITING_STATES and job.start_deadline is not None and not job.attempt


def _update(job: JobRecord, **new: Any) -> tuple[Decision, Values]:
    return moves.update(job, JobUpdate(frozenset(new), **new), NOW)


def _moved(decided: tuple[Decision, Values], job: JobRecord) -> tuple[Decision, Values]:
    """The decision, None where it leaves the job in its state."""
    decision, values = decided
    return (None, ()) if isinstance(decision, Change) and decision.target is job.state else (decision, values)


def _resume(job: JobRecord, lease: Lease, *, started: bool) -> tuple[Decision, Values]:
    resumed = server_moves.resume(job, lease, session_key=SESSION, started=started, now=NOW)
    return resumed.change, resumed.values


WAYS: dict[str, tuple[Move, ...]] = {
    "accept": (lambda job, lease: worker_moves.accept(job, lease, NOW),),
    "return": (server_moves.return_undelivered,),
    "release": (_release, lambda job, lease: _release(job, lease, delay_us=SECOND)),
    "complete": (
        lambda job, lease: worker_moves.complete(job, lease, DIGEST),
        lambda job, lease: worker_moves.complete(job, lease, NO_RESULT_DIGEST),
    ),
    "fail": (
        lambda job, lease: _fail(job, lease, retryable=False),
        lambda job, lease: _fail(job, lease, retryable=True),
        lambda job, lease: _fail(job, lease, retryable=None),
    ),
    "lose": (
        lambda job, _: server_moves.lose(job, confirmed=True),
        lambda job, _: server_moves.lose(job, confirmed=False),
    ),
    "take back": (lambda job, lease: _resume(job, lease, started=True),),
    "time out": (lambda job, _: _due(job) if job.state is S.RUNNING else (None, ()),),
    "fall due": (lambda job, _: _due(job) if job.state is S.SCHEDULED and not _too_late(job) else (None, ()),),
    "expire": (lambda job, _: _due(job) if _too_late(job) else (None, ()),),
    "stop": (lambda job, _: _due(job) if job.state is S.CANCELLING else (None, ()),),
    "cancel": (lambda job, _: moves.cancel(job, reason="why", by="who", stop_at=NOW + SECOND),),
    "retry": (lambda job, _: (moves.retry(job), ()),),
    "update": (
        lambda job, _: _moved(_update(job, schedule_at=NOW + SECOND), job),
        lambda job, _: _moved(_update(job, schedule_at=None), job),
    ),
}
"""The pure function of each move, with every choice that its caller has."""

LIFE: dict[JobState, frozenset[JobState]] = {
    S.SCHEDULED: frozenset({S.PENDING, S.CANCELLED, S.FAILED, S.RUNNING}),
    S.PENDING: frozenset({S.SCHEDULED, S.CLAIMED, S.CANCELLED, S.FAILED, S.RUNNING}),
    S.CLAIMED: frozenset({S.RUNNING, S.PENDING, S.SCHEDULED, S.FAILED, S.CANCELLED}),
    S.RUNNING: frozenset({S.COMPLETED, S.FAILED, S.SCHEDULED, S.PENDING, S.CANCELLING}),
    S.CANCELLING: frozenset({S.CANCELLED, S.COMPLETED, S.FAILED}),
    S.COMPLETED: frozenset(),
    S.FAILED: frozenset({S.PENDING}),
    S.CANCELLED: frozenset({S.PENDING}),
}
"""What may follow what for a watcher, as the design's table of states has it. A late completion may skip RUNNING."""


def variants(state: JobState) -> Iterator[JobRecord]:
    """Every kind of job that can be in that state, as far as the moves can tell them apart."""
    leases = (LeaseState.SPENT, *LOST) if state in WAITING_STATES else (None,)
    timed = state in (S.CLAIMED, S.RUNNING)
    for lease, losses, attempt, rules in product(leases, (0, 2), (1, 4), (None, AT_ONCE)):
        for due_at in (None, NOW) if timed else (None,):
            yield job_record(state, lease=lease, worker_losses=losses, attempt=attempt, rules=rules, due_at=due_at)
    if state in (*WAITING_STATES, S.CLAIMED):
        due_at = None if state is S.CLAIMED else NOW + SECOND
        yield job_record(state, attempt=0, due_at=due_at, start_deadline=NOW + SECOND)


PAIRS = [(move, state) for move in MOVES if move != "claim" for state in STATES]


@pytest.mark.parametrize(("move", "state"), PAIRS)
def test_a_move_leads_exactly_where_the_table_says(move: str, state: JobState) -> None:
    decided = [way(job, LEASE)[0] for job in variants(state) for way in WAYS[move]]

    changes = [decision for decision in decided if isinstance(decision, Change)]
    assert {change.target for change in changes} == MOVES[move].get(state, frozenset())
    assert {change.source for change in changes} <= {state}


@pytest.mark.parametrize("state", STATES)
def test_only_the_states_that_wait_for_a_time_have_one(state: JobState) -> None:
    """A due time that outlives its state would move the job on once more; one that is missing would hold it."""
    for job in variants(state):
        for way in (way for ways in WAYS.values() for way in ways):
            decision, values = way(job, LEASE)
            if isinstance(decision, Change):
                after = saved(job, decision, values).record
                waits = after.state in (S.SCHEDULED, S.CANCELLING)
                if after.state is S.PENDING and not after.attempt:
                    assert after.due_at == after.start_deadline
                else:
                    assert (after.due_at is not None) == waits or (job.due_at is not None and after.state is job.state)


def test_every_move_but_the_claim_is_a_pure_function() -> None:
    """The claim's selection is SQL; the lifecycle machine in tests/storage holds it to the table."""
    assert set(WAYS) == set(MOVES) - {"claim"}


@pytest.mark.parametrize(("move", "state"), PAIRS)
def test_a_change_is_complete_and_told_to_watchers_in_an_order_they_may_see(move: str, state: JobState) -> None:
    for job in variants(state):
        for way in WAYS[move]:
            decision, values = way(job, LEASE)
            if isinstance(decision, Change):
                after = saved(job, decision, values).record

                assert (after.lease == LeaseState.OPEN) == (after.state in HELD_STATES)
                assert after.state not in TERMINAL or after.lease == LeaseState.SPENT
                assert after.fence == job.fence
                told = [told_state for _, told_state in decision.events]
                assert told
                assert told[-1] is decision.target
                late = move == "complete" and state in WAITING_STATES
                for before, then in zip([state, *told], told, strict=False):
                    assert then in LIFE[before] or (late and then is S.COMPLETED)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("move", ["accept", "release", "complete", "fail"])
def test_a_report_on_a_token_of_another_claim_is_refused(move: str, state: JobState) -> None:
    others = (LEASE._replace(fence=LEASE.fence - 1), LEASE._replace(fence=LEASE.fence + 1), LEASE._replace(nonce=1))

    for job in variants(state):
        for other in others:
            assert {way(job, other)[0] for way in WAYS[move]} == {Refusal.LEASE_LOST}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("move", ["return", "take back"])
def test_a_timer_or_a_hello_with_a_token_of_another_claim_changes_nothing(move: str, state: JobState) -> None:
    job, other = job_record(state), LEASE._replace(fence=LEASE.fence - 1)

    assert [way(job, other)[0] for way in WAYS[move]] == [None]


@pytest.mark.parametrize("state", TERMINAL)
@pytest.mark.parametrize("move", ["accept", "release", "complete", "fail"])
def test_no_report_changes_a_job_that_has_ended(move: str, state: JobState) -> None:
    assert {way(job_record(state), LEASE)[0] for way in WAYS[move]} == {Refusal.LEASE_LOST}


def test_no_report_finds_a_job_that_was_deleted() -> None:
    lost = (Refusal.LEASE_LOST, ())

    assert worker_moves.accept(None, LEASE, NOW) == lost
    assert worker_moves.complete(None, LEASE, DIGEST) == lost
    assert worker_moves.fail(None, LEASE, DIGEST, kind=FailureKind.APPLICATION, code="", now=NOW, chance=0) == lost
    assert worker_moves.release(None, LEASE, DIGEST, now=NOW, chance=0) == lost
    assert server_moves.return_undelivered(None, LEASE) == (None, ())
    assert server_moves.resume(None, LEASE, session_key=SESSION, started=True, now=NOW).disposition is Disposition.LOST


@pytest.mark.parametrize(
    ("state", "refusal"),
    [(state, Refusal.JOB_RUNNING if state in HELD_STATES else None) for state in STATES],
)
def test_a_job_is_deleted_only_while_no_worker_holds_it(state: JobState, refusal: Refusal | None) -> None:
    assert moves.delete(job_record(state)) is refusal


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        (S.COMPLETED, Refusal.JOB_TERMINAL),
        (S.FAILED, Refusal.JOB_TERMINAL),
        (S.CANCELLED, None),
        (S.CANCELLING, None),
    ],
)
def test_a_cancel_that_comes_too_late_is_refused_or_already_done(state: JobState, answer: Refusal | None) -> None:
    assert moves.cancel(job_record(state), reason="why", by="who", stop_at=NOW) == (answer, ())


@pytest.mark.parametrize("state", [S.SCHEDULED, S.PENDING, S.CLAIMED, S.RUNNING])
def test_a_cancel_keeps_who_wanted_it_and_why(state: JobState) -> None:
    job = job_record(state)

    change, values = moves.cancel(job, reason="why", by="who", stop_at=NOW)

    assert isinstance(change, Change)
    assert saved(job, change, values).shown["cancel_reason"] == "why"
    assert saved(job, change, values).shown["cancelled_by"] == "who"


@pytest.mark.parametrize("state", [S.RUNNING, S.CANCELLING])
def test_a_second_accept_changes_nothing(state: JobState) -> None:
    assert worker_moves.accept(job_record(state), LEASE, NOW) == (None, ())


@dataclass(frozen=True, slots=True)
class Lost:
    """A lease whose session is lost, and whether its attempt is counted already."""

    lease: LeaseState
    counted: bool


AFTER_LOSS = [Lost(LeaseState.LOST_UNSTARTED, counted=False), Lost(LeaseState.LOST_STARTED, counted=True)]


@pytest.mark.parametrize("lost", AFTER_LOSS)
@pytest.mark.parametrize("state", [S.PENDING, S.SCHEDULED])
def test_a_completion_after_the_session_was_lost_is_taken_and_counts_its_attempt_once(
    state: JobState, lost: Lost
) -> None:
    job = job_record(state, lease=lost.lease, attempt=1)

    change, values = worker_moves.complete(job, LEASE, DIGEST)

    assert isinstance(change, Change)
    after = saved(job, change, values).record
    assert after.state is S.COMPLETED
    assert after.attempt == (1 if lost.counted else 2)
    assert [state for _, state in change.events] == ([S.COMPLETED] if lost.counted else [S.RUNNING, S.COMPLETED])


@pytest.mark.parametrize("lost", AFTER_LOSS)
def test_a_failure_or_release_after_the_session_was_lost_is_acknowledged_without_effect(lost: Lost) -> None:
    job = job_record(S.PENDING, lease=lost.lease)

    assert {way(job, LEASE)[0] for way in (*WAYS["fail"], *WAYS["release"])} == {None}


@pytest.mark.parametrize("lost", AFTER_LOSS)
def test_every_other_word_after_the_session_was_lost_is_refused(lost: Lost) -> None:
    job = job_record(S.PENDING, lease=lost.lease)

    assert worker_moves.accept(job, LEASE, NOW) == (Refusal.LEASE_LOST, ())


@pytest.mark.parametrize("state", [S.CLAIMED, S.RUNNING, S.CANCELLING])
@pytest.mark.parametrize("move", ["complete", "fail", "release"])
def test_an_outcome_sent_again_is_ok_and_another_one_a_conflict(move: str, state: JobState) -> None:
    job = job_record(state)
    change, values = WAYS[move][0](job, LEASE)
    assert isinstance(change, Change)

    after = saved(job, change, values).record

    assert WAYS[move][0](after, LEASE) == (None, ())
    assert worker_moves.complete(after, LEASE, DIGEST + 1) == (Refusal.RESULT_CONFLICT, ())
    assert worker_moves.release(after, LEASE, DIGEST + 1, now=NOW, chance=0) == (Refusal.RESULT_CONFLICT, ())
    assert worker_moves.accept(after, LEASE, NOW)[0] is Refusal.LEASE_LOST


def test_a_completion_without_a_result_sent_again_is_ok_and_one_with_a_result_a_conflict() -> None:
    job = job_record(S.RUNNING)
    change, values = worker_moves.complete(job, LEASE, NO_RESULT_DIGEST)
    assert isinstance(change, Change)

    after = saved(job, change, values).record

    assert worker_moves.complete(after, LEASE, NO_RESULT_DIGEST) == (None, ())
    assert worker_moves.complete(after, LEASE, DIGEST) == (Refusal.RESULT_CONFLICT, ())


def test_a_recorded_release_is_still_answered_when_the_job_was_claimed_anew() -> None:
    job = job_record(S.RUNNING, outcome_fence=LEASE.fence, outcome_digest=DIGEST)
    job.fence, job.nonce = LEASE.fence + 1, 5

    assert worker_moves.release(job, LEASE, DIGEST, now=NOW, chance=0) == (None, ())
    assert worker_moves.release(job, LEASE, DIGEST + 1, now=NOW, chance=0) == (Refusal.RESULT_CONFLICT, ())
    assert worker_moves.accept(job, LEASE, NOW)[0] is Refusal.LEASE_LOST


@pytest.mark.parametrize(("state", "move"), [(S.CLAIMED, "return"), (S.CANCELLING, "stop")])
def test_a_token_is_spent_by_a_return_to_the_queue_and_by_the_end_of_the_grace(state: JobState, move: str) -> None:
    job = job_record(state)
    change, values = WAYS[move][0](job, LEASE)
    assert isinstance(change, Change)

    after = saved(job, change, values).record

    assert {way(after, LEASE)[0] for name in ("accept", "complete", "fail", "release") for way in WAYS[name]} == {
        Refusal.LEASE_LOST
    }


def test_completions_without_a_result_share_one_change() -> None:
    first, _ = worker_moves.complete(job_record(S.RUNNING), LEASE, NO_RESULT_DIGEST)
    second, _ = worker_moves.complete(job_record(S.RUNNING), LEASE, NO_RESULT_DIGEST)

    assert first is second
