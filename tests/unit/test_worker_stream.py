"""The worker's side of the stream, without a socket: the server's word comes by hand, the clock is moved."""

import pytest
from google.protobuf.duration_pb2 import Duration

from jobhall.errors import FieldInvalidError, LeaseLostError, ResultConflictError
from jobhall.task import StopCause, Task
from jobhall.v1.task_pb2 import (
    CANCEL_CAUSE_PROGRESS_TIMEOUT,
    CANCEL_CAUSE_REQUESTED,
    CANCEL_CAUSE_RUN_TIMEOUT,
    RELEASE_REASON_NO_CAPACITY,
    RELEASE_REASON_NOT_MINE,
    RELEASE_REASON_STOPPING,
    CancelCause,
    CancelTask,
    TaskUpdate,
)
from jobhall.v1.worker_service_pb2 import (
    HELD_TASK_DISPOSITION_CANCEL,
    HELD_TASK_DISPOSITION_KEEP,
    HELD_TASK_DISPOSITION_LOST,
    WorkSettings,
)
from jobhall.worker.outcomes import outcome_of_result
from tests.support.stream_machine import Bench, decided, items_of, kinds_of, token_of


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestOpening:
    def test_nothing_is_said_between_hello_and_welcome(self, bench: Bench) -> None:
        hello = bench.stream.hello(bench.now).hello

        assert (hello.worker_name, list(hello.job_types), hello.capacity.tasks_max) == ("bench", ["resize"], 4)
        assert hello.session_id
        assert len(hello.resume_token) >= 16
        assert (hello.connection, hello.protocol_version) == (1, 1)
        assert bench.say() == []

    def test_the_first_word_after_welcome_is_a_beat(self, bench: Bench) -> None:
        bench.stream.hello(bench.now)

        bench.hear(welcome={})

        assert [message.WhichOneof("request") for message in bench.say()] == ["heartbeat"]

    def test_a_reconnect_keeps_the_session_raises_the_connection_and_tells_what_is_held(self, bench: Bench) -> None:
        first = bench.open()
        started, _ = bench.deliver(1, 2)
        bench.begin(started)

        second = bench.open()

        assert (second.session_id, second.resume_token) == (first.session_id, first.resume_token)
        assert second.connection == 2
        assert {held.lease_token: held.started for held in second.held_tasks} == {token_of(1): True, token_of(2): False}

    def test_a_new_session_has_another_name_and_the_same_tasks(self, bench: Bench) -> None:
        first = bench.open()
        bench.deliver(1)

        bench.stream.renew_session()
        second = bench.open()

        assert second.session_id != first.session_id
        assert second.connection == 1
        assert [held.lease_token for held in second.held_tasks] == [token_of(1)]

    def test_after_an_absence_longer_than_the_session_what_was_not_started_never_is(self, bench: Bench) -> None:
        bench.open()
        started, waiting = bench.deliver(1, 2)
        bench.begin(started)

        bench.now += 16
        hello = bench.open()

        assert [held.lease_token for held in hello.held_tasks] == [token_of(1)]
        assert bench.begin(waiting) == []

    def test_what_waits_is_dropped_while_the_server_is_away_and_not_only_at_the_next_hello(self, bench: Bench) -> None:
        """During a black hole of a minute no Hello may go out; the session is over, and another worker runs the job."""
        bench.open()
        (waiting,) = bench.deliver(1)
        bench.stream.closed()

        bench.stream.look(bench.now + 14)
        assert bench.handover.any_unstarted
        bench.stream.look(bench.now + 16)

        assert bench.begin(waiting) == []

    def test_a_session_that_another_process_has_taken_is_left_with_all_its_tasks(self, bench: Bench) -> None:
        bench.open()
        ended, running, waiting = bench.deliver(1, 2, 3)
        bench.begin(ended, running)
        bench.end(ended)

        assert bench.stream.drop_all() == [running]

        assert bench.stream.unacked_count == 0
        assert bench.begin(waiting) == []
        bench.stream.renew_session()
        assert not bench.open().held_tasks
        assert bench.say_items() == []

    def test_the_servers_word_on_each_held_task_is_obeyed(self, bench: Bench) -> None:
        bench.open()
        kept, lost, cancelled = bench.begin(*bench.deliver(1, 2, 3))
        bench.stream.hello(bench.now)

        decisions = [
            decided(1, HELD_TASK_DISPOSITION_KEEP),
            decided(2, HELD_TASK_DISPOSITION_LOST),
            decided(3, HELD_TASK_DISPOSITION_CANCEL, "not wanted"),
        ]
        effects = bench.hear(welcome={"held_tasks": decisions})

        assert effects.stop == [lost, cancelled]
        assert (kept.cancel_reason, cancelled.cancel_reason) == (None, "not wanted")
        assert lost.lost
        assert bench.held == {token_of(1), token_of(3)}

    def test_a_silent_server_is_taken_for_dead_after_three_beats(self, bench: Bench) -> None:
        bench.open()

        assert not bench.stream.silent(bench.now + 15)
        assert bench.stream.silent(bench.now + 15.1)

    @pytest.mark.parametrize(("session_seconds", "patience"), [(1, 2), (5, 5), (15, 10)])
    def test_a_stream_that_is_not_welcomed_is_given_up_in_time_for_the_session(
        self, session_seconds: int, patience: int
    ) -> None:
        bench = Bench(settings=WorkSettings(session_ttl=Duration(seconds=session_seconds)))
        bench.open()
        bench.now += 100
        bench.stream.hello(bench.now)

        assert not bench.stream.silent(bench.now + patience)
        assert bench.stream.silent(bench.now + patience + 0.1)


