"""Clients: one that submits, cancels and retries until it is told the outcome, and one that watches every event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Protocol
from uuid import UUID

from jobhall.errors import ApiError, Code, JobTypeNotFoundError
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.job import Payload
from jobhall_server.domain.rules import Rules
from jobhall_server.hall.hall import Hall
from jobhall_server.hall.store import JobFilter
from jobhall_server.hall.submits import Submission
from jobhall_server.hall.watch import WatchRequest, watch
from tests.support.simulation.network import Weather
from tests.support.simulation.servers import SimulatedServer
from tests.support.simulation.timeline import Process

PATIENCE_SECONDS = 4.0
"""After this an answer counts as lost, and the call is made again."""


class Service(Protocol):
    """What clients meet."""

    def server(self) -> SimulatedServer | None:
        """Whoever serves now."""

    def submitted(self, job_id: str) -> None:
        """The submit was acknowledged."""

    def watched(self, number: int) -> None:
        """The watcher was shown that event."""


class SimulatedClient:
    """Its calls are repeated until they are answered, as the SDK's are."""

    def __init__(self, service: Service, process: Process, chance: Random) -> None:
        self._service = service
        self._process = process
        self._chance = chance
        self._weather = Weather(chance)
        self.calls = 0
        """Those that are not answered yet."""

    def submit(self, number: int, *, rules: Rules, max_attempts: int) -> None:
        job_id = str(UUID(int=(7 << 76) | (2 << 62) | number))
        submission = Submission(
            "work",
            parameters=Payload(f'{{"job": {number}}}'),
            job_id=job_id,
            max_attempts=max_attempts,
            digest=number + 1,
            rules=rules.text(),
        )
        self._do(self._submit(job_id, submission))

    def cancel(self, job_id: str, *, grace_seconds: float) -> None:
        self._do(
            self._call(lambda hall: hall.jobs.cancel(ANYBODY, job_id, reason="unwanted", grace_seconds=grace_seconds))
        )

    def retry(self, job_id: str) -> None:
        self._do(self._call(lambda hall: hall.jobs.retry(ANYBODY, job_id)))

    def delete(self, job_id: str) -> None:
        self._do(self._call(lambda hall: hall.jobs.delete(ANYBODY, job_id)))

    def _do(self, what: Any) -> None:
        _ = self._process.create_task(what, name="client")

    async def _submit(self, job_id: str, submission: Submission) -> None:
        answer = await self._call(lambda hall: hall.jobs.submit(ANYBODY, submission))
        if not isinstance(answer, ApiError):
            self._service.submitted(job_id)

    async def _call(self, call: Callable[[Hall], Awaitable[Any]]) -> Any:
        """What the service answers in the end, be it an error."""
        self.calls += 1
        try:
            return await self._repeated(call)
        finally:
            self.calls -= 1

    async def _repeated(self, call: Callable[[Hall], Awaitable[Any]]) -> Any:
        loop = self._process
        while True:
            server = self._service.server()
            if server is not None:
                answer = loop.create_future()
                server.process.call_later(self._weather.delay(), server.perform, call, self._teller(answer))
                await asyncio.wait({answer}, timeout=PATIENCE_SECONDS)
                if answer.done() and not _passes(answer.result()):
                    return answer.result()
            pause = loop.create_future()
            loop.call_later(self._chance.uniform(0.1, 1.0), pause.set_result, None)
            await pause

    def _teller(self, answer: asyncio.Future[Any]) -> Callable[[Any], None]:
        def tell(what: Any) -> None:
            self._process.call_later(self._weather.delay(), _set_once, answer, what)

        return tell


class SimulatedWatcher:
    """Holds the cursor across servers; each event that it is shown is noted."""

    def __init__(self, service: Service, process: Process, chance: Random) -> None:
        self._service = service
        self._process = process
        self._weather = Weather(chance)
        self._cursor = ""
        self._call = 0
        process.call_soon(self._look)

    def _look(self) -> None:
        """Now and then: is there a server, and is it the one that was asked?"""
        server = self._service.server()
        if server is not None and server.process is not getattr(self, "_asked", None):
            self._asked = server.process
            self._call += 1
            server.perform(self._watching(self._call), lambda _: None)
        self._process.call_later(1.0, self._look)

    def _watching(self, number: int) -> Callable[[Hall], Awaitable[None]]:
        async def follow(hall: Hall) -> None:
            request = WatchRequest(JobFilter(), cursor=self._cursor)
            async for update in watch(hall.feed, hall.store.reads, ANYBODY, request):
                numbers = [event.row.number for event in update.events if event.row.number]
                self._process.call_later(self._weather.delay_seconds, self._hear, number, numbers, update.cursor)

        return follow

    def _hear(self, call: int, numbers: list[int], cursor: str) -> None:
        if call == self._call:
            self._cursor = cursor
            for number in numbers:
                self._service.watched(number)


def _passes(answer: object) -> bool:
    """Whether to ask again may help; a type is registered by the first worker that serves it."""
    return isinstance(answer, JobTypeNotFoundError) or (
        isinstance(answer, ApiError) and answer.code is Code.UNAVAILABLE
    )


def _set_once(answer: asyncio.Future[Any], what: Any) -> None:
    if not answer.done():
        answer.set_result(what)
