"""The worker stream as a machine: what opens it, what it is given and reports, and in which order it is answered."""

from dataclasses import replace

import pytest

from jobhall.errors import ApiError, LeaseLostError, ProtocolViolationError, ResultConflictError
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.session import Disposition
from jobhall_server.hall.frames import (
    Ack,
    Assignments,
    Cancel,
    Cancels,
    Capacity,
    FrameIn,
    FrameOut,
    Heartbeat,
    HeartbeatReply,
    HeldDecision,
    Hello,
    ListedTask,
    Report,
    ReportKind,
    Reports,
    ServerDrain,
    StreamSettings,
    Welcome,
    WorkerDrain,
)
from jobhall_server.hall.held import Batch
from jobhall_server.hall.intake import REPORTS_PER_UNIT_MAX
from jobhall_server.hall.reports import Judged
from jobhall_server.hall.session import SessionMachine
from tests.support.worker_frames import accepted, assignment, completed, hello, lease, progress, token

SETTINGS = StreamSettings()


def opened(
    *, settings: StreamSettings = SETTINGS, first: Hello | None = None, holding: tuple[int, ...] = ()
) -> SessionMachine:
    """A welcomed stream at time 0, with the given jobs delivered and every frame so far sent. What its Hello lists has
    its outcome on record.
    """
    machine = SessionMachine(settings, 0.0)
    first = first or hello()
    machine.receive(first, 0.0)
    told = [HeldDecision(task.token, Disposition.KEEP) for task in first.held]
    machine.opened("session-1", "resume-1", 1, decisions=told)
    if holding:
        machine.deliver([assignment(key) for key in holding], 0.0)
    while machine.frames():
        pass
    return machine


def tell(machine: SessionMachine, *reports: Report, now: float = 0.0) -> None:
    machine.receive(Reports(reports), now)


def judge(machine: SessionMachine, refused: dict[int, ApiError] | None = None) -> Batch:
    """Commit what waits, with the refusals by place."""
    batch = machine.take()
    assert batch is not None
    machine.committed(Judged(refused or {}))
    return batch


# --- opening ---


@pytest.mark.parametrize("frame", [Capacity(1, {}), Heartbeat(1, (), 0), Reports(()), WorkerDrain("")])
def test_the_first_frame_must_be_hello(frame: FrameIn) -> None:
    machine = SessionMachine(SETTINGS, 0.0)

    with pytest.raises(ProtocolViolationError, match=f"must be Hello, not {type(frame).__name__}"):
        machine.receive(frame, 0.0)


def test_a_second_hello_is_a_violation() -> None:
    machine = opened()

    with pytest.raises(ProtocolViolationError, match="second Hello"):
        machine.receive(hello(), 1.0)


def test_the_welcome_tells_the_session_the_pace_and_what_becomes_of_held_tasks() -> None:
    machine = SessionMachine(SETTINGS, 0.0)
    machine.receive(hello(held=(ListedTask(token(1), started=True),)), 0.0)
    told = [HeldDecision(token(1), Disposition.KEEP)]

    machine.opened("session-1", "resume-1", 3, decisions=told)

    assert machine.frames() == [Welcome("session-1", "resume-1", 3, told, SETTINGS)]


def test_nothing_is_judged_or_wanted_before_the_session_is_open() -> None:
    machine = SessionMachine(SETTINGS, 0.0)
    machine.receive(hello(tasks_max=4), 0.0)
    tell(machine, completed(1, token(9)))

    before = machine.free(), machine.take()
    machine.opened("session-1", "resume-1", 1)
    after = machine.free(), machine.take()

    assert before == (0, None)
    assert after == (4, Batch([completed(1, token(9))], 1))


# --- credit ---


def test_credit_is_absolute_and_tasks_in_hand_count_against_it() -> None:
    machine = opened(first=hello(tasks_max=3), holding=(1, 2))
    free = [machine.free()]

    for tasks_max in (5, 1, 0):
        machine.receive(Capacity(tasks_max, {}), 0.0)
        free.append(machine.free())

    assert free == [1, 3, 0, 0]


def test_a_type_with_a_number_of_its_own_is_counted_by_itself() -> None:
    limits = {"a:resize": 2, "public:b:resize": 5, "private:zip": 1}
    machine = opened(first=hello(job_types=tuple(limits), type_limits=limits))

    machine.deliver([assignment(1, job_type="a:resize"), assignment(2, job_type="zip")], 0.0)

    assert machine.free_by_type() == {"a:resize": 1, "public:b:resize": 5, "private:zip": 0}


