"""The worker stream's beats and timers: silence, late accepts, tasks that a worker lost, cancels and their grace."""

import pytest

from jobhall.errors import HelloTimeoutError
from jobhall.limits import SILENT_BEATS_MAX
from jobhall_server.domain.job import Lease
from jobhall_server.hall.frames import (
    Assignments,
    Cancel,
    Cancels,
    Heartbeat,
    HeartbeatReply,
    Reports,
    StreamSettings,
)
from jobhall_server.hall.held import Overdue
from jobhall_server.hall.reports import Judged
from jobhall_server.hall.session import SessionMachine
from tests.support.worker_frames import accepted, assignment, completed, hello, lease, token

SETTINGS = StreamSettings(heartbeat_seconds=5, accept_seconds=10, hello_seconds=10, cancel_grace_seconds=30)
GRACE = SETTINGS.cancel_grace_seconds
WHY = Cancel(token(1), "why", GRACE)


def opened(*deliveries: tuple[int, ...]) -> SessionMachine:
    """A welcomed stream at time 0 after these deliveries of jobs, every frame so far sent."""
    machine = SessionMachine(SETTINGS, 0.0)
    machine.receive(hello(), 0.0)
    machine.opened("session-1", "resume-1", 1)
    for keys in deliveries:
        machine.deliver([assignment(key) for key in keys], 0.0)
    while machine.frames():
        pass
    return machine


def started(*keys: int) -> SessionMachine:
    """The same with one delivery, every task of it accepted."""
    machine = opened(keys)
    machine.receive(Reports([accepted(number, token(key)) for number, key in enumerate(keys, 1)]), 0.0)
    machine.take()
    machine.committed(Judged())
    machine.frames()
    return machine


def beat(
    machine: SessionMachine, *keys: int, seen: int = 1, now: float = 0.0, cancelling: tuple[int, ...] = ()
) -> None:
    machine.receive(Heartbeat(1, tuple(map(token, keys)), seen, tuple(map(token, cancelling))), now)


def pass_time(machine: SessionMachine, *, since: float, until: float) -> Overdue:
    """Tick every half second, as the driver does, while the worker stays silent; everything found on the way."""
    found = Overdue()
    now = since
    while now < until:
        now = min(now + 0.5, until)
        part = machine.tick(now)
        found.unaccepted += part.unaccepted
        found.lost += part.lost
    return found


def leases(*keys: int) -> list[Lease]:
    return [lease(key) for key in keys]


# --- silence ---


def test_a_stream_without_hello_is_ended() -> None:
    machine = SessionMachine(SETTINGS, 0.0)
    pass_time(machine, since=0.0, until=10.0)

    with pytest.raises(HelloTimeoutError, match="no Hello within 10 s"):
        machine.tick(10.5)


def test_a_worker_that_is_silent_for_three_beats_is_given_up() -> None:
    machine = opened()
    pass_time(machine, since=0.0, until=SILENT_BEATS_MAX * 5.0)

    with pytest.raises(TimeoutError):
        machine.tick(15.5)


def test_any_frame_is_a_sign_of_life() -> None:
    machine = opened()
    pass_time(machine, since=0.0, until=14.0)
    machine.receive(Reports(()), 14.0)

    pass_time(machine, since=14.0, until=29.0)

    with pytest.raises(TimeoutError):
        machine.tick(29.5)


def test_while_this_process_itself_stood_still_no_timer_ran() -> None:
    """A server stopped for a minute reads its sockets only after its timers: what the workers sent meanwhile was there
    all the time, and nothing that they hold may be given away.
    """
    machine = opened((1, 2))
    machine.receive(Reports([accepted(1, token(1))]), 0.0)
    machine.cancel(WHY, running=True)
    pass_time(machine, since=0.0, until=4.0)

    woken = machine.tick(64.0)
    machine.receive(Reports([accepted(2, token(2))]), 64.1)
    then = machine.tick(64.5)

    assert woken == then == Overdue()


def test_a_stream_that_opened_just_before_a_pause_still_has_time_for_its_hello() -> None:
    machine = SessionMachine(SETTINGS, 0.0)
    machine.tick(0.5)

    machine.tick(60.5)
    machine.receive(hello(), 60.6)

    assert machine.hello is not None


# --- late accepts ---


def test_a_delivery_that_is_not_accepted_in_time_is_found_once() -> None:
    machine = opened((1, 2))
    machine.receive(Reports([accepted(1, token(1))]), 1.0)

    early = pass_time(machine, since=0.0, until=9.5)
    due = machine.tick(10.0)
    later = pass_time(machine, since=10.0, until=14.0)

    assert (early, due, later) == (Overdue(), Overdue(unaccepted=leases(2)), Overdue())


def test_a_returned_delivery_is_told_to_the_worker_and_frees_its_credit() -> None:
    machine = opened((1, 2))
    free = machine.free()

    machine.forget(leases(1))

    assert machine.frames() == [HeartbeatReply(0, [token(1)], [])]
    assert machine.free() == free + 1


def test_what_could_not_be_written_comes_with_the_next_tick() -> None:
    machine = started(3)
    machine.deliver([assignment(1), assignment(2)], 0.0)
    beat(machine, seen=2)
    found = machine.tick(0.5)

    machine.again(found)

    assert machine.tick(1.0) == found == Overdue(unaccepted=leases(1, 2), lost=leases(3))


