"""How many handlers run at once: as many as the worker may, of each type as many as its own limit says."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from jobhall.task import Task
from tests.support.shop import Shop


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    if shop.crew is not None:
        shop.crew.close()


@pytest.mark.parametrize("kind", ["plain", "awaited"])
def test_as_many_run_at_once_as_the_worker_may_and_no_more(shop: Shop, kind: str) -> None:
    running, most = 0, 0
    lock = threading.Lock()
    three, gate = threading.Event(), asyncio.Event()

    def enter() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if most == 3:
                three.set()

    def leave() -> None:
        nonlocal running
        with lock:
            running -= 1

    def plain(task: Task) -> None:
        enter()
        three.wait(5)
        leave()

    async def awaited(task: Task) -> None:
        enter()
        if three.is_set():
            gate.set()
        await gate.wait()
        leave()

    shop.serve(plain, awaited, concurrency=3)
    shop.hand(kind, 9)

    for _ in range(9):
        shop.ends()
    assert most == 3


def test_a_handlers_own_limit_holds_and_keeps_nobody_else_back(shop: Shop) -> None:
    release = threading.Event()
    running: list[str] = []

    def narrow(task: Task) -> None:
        running.append("narrow")
        release.wait(5)

    def wide(task: Task) -> None:
        running.append("wide")

    shop.serve(narrow, wide, concurrency=3, narrow=1)
    shop.hand("narrow", 3)
    shop.hand("wide", 2)

    shop.ends(2)
    assert sorted(running) == ["narrow", "wide", "wide"]
    release.set()
    for _ in range(3):
        shop.ends()
    assert running.count("narrow") == 3


def test_a_task_that_is_withdrawn_keeps_no_place(shop: Shop) -> None:
    release = threading.Event()

    def narrow(task: Task) -> None:
        release.wait(5)

    shop.serve(narrow, concurrency=2, narrow=1)
    _, withdrawn, last = shop.hand("narrow", 3)
    assert shop.handover.withdraw(withdrawn)
    withdrawn.ended = True
    release.set()

    shop.ends()
    shop.ends()
    assert last.over
    assert not withdrawn.over
