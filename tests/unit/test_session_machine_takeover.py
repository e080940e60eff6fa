"""The worker stream as a machine: what it takes over, what the store says of it, what it lets lie, and its end."""

from collections.abc import Sequence

import pytest

from jobhall.errors import DrainingError
from jobhall.states import JobState
from jobhall_server.domain.session import Disposition
from jobhall_server.hall.frames import (
    Ack,
    Cancel,
    CancelCause,
    Cancels,
    DrainReason,
    FrameOut,
    Heartbeat,
    HeartbeatReply,
    HeldDecision,
    Hello,
    ListedTask,
    Report,
    Reports,
    ServerDrain,
    StreamSettings,
    Welcome,
    WorkerDrain,
)
from jobhall_server.hall.held import SHUT_SECONDS, HeldTask, Overdue
from jobhall_server.hall.repairs import Repair
from jobhall_server.hall.reports import Judged
from jobhall_server.hall.session import SessionMachine
from tests.support.worker_frames import accepted, assignment, completed, held_row, hello, lease, released, token

SETTINGS = StreamSettings()
TIMED_OUT = Cancel(token(1), "its run_timeout is over", 30.0, CancelCause.RUN_TIMEOUT)


def taken_over(
    *, started: Sequence[int] = (), waiting: Sequence[int] = (), recorded: Sequence[int] = (), now: float = 0.0
) -> SessionMachine:
    """A welcomed stream whose worker brought these tasks along, every frame so far sent."""
    keys = [*started, *waiting, *recorded]
    machine = SessionMachine(SETTINGS, now)
    machine.receive(hello(held=tuple(ListedTask(token(key), key in started) for key in keys)), now)
    held = [HeldTask(held_row(key), "resize", 0, started=key in started) for key in (*started, *waiting)]
    told = [HeldDecision(token(key), Disposition.KEEP) for key in keys]
    machine.opened("session-1", "resume-1", 2, decisions=told, held=held, now=now)
    sent(machine)
    return machine


def opened(*, first: Hello | None = None, holding: Sequence[int] = ()) -> SessionMachine:
    """A welcomed stream at time 0, with the given jobs delivered and every frame so far sent."""
    machine = SessionMachine(SETTINGS, 0.0)
    machine.receive(first or hello(), 0.0)
    machine.opened("session-1", "resume-1", 1)
    if holding:
        machine.deliver([assignment(key) for key in holding], 0.0)
    sent(machine)
    return machine


def sent(machine: SessionMachine) -> list[FrameOut]:
    """Everything that there is to send."""
    out: list[FrameOut] = []
    while frames := machine.frames():
        out += frames
    return out


def tell(machine: SessionMachine, *reports: Report, now: float = 0.0) -> None:
    machine.receive(Reports(reports), now)


def judge(machine: SessionMachine) -> None:
    assert machine.take() is not None
    machine.committed(Judged())


def beat(machine: SessionMachine, *keys: int, seen: int = 0, cancelling: Sequence[int] = ()) -> HeartbeatReply:
    """A beat that lists these; its reply."""
    machine.receive(Heartbeat(1, tuple(map(token, keys)), seen, tuple(map(token, cancelling))), 0.0)
    (reply,) = [frame for frame in sent(machine) if isinstance(frame, HeartbeatReply)]
    return reply


# --- taken over ---


def test_tasks_that_were_brought_along_count_against_credit_and_are_confirmed() -> None:
    machine = taken_over(started=(1,), waiting=(2,), recorded=(3,))

    assert machine.free() == hello().tasks_max - 3
    assert machine.confirmed_jobs() == {1, 2}


def test_a_task_brought_along_and_then_not_listed_is_lost_by_the_worker() -> None:
    machine = taken_over(started=(1,), waiting=(2,))

    beat(machine, seen=0)

    assert machine.tick(0.5) == Overdue(unaccepted=[lease(2)], lost=[lease(1)])


def test_a_task_that_was_not_begun_has_its_whole_time_again() -> None:
    machine = taken_over(waiting=(1,), now=100.0)

    for now in (104.0, 108.0):
        machine.receive(Heartbeat(1, [token(1)], 0), now)
        assert machine.tick(now) == Overdue()

    assert machine.tick(110.0) == Overdue(unaccepted=[lease(1)])


