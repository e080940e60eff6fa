"""A task that kills its worker in its first line must count as a loss, though nobody heard that it had begun."""

from jobhall.errors import LeaseLostError
from jobhall.v1.task_pb2 import TaskAssignment
from jobhall_server.hall.frames import Reports, StreamSettings
from jobhall_server.hall.session import SessionMachine
from tests.support.stream_machine import Bench, assignment, kinds_of
from tests.support.worker_frames import assignment as delivered
from tests.support.worker_frames import hello


def again(number: int) -> TaskAssignment:
    """A delivery of a job whose first claim came to no start."""
    task = assignment(number)
    task.fence = 2
    return task


def test_a_worker_says_that_a_job_has_come_before_it_begins_one_that_was_given_out_in_vain() -> None:
    """A job that crashed its process at once was given out for ever: its `accepted` died with the worker, no beat had
    listed it, and a delivery that never arrived costs nothing. Once it does; from the second time on it is counted.
    """
    bench = Bench()
    bench.open()

    told = bench.hear(task_assignments={"assignments_seq": 1, "tasks": [again(1), assignment(2)]})
    said = bench.say_one()
    begun = bench.stream.sent().start

    assert not told.start
    assert said.task_updates.assignments_seen == 1
    assert [task.assignment.job_id for task in begun] == [assignment(1).job_id, assignment(2).job_id]
    assert not bench.stream.sent().start


def test_what_is_given_out_for_the_first_time_begins_at_once() -> None:
    bench = Bench()
    bench.open()

    told = bench.hear(task_assignments={"assignments_seq": 1, "tasks": [assignment(1)]})

    assert len(told.start) == 1
    assert bench.say() == []


def test_what_came_on_a_stream_that_broke_begins_on_the_next_one_whose_hello_lists_it() -> None:
    bench = Bench()
    bench.open()
    bench.hear(task_assignments={"assignments_seq": 1, "tasks": [again(1)]})

    listed = bench.stream.hello(bench.now).hello.held_tasks
    early = bench.stream.sent().start
    told = bench.hear(welcome={})

    assert [held.started for held in listed] == [False]
    assert not early
    assert [task.assignment.job_id for task in told.start] == [assignment(1).job_id]


def test_the_server_counts_as_arrived_what_an_update_says_was_read() -> None:
    machine = SessionMachine(StreamSettings(), 0.0)
    machine.receive(hello(), 0.0)
    machine.opened("session-1", "resume-1", 1)
    machine.deliver([delivered(1)], 0.0)
    machine.deliver([delivered(2)], 0.0)

    before = machine.confirmed_jobs()
    machine.receive(Reports((), assignments_seen=1), 0.0)

    assert before == frozenset()
    assert machine.confirmed_jobs() == {1}


def last(number: int) -> TaskAssignment:
    """A delivery of a job that may be begun once."""
    task = assignment(number)
    task.max_attempts = 1
    return task


def test_a_last_attempt_begins_when_the_server_has_on_record_that_it_does() -> None:
    """It began at once, and its `accepted` died with the worker: the server took it for a delivery that had never
    arrived, gave it out again, and a job that was never to run twice ran twice.
    """
    bench = Bench()
    bench.open()

    told = bench.hear(task_assignments={"assignments_seq": 1, "tasks": [last(1), assignment(2)]})
    said = bench.say_items()
    begun = bench.ack(1).start

    assert [task.assignment.job_id for task in told.start] == [assignment(2).job_id]
    assert kinds_of(said) == ["accepted"]
    assert [task.assignment.job_id for task in begun] == [assignment(1).job_id]
    bench.run(*begun)
    assert kinds_of(bench.say_items()) == ["completed"]


def test_a_last_attempt_that_was_not_begun_asks_again_on_the_next_stream() -> None:
    bench = Bench()
    bench.open()
    bench.hear(task_assignments={"assignments_seq": 1, "tasks": [last(1)]})
    bench.say()

    hello = bench.open()
    said = bench.say_items()
    begun = bench.ack(1).start

    assert [held.started for held in hello.held_tasks] == [False]
    assert kinds_of(said) == ["accepted"]
    assert len(begun) == 1


def test_a_last_attempt_whose_lease_is_lost_never_begins() -> None:
    bench = Bench()
    bench.open()
    bench.hear(task_assignments={"assignments_seq": 1, "tasks": [last(1)]})
    bench.say()

    told = bench.ack(1, (1, LeaseLostError()))

    assert not told.start
    assert not bench.held
