"""What becomes of a job from elsewhere, where the tests of ImportJobs cannot see it."""

from typing import Any

from jobhall.states import AttemptOutcome, FailureKind, JobState
from jobhall_server.domain.imports import faults, latest_fences, settled
from jobhall_server.domain.job import AttemptView, JobFailure, JobView
from tests.support.job_views import job_view

NOW = 1_800_000_000_000_000


def attempt(number: int, fence: int, outcome: AttemptOutcome = AttemptOutcome.FAILED) -> AttemptView:
    failure = JobFailure(FailureKind.TIMEOUT, "late") if outcome is AttemptOutcome.FAILED else None
    ended_at = 9 if outcome else None
    return AttemptView(number, fence, "w", "", 5, 6, ended_at, outcome, failure)


def arrived(state: JobState, *attempts: AttemptView, **columns: Any) -> JobView:
    given = job_view(state, **columns)
    assert list(faults(given, attempts, NOW)) == []
    return settled(given, attempts, NOW)[0]


def test_the_end_of_a_back_off_is_not_what_the_submit_asked_for() -> None:
    asked = arrived(JobState.SCHEDULED, schedule_at=NOW + 5)
    backs_off = arrived(JobState.SCHEDULED, attempt(1, 1), schedule_at=NOW + 5, attempt=1)

    assert (asked.schedule_at, asked.due_at) == (NOW + 5, NOW + 5)
    assert (backs_off.schedule_at, backs_off.due_at) == (None, NOW + 5)


def test_the_server_moves_on_what_it_would_have_moved_on_there() -> None:
    assert arrived(JobState.PENDING, start_deadline=NOW - 5).due_at == NOW - 5
    assert arrived(JobState.PENDING, start_deadline=NOW - 5, attempt=1).due_at is None
    assert arrived(JobState.SCHEDULED, start_deadline=NOW + 3, schedule_at=NOW + 5).due_at == NOW + 3
    assert arrived(JobState.CANCELLED, start_deadline=NOW + 3, ended_at=9).due_at is None


def test_the_fence_is_no_less_than_any_that_is_known_and_than_the_starts() -> None:
    assert arrived(JobState.PENDING).fence == 0
    assert arrived(JobState.PENDING, attempt=2).fence == 2
    assert arrived(JobState.PENDING, attempt(1, 4), attempt=2).fence == 4
    assert arrived(JobState.PENDING, attempt(1, 4), attempt=2, fence=7).fence == 7


def test_lines_go_to_the_newest_attempt_of_their_number() -> None:
    before_a_retry, again = attempt(1, 2), attempt(1, 5)
    released = attempt(2, 7, AttemptOutcome.RELEASED)
    ended = arrived(JobState.COMPLETED, attempt=2, started_at=6, ended_at=9, fence=8)

    assert latest_fences(job_view(), [before_a_retry, again, released]) == {0: 7, 1: 5, 2: 7}
    assert latest_fences(ended, [again, released]) == {0: 8, 1: 5, 2: 8}
    assert latest_fences(job_view(), []) == {}
