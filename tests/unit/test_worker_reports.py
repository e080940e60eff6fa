"""What a worker's tasks say, without a socket: its order, its numbers, its bounds, and what goes again."""

import pytest

from jobhall.task import Task, TaskFailed
from jobhall.v1.task_pb2 import TaskLog, TaskUpdate
from jobhall.v1.worker_service_pb2 import HELD_TASK_DISPOSITION_LOST, WorkRequest, WorkSettings
from jobhall.worker.outcomes import outcome_of_error, outcome_of_result
from tests.support.stream_machine import Bench, decided, items_of, kinds_of, token_of


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_ends_before_it_is_looked_at_is_reported_once(bench: Bench) -> None:
    bench.open()

    bench.run(*bench.deliver(1, 2))

    items = bench.say_items()
    assert kinds_of(items) == ["completed", "completed"]
    assert [item.seq for item in items] == [1, 2]


def test_what_runs_on_is_accepted_within_a_moment(bench: Bench) -> None:
    bench.open()
    bench.begin(*bench.deliver(1))
    assert bench.say() == []

    assert bench.stream.send_at is not None
    bench.now = bench.stream.send_at

    assert kinds_of(bench.say_items()) == ["accepted"]


def test_beats_come_first_then_results_accepts_progress_and_logs(bench: Bench) -> None:
    bench.open()
    done, running = bench.begin(*bench.deliver(1, 2))
    task = Task(running, bench.handover)
    task.log("a line")
    task.progress(processed=1)
    bench.end(done)

    bench.now += 5
    said = bench.say()

    assert said[0].HasField("heartbeat")
    assert kinds_of(items_of(said)) == ["completed", "accepted", "progress", "log"]


def test_what_a_task_said_goes_before_its_end(bench: Bench) -> None:
    bench.open()
    (held,) = bench.begin(*bench.deliver(1))
    task = Task(held, bench.handover)
    for number in (1, 2):
        task.log(f"line {number}")
        task.item_error(index=number, message="bad")
    task.progress(total=2, succeeded=1, failed=1)

    bench.end(held, outcome=outcome_of_result({"ok": True}))

    errors, logs, end = bench.say_items()
    assert kinds_of([errors, logs, end]) == ["item_errors", "log", "completed"]
    assert isinstance(errors, TaskUpdate)
    assert isinstance(logs, TaskLog)
    assert isinstance(end, TaskUpdate)
    assert [error.index for error in errors.item_errors.item_errors] == [1, 2]
    assert (logs.first_number, [line.message for line in logs.log_entries]) == (1, ["line 1", "line 2"])
    assert end.completed.result.json == '{"ok":true}'
    assert (end.completed.progress.items_processed, end.completed.progress.items_total) == (2, 2)


def test_progress_is_sent_at_most_so_often_and_the_latest_wins(bench: Bench) -> None:
    bench.open()
    (held,) = bench.begin(*bench.deliver(1))
    task = Task(held, bench.handover)

    sent = []
    for step in range(1, 101):
        task.progress(processed=step)
        bench.stream.collect(bench.now)
        sent += [item.progress for item in bench.say_items() if isinstance(item, TaskUpdate) and not item.seq]
        bench.now += 0.01
    bench.now += 0.1
    sent += [item.progress for item in bench.say_items() if isinstance(item, TaskUpdate)]

    assert 10 <= len(sent) <= 12
    assert sent[-1].items_processed == 100
    assert [progress.number for progress in sent] == list(range(1, len(sent) + 1))


def test_log_lines_and_item_errors_are_numbered_through(bench: Bench) -> None:
    bench.open()
    (held,) = bench.begin(*bench.deliver(1))
    task = Task(held, bench.handover)

    first_numbers = []
    for _ in range(3):
        task.log("one")
        task.log("two")
        bench.stream.collect(bench.now)
        first_numbers += [item.first_number for item in bench.say_items() if isinstance(item, TaskLog)]
        bench.now += 0.2

    assert first_numbers == [1, 3, 5]


