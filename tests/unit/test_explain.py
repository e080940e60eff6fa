"""Why a job waits: every kind of reason from what causes it, the weightiest first, and what would help."""

from typing import Any

import pytest

from jobhall.states import FailureKind, JobState, WaitReasonKind
from jobhall_server.domain.job import TaskView
from jobhall_server.hall.explain import AHEAD_MAX, Candidate, JobExplanation, Surroundings, explain
from jobhall_server.hall.roster import WorkerState
from tests.support.job_views import job_view

SECOND = 1_000_000
JOB_ID = job_view().job_id
THEN = 1_769_860_800 * SECOND
"""2026-01-31T12:00:00Z."""


def worker(name: str = "w1", **facts: Any) -> Candidate:
    return Candidate(**{"name": name, "job_types": ("resize",), "namespaces": ("default",), "serves": True, **facts})


def of(state: JobState = JobState.PENDING, *candidates: Candidate, **columns: Any) -> JobExplanation:
    return explain(job_view(state, **columns), Surroundings(candidates))


def kinds(explanation: JobExplanation) -> list[WaitReasonKind]:
    return [reason.kind for reason in explanation.reasons]


def test_nothing_keeps_a_job_that_a_worker_has_room_for() -> None:
    explanation = of(JobState.PENDING, worker())

    assert explanation.reasons == ()
    assert "about to be given" in explanation.summary


def test_without_any_worker_one_is_to_be_started() -> None:
    explanation = of()

    (reason,) = explanation.reasons
    assert reason.kind is WaitReasonKind.NO_WORKER
    assert "No worker serves resize in the namespace default" in reason.message
    assert "Start a worker" in reason.suggestion
    assert reason.metadata == {"job_type": "resize", "namespace": "default", "workers": "0"}
    assert explanation.summary == reason.message


def test_workers_of_the_type_in_another_namespace_are_named() -> None:
    elsewhere = worker(namespaces=("blue", "green"), serves=False)

    (reason,) = of(JobState.PENDING, elsewhere).reasons

    assert reason.kind is WaitReasonKind.NO_WORKER
    assert reason.metadata["other_namespaces"] == "blue, green"
    assert "blue, green" in reason.suggestion


def test_the_nearest_type_that_workers_serve_is_named() -> None:
    (reason,) = of(JobState.PENDING, worker(job_types=("public:resise",), serves=False)).reasons

    assert reason.metadata["nearest"] == "resise"
    assert "Is resise meant" in reason.suggestion


def test_a_worker_of_the_name_in_another_scope_is_told_apart() -> None:
    (reason,) = of(JobState.PENDING, worker(job_types=("public:resize",), serves=False)).reasons

    assert reason.kind is WaitReasonKind.NO_WORKER
    assert "another scope" in reason.suggestion


def test_workers_that_drain_or_are_away_are_none() -> None:
    (reason,) = of(
        JobState.PENDING, worker("going", state=WorkerState.DRAINING), worker("gone", state=WorkerState.DETACHED)
    ).reasons

    assert reason.kind is WaitReasonKind.NO_WORKER
    assert "1 draining and 1 without connection (going, gone)" in reason.message
    assert (reason.metadata["draining"], reason.metadata["detached"]) == ("1", "1")


def test_workers_without_room_are_counted() -> None:
    (reason,) = of(JobState.PENDING, worker("a", free=0, tasks_max=4), worker("b", free=0, tasks_max=2)).reasons

    assert reason.kind is WaitReasonKind.NO_CAPACITY
    assert (reason.metadata["workers"], reason.metadata["tasks_max"]) == ("2", "6")


def test_a_paused_type_weighs_more_than_missing_workers() -> None:
    explanation = explain(job_view(), Surroundings(type_paused=True))

    assert kinds(explanation) == [WaitReasonKind.TYPE_PAUSED, WaitReasonKind.NO_WORKER]
    assert "jobhall type resume resize" in explanation.reasons[0].suggestion


def test_a_job_of_an_inactive_batch_is_held_back() -> None:
    explanation = explain(job_view(held_back=True, batch_id="b"), Surroundings([worker()], batch_inactive=True))

    (reason,) = explanation.reasons
    assert reason.kind is WaitReasonKind.BATCH_INACTIVE
    assert reason.metadata == {"batch_id": "b"}


def test_a_scheduled_job_passes_by_itself() -> None:
    explanation = of(JobState.SCHEDULED, worker(free=0), schedule_at=THEN, due_at=THEN)

    (reason,) = explanation.reasons
    assert (reason.kind, reason.until_at) == (WaitReasonKind.NOT_DUE, THEN)
    assert explanation.summary == "It is scheduled for 2026-01-31T12:00:00Z."


def test_a_job_that_backs_off_tells_after_which_failure() -> None:
    (reason,) = of(
        JobState.SCHEDULED,
        worker(),
        due_at=THEN,
        attempt=2,
        failure_kind=FailureKind.APPLICATION,
        failure_code="RATE_LIMITED",
    ).reasons

    assert (reason.kind, reason.until_at) == (WaitReasonKind.BACKING_OFF, THEN)
    assert reason.message == ("Attempt 2 of 4 failed (RATE_LIMITED): it is tried again at 2026-01-31T12:00:00Z.")
    assert reason.metadata["failure_code"] == "RATE_LIMITED"


