"""The simulated clock: time goes on only when nobody has anything to do, and a process can be stopped and killed."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.simulation.timeline import Process, Timeline


def process(timeline: Timeline, name: str = "p") -> Process:
    return Process(timeline, name)  # type: ignore[abstract]  # what nobody asks of it, it has not


def test_tasks_of_two_processes_share_one_time() -> None:
    timeline = Timeline(0.0)
    said: list[object] = []

    async def count(name: str, seconds: float) -> None:
        for _ in range(3):
            await asyncio.sleep(seconds)  # sleeps: in virtual time, which is the point
            said.append((timeline.now, name))

    tasks = [process(timeline).create_task(count("slow", 2.0)), process(timeline).create_task(count("quick", 0.9))]
    timeline.run(until=10.0)

    assert said == [(0.9, "quick"), (1.8, "quick"), (2.0, "slow"), (2.7, "quick"), (4.0, "slow"), (6.0, "slow")]
    assert all(task.done() for task in tasks)
    assert timeline.now == 10.0


def test_what_is_meant_for_a_stopped_process_waits_in_its_order() -> None:
    timeline = Timeline(0.0)
    said: list[object] = []
    stopped = process(timeline)
    for at in (1.0, 2.0, 3.0):
        stopped.call_at(at, said.append, at)

    stopped.pause()
    timeline.run(until=2.5)
    assert said == []

    stopped.resume()
    timeline.run(until=2.5)
    assert said == [1.0, 2.0]
    timeline.run(until=4.0)
    assert said == [1.0, 2.0, 3.0]


def test_a_killed_process_does_nothing_more_and_leaves_no_coroutine_behind() -> None:
    timeline = Timeline(0.0)
    said: list[object] = []
    killed = process(timeline)

    async def work() -> None:
        try:
            await asyncio.sleep(5.0)  # sleeps: in virtual time
            said.append("done")
        finally:
            said.append("unwound")

    task = killed.create_task(work())
    timeline.run(until=1.0)
    killed.kill()
    timeline.run(until=10.0)
    assert said == []

    killed.unwind()
    assert task.cancelled()
    assert said == ["unwound"]


def test_two_parties_that_keep_each_other_busy_are_found_out() -> None:
    timeline = Timeline(0.0)
    busy = process(timeline)

    def again() -> None:
        busy.call_soon(again)

    again()
    with pytest.raises(AssertionError, match="time stands still"):
        timeline.run(until=1.0)