def test_messages_are_cut_at_their_size_and_a_larger_item_goes_alone(bench: Bench) -> None:
    bench.open()
    large, *small = bench.deliver(*range(1, 22))
    bench.run(*small[:10], outcome=outcome_of_result("x" * 10_000))
    bench.run(large, outcome=outcome_of_result("x" * 100_000))
    bench.run(*small[10:], outcome=outcome_of_result("x" * 10_000))

    said = [message for message in bench.say() if message.HasField("task_updates")]

    assert [len(message.task_updates.updates) for message in said] == [6, 4, 1, 6, 4]
    assert all(message.ByteSize() <= 64 * 1024 or len(message.task_updates.updates) == 1 for message in said)


def test_no_more_is_unacked_than_welcome_allows_and_beats_go_on() -> None:
    bench = Bench(settings=WorkSettings(unacked_items_max=3))
    bench.open()
    bench.run(*bench.deliver(1, 2, 3, 4, 5))

    assert len(bench.say_items()) == 3
    assert bench.say() == []
    assert bench.held == {token_of(number) for number in range(1, 6)}

    bench.ack(2)
    assert [item.seq for item in bench.say_items()] == [4, 5]


def test_bytes_that_wait_for_their_ack_are_bounded_too() -> None:
    bench = Bench(settings=WorkSettings(unacked_bytes_max=25_000))
    bench.open()
    bench.run(*bench.deliver(1, 2, 3), outcome=outcome_of_result("x" * 10_000))

    assert len(bench.say_items()) == 2
    bench.ack(1)
    assert len(bench.say_items()) == 1


def test_what_is_unacked_goes_again_in_its_order_under_new_numbers(bench: Bench) -> None:
    bench.open()
    tasks = bench.deliver(1, 2, 3)
    bench.run(*tasks)
    bench.say()
    bench.ack(1)

    hello = bench.open()
    again = bench.say_items()

    assert [(item.seq, item.lease_token) for item in again] == [(1, token_of(2)), (2, token_of(3))]
    assert [held.lease_token for held in hello.held_tasks] == [token_of(2), token_of(3)]
    bench.ack(2)
    assert bench.held == set()


def test_what_is_said_of_a_lost_task_is_not_said_again_but_its_outcome_which_may_have_been_taken(bench: Bench) -> None:
    bench.open()
    talking, done = bench.begin(*bench.deliver(1, 2))
    Task(talking, bench.handover).log("a line")
    bench.end(done)
    bench.say()

    bench.open(held_tasks=[decided(1, HELD_TASK_DISPOSITION_LOST), decided(2, HELD_TASK_DISPOSITION_LOST)])

    assert [(item.lease_token, item.seq) for item in bench.say_items()] == [(token_of(2), 1)]
    bench.ack(1)
    assert bench.held == set()


def test_an_accept_is_not_said_again_after_a_hello_that_says_started(bench: Bench) -> None:
    bench.open()
    sent, due = bench.deliver(1, 2)
    bench.begin(sent)
    bench.now += 0.1
    assert kinds_of(bench.say_items()) == ["accepted"]
    bench.begin(due)

    hello = bench.open()
    bench.now += 0.1

    assert [held.started for held in hello.held_tasks] == [True, True]
    assert bench.say_items() == []


def test_the_last_progress_is_said_again_on_a_new_stream_since_nobody_acked_it(bench: Bench) -> None:
    bench.open()
    (held,) = bench.begin(*bench.deliver(1))
    Task(held, bench.handover).progress(processed=7)
    bench.stream.collect(bench.now)
    bench.now += 0.1
    bench.say()

    bench.open()

    (again,) = bench.say_items()
    assert isinstance(again, TaskUpdate)
    assert (again.seq, again.progress.items_processed, again.progress.number) == (0, 7, 2)


def test_a_beat_waits_for_one_result_of_a_megabyte_and_no_more() -> None:
    """Results of twenty megabytes once filled the buffers of a slow connection, and each beat stood at their end."""
    bench = Bench(prefetch=0)
    bench.open()
    bench.run(*bench.deliver(*range(3)), outcome=outcome_of_result("x" * 1_000_000))

    said = []
    for seq in (1, 2, 3):
        said += bench.say()
        bench.now += 5
        said += bench.say()
        bench.ack(seq)

    kinds = [message.WhichOneof("request") for message in said]
    assert kinds == ["task_updates", "heartbeat"] * 3