class TestAgreeing:
    def test_beats_list_every_task_until_its_end_is_acked(self, bench: Bench) -> None:
        bench.open()
        first, second, _waiting = bench.deliver(1, 2, 3)
        bench.run(first)
        bench.begin(second)
        bench.say()

        beat = bench.beat()
        assert set(beat.lease_tokens) == {token_of(1), token_of(2), token_of(3)}
        assert (beat.number, beat.assignments_seen) == (2, 1)

        bench.ack(1)
        assert bench.held == {token_of(2), token_of(3)}

    def test_a_task_lost_before_it_began_never_begins(self, bench: Bench) -> None:
        bench.open()
        (task,) = bench.deliver(1)

        effects = bench.lose(1)

        assert effects.stop == []
        assert bench.begin(task) == []
        assert bench.held == set()

    def test_a_task_lost_while_it_runs_is_told_and_its_end_is_not_reported(self, bench: Bench) -> None:
        bench.open()
        (task,) = bench.begin(*bench.deliver(1))

        effects = bench.lose(1)
        bench.end(task)

        assert effects.stop == [task]
        assert task.cancel_reason is not None
        assert "lease" in task.cancel_reason
        assert bench.say_items() == []

    def test_a_runner_that_a_lost_task_keeps_busy_is_not_offered(self, bench: Bench) -> None:
        bench.open()
        (task,) = bench.begin(*bench.deliver(1))

        bench.lose(1)
        assert bench.say_one().capacity.tasks_max == 3

        bench.end(task, seconds=60.0)
        assert bench.say_one().capacity.tasks_max == 4

    def test_a_cancelled_task_that_waits_is_reported_at_once(self, bench: Bench) -> None:
        bench.open()
        (task,) = bench.deliver(1)

        effects = bench.cancel(1, "changed my mind")

        assert effects.stop == []
        assert bench.begin(task) == []
        (report,) = bench.say_items()
        assert isinstance(report, TaskUpdate)
        assert report.cancelled.message == "changed my mind"

    def test_a_cancelled_task_that_runs_is_told_once_and_listed_as_cancelling(self, bench: Bench) -> None:
        bench.open()
        (task,) = bench.begin(*bench.deliver(1))

        assert bench.cancel(1, "enough").stop == [task]
        assert bench.cancel(1, "enough").stop == []
        assert list(bench.beat().cancelling_lease_tokens) == [token_of(1)]

    @pytest.mark.parametrize(
        ("cause", "stop_cause"),
        [
            (CANCEL_CAUSE_REQUESTED, StopCause.CANCELLED),
            (CANCEL_CAUSE_RUN_TIMEOUT, StopCause.RUN_TIMEOUT),
            (CANCEL_CAUSE_PROGRESS_TIMEOUT, StopCause.PROGRESS_TIMEOUT),
        ],
    )
    def test_a_handler_is_told_why_it_is_to_stop_and_may_finish_all_the_same(
        self, bench: Bench, cause: CancelCause.ValueType, stop_cause: StopCause
    ) -> None:
        bench.open()
        (held,) = bench.begin(*bench.deliver(1))
        task = Task(held, bench.handover)

        cancel = CancelTask(lease_token=held.token, cause=cause)
        effects = bench.hear(heartbeat_reply={"cancels": [cancel]})
        bench.end(held)

        assert effects.stop == [held]
        assert (task.stop_cause, task.cancel_reason) == (stop_cause, stop_cause.value)
        assert kinds_of(bench.say_items()) == ["completed"]

    def test_an_outcome_that_waits_for_its_ack_is_not_lost_by_a_beats_reply(self, bench: Bench) -> None:
        """The commit made the token spent, so the server calls it lost, while the ack was still on its way."""
        bench.open()
        bench.run(*bench.deliver(1))
        bench.say()

        assert bench.lose(1).stop == []

        assert bench.held == {token_of(1)}
        bench.ack(1)
        assert bench.held == set()

    def test_a_report_refused_for_its_lease_stops_the_handler(self, bench: Bench) -> None:
        bench.open()
        (held,) = bench.begin(*bench.deliver(1))
        Task(held, bench.handover).log("still here")
        bench.stream.collect(bench.now)
        bench.say()

        effects = bench.ack(1, (1, LeaseLostError()))

        assert effects.stop == [held]
        assert bench.held == set()

    @pytest.mark.parametrize("error", [LeaseLostError(), ResultConflictError()])
    def test_an_outcome_that_comes_too_late_is_dropped(self, bench: Bench, error: LeaseLostError) -> None:
        bench.open()
        bench.run(*bench.deliver(1))
        bench.say()

        bench.ack(1, (1, error))

        assert bench.say_items() == []
        assert bench.held == set()

    def test_an_outcome_that_is_refused_for_its_content_is_followed_by_a_failure_once(self, bench: Bench) -> None:
        bench.open()
        bench.run(*bench.deliver(1), outcome=outcome_of_result({"odd": 1}))
        bench.say()

        bench.ack(1, (1, FieldInvalidError("result", "is odd")))
        (report,) = bench.say_items()
        assert isinstance(report, TaskUpdate)
        assert (report.failed.code, report.failed.retryable) == ("FIELD_INVALID", False)
        assert "is odd" in report.failed.message

        bench.ack(2, (2, FieldInvalidError("failed", "is odd as well")))
        assert bench.say_items() == []
        assert bench.held == set()

    def test_a_type_that_nobody_here_serves_goes_back(self, bench: Bench) -> None:
        bench.open()

        assert bench.deliver(1, job_type="paint") == []

        (report,) = bench.say_items()
        assert isinstance(report, TaskUpdate)
        assert report.released.reason == RELEASE_REASON_NOT_MINE

    def test_what_cannot_be_started_in_half_the_accept_time_goes_back(self, bench: Bench) -> None:
        bench.open()
        running, waiting = bench.deliver(1, 2)
        bench.begin(running)

        bench.now += 5.1
        released = [item for item in bench.say_items() if isinstance(item, TaskUpdate) and item.HasField("released")]

        assert [(item.lease_token, item.released.reason) for item in released] == [
            (waiting.token, RELEASE_REASON_NO_CAPACITY)
        ]
        assert bench.begin(waiting) == []


