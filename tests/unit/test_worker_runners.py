"""Handlers of every temper, in real threads: each ends its task in its own way, and none ends its runner."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from jobhall.task import Task, TaskCancelled, TaskFailed, TaskReleased
from jobhall.v1.task_pb2 import RELEASE_REASON_NOT_MINE
from jobhall.v1.task_pb2 import TaskCancelled as Cancelled
from jobhall.v1.task_pb2 import TaskCompleted as Completed
from jobhall.v1.task_pb2 import TaskFailed as Failed
from jobhall.v1.task_pb2 import TaskReleased as Released
from tests.support.shop import Function, Shop


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    if shop.crew is not None:
        shop.crew.close()


def both(plain: Function) -> list[Function]:
    """The function as a plain and as an async handler."""

    async def awaited(task: Task) -> Any:
        await asyncio.sleep(0)
        return plain(task)

    return [plain, awaited]


@pytest.mark.parametrize("handler", both(lambda task: {"number": task.job_id}))
def test_what_a_handler_returns_is_the_result(shop: Shop, handler: Function) -> None:
    handler.__name__ = "handler"
    shop.serve(handler)

    shop.hand("handler")

    (outcome,) = shop.ends()
    assert isinstance(outcome, Completed)
    assert outcome.result.json == '{"number":"job-0"}'


@pytest.mark.parametrize("exception", [ValueError("no"), SystemExit(2), KeyboardInterrupt(), MemoryError("all")])
def test_whatever_is_raised_fails_the_task_and_not_the_runner(shop: Shop, exception: BaseException) -> None:
    def plain(task: Task) -> None:
        raise type(exception)(*exception.args)

    async def awaited(task: Task) -> None:
        await asyncio.sleep(0)
        raise type(exception)(*exception.args)

    shop.serve(plain, awaited, concurrency=1)
    for name in ("plain", "awaited", "plain", "awaited"):
        shop.hand(name)
        (outcome,) = shop.ends()

        assert isinstance(outcome, Failed)
        assert outcome.code == type(exception).__name__
        assert outcome.message == (str(exception) or repr(exception))
        assert f"in {name}" in outcome.stack
        assert "jobhall/worker/runners" not in outcome.stack


def test_a_failure_in_the_handlers_own_words_has_no_stack(shop: Shop) -> None:
    def declined(task: Task) -> None:
        raise TaskFailed("card declined", code="DECLINED", retryable=False, details={"card": "1234"})

    shop.serve(declined)
    shop.hand("declined")

    (outcome,) = shop.ends()
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.message, outcome.retryable, outcome.stack) == ("DECLINED", "card declined", False, "")
    assert outcome.details["card"] == "1234"


def test_a_failure_may_say_whether_and_when_it_is_tried_again(shop: Shop) -> None:
    def throttled(task: Task) -> None:
        raise TaskFailed("slow down", retryable=True, retry_delay=timedelta(seconds=90))

    shop.serve(throttled)
    shop.hand("throttled")

    (outcome,) = shop.ends()
    assert isinstance(outcome, Failed)
    assert (outcome.retryable, outcome.retry_delay.seconds) == (True, 90)


def test_a_handler_may_give_its_task_back(shop: Shop) -> None:
    def later(task: Task) -> None:
        raise TaskReleased("the disk is full", delay=timedelta(minutes=5))

    async def elsewhere(task: Task) -> None:
        raise TaskReleased(not_mine=True)

    shop.serve(later, elsewhere)
    shop.hand("later")
    (first,) = shop.ends()
    shop.hand("elsewhere")
    (second,) = shop.ends()

    assert isinstance(first, Released)
    assert (first.message, first.delay.seconds, first.reason) == ("the disk is full", 300, 0)
    assert isinstance(second, Released)
    assert (second.HasField("delay"), second.reason) == (False, RELEASE_REASON_NOT_MINE)


def test_a_failure_from_a_cause_has_the_stack_of_the_cause(shop: Shop) -> None:
    def wrapped(task: Task) -> None:
        try:
            int("x")
        except ValueError as error:
            raise TaskFailed("no number") from error

    shop.serve(wrapped)
    shop.hand("wrapped")

    (outcome,) = shop.ends()
    assert isinstance(outcome, Failed)
    assert "invalid literal" in outcome.stack
    assert not outcome.HasField("retryable")


@pytest.mark.parametrize("result", [Decimal(1), {1, 2}, float("nan"), {"deep": [object()]}, {"text": "\ud800"}])
def test_a_result_that_json_cannot_say_is_a_failure_that_names_its_type(shop: Shop, result: object) -> None:
    def odd(task: Task) -> object:
        return result

    shop.serve(odd)
    shop.hand("odd")

    (outcome,) = shop.ends()
    assert isinstance(outcome, Failed)
    assert f"returned a {type(result).__name__}" in outcome.message
    assert (outcome.code, outcome.retryable) == ("FIELD_INVALID", False)


def test_a_result_that_is_too_large_is_a_failure(shop: Shop) -> None:
    def huge(task: Task) -> str:
        return "x" * (1024 * 1024 + 1)

    shop.serve(huge)
    shop.hand("huge")

    (outcome,) = shop.ends()
    assert isinstance(outcome, Failed)
    assert outcome.code == "PAYLOAD_TOO_LARGE"


def test_an_exception_that_cannot_be_printed_is_a_failure_all_the_same(shop: Shop) -> None:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def speechless(task: Task) -> None:
        raise UnprintableError

    shop.serve(speechless)
    shop.hand("speechless")

    (outcome,) = shop.ends()
    assert isinstance(outcome, Failed)
    assert outcome.code == "UnprintableError"


def test_a_stack_is_cut_at_its_beginning(shop: Shop) -> None:
    def wordy(task: Task) -> None:
        raise ValueError("x" * 100_000 + " the end")

    shop.serve(wordy)
    shop.hand("wordy")

    (outcome,) = shop.ends()
    assert isinstance(outcome, Failed)
    assert len(outcome.stack) == 64 * 1024
    assert outcome.stack.endswith("the end\n")
    assert len(outcome.message) == 4096


def test_a_cancelled_async_handler_is_cancelled_where_it_waits_and_its_runner_goes_on(shop: Shop) -> None:
    entered = threading.Event()

    async def endless(task: Task) -> None:
        entered.set()
        await asyncio.Event().wait()

    async def brief(task: Task) -> int:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        return 1

    shop.serve(endless, brief, concurrency=1)
    (task,) = shop.hand("endless")
    assert entered.wait(5)
    shop.cancel(task, "enough")

    (outcome,) = shop.ends()
    assert isinstance(outcome, Cancelled)
    assert outcome.message == "enough"
    shop.hand("brief")
    assert isinstance(shop.ends()[0], Completed)


def test_an_async_handler_may_finish_in_spite_of_its_cancellation(shop: Shop) -> None:
    entered = threading.Event()

    async def stubborn(task: Task) -> str:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        return ""

    shop.serve(stubborn)
    (task,) = shop.hand("stubborn")
    assert entered.wait(5)
    shop.cancel(task, "enough")

    assert isinstance(shop.ends()[0], Completed)


def test_a_cancellation_that_nobody_asked_for_is_a_failure(shop: Shop) -> None:
    async def confused(task: Task) -> None:
        raise asyncio.CancelledError

    shop.serve(confused)
    shop.hand("confused")

    (outcome,) = shop.ends()
    assert isinstance(outcome, Failed)
    assert outcome.code == "CancelledError"


def test_a_plain_handler_learns_of_its_cancellation_at_its_next_word(shop: Shop) -> None:
    entered, cancelled = threading.Event(), threading.Event()

    def items(task: Task) -> None:
        entered.set()
        assert cancelled.wait(5)
        # As a loop guards itself against one bad item: that must not swallow the cancellation.
        with contextlib.suppress(Exception):
            task.progress(processed=1)
        raise AssertionError

    shop.serve(items)
    (task,) = shop.hand("items")
    assert entered.wait(5)
    shop.cancel(task, "enough")
    cancelled.set()

    assert isinstance(shop.ends()[0], Cancelled)


def test_what_is_raised_without_a_cancellation_is_no_cancellation(shop: Shop) -> None:
    def liar(task: Task) -> None:
        raise TaskCancelled("by myself")

    shop.serve(liar)
    shop.hand("liar")

    assert isinstance(shop.ends()[0], Failed)


def test_handlers_that_never_wait_leave_the_loop_to_others(shop: Shop) -> None:
    """A runner drains its deque without a single turn of the loop if handlers never suspend; a timer of another
    handler then never fires.
    """
    ticked = threading.Event()

    async def ticking(task: Task) -> None:
        for _ in range(5):
            await asyncio.sleep(0.001)  # sleeps: the handler under test waits for timers
        ticked.set()

    async def busy(task: Task) -> None:
        pass

    shop.serve(ticking, busy, concurrency=2)
    shop.hand("ticking")
    while not ticked.is_set():
        shop.hand("busy", 200)
        shop.ends(200)

    assert ticked.is_set()
