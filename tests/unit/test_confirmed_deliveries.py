"""A task that kills its worker in its first line must count as a loss, though nobody heard that it had begun."""

from jobhall.v1.task_pb2 import TaskAssignment
from jobhall_server.hall.frames import Reports, StreamSettings
from jobhall_server.hall.session import SessionMachine
from tests.support.stream_machine import Bench, assignment
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
