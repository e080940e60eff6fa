"""What is unacked goes by ReportTasks when the stream cannot be had: the same reports, in the same order."""

import pytest

from jobhall.errors import LeaseLostError
from jobhall.task import Task
from jobhall.v1.task_pb2 import CancelTask, Rejection
from jobhall.v1.worker_service_pb2 import ReportTasksResponse
from jobhall.wire_errors import status_from_error
from tests.support.stream_machine import Bench, kinds_of


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_outcomes_go_by_report_tasks_numbered_anew_and_are_settled_by_its_answer(bench: Bench) -> None:
    hello = bench.open()
    talking, done, running = bench.begin(*bench.deliver(1, 2, 3))
    Task(talking, bench.handover).log("a line")
    bench.end(done, talking)
    bench.say()
    bench.stream.closed()

    bench.stream.begin_flush()
    requests = []
    while (request := bench.stream.flush()) is not None:
        requests.append(request)
        bench.stream.flushed(ReportTasksResponse())

    assert {request.session_id for request in requests} == {hello.session_id}
    assert [len(request.updates) + len(request.logs) for request in requests] == [1, 1, 1]
    updates, logs, last = requests
    assert (updates.updates[0].seq, logs.logs[0].seq, last.updates[0].seq) == (1, 2, 3)
    assert bench.stream.unacked_count == 0
    assert [held.lease_token for held in bench.open().held_tasks] == [running.token]
    assert bench.say_items() == []


def test_what_the_call_failed_to_say_goes_on_the_next_stream(bench: Bench) -> None:
    bench.open()
    bench.run(*bench.deliver(1))
    bench.say()
    bench.stream.closed()
    bench.stream.begin_flush()
    assert bench.stream.flush() is not None

    bench.open()

    assert kinds_of(bench.say_items()) == ["completed"]


def test_what_is_rejected_is_dropped_and_what_is_cancelled_is_told(bench: Bench) -> None:
    bench.open()
    late, running = bench.begin(*bench.deliver(1, 2))
    bench.end(late)
    bench.say()
    bench.stream.begin_flush()
    assert bench.stream.flush() is not None

    rejection = Rejection(seq=1, status=status_from_error(LeaseLostError()))
    cancel = CancelTask(lease_token=running.token, reason="enough")
    effects = bench.stream.flushed(ReportTasksResponse(rejections=[rejection], cancels=[cancel]))

    assert effects.stop == [running]
    assert bench.stream.unacked_count == 0
    assert bench.stream.flush() is None