def test_a_delivery_that_was_accepted_while_the_database_was_away_is_not_taken_back() -> None:
    """Its return was tried, the database was busy, and the worker accepted before the next try. To forget it then would
    leave a running job that no stream holds.
    """
    machine = opened((1,))
    found = pass_time(machine, since=0.0, until=10.0)
    machine.again(found)
    machine.receive(Reports([accepted(1, token(1))]), 10.2)

    assert found == Overdue(unaccepted=leases(1))
    assert machine.tick(10.5) == Overdue()
    assert machine.cancel(WHY, running=True)


# --- beats ---


def test_a_beat_is_answered_under_its_number() -> None:
    machine = started(1)

    machine.receive(Heartbeat(17, (token(1),), 1), 0.0)

    assert machine.frames() == [HeartbeatReply(17, [], [])]


def test_a_beat_without_a_task_that_was_delivered_by_then_means_that_the_worker_lost_it() -> None:
    machine = started(1, 2)
    machine.deliver([assignment(3), assignment(4)], 0.0)

    beat(machine, 1, 3, seen=2)

    assert machine.tick(0.5) == Overdue(unaccepted=leases(4), lost=leases(2))


def test_a_beat_says_nothing_about_a_delivery_that_it_has_not_seen() -> None:
    machine = opened((1,), (2,))

    beat(machine, 1, seen=1)

    assert machine.tick(0.5) == Overdue()


def test_a_task_whose_end_was_read_but_not_committed_counts_as_done() -> None:
    machine = started(1)
    machine.receive(Reports([completed(2, token(1))]), 0.0)

    beat(machine, seen=1)

    assert machine.tick(0.5) == Overdue()


def test_an_absent_task_is_found_once() -> None:
    machine = started(1)

    beat(machine)
    beat(machine)

    assert [machine.tick(0.5), machine.tick(1.0)] == [Overdue(lost=leases(1)), Overdue()]


def test_a_delivery_found_absent_is_not_found_late_as_well() -> None:
    machine = opened((1,))
    pass_time(machine, since=0.0, until=9.9)

    beat(machine, now=9.9)

    assert machine.tick(10.0) == Overdue(unaccepted=leases(1))


def test_deliveries_are_confirmed_by_a_beat_that_has_seen_them_or_by_their_start() -> None:
    machine = opened((1,), (2,), (3,))
    before = machine.confirmed_jobs()
    beat(machine, 1, seen=1)
    machine.receive(Reports([accepted(1, token(3))]), 0.0)

    assert (before, machine.confirmed_jobs()) == (frozenset(), frozenset({1, 3}))


def test_a_confirmation_is_never_taken_back() -> None:
    machine = opened((1,), (2,))
    beat(machine, 1, 2, seen=2)
    beat(machine, 1, 2, seen=1)

    assert machine.confirmed_jobs() == {1, 2}


# --- cancels ---


def test_a_running_task_is_asked_to_stop_and_its_credit_comes_free_with_its_end() -> None:
    machine = started(1)
    free = machine.free()

    told = machine.cancel(WHY, running=True)

    assert told
    assert machine.frames() == [Cancels([WHY])]
    assert machine.free() == free


def test_a_cancel_is_repeated_with_each_beat_until_the_worker_says_that_it_is_cancelling() -> None:
    machine = started(1, 2)
    machine.cancel(WHY, running=True)
    machine.frames()

    replies = []
    for cancelling in ((), (1,)):
        beat(machine, 1, 2, cancelling=cancelling)
        replies.append(machine.frames())

    assert replies == [[HeartbeatReply(1, [], [WHY])], [HeartbeatReply(1, [], [])]]


def test_a_task_that_was_not_started_is_cancelled_at_once() -> None:
    machine = opened((1,))
    free = machine.free()

    assert machine.cancel(WHY, running=False)

    assert machine.free() == free + 1
    assert machine.tick(0.5) == Overdue()


@pytest.mark.parametrize("running", [False, True])
def test_a_task_of_another_stream_or_one_that_is_ending_cannot_be_cancelled_here(running: bool) -> None:
    machine = started(1)
    machine.receive(Reports([completed(2, token(1))]), 0.0)

    assert not machine.cancel(WHY, running=running)
    assert not machine.cancel(Cancel(token(2), "why", GRACE), running=running)
    assert machine.frames() == []


def test_a_task_cancelled_before_its_assignment_was_sent_is_never_sent() -> None:
    """Cancels overtake assignments. A worker that was told to stop a task which it does not know yet would start it the
    moment the assignment arrives.
    """
    machine = opened()
    machine.deliver([assignment(1), assignment(2)], 0.0)

    machine.cancel(WHY, running=False)

    assert [frame for frame in machine.frames() if isinstance(frame, Assignments)] == [Assignments(1, [assignment(2)])]


def test_a_task_returned_before_its_assignment_was_sent_is_never_sent() -> None:
    machine = opened()
    machine.deliver([assignment(1)], 0.0)

    machine.forget(leases(1))

    assert [frame for frame in machine.frames() if isinstance(frame, Assignments)] == [Assignments(1, [])]
