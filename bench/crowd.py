"""Very many open streams in one process, and what they are told: how much, and when the last of them was."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from bench import push, raw_streams
from bench.processes import BenchmarkError
from bench.raw_streams import Failed, Received
from jobhall.calls import WATCH
from jobhall.v1 import job_service_pb2 as jobs_pb2

_SECONDS_MAX = 60.0
_LOOK_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Told:
    """What one message says: of how many values, and which was the last; 0 is none."""

    count: int = 0
    last: int = 0
    cursor: str = ""


class Crowd:
    """The streams' messages, counted. Those that are the same to the byte are understood once."""

    def __init__(self, size: int, told: Callable[[bytes], Told]) -> None:
        self.size = size
        self.messages = 0
        self.values = 0
        self.cursors: dict[int, str] = {}
        """The newest by stream; of bare ones empty."""
        self.told: set[int] = set()
        """The streams that were told of a value."""
        self.reached_at: dict[int, float] = {}
        """By value: when the last stream had it as the last of a message."""
        self._told = told
        self._known: dict[bytes, Told] = {}
        self._reached = Counter[int]()
        self._error: BenchmarkError | None = None

    def received(self, stream: int, message: bytes) -> None:
        """Take a message."""
        told = self._known.get(message)
        if told is None:
            told = self._known[message] = self._told(message)
        self.messages += 1
        self.cursors[stream] = told.cursor
        if told.count:
            self.values += told.count
            self.told.add(stream)
            self._reached[told.last] += 1
            if self._reached[told.last] == self.size:
                self.reached_at[told.last] = time.time()

    def failed(self, error: BenchmarkError) -> None:
        """A stream ended."""
        self._error = self._error or error

    def check(self) -> None:
        """Raises if a stream has ended."""
        if self._error is not None:
            raise self._error

    async def until(self, so_far: Callable[[], bool]) -> None:
        """Waits until that holds; an error when a stream ends before or it takes too long."""
        deadline = time.monotonic() + _SECONDS_MAX
        while not so_far():
            self.check()
            if time.monotonic() > deadline:
                raise BenchmarkError(
                    f"{len(self.cursors)} of {self.size} streams have begun, {self.values} values came"
                )
            await asyncio.sleep(_LOOK_SECONDS)

    async def until_begun(self) -> None:
        """Waits until each stream has had its first message."""
        await self.until(lambda: len(self.cursors) == self.size)

    async def until_all_have(self, value: int) -> float:
        """Waits until each stream was told of that value last; when that was, in seconds since 1970."""
        await self.until(lambda: value in self.reached_at)
        return self.reached_at[value]


class Wire(Protocol):
    """How streams are read: see `raw_streams` and `stub_streams`."""

    def __call__(
        self, address: str, method: str, requests: Sequence[bytes], received: Received, failed: Failed
    ) -> AbstractAsyncContextManager[None]: ...


@asynccontextmanager
async def bare_crowd(address: str, size: int, wire: Wire = raw_streams.open_streams) -> AsyncIterator[Crowd]:
    """So many streams of the bare server, begun."""
    crowd = Crowd(size, _value_told)
    async with wire(address, push.STREAM, [b""] * size, crowd.received, crowd.failed):
        await crowd.until_begun()
        yield crowd


@asynccontextmanager
async def watchers(
    address: str, requests: Sequence[jobs_pb2.WatchJobsRequest], wire: Wire = raw_streams.open_streams
) -> AsyncIterator[Crowd]:
    """A watch for each request, begun."""
    crowd = Crowd(len(requests), _change_told)
    asked = [request.SerializeToString() for request in requests]
    async with wire(address, WATCH, asked, crowd.received, crowd.failed):
        await crowd.until_begun()
        yield crowd


def _value_told(message: bytes) -> Told:
    return Told(1, int.from_bytes(message[: push.NUMBER_BYTES])) if message else Told()


def _change_told(message: bytes) -> Told:
    """A job's value is its revision, or less than 0 how many items it has processed."""
    response = jobs_pb2.WatchJobsResponse.FromString(message)
    if not response.events:
        return Told(cursor=response.cursor)
    event = response.events[-1]
    last = -event.progress.items_processed if event.HasField("progress") else event.revision
    return Told(len(response.events), last, response.cursor)
