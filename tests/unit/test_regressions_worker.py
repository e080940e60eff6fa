"""Faults of the worker SDK that were found by hunting, without a server: each test opens with what went wrong."""

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from jobhall.errors import ApiError, Code, ServerUnreachableError
from jobhall.task import Task
from jobhall.v1.worker_service_pb2 import ReportTasksResponse, WorkSettings
from jobhall.wire_errors import error_from_call
from jobhall.worker import Worker
from jobhall.worker.access import Access
from jobhall.worker.credit import Credit
from jobhall.worker.departure import Departure
from jobhall.worker.ends import After, after
from jobhall.worker.held import Handler, HeldTask
from tests.support.shop import Shop
from tests.support.stream_machine import Bench, assignment, kinds_of


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    if shop.crew is not None:
        shop.crew.close()


class TestLeaving:
    def test_impatience_never_prolongs_a_departure(self) -> None:
        """Each Ctrl-C after the handlers had been told to stop began the second anew that they are given for it: who
        held the keys down waited for ever.
        """
        taken: list[str] = []
        departure = Departure(
            stop=lambda: taken.append("stop"),
            abandon=lambda: taken.append("abandon"),
            be_gone=lambda: taken.append("be gone"),
        )
        departure.begin(0.0, drain_seconds=30)

        for tenths in range(50, 81):
            departure.begin(tenths / 10, drain_seconds=0)
            departure.take(tenths / 10)

        assert taken == ["stop", "abandon", "be gone"]


class TestFlush:
    def test_what_goes_on_is_not_spoken_of_without_a_stream(self) -> None:
        """After the session's end a log line is refused with LEASE_LOST, and so the handler was stopped, though the
        next Hello would have brought its task back: hours of work, done again elsewhere.
        """
        bench = Bench()
        bench.open()
        done, talking = bench.begin(*bench.deliver(1, 2))
        Task(talking, bench.handover).log("on its way when the stream broke")
        bench.stream.collect(bench.now)
        bench.say()
        Task(talking, bench.handover).log("said since")
        bench.stream.closed()
        bench.end(done)

        bench.stream.begin_flush()
        requests = []
        while (request := bench.stream.flush()) is not None:
            requests.append(request)
            bench.stream.flushed(ReportTasksResponse())

        assert [item.lease_token for request in requests for item in request.updates] == [done.token]
        assert not any(request.logs for request in requests)
        assert [held.lease_token for held in bench.open().held_tasks] == [talking.token]
        bench.end(talking)
        assert kinds_of(bench.say_items()) == ["log", "log", "completed"]

    def test_what_a_task_said_counts_as_kept_with_its_outcome(self) -> None:
        """Only outcomes counted: on a slow connection tasks that logged a lot were taken on and on, while what those
        before them had said filled the memory.
        """
        bench = Bench(settings=WorkSettings(unacked_bytes_max=10_000))
        bench.open()
        (wordy,) = bench.begin(*bench.deliver(1))
        for _ in range(100):
            Task(wordy, bench.handover).log("x" * 1000)
        bench.end(wordy)

        first, *_ = bench.say()
        assert first.HasField("capacity")
        assert first.capacity.tasks_max == 0
        seq = 1
        while bench.stream.unacked_count:
            bench.ack(seq)
            bench.say()
            seq += 1
        assert bench.credit.capacity(zombies={}).tasks_max > 0


class TestCredit:
    def test_a_slow_type_beside_quick_ones_is_not_hoarded(self) -> None:
        """How much is prefetched followed from the mean of all handlers. A type with `concurrency=1` whose handler
        takes an hour, in a worker with many quick tasks: more than a hundred of its jobs lay here, were given back
        after five seconds, and came again, while other workers stood idle.
        """
        credit = limited()
        quick = Handler("quick", repr, None, is_async=False)
        slow = Handler("slow", repr, 1, is_async=False)

        credit.note([ran(quick, 0.001) for _ in range(1000)])
        credit.check(1.0, running={a_task_of(slow): 0.9})

        capacity = credit.capacity(zombies={})
        assert capacity.tasks_max > 100
        assert [(bound.job_type, bound.tasks_max) for bound in capacity.types] == [("private:slow", 1)]

    def test_a_runner_that_a_lost_task_keeps_busy_is_not_offered_to_its_type(self) -> None:
        """The place was offered at once; the job that came could not begin and was given back after five seconds, again
        and again, each time with more delay, while other workers stood idle.
        """
        credit = limited()

        capacity = credit.capacity(zombies={"slow": 1})

        assert capacity.tasks_max == 7
        assert [bound.tasks_max for bound in capacity.types] == [0]

    def test_tasks_that_were_withdrawn_say_nothing_of_how_long_handlers_take(self) -> None:
        """They counted as done in no time: with slow handlers and some cancelled jobs the worker prefetched a lot."""
        bench = Bench(concurrency=2)
        bench.open()
        bench.run(*bench.deliver(1, 2), seconds=60.0)
        withdrawn = bench.deliver(*range(3, 30))
        for task in withdrawn:
            bench.lose(int(task.token))

        bench.begin(*withdrawn)
        bench.say()

        assert bench.credit.capacity(zombies={}).tasks_max == 2

    def test_what_was_given_back_while_its_type_was_stuck_is_not_kept(self, shop: Shop) -> None:
        """Only the end of a handler of the type took such tasks out of the line in which they waited for it: while one
        was stuck, each with up to a megabyte of parameters stayed.
        """
        release = threading.Event()

        def stuck(task: Task) -> None:
            release.wait(10)

        shop.serve(stuck, concurrency=2, stuck=1)
        shop.hand("stuck")
        for _ in range(10):
            (task,) = shop.hand("stuck")
            assert shop.handover.withdraw(task)
            task.ended = True

        assert shop.crew is not None
        assert len(shop.crew._parked["stuck"]) == 1
        release.set()


