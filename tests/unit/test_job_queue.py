"""The job queue without its I/O: what it calls things, what it says of errors, and how it keeps its book of leases."""

import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from jobhall import Job, JobState, TaskFailed
from jobhall.errors import ApiError, Code, FieldInvalidError, LeaseLostError, SessionExpiredError
from jobhall.model_insight import JobCounts
from jobhall.procedures import Pause, Procedure, Procedures, Send
from jobhall.queue import (
    AsyncJobQueue,
    AsyncJobWorker,
    JobQueue,
    JobWorker,
    ProgressFields,
    QueueProgress,
    QueueStatus,
    StatusCounts,
)
from jobhall.queue.aio_keeper import AsyncLeaseKeeper
from jobhall.queue.failures import failure_of
from jobhall.queue.keeper import LeaseKeeper
from jobhall.queue.leases import Lease, Leases
from jobhall.queue.views import counts_by_status, view_of_job
from jobhall.retry import CallRetry
from jobhall.task import StopCause
from jobhall.v1 import task_pb2
from jobhall.v1 import worker_service_pb2 as pb
from jobhall.wire_errors import status_from_error
from jobhall.worker.held import HeldTask

JOB_ID = "0190a0b0-0000-7000-8000-000000000001"
TWINS = [(JobQueue, AsyncJobQueue), (JobWorker, AsyncJobWorker), (LeaseKeeper, AsyncLeaseKeeper)]


# --- words ---


@pytest.mark.parametrize("twins", TWINS, ids=lambda twins: twins[0].__name__)
def test_both_kinds_offer_the_same(twins: tuple[type, type]) -> None:
    blocking, awaiting = twins

    assert offered(blocking) == offered(awaiting)


def test_every_state_has_one_status() -> None:
    states = [state for status in QueueStatus for state in status.states]

    assert sorted(states) == [state for state in JobState if state]


@pytest.mark.parametrize(
    ("state", "attempt", "retries"),
    [
        (JobState.PENDING, 0, 0),
        (JobState.CLAIMED, 0, 0),
        (JobState.RUNNING, 1, 0),
        (JobState.SCHEDULED, 1, 1),
        (JobState.CLAIMED, 1, 1),
        (JobState.RUNNING, 2, 1),
        (JobState.CANCELLING, 2, 1),
        (JobState.COMPLETED, 2, 1),
        (JobState.FAILED, 4, 3),
        (JobState.CANCELLED, 0, 0),
    ],
)
def test_a_retry_counts_from_the_failure_that_it_follows(state: JobState, attempt: int, retries: int) -> None:
    job = view_of_job(Job(id=JOB_ID, namespace="default", job_type="t", state=state, attempt=attempt, max_attempts=4))

    assert (job.retry_count, job.max_retries) == (retries, 3)


def test_counts_are_added_up_by_status() -> None:
    counts = JobCounts(
        scheduled=1, pending=2, claimed=4, running=8, cancelling=16, completed=32, failed=64, cancelled=128
    )

    assert counts_by_status(counts) == StatusCounts(pending=3, running=28, complete=32, failed=64, cancelled=128)


def test_progress_is_read_in_the_words_in_which_it_is_said() -> None:
    assert set(ProgressFields.__annotations__) == set(QueueProgress.__annotations__)


# --- errors ---


def test_a_text_is_a_failure_in_the_programs_own_words() -> None:
    failure = failure_of("no text in it")

    assert isinstance(failure, TaskFailed)
    assert (failure.message, failure.retryable) == ("no text in it", None)


def test_an_error_is_told_as_it_is_unless_somebody_knows_better_whether_to_try_again() -> None:
    error = KeyError("title")
    final = failure_of(error, retryable=False)

    assert failure_of(error) is error
    assert isinstance(final, TaskFailed)
    assert (final.code, final.message, final.retryable, final.__cause__) == ("KeyError", "'title'", False, error)


def test_a_failure_keeps_its_words_when_it_is_made_final() -> None:
    final = failure_of(TaskFailed("declined", code="DECLINED", retry_delay=5, details={"limit": 5}), retryable=False)

    assert isinstance(final, TaskFailed)
    assert (final.message, final.code, final.retryable) == ("declined", "DECLINED", False)
    assert (final.retry_delay, final.details) == (timedelta(seconds=5), {"limit": 5})


