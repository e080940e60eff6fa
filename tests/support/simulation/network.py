"""Streams between processes as TCP gives them: in order, late, cut in the middle, or silent without a word."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from random import Random
from typing import Any, Protocol

from grpc import aio

from jobhall.errors import ApiError, Code
from jobhall.v1.worker_service_pb2 import WorkRequest, WorkResponse
from tests.support.simulation.timeline import Process

BROKEN = ApiError("the connection broke", code=Code.UNAVAILABLE)
LEAST_SECONDS = 0.0005
"""No message is there before it was sent."""


class Caller(Protocol):
    """The worker's end of a stream."""

    process: Process

    def hear(self, stream: SimulatedStream, message: WorkResponse) -> None:
        """A message of the server has come."""

    def ended(self, stream: SimulatedStream, error: ApiError | None) -> None:
        """The stream is over."""


class Told(Enum):
    """Who hears of it when a connection breaks."""

    BOTH = "both are told"
    THE_WORKER = "the server is not told"
    NOBODY = "silently"


class Weather:
    """What the network between one worker and the service is like just now; `chance` is of that worker alone."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.delay_seconds = 0.002
        self.up_silent_until = 0.0
        """Until then nothing gets from the worker to the server, and nobody is told."""
        self.down_silent_until = 0.0
        self.next_held_seconds = 0.0
        """So long what is said first on the next stream is on its way."""

    def delay(self) -> float:
        return LEAST_SECONDS + self.chance.expovariate(1 / self.delay_seconds)


class SimulatedStream:
    """One call of Work: a pipe each way; what the caller cancels or the server ends travels in it, in its turn."""

    def __init__(self, caller: Caller, server: Process, weather: Weather) -> None:
        self.caller = caller
        self.server = server
        self.weather = weather
        self.task: asyncio.Task[None] | None = None
        """The server's handler of it."""
        self.cut = False
        self._incoming: deque[WorkRequest] = deque()
        self._half_closed = False
        self._arrival: asyncio.Event | None = None
        self._up_at = server.time() + weather.next_held_seconds
        weather.next_held_seconds = 0.0
        self._down_at = 0.0
        self._over = False

    # --- the worker's side ---

    def open(self, accept: Callable[[SimulatedStream], None]) -> None:
        """The call itself, on its way to the server."""
        self._upwards(accept, self)

    def send(self, message: WorkRequest) -> None:
        """What is written is taken at once; whether it ever comes is another matter."""
        self._upwards(self._take, WorkRequest.FromString(message.SerializeToString()))

    def half_close(self) -> None:
        self._upwards(self._take_end)

    def cancel(self) -> None:
        """The caller does not want it any more: what still comes for it is nobody's."""
        self._over = True
        self._upwards(self._cancelled)

    # --- the server's side: as `grpc.aio.ServicerContext` has it ---

    async def read(self) -> Any:
        """The next message, or EOF."""
        while not self._incoming:
            if self._half_closed:
                return aio.EOF
            self._arrival = asyncio.Event()
            await self._arrival.wait()
        return self._incoming.popleft()

    async def write(self, message: WorkResponse) -> None:
        self._downwards(self._deliver, WorkResponse.FromString(message.SerializeToString()))

    def end(self, error: ApiError | None) -> None:
        """The status of the call."""
        self._downwards(self._end, error)

    # --- what happens to it ---

    def break_off(self, told: Told) -> None:
        """The connection is gone, and all that was on its way."""
        if self.cut:
            return
        self.cut = True
        if told is not Told.NOBODY:
            self.caller.process.call_later(self.weather.delay(), self._end, BROKEN)
        if told is Told.BOTH:
            self.server.call_later(self.weather.delay(), self._cancelled)

    # --- in detail ---

    def _upwards(self, what: Any, *args: Any) -> None:
        now = self.server.time()
        self._up_at = max(self._up_at, now + self.weather.delay(), self.weather.up_silent_until)
        self.server.call_at(self._up_at, self._arrive, what, *args)

    def _downwards(self, what: Any, *args: Any) -> None:
        now = self.server.time()
        self._down_at = max(self._down_at, now + self.weather.delay(), self.weather.down_silent_until)
        self.caller.process.call_at(self._down_at, self._arrive, what, *args)

    def _arrive(self, what: Any, *args: Any) -> None:
        if not self.cut:
            what(*args)

    def _take(self, message: WorkRequest) -> None:
        self._incoming.append(message)
        self._rouse()

    def _take_end(self) -> None:
        self._half_closed = True
        self._rouse()

    def _rouse(self) -> None:
        if self._arrival is not None:
            self._arrival.set()

    def _cancelled(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def _deliver(self, message: WorkResponse) -> None:
        if not self._over:
            self.caller.hear(self, message)

    def _end(self, error: ApiError | None) -> None:
        if not self._over:
            self._over = True
            self.caller.ended(self, error)