@pytest.mark.parametrize("limits", [WorkSettings(unacked_items_max=3), WorkSettings(unacked_bytes_max=25_000)])
def test_no_more_work_is_wanted_while_as_many_outcomes_are_kept_as_may_be(limits: WorkSettings) -> None:
    bench = Bench(settings=limits)
    bench.open()
    tasks = bench.deliver(1, 2, 3, 4)
    bench.run(*tasks[:2], outcome=outcome_of_result("x" * 10_000))
    assert capacities_of(bench.say())[-1:] != [0]

    bench.run(tasks[2], outcome=outcome_of_result("x" * 10_000))
    assert capacities_of(bench.say()) == [0]
    assert bench.open().capacity.tasks_max == 0

    bench.say()
    bench.ack(1)
    assert min(capacities_of(bench.say())) > 0


def test_what_a_task_says_is_bounded_while_nothing_is_acked() -> None:
    """Nobody takes the lines: they stay with their task, which drops the ten-thousand-and-first, and counts it."""
    bench = Bench(settings=WorkSettings(unacked_items_max=1))
    bench.open()
    (held,) = bench.begin(*bench.deliver(1))
    task = Task(held, bench.handover)

    for _ in range(30):
        for number in range(1000):
            task.log(str(number))
        bench.stream.collect(bench.now)
        bench.now += 0.2
        bench.say()

    assert held.lines is not None
    assert len(held.lines) == 10_000
    assert held.lines_dropped > 0


def test_item_errors_beyond_those_that_are_kept_go_as_a_number(bench: Bench) -> None:
    bench.open()
    (held,) = bench.begin(*bench.deliver(1))
    task = Task(held, bench.handover)
    for index in range(5000):
        task.item_error(index=index, message="bad")
    bench.end(held)

    said = [item for item in bench.say_items() if isinstance(item, TaskUpdate)]
    errors = [item.item_errors for item in said if item.HasField("item_errors")]

    assert sum(len(error.item_errors) for error in errors) == 1001
    assert errors[-1].first_number == 5000


class TestCheckpoints:
    def test_it_goes_with_the_progress_that_it_fixes_and_later_progress_after_it(self, bench: Bench) -> None:
        bench.open()
        (held,) = bench.begin(*bench.deliver(1))
        task = Task(held, bench.handover)

        task.checkpoint({"row": 5}, processed=5, total=10)
        task.progress(processed=6)
        bench.stream.collect(bench.now)
        bench.now += 0.01

        said = [item for item in bench.say_items() if kinds_of([item]) != ["accepted"]]
        assert kinds_of(said) == ["checkpoint", "progress"]
        assert isinstance(said[0], TaskUpdate)
        assert isinstance(said[1], TaskUpdate)
        fixed, later = said[0].checkpoint, said[1].progress
        assert (fixed.state.json, fixed.progress.items_processed, later.items_processed) == ('{"row":5}', 5, 6)
        assert fixed.progress.number < later.number

    def test_the_latest_that_is_not_yet_sent_wins(self, bench: Bench) -> None:
        bench.open()
        (held,) = bench.begin(*bench.deliver(1))
        task = Task(held, bench.handover)

        for row in range(100):
            task.checkpoint(row)
        bench.stream.collect(bench.now)

        states = [item.checkpoint.state.json for item in bench.say_items() if isinstance(item, TaskUpdate)]
        assert [state for state in states if state] == ["99"]

    def test_it_goes_before_a_failure_and_with_a_result_not_at_all(self, bench: Bench) -> None:
        bench.open()
        failing, ending = bench.begin(*bench.deliver(1, 2))
        for held in (failing, ending):
            Task(held, bench.handover).checkpoint(1)

        bench.end(failing, outcome=outcome_of_error(failing, TaskFailed("no")))
        bench.end(ending)

        assert kinds_of(bench.say_items()) == ["checkpoint", "failed", "completed"]

    def test_it_is_sent_again_until_it_is_acked(self, bench: Bench) -> None:
        bench.open()
        (held,) = bench.begin(*bench.deliver(1))
        Task(held, bench.handover).checkpoint(1, processed=1)
        bench.stream.collect(bench.now)
        (first,) = (item for item in bench.say_items() if item.seq)

        bench.open()

        assert isinstance(first, TaskUpdate)
        (again,) = (item for item in bench.say_items() if item.seq)
        assert isinstance(again, TaskUpdate)
        assert again.checkpoint == first.checkpoint


def capacities_of(messages: list[WorkRequest]) -> list[int]:
    return [message.capacity.tasks_max for message in messages if message.HasField("capacity")]