def test_a_finished_task_gives_its_credit_back_once_it_is_committed() -> None:
    machine = opened(first=hello(tasks_max=1), holding=(1,))
    tell(machine, completed(1, token(1)))
    free = [machine.free()]

    judge(machine)

    assert [*free, machine.free()] == [0, 1]


# --- reports ---


@pytest.mark.parametrize("seq", [0, 1, 3])
def test_a_gap_or_a_repeated_number_is_a_violation(seq: int) -> None:
    machine = opened(holding=(1, 2))
    tell(machine, accepted(1, token(1)))

    with pytest.raises(ProtocolViolationError, match=f"item 2 expected next on this stream, {seq} came"):
        tell(machine, accepted(seq, token(2)))


def test_one_unit_is_in_flight_and_what_comes_meanwhile_forms_the_next() -> None:
    machine = opened(holding=(1, 2, 3))
    tell(machine, accepted(1, token(1)))

    first = machine.take()
    tell(machine, accepted(2, token(2)), accepted(3, token(3)))
    meanwhile = machine.take()
    machine.committed(Judged())
    second = machine.take()

    assert first == Batch([accepted(1, token(1))], 1)
    assert meanwhile is None
    assert second == Batch([accepted(2, token(2)), accepted(3, token(3))], 3)


def test_acks_are_cumulative_and_name_what_was_refused() -> None:
    machine = opened(holding=(1, 2, 3))
    tell(machine, *(completed(key, token(key)) for key in (1, 2, 3)))
    conflict = ResultConflictError()

    judge(machine, {1: conflict})

    (ack,) = machine.frames()
    assert isinstance(ack, Ack)
    assert ack.through_seq == 3
    assert [(rejection.seq, rejection.token, rejection.error) for rejection in ack.rejections] == [
        (2, token(2), conflict)
    ]
    assert not machine.holdings.tasks


def test_a_lost_lease_takes_the_task_off_the_stream() -> None:
    machine = opened(holding=(1,))
    tell(machine, accepted(1, token(1)))

    judge(machine, {0: LeaseLostError()})

    assert not machine.holdings.tasks


def test_a_unit_that_the_database_could_not_take_waits_before_what_came_later() -> None:
    machine = opened(holding=(1, 2))
    tell(machine, accepted(1, token(1)))
    machine.take()
    tell(machine, accepted(2, token(2)))

    machine.failed()

    assert machine.frames() == []
    assert judge(machine) == Batch([accepted(1, token(1)), accepted(2, token(2))], 2)
    assert machine.frames() == [Ack(2, [], [])]


def test_more_unacked_items_than_welcome_allows_are_a_violation() -> None:
    machine = opened(settings=replace(SETTINGS, unacked_items_max=2), holding=(1, 2, 3, 4))
    tell(machine, accepted(1, token(1)))
    machine.take()
    tell(machine, accepted(2, token(2)))

    with pytest.raises(ProtocolViolationError, match="3 items are not acked; Welcome allows 2"):
        tell(machine, accepted(3, token(3)))


def test_more_unacked_bytes_than_welcome_allows_are_a_violation_and_acked_ones_do_not_count() -> None:
    machine = opened(settings=replace(SETTINGS, unacked_bytes_max=1000), holding=(1, 2, 3, 4))
    machine.receive(Reports([completed(1, token(1))], size_bytes=600), 0.0)
    judge(machine)
    machine.frames()
    machine.receive(Reports([completed(2, token(2))], size_bytes=600), 0.0)

    with pytest.raises(ProtocolViolationError, match=r"1201 bytes .* Welcome allows 1000"):
        machine.receive(Reports([completed(3, token(3))], size_bytes=601), 0.0)


def test_a_flood_of_items_is_taken_in_units_of_bounded_size_and_acked_in_order() -> None:
    keys = range(1, REPORTS_PER_UNIT_MAX + 2)
    machine = opened(holding=tuple(keys))
    tell(machine, *(completed(key, token(key)) for key in keys))

    first, second = judge(machine), judge(machine)

    assert [len(first.reports), first.through_seq] == [REPORTS_PER_UNIT_MAX, REPORTS_PER_UNIT_MAX]
    assert [len(second.reports), second.through_seq] == [1, REPORTS_PER_UNIT_MAX + 1]


def test_items_whose_ack_was_not_sent_count_as_unacked() -> None:
    """A worker that reports and does not read: the acks and rejections that wait for it would have no bound."""
    machine = opened(settings=replace(SETTINGS, unacked_items_max=1), holding=(1, 2))
    tell(machine, accepted(1, token(1)))
    judge(machine)

    with pytest.raises(ProtocolViolationError, match="2 items are not acked"):
        tell(machine, accepted(2, token(2)))