def limited() -> Credit:
    return Credit(concurrency=8, prefetch_max=1000, limits={"private:slow": 1})


def a_task_of(handler: Handler) -> HeldTask:
    return HeldTask(assignment(2, job_type=handler.job_type), handler, 0.0)


def ran(handler: Handler, seconds: float) -> HeldTask:
    task = a_task_of(handler)
    task.seconds = seconds
    return task


class TestAccess:
    @pytest.mark.parametrize("given", [None, b"bytes", 7])
    async def test_a_source_that_gives_no_text_is_one_that_fails(self, given: Any) -> None:
        """`lambda: os.environ.get("TOKEN")` gave None once, while the secret was being written: the connection's thread
        died of it, as of a bug of its own, and all tasks with it.
        """
        with pytest.raises(ApiError, match="not a str") as raised:
            await Access("hall.example:1", lambda: given).endpoint()

        assert raised.value.code is Code.UNAVAILABLE

    async def test_a_source_that_hangs_is_asked_once_and_its_late_answer_is_taken(self, patience: None) -> None:
        """Each try asked anew, in a thread of its own, and none ever ended: hundreds in an hour. And a source that
        takes a little longer than it is waited for never gave a token at all.
        """
        asked = 0
        answer = threading.Event()

        def slow() -> str:
            nonlocal asked
            asked += 1
            answer.wait(10)
            return "late"

        access = Access("hall.example:1", slow)
        for _ in range(3):
            with pytest.raises(ApiError, match="does not answer"):
                await access.endpoint()
        assert asked == 1

        answer.set()
        assert (await access.endpoint()).token == "late"
        assert (await access.endpoint()).token == "late"
        assert asked == 2

    async def test_the_newline_of_a_file_is_no_part_of_a_token_that_is_given_as_text(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`token=file.read_text()`: gRPC refused it as an illegal header, and the worker tried again and again."""
        monkeypatch.setenv("JOBHALL_TOKEN", "secret\r\n")

        assert (await Access("hall.example:1", None).endpoint()).token == "secret"
        assert (await Access("hall.example:1", "secret\n").endpoint()).token == "secret"


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a token longer than this."""
    monkeypatch.setattr("jobhall.worker.access.TOKEN_SECONDS", 0.05)


class TestEnds:
    @pytest.mark.parametrize("code", [Code.UNIMPLEMENTED, Code.NOT_FOUND, Code.FAILED_PRECONDITION])
    def test_a_proxy_that_is_set_up_anew_does_not_stop_a_worker_that_was_welcome(self, code: Code) -> None:
        """An ingress without a route answers 404, which gRPC calls UNIMPLEMENTED: a worker that had been connected for
        days stopped for good and gave up all that it ran.
        """
        error = ApiError("Received http2 header with status: 404", code=code)

        assert after(error, drained=False, known=True) is After.RECONNECT
        assert after(error, drained=False) is After.STOP

    def test_details_that_cannot_be_read_leave_the_code(self) -> None:
        """A garbled trailer raised in the thread that talks to the server, which ended the worker."""

        class Call:
            def code(self) -> grpc.StatusCode:
                return grpc.StatusCode.UNAVAILABLE

            def details(self) -> str:
                return "away"

            def trailing_metadata(self) -> Any:
                return (("grpc-status-details-bin", b"\xff\xff\xff"),)

        assert isinstance(error_from_call(Call(), address="hall.example:1"), ServerUnreachableError)


class TestRegistration:
    def test_a_handler_with_a_yield_is_refused_when_it_is_registered(self) -> None:
        """It was taken, and each of its jobs FAILED for good, since a generator is no result; it had not even run."""
        worker = Worker("127.0.0.1:1")

        def plain(task: Task) -> Iterator[int]:
            yield 1

        async def awaited(task: Task) -> AsyncIterator[int]:
            yield 1

        for handler in (plain, awaited):
            with pytest.raises(TypeError, match="yield"):
                worker.handler("rows")(handler)
        assert worker.job_types == ()

    def test_to_run_a_worker_that_runs_already_does_not_stop_it(self) -> None:
        worker = Worker("127.0.0.1:1")
        worker.handler("rows")(repr)

        with worker:
            with pytest.raises(RuntimeError, match="runs already"):
                worker.run()
            assert worker.health == "not connected"
