"""Faults of the threads in which handlers run that were found by hunting: each test opens with what went wrong."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from jobhall.task import Task, TaskFailed
from jobhall.v1.task_pb2 import TaskCompleted as Completed
from jobhall.v1.task_pb2 import TaskFailed as Failed
from jobhall.worker.handover import Handover
from jobhall.worker.held import Handler, HeldTask
from jobhall.worker.runners import ThreadRunners
from tests.support.shop import Shop
from tests.support.stream_machine import assignment
from tests.support.waiting import eventually


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    if shop.crew is not None:
        shop.crew.close()


class Changing(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("dictionary changed size during iteration")


def failed_with(**attributes: Any) -> TaskFailed:
    failure = TaskFailed("no luck")
    for name, value in attributes.items():
        setattr(failure, name, value)
    return failure


def released_view() -> memoryview:
    view = memoryview(b"gone")
    view.release()
    return view


class TestRunners:
    @pytest.mark.parametrize("attributes", [{"details": ["a list"]}, {"retryable": "yes"}, {"retry_delay": 5}], ids=str)
    @pytest.mark.parametrize("kind", ["plain", "awaited"])
    def test_a_failure_that_says_odd_things_ends_its_task_and_not_its_runner(
        self, shop: Shop, attributes: dict[str, Any], kind: str
    ) -> None:
        """What could not be written as a message raised in the runner, beyond every net: its thread was gone, and the
        job stayed RUNNING for as long as the worker beat, which is for ever.
        """

        def plain(task: Task) -> None:
            raise failed_with(**attributes)

        async def awaited(task: Task) -> None:
            raise failed_with(**attributes)

        shop.serve(plain, awaited, concurrency=1)
        for _ in range(2):
            shop.hand(kind)

            (outcome,) = shop.ends()
            assert isinstance(outcome, Failed)
            assert "no luck" in outcome.message

    @pytest.mark.parametrize("make", [Changing, released_view])
    def test_a_result_that_raises_when_it_is_looked_at_is_a_failure(self, shop: Shop, make: Callable[[], Any]) -> None:
        """The same with results: a dict that another thread changes is enough."""

        def odd(task: Task) -> Any:
            result = make()
            if isinstance(result, Changing):
                result["a"] = 1
            return result

        shop.serve(odd, concurrency=1)
        for _ in range(2):
            shop.hand("odd")

            (outcome,) = shop.ends()
            assert isinstance(outcome, Failed)
            assert "the handler returned a" in outcome.message

    def test_a_result_that_cannot_be_sent_is_a_line_in_the_workers_log(
        self, shop: Shop, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What a handler raised was logged, and a NaN that it returned was not: its job had failed, said the client,
        and nothing at all had happened, said the worker.
        """

        def plain(task: Task) -> float:
            return float("nan")

        async def awaited(task: Task) -> float:
            return float("nan")

        shop.serve(plain, awaited, concurrency=1)
        for kind in ("plain", "awaited"):
            shop.hand(kind)
            shop.ends()

            assert f"{kind} " in caplog.text
            assert "a float that cannot be sent: result: is NaN" in caplog.text
            caplog.clear()

    def test_a_task_that_a_handler_made_cannot_end_the_loop_of_all_the_others(self, shop: Shop) -> None:
        """A SystemExit in an asyncio task leaves run_forever, too. The loop was closed, every async handler stood still
        where it was, and their tasks were listed in each beat: RUNNING, for ever.
        """
        release = threading.Event()

        async def exits(task: Task) -> None:
            async def exit_now() -> None:
                raise SystemExit(3)

            await asyncio.gather(exit_now())

        async def waits(task: Task) -> int:
            await asyncio.to_thread(release.wait, 10)
            return 1

        shop.serve(exits, waits, concurrency=2)
        shop.hand("waits")
        shop.hand("exits")
        (first,) = shop.ends()
        release.set()
        (second,) = shop.ends()

        assert isinstance(first, Failed)
        assert first.code == "SystemExit"
        assert isinstance(second, Completed)

    def test_a_cancellation_that_a_handler_asked_for_and_did_not_wait_for_is_not_the_next_ones(
        self, shop: Shop
    ) -> None:
        """The request stayed with the asyncio task, which is the runner's: the next job failed with a CancelledError
        that nobody had asked for.
        """

        async def cancels_itself(task: Task) -> None:
            me = asyncio.current_task()
            assert me is not None
            me.cancel()

        async def innocent(task: Task) -> int:
            await asyncio.sleep(0)
            return 1

        shop.serve(cancels_itself, innocent, concurrency=1)
        shop.hand("cancels_itself")
        shop.ends()
        shop.hand("innocent")

        assert isinstance(shop.ends()[0], Completed)

    def test_a_handler_that_cancels_all_that_is_in_its_loop_leaves_runners_for_what_comes(self, shop: Shop) -> None:
        """Idle runners ended, and were counted as there: after a few such handlers nothing was begun any more."""
        both = asyncio.Barrier(2)

        async def sweeping(task: Task) -> None:
            for other in asyncio.all_tasks() - {asyncio.current_task()}:
                other.cancel()

        async def meets(task: Task) -> None:
            async with asyncio.timeout(5):
                await both.wait()

        shop.serve(sweeping, meets, concurrency=2)
        shop.hand("meets", 2)
        shop.ends(2)
        shop.hand("sweeping")
        shop.ends()
        shop.hand("meets", 2)

        assert [type(outcome) for outcome in shop.ends(2)] == [Completed, Completed]

    def test_a_thread_that_has_just_taken_a_task_is_not_idle(self) -> None:
        """It was counted as idle until it had said that it is not. A task that came in between got no thread, though
        there might be more, and waited for the end of the other one, or to be given back.
        """
        taken, go_on = threading.Event(), threading.Event()

        class Slow(SimpleQueue[HeldTask | None]):
            def get(self, block: bool = True, timeout: float | None = None) -> HeldTask | None:
                task = super().get(block, timeout)
                if task is first:
                    taken.set()
                    go_on.wait(10)
                return task

        handover = Handover()
        runners = ThreadRunners(handover, threads_max=2)
        runners._queue = Slow()
        handler = Handler("resize", repr, None, is_async=False)
        first, second = (HeldTask(assignment(number), handler, 0.0) for number in (1, 2))
        handover.deliver([first, second])

        runners.put([first])
        assert taken.wait(10)
        runners.put([second])

        eventually(lambda: second.over, within=10, what="the second task has a thread of its own")
        assert not first.over
        go_on.set()
        runners.close()