def test_acked_items_and_progress_do_not_count_as_unacked() -> None:
    machine = opened(settings=replace(SETTINGS, unacked_items_max=1), holding=(1, 2, 3))

    for number in range(1, 4):
        tell(machine, progress(token(number), Progress(percent=1)), accepted(number, token(number)))
        judge(machine)
        machine.frames()

    assert machine.take() is None


def test_reports_on_tasks_of_an_older_stream_are_judged_by_their_token() -> None:
    machine = opened(first=hello(held=(ListedTask(token(9), started=True),)))

    tell(machine, progress(token(9), Progress(percent=50)), completed(1, token(9)))

    assert judge(machine) == Batch([completed(1, token(9))], 1)
    assert machine.frames() == [Ack(1, [], [])]


# --- progress ---


def test_of_progress_only_the_newest_is_kept_and_saved_once_a_second() -> None:
    machine = opened(holding=(1,))
    tell(machine, accepted(1, token(1)))
    judge(machine)
    for percent in (10, 20, 30):
        tell(machine, progress(token(1), Progress(percent=percent)), now=0.1)

    machine.tick(0.5)
    early = machine.take()
    machine.tick(1.0)
    saved = judge(machine)
    tell(machine, progress(token(1), Progress(percent=40)), now=1.1)
    machine.tick(1.5)
    soon = machine.take()
    machine.tick(2.0)
    later = judge(machine)

    assert (early, soon) == (None, None)
    assert [report.body for report in (*saved.reports, *later.reports)] == [Progress(percent=30), Progress(percent=40)]
    assert machine.holdings.progress.latest == {lease(1).job_key: Progress(percent=40)}


def test_progress_that_did_not_change_is_not_saved_again() -> None:
    machine = opened(holding=(1,))
    tell(machine, progress(token(1), Progress(percent=10)))
    machine.tick(1.0)
    judge(machine)

    machine.tick(2.0)

    assert machine.take() is None


def test_progress_alone_accepts_the_task() -> None:
    machine = opened(holding=(1,))

    tell(machine, progress(token(1), Progress(percent=1)), progress(token(1), Progress(percent=2)))

    assert [report.kind for report in judge(machine).reports] == [ReportKind.ACCEPTED]


def test_an_outcome_replaces_progress_that_was_not_saved() -> None:
    machine = opened(holding=(1,))
    tell(machine, accepted(1, token(1)), progress(token(1), Progress(percent=99)), completed(2, token(1)))

    machine.tick(1.0)

    assert [report.kind for report in judge(machine).reports] == [ReportKind.ACCEPTED, ReportKind.COMPLETED]
    assert machine.holdings.progress.latest == {}


def test_bad_progress_is_dropped_and_named_in_the_next_ack_and_the_stream_goes_on() -> None:
    machine = opened(holding=(1, 2))
    tell(machine, accepted(1, token(1)))
    machine.take()
    tell(machine, progress(token(2), Progress(percent=101)))

    machine.committed(Judged())

    assert machine.frames() == [Ack(1, [], [token(2)])]
    assert machine.holdings.progress.latest == {}
    assert machine.take() is None


def test_bad_progress_is_named_at_once_when_nothing_waits_for_an_ack() -> None:
    machine = opened(holding=(1,))
    tell(machine, progress(token(1), Progress(total=1, processed=2)), progress(token(8), Progress(percent=1)))

    assert machine.take() is None
    assert machine.frames() == [Ack(0, [], [token(1), token(8)])]


# --- the order of answers ---


def test_answers_go_out_as_welcome_cancels_replies_and_assignments() -> None:
    machine = SessionMachine(SETTINGS, 0.0)
    machine.receive(hello(), 0.0)
    machine.opened("session-1", "resume-1", 1)
    machine.deliver([assignment(1), assignment(2)], 0.0)
    tell(machine, accepted(1, token(1)))
    judge(machine)
    machine.receive(Heartbeat(1, (token(1),), 0), 0.0)
    machine.cancel(Cancel(token(1), "why", 30.0), running=True)
    machine.told_to_move("bye", 0.5, 0.0)

    sent: list[type[FrameOut]] = [type(frame) for frame in machine.frames()]

    assert sent == [Welcome, Cancels, ServerDrain, Ack, HeartbeatReply, Assignments]
    assert machine.frames() == []


def test_assignments_are_numbered_from_one() -> None:
    machine = opened()
    for key in (1, 2):
        machine.deliver([assignment(key)], 0.0)

    assert machine.frames() == [Assignments(1, [assignment(1)])]
    assert machine.frames() == [Assignments(2, [assignment(2)])]
