"""Schedules, deadlines and updates: when a job that waits is moved on, and what a caller may change of it."""

import pytest

from jobhall.states import EventType, FailureKind, JobState
from jobhall_server.domain import moves, server_moves, worker_moves
from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.job import JobRecord, LeaseState, NewJob
from jobhall_server.domain.moves import Decision, JobUpdate, Refusal
from tests.support.job_records import LEASE, NOW, SECOND, STATES, TERMINAL, Saved, job_record, saved

S = JobState
E = EventType
LATER = NOW + 60 * SECOND
WAITING = [S.SCHEDULED, S.PENDING]
HELD = [S.CLAIMED, S.RUNNING, S.CANCELLING]


def taken(job: JobRecord, decided: tuple[Decision, Values]) -> Saved:
    decision, values = decided
    assert isinstance(decision, Change)
    return saved(job, decision, values)


def update(job: JobRecord, **new: object) -> tuple[Decision, Values]:
    return moves.update(job, JobUpdate(frozenset(new), **new), NOW)  # type: ignore[arg-type]


def events(decided: tuple[Decision, Values]) -> list[tuple[EventType, JobState]]:
    assert isinstance(decided[0], Change)
    return list(decided[0].events)


# --- where a submit begins ---


@pytest.mark.parametrize(
    ("schedule_at", "start_deadline", "entry"),
    [
        (None, None, (S.PENDING, None)),
        (NOW, None, (S.PENDING, None)),
        (NOW - 1, None, (S.PENDING, None)),
        (NOW + 1, None, (S.SCHEDULED, NOW + 1)),
        (None, LATER, (S.PENDING, LATER)),
        (NOW - 1, LATER, (S.PENDING, LATER)),
        (NOW + 1, LATER, (S.SCHEDULED, NOW + 1)),
    ],
)
def test_a_submit_begins_where_its_schedule_says(
    schedule_at: int | None, start_deadline: int | None, entry: tuple[JobState, int | None]
) -> None:
    assert NewJob("id", 1, 1, schedule_at=schedule_at, start_deadline=start_deadline).entry(NOW) == entry


# --- start_deadline ---


@pytest.mark.parametrize("state", WAITING)
def test_a_job_that_nobody_began_in_time_has_failed_as_expired(state: JobState) -> None:
    job = job_record(state, attempt=0, due_at=NOW, start_deadline=NOW)

    decided = server_moves.fall_due(job, NOW, 0.5)

    after = taken(job, decided)
    assert events(decided) == [(E.FAILED, S.FAILED)]
    assert (after.record.state, after.record.due_at, after.record.lease) == (S.FAILED, None, LeaseState.SPENT)
    assert (after.shown["failure_kind"], after.shown["failure_code"]) == (FailureKind.EXPIRED, "START_DEADLINE")
    assert after.shown["ended_at"] == NOW


def test_a_scheduled_job_that_becomes_ready_waits_for_its_deadline_next() -> None:
    job = job_record(S.SCHEDULED, attempt=0, due_at=NOW, start_deadline=LATER)

    after = taken(job, server_moves.fall_due(job, NOW, 0.5))

    assert (after.record.state, after.record.due_at) == (S.PENDING, LATER)


def test_a_job_whose_first_attempt_began_expires_no_more() -> None:
    running = job_record(S.RUNNING, attempt=1, start_deadline=NOW + 1)

    after = taken(running, server_moves.lose(running, confirmed=True)).record

    assert (after.state, after.due_at) == (S.PENDING, None)
    assert server_moves.fall_due(after, LATER, 0.5) == (None, ())


@pytest.mark.parametrize("give_back", ["return", "release", "lose"])
def test_a_delivery_that_comes_back_before_it_began_still_has_its_deadline(give_back: str) -> None:
    job = job_record(S.CLAIMED, attempt=0, start_deadline=LATER)
    decided = {
        "return": lambda: server_moves.return_undelivered(job, LEASE),
        "release": lambda: worker_moves.release(job, LEASE, 9, now=NOW, chance=0.5),
        "lose": lambda: server_moves.lose(job, confirmed=False),
    }[give_back]()

    assert taken(job, decided).record.due_at == LATER


@pytest.mark.parametrize("state", [S.FAILED, S.CANCELLED])
def test_a_retry_forgets_the_deadline(state: JobState) -> None:
    job = job_record(state, start_deadline=NOW - 1)

    assert taken(job, (moves.retry(job), ())).record.start_deadline is None


# --- updates ---


@pytest.mark.parametrize("state", WAITING)
def test_a_new_schedule_sends_a_waiting_job_to_scheduled_or_back(state: JobState) -> None:
    job = job_record(state, attempt=0)

    later, now, at_once = update(job, schedule_at=LATER), update(job, schedule_at=NOW), update(job, schedule_at=None)

    assert (taken(job, later).record.state, taken(job, later).record.due_at) == (S.SCHEDULED, LATER)
    for decided in (now, at_once):
        assert (taken(job, decided).record.state, taken(job, decided).record.due_at) == (S.PENDING, None)


def test_a_change_of_state_by_an_update_is_told_as_such_and_any_other_as_updated() -> None:
    scheduled, pending = job_record(S.SCHEDULED), job_record(S.PENDING)

    assert events(update(scheduled, schedule_at=None)) == [(E.READY, S.PENDING)]
    assert events(update(pending, schedule_at=LATER)) == [(E.SCHEDULED, S.SCHEDULED)]
    assert events(update(pending, schedule_at=None)) == [(E.UPDATED, S.PENDING)]
    assert events(update(pending, labels="{}")) == [(E.UPDATED, S.PENDING)]
    both = events(update(pending, schedule_at=LATER, labels="{}"))
    assert both == [(E.UPDATED, S.PENDING), (E.SCHEDULED, S.SCHEDULED)]


def test_a_scheduled_job_keeps_its_time_when_something_else_is_changed() -> None:
    job = job_record(S.SCHEDULED, due_at=LATER)

    for decided in (update(job, priority=5), update(job, labels=None), update(job, start_deadline=LATER + 1)):
        assert (taken(job, decided).record.state, taken(job, decided).record.due_at) == (S.SCHEDULED, LATER)


def test_a_new_deadline_is_what_a_pending_job_waits_for_until_it_is_taken_away() -> None:
    job = job_record(S.PENDING, attempt=0)

    given = taken(job, update(job, start_deadline=LATER)).record
    taken_away = taken(given, update(given, start_deadline=None)).record

    assert (given.due_at, taken_away.due_at) == (LATER, None)


@pytest.mark.parametrize("state", [*HELD, *TERMINAL])
@pytest.mark.parametrize("field", ["priority", "schedule_at", "start_deadline"])
def test_the_turn_of_a_job_is_changed_only_while_it_waits_for_it(state: JobState, field: str) -> None:
    refusal = Refusal.JOB_TERMINAL if state in TERMINAL else Refusal.JOB_RUNNING

    assert update(job_record(state), **{field: 1}) == (refusal, ())
    assert update(job_record(state), **{field: 1, "labels": "{}"}) == (refusal, ())


@pytest.mark.parametrize("state", STATES)
def test_labels_and_access_are_changed_in_every_state_and_move_nothing(state: JobState) -> None:
    job = job_record(state, start_deadline=LATER)

    after = taken(job, update(job, labels='{"a":"b"}', access="[2]"))

    assert (after.record.state, after.record.due_at, after.record.lease) == (state, job.due_at, job.lease)
    assert (after.record.labels, after.record.access) == ('{"a":"b"}', "[2]")
    assert after.record.revision == job.revision + 1