def test_what_has_its_outcome_on_record_is_kept_until_the_worker_has_said_it_again() -> None:
    machine = taken_over(recorded=(1,))
    before = machine.free(), beat(machine, 1).lost

    tell(machine, completed(1, token(1)))
    judge(machine)

    assert before == (hello().tasks_max - 1, [])
    assert machine.free() == hello().tasks_max
    assert sent(machine) == [Ack(1, [], [])]


def test_a_cancel_of_a_task_brought_along_is_repeated_until_it_is_known() -> None:
    machine = SessionMachine(SETTINGS, 0.0)
    machine.receive(hello(held=(ListedTask(token(1), started=True),)), 0.0)
    cancel = Cancel(token(1), "changed my mind", 5.0)
    task = HeldTask(held_row(1, state=JobState.CANCELLING), "resize", 0, started=True, cancel=cancel)
    machine.opened(
        "session-1", "resume-1", 2, decisions=[HeldDecision(token(1), Disposition.CANCEL, cancel)], held=[task]
    )
    sent(machine)

    assert beat(machine, 1).cancels == [cancel]
    assert beat(machine, 1, cancelling=(1,)).cancels == []


def test_the_welcome_says_no_reasons_where_they_would_not_fit() -> None:
    machine = SessionMachine(SETTINGS, 0.0)
    machine.receive(hello(), 0.0)
    count = 5000
    told = [HeldDecision(token(key), Disposition.CANCEL, Cancel(token(key), "x" * 1024, 5.0)) for key in range(count)]

    machine.opened("session-1", "resume-1", 2, decisions=told)

    (welcome,) = machine.frames()
    assert isinstance(welcome, Welcome)
    reasons = [decision.cancel.reason for decision in welcome.held if decision.cancel is not None]
    assert len(reasons) == count
    assert 1000 <= sum(map(bool, reasons)) <= 1024


# --- what the store says ---


def test_a_listed_task_that_is_not_known_is_named_lost() -> None:
    machine = opened(holding=(1,))

    assert beat(machine, 1, 2).lost == [token(2)]
    assert machine.holdings.repairs[Repair.UNKNOWN_HERE] == 1


def test_what_the_store_does_not_know_any_more_is_forgotten_and_named_lost() -> None:
    machine = opened(holding=(1, 2))

    machine.agree({token(2): held_row(2)}, delivery=machine.delivery, now_us=0)

    assert [*machine.holdings.tasks] == [token(2)]
    assert sent(machine) == [HeartbeatReply(0, [token(1)], [])]


def test_what_was_delivered_since_the_store_was_asked_is_not_missing() -> None:
    machine = opened(holding=(1,))
    asked = machine.delivery
    machine.deliver([assignment(2)], 0.0)

    machine.agree({token(1): held_row(1)}, delivery=asked, now_us=0)

    assert [*machine.holdings.tasks] == [token(1), token(2)]


def test_a_task_that_is_ending_is_not_missing() -> None:
    machine = opened(holding=(1,))
    tell(machine, completed(1, token(1)))

    machine.agree({}, delivery=machine.delivery, now_us=0)

    assert [*machine.holdings.tasks] == [token(1)]


def test_a_cancel_that_only_the_store_knows_is_pushed_once() -> None:
    machine = opened(holding=(1,))
    rows = {token(1): held_row(1, state=JobState.CANCELLING)}

    for _ in range(2):
        machine.agree(rows, delivery=machine.delivery, now_us=2_000_000)

    assert sent(machine) == [Cancels([Cancel(token(1), "changed my mind", 3.0)])]


def test_what_nobody_here_knows_is_found_the_second_time() -> None:
    machine = opened()
    row = held_row(1, state=JobState.CLAIMED)

    found = [machine.agree({token(1): row}, delivery=0, now_us=0) for _ in range(2)]

    assert found == [[], [row]]


def test_a_session_whose_tasks_come_and_go_need_not_be_compared_each_time() -> None:
    machine = opened()
    marks = [machine.holdings.mark(machine.delivery)]

    machine.deliver([assignment(1)], 0.0)
    marks.append(machine.holdings.mark(machine.delivery))
    marks.append(machine.holdings.mark(machine.delivery))

    assert marks == [True, False, True]


# --- out of time ---