class TestHealth:
    def test_a_worker_is_ready_from_its_welcome_until_three_silent_beats(self, bench: Bench) -> None:
        assert bench.stream.unready(bench.now) == "not connected"
        bench.stream.hello(bench.now)
        assert bench.stream.unready(bench.now) == "not connected"
        bench.open()

        assert bench.stream.unready(bench.now + 15) == ""
        assert bench.stream.unready(bench.now + 16) == "no word from the server for 16 s"
        bench.stream.closed()
        assert bench.stream.unready(bench.now) == "not connected"

    def test_a_leaving_worker_is_not_ready(self, bench: Bench) -> None:
        bench.open()

        bench.stream.leave()

        assert bench.stream.unready(bench.now) == "draining"


class TestLeaving:
    def test_a_leaving_worker_asks_for_nothing_and_gives_back_what_it_has_not_begun(self, bench: Bench) -> None:
        bench.open()
        running, waiting = bench.deliver(1, 2)
        bench.begin(running)

        bench.stream.leave()

        said = bench.say()
        assert said[0].capacity.tasks_max == 0
        (report,) = (item for item in items_of(said) if isinstance(item, TaskUpdate) and item.HasField("released"))
        assert (report.lease_token, report.released.reason) == (waiting.token, RELEASE_REASON_STOPPING)
        assert not bench.stream.finished

    def test_it_is_finished_when_the_last_end_is_acked(self, bench: Bench) -> None:
        bench.open()
        tasks = bench.begin(*bench.deliver(1))
        bench.stream.leave()
        bench.end(*tasks)
        items = bench.say_items()

        assert not bench.stream.finished
        bench.ack(items[-1].seq)
        assert bench.stream.finished

    def test_what_crosses_the_departure_goes_back(self, bench: Bench) -> None:
        bench.open()
        bench.stream.leave()

        assert bench.deliver(1) == []

        assert kinds_of(bench.say_items()) == ["released"]

    def test_what_does_not_stop_in_time_is_given_back_and_its_end_unheard(self, bench: Bench) -> None:
        bench.open()
        (task,) = bench.begin(*bench.deliver(1))
        bench.stream.leave()

        assert bench.stream.stop_running() == [task]
        assert bench.stream.abandon_running() == 1
        bench.end(task)

        assert kinds_of(bench.say_items()) == ["released"]
