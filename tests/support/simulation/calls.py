"""Calls to whoever serves, made again and again until they are answered, as the SDK's are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Protocol

from jobhall.errors import ApiError, Code, JobTypeNotFoundError
from jobhall_server.hall.hall import Hall
from tests.support.simulation.network import Weather
from tests.support.simulation.servers import SimulatedServer
from tests.support.simulation.timeline import Process

PATIENCE_SECONDS = 4.0
"""After this an answer counts as lost, and the call is made again."""


class Service(Protocol):
    """What is called."""

    def server(self) -> SimulatedServer | None:
        """Whoever serves now."""


class Calls:
    """The calls of one process."""

    def __init__(self, service: Service, process: Process, chance: Random) -> None:
        self.process = process
        self.waiting = 0
        """Calls that are not answered yet."""
        self._service = service
        self._chance = chance
        self._weather = Weather(chance)

    async def answer(self, call: Callable[[Hall], Awaitable[Any]]) -> Any:
        """What the service answers in the end, be it an error."""
        self.waiting += 1
        try:
            while True:
                server = self._service.server()
                if server is not None:
                    answer = self.process.create_future()
                    server.process.call_later(self._weather.delay(), server.perform, call, self._teller(answer))
                    await asyncio.wait({answer}, timeout=PATIENCE_SECONDS)
                    if answer.done() and not _passes(answer.result()):
                        return answer.result()
                await self.pause(self._chance.uniform(0.1, 1.0))
        finally:
            self.waiting -= 1

    async def pause(self, seconds: float) -> None:
        """Let so much virtual time go by."""
        over = self.process.create_future()
        self.process.call_later(seconds, _set_once, over, None)
        await over

    def _teller(self, answer: asyncio.Future[Any]) -> Callable[[Any], None]:
        def tell(what: Any) -> None:
            self.process.call_later(self._weather.delay(), _set_once, answer, what)

        return tell


def _passes(answer: object) -> bool:
    """Whether to ask again may help; a type is registered by the first worker that serves it."""
    return isinstance(answer, JobTypeNotFoundError) or (
        isinstance(answer, ApiError) and answer.code is Code.UNAVAILABLE
    )


def _set_once(answer: asyncio.Future[Any], what: Any) -> None:
    if not answer.done():
        answer.set_result(what)
