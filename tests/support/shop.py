"""A crew of runners with its handover and no stream: where tests hand tasks to handlers and look at how they end."""

import asyncio
from collections.abc import Callable
from typing import Any

from jobhall.task import StopCause, Task
from jobhall.worker.crew import Crew
from jobhall.worker.handover import Handover
from jobhall.worker.held import Handler, HeldTask
from jobhall.worker.outcomes import Outcome
from tests.support.stream_machine import assignment
from tests.support.waiting import eventually

Function = Callable[[Task], Any]


class Shop:
    """A crew with its handover, and no stream."""

    def __init__(self) -> None:
        self.handover = Handover()
        self.crew: Crew | None = None
        self.handlers: dict[str, Handler] = {}
        self.count = 0

    def serve(self, *functions: Function, concurrency: int = 4, **limits: int) -> None:
        for function in functions:
            name = function.__name__
            is_async = asyncio.iscoroutinefunction(function)
            self.handlers[name] = Handler(name, function, limits.get(name), is_async=is_async)
        self.crew = Crew(self.handlers, self.handover, concurrency=concurrency)

    def hand(self, name: str, count: int = 1) -> list[HeldTask]:
        assert self.crew is not None
        first, self.count = self.count, self.count + count
        tasks = [HeldTask(assignment(first + n, job_type=name), self.handlers[name], 0.0) for n in range(count)]
        self.handover.deliver(tasks)
        self.crew.hand(tasks)
        return tasks

    def ends(self, count: int = 1) -> list[Outcome]:
        """The next outcomes, when they are there."""
        assert self.crew is not None
        eventually(lambda: len(self.handover.ended) >= count, within=10, what=f"{count} handlers have ended")
        ended = [self.handover.ended.popleft() for _ in range(count)]
        self.crew.over([task for task, _ in ended])
        return [outcome for _, outcome in ended if outcome is not None]

    def cancel(self, task: HeldTask, reason: str) -> None:
        assert self.crew is not None
        task.ask_to_stop(StopCause.CANCELLED, reason)
        self.crew.stop([task])