# --- leases ---


class Wire:
    """Answers calls by a function, and keeps the requests."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.answer: Callable[[Any], Any] = default_answer
        self.leases = Leases(
            Procedures(CallRetry(attempts_max=2), 30.0, lambda: 0.0),
            worker_name="tester",
            namespace="",
            lease=timedelta(seconds=9),
        )

    def run(self, procedure: Procedure[Any]) -> Any:
        outcome: Any = None
        while True:
            try:
                step = procedure.send(outcome)
            except StopIteration as end:
                return end.value
            if isinstance(step, Pause):
                outcome = None
                continue
            assert isinstance(step, Send)
            request = type(step.call.request).FromString(step.call.request.SerializeToString())
            self.sent.append(request)
            outcome = self.answer(request)

    def started(self) -> Lease:
        """A job that was claimed and begun."""
        lease: Lease = self.run(self.leases.claim(job_ids=[JOB_ID]))
        self.run(self.leases.accept(lease))
        self.sent.clear()
        return lease


def default_answer(request: Any) -> Any:
    match request:
        case pb.ClaimTasksRequest():
            task = task_pb2.TaskAssignment(
                lease_token=b"token", job_id=JOB_ID, job_type="t", attempt=1, max_attempts=4, fence=1
            )
            return pb.ClaimTasksResponse(session_id=request.session_id or "session", tasks=[task])
        case pb.ReportTasksRequest():
            return pb.ReportTasksResponse()
        case _:
            return pb.HeartbeatResponse()


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_a_beat_lists_what_is_held_and_nothing_is_said_where_nothing_is(wire: Wire) -> None:
    wire.run(wire.leases.beat())
    assert not wire.sent

    wire.started()
    wire.run(wire.leases.beat())

    assert wire.sent == [pb.HeartbeatRequest(session_id="session", lease_tokens=[b"token"])]


def test_what_a_beat_finds_lost_is_told_to_stop_and_listed_no_more(wire: Wire) -> None:
    stopped: list[HeldTask] = []
    wire.leases.stopped = stopped.append
    lease = wire.started()
    wire.answer = lambda _request: pb.HeartbeatResponse(lost_lease_tokens=[b"token"])

    for _ in range(2):
        wire.run(wire.leases.beat())

    assert stopped == [lease.held]
    assert lease.task.stop_cause is StopCause.LEASE_LOST
    assert len(wire.sent) == 1


def test_a_cancel_is_heard_once_wherever_it_is_told(wire: Wire) -> None:
    stopped: list[HeldTask] = []
    wire.leases.stopped = stopped.append
    lease = wire.started()
    cancels = [task_pb2.CancelTask(lease_token=b"token", reason="not needed")]
    wire.answer = lambda request: (
        pb.HeartbeatResponse(cancels=cancels)
        if isinstance(request, pb.HeartbeatRequest)
        else pb.ReportTasksResponse(cancels=cancels)
    )

    wire.run(wire.leases.report_progress(lease))
    wire.run(wire.leases.beat())

    assert stopped == [lease.held]
    assert (lease.task.stop_cause, lease.task.cancel_reason) == (StopCause.CANCELLED, "not needed")
    assert len(wire.sent) == 2


def test_an_outage_is_no_error_of_a_beat(wire: Wire) -> None:
    lease = wire.started()
    wire.answer = lambda _request: ApiError("away", code=Code.UNAVAILABLE)

    wire.run(wire.leases.beat())

    assert not lease.held.lost


def test_after_the_end_of_its_session_a_completion_goes_by_its_token_alone(wire: Wire) -> None:
    """Nobody may have claimed the job since; then the server still takes it."""
    lease = wire.started()
    wire.answer = lambda request: SessionExpiredError("session") if request.session_id else pb.ReportTasksResponse()

    wire.run(wire.leases.end(lease, task_pb2.TaskCompleted()))

    assert [request.session_id for request in wire.sent] == ["session", ""]
    assert wire.leases.get(JOB_ID) is None


def test_the_claim_after_the_end_of_a_session_opens_another_one(wire: Wire) -> None:
    lease = wire.started()
    wire.answer = lambda request: SessionExpiredError("session") if request.session_id else default_answer(request)

    again = wire.run(wire.leases.claim(job_types=["t"]))

    assert [request.session_id for request in wire.sent] == ["session", ""]
    assert lease.held.lost
    assert wire.leases.get(JOB_ID.upper()) is again


def test_progress_that_comes_too_late_is_a_lost_lease(wire: Wire) -> None:
    """The server drops late progress without a word, so an accept goes with it, which is answered."""
    lease = wire.started()
    lost = status_from_error(LeaseLostError(job_id=JOB_ID, attempt=2, state="RUNNING"))
    rejection = pb.ReportTasksResponse(rejections=[task_pb2.Rejection(lease_token=b"token", status=lost)])
    wire.answer = lambda _request: rejection
    lease.task.progress(percent=10)

    with pytest.raises(LeaseLostError, match="RUNNING at attempt 2"):
        wire.run(wire.leases.report_progress(lease))

    assert [update.WhichOneof("update") for update in wire.sent[0].updates] == ["accepted", "progress"]
    assert wire.leases.get(JOB_ID) is None


def test_progress_is_said_once_and_its_newest_alone(wire: Wire) -> None:
    lease = wire.started()
    woken = []
    wire.leases.woken = lambda: woken.append(True)
    for percent in (10, 20):
        lease.task.progress(percent=percent)

    for _ in range(2):
        wire.run(wire.leases.say())

    [request] = wire.sent
    assert [(it.progress.percent, it.progress.number) for it in request.updates] == [(20, 2)]
    assert len(woken) == 2


def test_an_outcome_outlasts_an_outage(wire: Wire) -> None:
    lease = wire.started()
    answers = [ApiError("away", code=Code.UNAVAILABLE)] * 5 + [pb.ReportTasksResponse()]
    wire.answer = lambda _request: answers.pop(0)

    wire.run(wire.leases.deliver(lease, task_pb2.TaskCompleted(), leaving=lambda: False))

    assert not answers
    assert wire.leases.get(JOB_ID) is None


def test_who_leaves_does_not_wait_for_a_server_that_is_away(wire: Wire) -> None:
    lease = wire.started()
    wire.answer = lambda _request: ApiError("away", code=Code.UNAVAILABLE)

    wire.run(wire.leases.deliver(lease, task_pb2.TaskCompleted(), leaving=lambda: True))

    assert len(wire.sent) == 2
    assert wire.leases.get(JOB_ID) is None


def test_an_outcome_that_is_not_taken_becomes_a_failure_that_says_so_once(wire: Wire) -> None:
    lease = wire.started()
    status = status_from_error(FieldInvalidError("result", "is odd"))
    refusal = pb.ReportTasksResponse(rejections=[task_pb2.Rejection(lease_token=b"token", status=status)])
    wire.answer = lambda _request: refusal

    wire.run(wire.leases.deliver(lease, task_pb2.TaskCompleted(), leaving=lambda: False))

    [completed], [failed] = [request.updates for request in wire.sent]
    assert completed.WhichOneof("update") == "completed"
    assert failed.failed.code == "FIELD_INVALID"
    assert not failed.failed.retryable


def test_all_that_is_held_is_given_back_in_one_call(wire: Wire) -> None:
    wire.started()

    for _ in range(2):
        wire.run(wire.leases.give_back())

    [request] = wire.sent
    assert [update.released.reason for update in request.updates] == [task_pb2.RELEASE_REASON_STOPPING]


@pytest.mark.parametrize("lease", [timedelta(0), timedelta(days=2)])
def test_a_lease_that_no_server_grants_is_refused_here(lease: timedelta) -> None:
    with pytest.raises(FieldInvalidError, match="lease"):
        JobQueue(lease=lease)


def offered(kind: type) -> dict[str, list[tuple[str, str, object]]]:
    """Name, kind and default of each parameter of the public methods."""
    methods = {name: method for name, method in vars(kind).items() if inspect.isfunction(method) and name[0] != "_"}
    return {
        name: [(it.name, it.kind.name, it.default) for it in inspect.signature(method).parameters.values()]
        for name, method in methods.items()
    }