def test_a_task_out_of_time_takes_credit_and_its_cancel_is_repeated_until_it_is_known() -> None:
    machine = opened(holding=(1,))
    tell(machine, accepted(1, token(1)))
    judge(machine)
    sent(machine)

    machine.time_out(TIMED_OUT)

    assert sent(machine) == [Cancels([TIMED_OUT])]
    assert machine.free() == hello().tasks_max - 1
    first, second = beat(machine, 1, seen=1), beat(machine, 1, seen=1, cancelling=(1,))
    assert (first.lost, first.cancels) == ([], [TIMED_OUT])
    assert (second.lost, second.cancels) == ([], [])
    assert beat(machine, seen=1).lost == []
    assert machine.free() == hello().tasks_max
    assert beat(machine, 1, seen=1).lost == [token(1)]


def test_the_late_end_of_a_task_out_of_time_goes_to_the_store() -> None:
    machine = opened(holding=(1,))
    machine.time_out(TIMED_OUT)
    sent(machine)

    tell(machine, completed(1, token(1)))
    judge(machine)

    assert sent(machine) == [Ack(1, [], [])]
    assert beat(machine, 1, seen=1).lost == [token(1)]


# --- what it lets lie ---


def lie(machine: SessionMachine, now: float, times: int = 3) -> float:
    """So many deliveries in a row that nobody accepts."""
    for _ in range(times):
        machine.tick(now)
        machine.deliver([assignment(1)], now)
        found = []
        for _ in range(3):
            now += 4.0
            machine.receive(Reports(()), now)
            found += machine.tick(now).unaccepted
        assert found == [lease(1)]
        machine.forget(found)
    return now


def test_after_three_unaccepted_deliveries_in_a_row_a_queue_is_shut_for_a_minute_then_two_up_to_ten() -> None:
    machine = opened()
    lie(machine, 0.0, times=2)
    assert not machine.unwanted.shut(24.0)

    lengths = []
    now = lie(machine, 24.0, times=1)
    for _ in range(6):
        until = max(seconds for seconds in range(0, 700, 20) if machine.unwanted.shut(now + seconds)) + 20
        lengths.append(until)
        now = lie(machine, now + until)

    assert lengths == [60, 120, 240, 480, 600, 600]
    assert lengths[0] == SHUT_SECONDS


def test_a_start_in_between_begins_the_count_anew() -> None:
    machine = opened()
    now = lie(machine, 0.0, times=2)
    machine.deliver([assignment(2)], now)
    tell(machine, accepted(1, token(2)), now=now)

    lie(machine, now, times=2)

    assert not machine.unwanted.shut(now)


def test_another_queue_is_not_shut() -> None:
    machine = opened()

    now = lie(machine, 0.0)

    assert machine.unwanted.shut(now) == {1}


# --- leaving ---


def test_a_draining_worker_is_given_nothing_and_ends_when_its_last_end_is_acked() -> None:
    machine = opened(holding=(1,))
    machine.receive(WorkerDrain("deploy"), 0.0)
    steps = [(machine.free(), machine.finished)]

    tell(machine, released(1, token(1)))
    steps.append((machine.free(), machine.finished))
    judge(machine)
    steps.append((machine.free(), machine.finished))

    assert steps == [(0, False), (0, False), (0, True)]


def test_a_worker_that_drains_does_not_leave_before_its_late_words_are_acked() -> None:
    machine = taken_over(recorded=(9,))
    machine.receive(WorkerDrain("deploy"), 0.0)
    tell(machine, completed(1, token(9)))
    steps = [machine.finished]

    machine.take()
    steps.append(machine.finished)
    machine.committed(Judged())

    assert [*steps, machine.finished] == [False, False, True]


def test_a_draining_server_gives_nothing_more_and_tells_the_worker_when_to_move() -> None:
    machine = opened(holding=(1,))

    machine.told_to_move("the server is stopping", 0.7, 0.0)

    assert machine.free() == 0
    assert not machine.finished
    assert machine.frames() == [ServerDrain(DrainReason.SERVER_STOPPING, "the server is stopping", 0.7)]


def test_a_worker_that_does_not_move_in_time_is_moved() -> None:
    machine = opened(holding=(1,))
    machine.told_to_move("the server is stopping", 0.7, 0.0)

    machine.tick(1.5)

    with pytest.raises(DrainingError):
        machine.tick(2.0)


def test_a_drained_worker_is_told_so_and_leaves_when_it_holds_nothing() -> None:
    machine = opened(holding=(1,))

    machine.told_to_leave("deploy", 30.0)
    frames = sent(machine)
    tell(machine, completed(1, token(1)))
    before = machine.finished
    judge(machine)

    assert frames == [ServerDrain(DrainReason.WORKER_DRAIN, "deploy", 30.0)]
    assert (before, machine.finished, machine.leaving) == (False, True, True)
