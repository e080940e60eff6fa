"""The five views of a job's state: every state and kind of failure in each of them, and what they ask a list for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobhall.queue
from jobhall import (
    FailureKind,
    Job,
    JobError,
    JobState,
    OperationStatus,
    ProcessingStatus,
    QueueStatus,
    StatusView,
    TaskStatus,
    UploadStatus,
)
from jobhall.errors import FieldInvalidError
from jobhall.filters import JobSelection, filter_text, filter_texts
from jobhall.statuses import alternatives
from jobhall_server.hall.views import JobFilter
from jobhall_server.rpc.filters import parse_filter

VIEWS: list[type[StatusView]] = [OperationStatus, UploadStatus, TaskStatus, QueueStatus, ProcessingStatus]
STATES = [state for state in JobState if state]
KINDS = [kind for kind in FailureKind if kind]

# By hand, so that it is told twice: what each document calls a job in that state.
BY_HAND = {
    JobState.SCHEDULED: "processing pending pending pending PENDING",
    JobState.PENDING: "processing pending pending pending PENDING",
    JobState.CLAIMED: "processing processing claimed running PROCESSING",
    JobState.RUNNING: "processing processing running running PROCESSING",
    JobState.CANCELLING: "processing processing running running PROCESSING",
    JobState.COMPLETED: "success completed completed complete COMPLETED",
    JobState.FAILED: "error failed failed failed FAILED",
    JobState.CANCELLED: "error failed cancelled cancelled FAILED",
}
BY_ITS_OWN_WORD = "failure failed failed failed FAILED"
STATUSES = st.sampled_from(VIEWS).flatmap(lambda view: st.sets(st.sampled_from(list(view)), min_size=1))
JOBS = st.builds(
    lambda state, kind: job(state, kind if state is JobState.FAILED else None),
    st.sampled_from(STATES),
    st.sampled_from(KINDS),
)


def job(state: JobState, kind: FailureKind | None = None) -> Job:
    error = None if kind is None else JobError(kind=kind)
    return Job(id="j1", namespace="default", job_type="resize", state=state, error=error)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", STATES)
def test_every_job_has_the_status_of_the_table_in_every_view(state: JobState, kind: FailureKind) -> None:
    own = state is JobState.FAILED and kind is FailureKind.APPLICATION

    told = [str(view.of(job(state, kind))) for view in VIEWS]

    assert told == (BY_ITS_OWN_WORD if own else BY_HAND[state]).split()


@pytest.mark.parametrize("view", VIEWS)
def test_the_statuses_of_a_view_share_the_states_out(view: type[StatusView]) -> None:
    pairs = [(state, kind) for status in view for state in status.states for kind in kinds_in(status, state)]

    assert len(pairs) == len(set(pairs))
    assert {state for state, _ in pairs} == set(STATES)
    assert {kind for state, kind in pairs if state is JobState.FAILED} == set(KINDS)


def kinds_in(status: StatusView, state: JobState) -> list[FailureKind | None]:
    return list(status.kinds) if state is JobState.FAILED else [None]


def test_a_job_whose_failure_is_not_told_has_a_status_where_that_does_not_matter() -> None:
    with pytest.raises(ValueError, match="how it failed is not known"):
        OperationStatus.of(job(JobState.FAILED))
    assert UploadStatus.of(job(JobState.FAILED)) is UploadStatus.FAILED
    assert OperationStatus.of(job(JobState.CANCELLED)) is OperationStatus.ERROR


def test_a_state_or_kind_that_only_a_newer_server_knows_has_a_status_too() -> None:
    assert [str(view.of(job(JobState.UNSPECIFIED))) for view in VIEWS] == BY_HAND[JobState.PENDING].split()
    assert OperationStatus.of(job(JobState.FAILED, FailureKind.UNSPECIFIED)) is OperationStatus.ERROR


def test_queued_reads_as_pending() -> None:
    assert UploadStatus("queued") is UploadStatus.PENDING
    with pytest.raises(ValueError, match="waiting"):
        UploadStatus("waiting")


def test_the_status_of_a_queue_is_one_of_them() -> None:
    assert jobhall.queue.QueueStatus is QueueStatus


# --- in lists ---


@pytest.mark.parametrize(
    ("status", "texts"),
    [
        (OperationStatus.SUCCESS, ["state = COMPLETED"]),
        (OperationStatus.FAILURE, ["state = FAILED AND error_kind = APPLICATION"]),
        (TaskStatus.RUNNING, ["(state = RUNNING OR state = CANCELLING)"]),
        (ProcessingStatus.FAILED, ["(state = FAILED OR state = CANCELLED)"]),
        ([OperationStatus.FAILURE, OperationStatus.ERROR], ["(state = FAILED OR state = CANCELLED)"]),
        (
            OperationStatus.ERROR,
            [
                "state = CANCELLED",
                "state = FAILED AND error_kind = TIMEOUT",
                "state = FAILED AND error_kind = WORKER_LOST",
                "state = FAILED AND error_kind = EXPIRED",
                "state = FAILED AND error_kind = SCHEMA_MISMATCH",
            ],
        ),
    ],
)
def test_a_status_asks_for_its_states_and_kinds(status: Any, texts: list[str]) -> None:
    assert filter_texts({"status": status}) == texts


@given(JOBS, STATUSES)
def test_a_job_is_found_once_by_its_statuses_and_by_no_other(one: Job, statuses: set[StatusView]) -> None:
    """The server's own reading of each text decides."""
    view = type(next(iter(statuses)))
    found = [text for text in filter_texts({"status": statuses}) if matches(parse_filter(text, JobFilter()), one)]

    assert len(found) == (view.of(one) in statuses)


def matches(asked: JobFilter, one: Job) -> bool:
    kinds = asked.failure_kinds
    return one.state in asked.states and (not kinds or (one.error is not None and one.error.kind in kinds))


def test_a_status_goes_with_the_other_conditions() -> None:
    timeouts: JobSelection = {"status": OperationStatus.ERROR, "error_kind": FailureKind.TIMEOUT, "owner": "ann"}

    assert filter_texts(timeouts) == [
        'state = CANCELLED AND owner = "ann" AND error_kind = TIMEOUT',
        'state = FAILED AND owner = "ann" AND error_kind = TIMEOUT',
    ]
    with pytest.raises(FieldInvalidError, match="error_kind"):
        filter_texts({"status": OperationStatus.FAILURE, "error_kind": FailureKind.TIMEOUT})
    with pytest.raises(FieldInvalidError, match="give one of the two"):
        filter_texts({"status": OperationStatus.FAILURE, "states": [JobState.FAILED]})


def test_what_takes_several_filters_is_no_one_filter() -> None:
    with pytest.raises(FieldInvalidError, match="takes 5 lists; list_jobs goes through them"):
        filter_text({"status": OperationStatus.ERROR})


@pytest.mark.parametrize(
    "bad", ["failure", [], [OperationStatus.ERROR, TaskStatus.FAILED], ["failure"], [OperationStatus.ERROR, "failure"]]
)
def test_what_is_no_status_of_one_view_is_refused(bad: Any) -> None:
    with pytest.raises(FieldInvalidError, match=r"OperationStatus\.FAILURE"):
        alternatives(bad)