def test_a_job_given_back_for_later_is_not_due() -> None:
    (reason,) = of(JobState.SCHEDULED, worker(), due_at=THEN).reasons

    assert (reason.kind, reason.until_at) == (WaitReasonKind.NOT_DUE, THEN)
    assert "gave it back" in reason.message


def test_a_scheduled_job_without_worker_would_wait_on() -> None:
    explanation = of(JobState.SCHEDULED, schedule_at=THEN, due_at=THEN)

    assert kinds(explanation) == [WaitReasonKind.NOT_DUE, WaitReasonKind.NO_WORKER]


@pytest.mark.parametrize(("ahead", "said"), [(1, "1 job comes"), (7, "7 jobs come"), (AHEAD_MAX, "10000 or more")])
def test_jobs_that_come_first_are_counted(ahead: int, said: str) -> None:
    explanation = explain(job_view(), Surroundings([worker(free=0)], jobs_ahead=ahead))

    assert kinds(explanation) == [WaitReasonKind.NO_CAPACITY, WaitReasonKind.BEHIND_OTHERS]
    assert explanation.jobs_ahead == ahead
    assert said in explanation.reasons[1].message
    assert explanation.reasons[1].metadata["jobs_ahead"] == str(ahead)


def test_sessions_that_gave_it_back_are_named() -> None:
    (reason,) = of(JobState.PENDING, worker("picky", barred=True)).reasons

    assert reason.kind is WaitReasonKind.SESSIONS_EXCLUDED
    assert "picky" in reason.message
    assert reason.metadata["excluded"] == "1"


def test_where_only_excluded_workers_have_room_both_reasons_are_told() -> None:
    explanation = of(JobState.PENDING, worker("picky", barred=True), worker("busy", free=0))

    assert kinds(explanation) == [WaitReasonKind.SESSIONS_EXCLUDED, WaitReasonKind.NO_CAPACITY]


def test_an_excluded_worker_does_not_matter_while_another_has_room() -> None:
    assert of(JobState.PENDING, worker("picky", barred=True), worker("free")).reasons == ()


def test_a_job_that_lost_its_worker_waits_for_one_without_such_a_job() -> None:
    suspect = worker(holds_lost=True)

    (reason,) = of(JobState.PENDING, suspect, worker_losses=2).reasons

    assert reason.kind is WaitReasonKind.POISON_SUSPECT
    assert "2 times" in reason.message
    assert of(JobState.PENDING, suspect, worker("clean"), worker_losses=2).reasons == ()
    assert of(JobState.PENDING, suspect).reasons == ()


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (JobState.CLAIMED, "was given to the worker w1"),
        (JobState.RUNNING, "The worker w1 runs it since 2026-01-31T12:00:00Z, attempt 2"),
        (JobState.CANCELLING, "w1 was asked to stop"),
    ],
)
def test_a_job_that_a_worker_holds_does_not_wait(state: JobState, said: str) -> None:
    task = TaskView(2, 7, "w1", "session", claimed_at=THEN, started_at=None if state is JobState.CLAIMED else THEN)

    explanation = of(state, current_task=task, due_at=THEN + SECOND)

    (reason,) = explanation.reasons
    assert reason.kind is WaitReasonKind.NOT_WAITING
    assert said in explanation.summary
    assert (reason.metadata["worker"], reason.metadata["session_id"]) == ("w1", "session")
    assert reason.until_at == (THEN + SECOND if state is JobState.CANCELLING else None)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"state": JobState.COMPLETED}, "It is COMPLETED since 2026-01-31T12:00:00Z."),
        (
            {"state": JobState.FAILED, "failure_kind": FailureKind.TIMEOUT, "failure_code": "RUN_TIMEOUT"},
            ": RUN_TIMEOUT.",
        ),
        ({"state": JobState.CANCELLED, "cancelled_by": "ann"}, ", by ann."),
    ],
)
def test_a_job_that_has_ended_does_not_wait(columns: dict[str, Any], said: str) -> None:
    explanation = of(**columns, ended_at=THEN)

    assert kinds(explanation) == [WaitReasonKind.NOT_WAITING]
    assert said in explanation.summary


@pytest.mark.parametrize(
    ("explanation", "command"),
    [
        (explain(job_view(batch_id="b7"), Surroundings([worker()], batch_inactive=True)), "batch update b7 --active"),
        (of(JobState.SCHEDULED, worker(), schedule_at=THEN, due_at=THEN), f"update {JOB_ID} --at now"),
        (of(JobState.SCHEDULED, worker(), due_at=THEN), f"update {JOB_ID} --at now"),
        (of(JobState.FAILED, ended_at=THEN), f"retry {JOB_ID}"),
        (of(JobState.CANCELLED, ended_at=THEN), f"retry {JOB_ID}"),
    ],
)
def test_what_a_command_would_do_is_told_as_that_command(explanation: JobExplanation, command: str) -> None:
    """Some suggestions named a call of the contract, which nobody can paste at night."""
    assert explanation.reasons[0].suggestion.endswith(f": jobhall {command}")
