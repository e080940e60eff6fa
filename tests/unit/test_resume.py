"""What a worker that comes back is told of each task that it holds, row by row of the design's late results."""

import pytest

from jobhall.states import EventType, JobState
from jobhall_server.domain import server_moves, worker_moves
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import JobRecord, LeaseState
from jobhall_server.domain.rules import Rules
from jobhall_server.domain.server_moves import Resumed
from jobhall_server.domain.session import Disposition
from tests.support.job_records import LEASE, NOW, SECOND, job_record, saved

S = JobState
OWN, OTHER = 5, 6
"""The session of every held record, and the one that a worker opens when its own has expired."""


def resume(job: JobRecord, *, started: bool = True, session_key: int = OWN) -> Resumed:
    return server_moves.resume(job, LEASE, session_key=session_key, started=started, now=NOW)


def after(job: JobRecord, resumed: Resumed) -> JobRecord:
    return job if resumed.change is None else saved(job, resumed.change, resumed.values).record


@pytest.mark.parametrize(
    ("state", "started", "disposition", "target", "attempts"),
    [
        (S.CLAIMED, False, Disposition.KEEP, S.CLAIMED, 0),
        (S.CLAIMED, True, Disposition.KEEP, S.RUNNING, 1),
        (S.RUNNING, True, Disposition.KEEP, S.RUNNING, 0),
        (S.RUNNING, False, Disposition.KEEP, S.RUNNING, 0),
        (S.CANCELLING, True, Disposition.CANCEL, S.CANCELLING, 0),
    ],
)
@pytest.mark.parametrize("session_key", [OWN, OTHER])
def test_what_is_still_its_own_a_worker_keeps_under_its_old_session_and_under_a_new_one(
    state: JobState, started: bool, disposition: Disposition, target: JobState, attempts: int, session_key: int
) -> None:
    job = job_record(state)

    resumed = resume(job, started=started, session_key=session_key)

    then = after(job, resumed)
    assert resumed.disposition is disposition
    assert (then.state, then.session_key, then.lease) == (target, session_key, LeaseState.OPEN)
    assert then.attempt == job.attempt + attempts


@pytest.mark.parametrize("state", [S.PENDING, S.SCHEDULED])
@pytest.mark.parametrize(("lease", "attempts"), [(LeaseState.LOST_STARTED, 0), (LeaseState.LOST_UNSTARTED, 1)])
def test_what_was_lost_with_its_session_is_taken_back_on_the_same_attempt(
    state: JobState, lease: LeaseState, attempts: int
) -> None:
    job = job_record(state, lease=lease, worker_losses=1, attempt=1)

    resumed = resume(job, session_key=OTHER)

    then = after(job, resumed)
    assert resumed.disposition is Disposition.KEEP
    assert (then.state, then.session_key, then.lease, then.due_at) == (S.RUNNING, OTHER, LeaseState.OPEN, None)
    assert (then.attempt, then.worker_losses) == (1 + attempts, 0)
    assert resumed.change is not None
    assert resumed.change.events == ((EventType.RUNNING, S.RUNNING),)


def test_a_delivery_that_was_never_begun_is_not_taken_back_from_the_queue() -> None:
    job = job_record(S.PENDING, lease=LeaseState.LOST_UNSTARTED)

    assert resume(job, started=False) == Resumed(Disposition.LOST)


def test_what_timed_out_is_to_be_stopped_and_never_taken_back() -> None:
    job = job_record(S.PENDING, lease=LeaseState.TIMED_OUT)

    assert resume(job) == Resumed(Disposition.CANCEL)


def test_an_outcome_that_is_on_record_is_kept_so_that_its_resend_finds_its_ack() -> None:
    job = job_record(S.COMPLETED, outcome_fence=LEASE.fence, outcome_digest=9)

    assert resume(job) == Resumed(Disposition.KEEP)
    assert worker_moves.complete(job, LEASE, 9) == (None, ())


@pytest.mark.parametrize("state", [S.CLAIMED, S.RUNNING, S.PENDING, S.FAILED, S.CANCELLED])
def test_a_job_that_went_on_without_it_is_lost(state: JobState) -> None:
    job = job_record(state)
    job.fence += 1

    assert resume(job) == Resumed(Disposition.LOST)


def test_a_task_that_could_not_be_heard_gets_its_whole_silence_anew() -> None:
    rules = Rules(progress_timeout_us=5 * SECOND).text()
    job = job_record(S.RUNNING, rules=rules, started_at=NOW - 60 * SECOND, due_at=NOW - 55 * SECOND)

    then = after(job, resume(job))

    assert then.due_at == NOW + 5 * SECOND


def test_the_run_timeout_goes_on_while_the_stream_is_away() -> None:
    rules = Rules(run_timeout_us=90 * SECOND).text()
    job = job_record(S.PENDING, lease=LeaseState.LOST_STARTED, rules=rules, started_at=NOW - 60 * SECOND)

    then = after(job, resume(job))

    assert then.due_at == NOW + 30 * SECOND


@pytest.mark.parametrize("state", [S.CLAIMED, S.RUNNING])
def test_after_the_session_is_lost_a_completion_is_taken_once_and_another_claim_ends_that(state: JobState) -> None:
    job = job_record(state)
    change, values = server_moves.lose(job, confirmed=True)
    assert isinstance(change, Change)
    lost = saved(job, change, values).record

    taken, digest = worker_moves.complete(lost, LEASE, 9)
    lost.fence += 1
    too_late, _ = worker_moves.complete(lost, LEASE, 9)

    assert isinstance(taken, Change)
    assert taken.target is S.COMPLETED
    assert digest == (9,)
    assert not isinstance(too_late, Change)
    assert too_late is not None
