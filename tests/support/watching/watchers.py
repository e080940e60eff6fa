"""A watcher by the bare stubs that is cut again and again, goes on from its last cursor, and keeps what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from jobhall.states import EventType
from jobhall.v1 import job_service_pb2 as pb
from tests.support.watching.oracle import NOT_LOGGED, Asked, Told, number_of, told_of

LIVE = frozenset({EventType.PROGRESS, EventType.LOG})
PASSES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN})
"""What a stream that lost its server may end with."""
LOGGED = tuple(kind for kind in EventType if kind and kind not in NOT_LOGGED)


@dataclass(frozen=True, slots=True)
class Leg:
    """One stretch of a watch's way: so many messages of a stream, or pages of ListJobEvents, and then it is cut."""

    messages: int
    by_pages_of: int = 0
    """0: a stream."""
    away_seconds: float = 0.0
    """Before it."""


@dataclass(slots=True)
class CutWatcher:
    """Goes its legs, and then on by one stream until it is told of the end."""

    stub: Any
    asked: Asked
    legs: Sequence[Leg] = ()
    cursor: str = ""
    snapshot: bool = False
    metadata: Any = ()
    told: list[Told] = field(default_factory=list)
    jobs: dict[str, Any] = field(default_factory=dict)
    """Of the snapshot."""
    first_number: int = -1
    """The event after which it began."""

    async def run(self, over: Callable[[Told], bool]) -> None:
        """Until it is told of something that is the end."""
        if await self.go(self.legs, over):
            return
        while True:
            if await self._stream(None, over):
                return
            # The server went away.
            await asyncio.sleep(0.05)  # sleeps: as a client does that comes again

    async def go(self, legs: Sequence[Leg], over: Callable[[Told], bool]) -> bool:
        """These legs; whether it has come to the end."""
        for leg in legs:
            await asyncio.sleep(leg.away_seconds)  # sleeps: it is away meanwhile
            if leg.by_pages_of and self.cursor:
                ended = await self._page(leg, over)
            else:
                ended = await self._stream(leg.messages, over)
            if ended:
                return True
        return False

    async def _stream(self, messages: int | None, over: Callable[[Told], bool]) -> bool:
        request = pb.WatchJobsRequest(**self.asked.fields(), cursor=self.cursor, include_snapshot=self.snapshot)
        call = self.stub.WatchJobs(request, metadata=self.metadata)
        try:
            while messages is None or messages > 0:
                response = await call.read()
                assert response is not grpc.aio.EOF, "a watch without stop_when_terminal ended"
                if self._take(response, over):
                    return True
                messages = None if messages is None else messages - 1
        except grpc.aio.AioRpcError as error:
            _check_passes(error)
        finally:
            call.cancel()
        return False

    async def _page(self, leg: Leg, over: Callable[[Told], bool]) -> bool:
        for _ in range(leg.messages):
            request = pb.ListJobEventsRequest(**self.asked.fields(), cursor=self.cursor, page_size=leg.by_pages_of)
            try:
                response = await self.stub.ListJobEvents(request, metadata=self.metadata)
            except grpc.aio.AioRpcError as error:
                _check_passes(error)
                return False
            assert len(response.events) <= leg.by_pages_of
            if self._hear(response.events, response.cursor, over):
                return True
            if response.end_reached:
                break
        return False

    def _take(self, response: Any, over: Callable[[Told], bool]) -> bool:
        assert response.cursor, "every message has a cursor"
        assert not response.cursor_reset
        self.jobs.update((job.id, job) for job in response.snapshot_jobs)
        if response.snapshot_complete:
            self.snapshot = False
        return self._hear(response.events, response.cursor, over)

    def _hear(self, events: Sequence[Any], cursor: str, over: Callable[[Told], bool]) -> bool:
        number = number_of(cursor)
        if not self.cursor:
            self.first_number = number
            assert not events, "the first answer of a new watch is only a cursor"
        assert not self.cursor or number >= number_of(self.cursor), "a cursor never goes back"
        self.cursor = cursor
        heard = [told_of(event) for event in events]
        assert all(told.revision == 0 for told in heard if told.event_type in LIVE)
        for told in heard:
            if told.event_type not in LIVE:
                self.told.append(told)
                if over(told):
                    return True
        return False


def _check_passes(error: grpc.aio.AioRpcError) -> None:
    if error.code() not in PASSES:
        raise error


async def all_pages(stub: Any, asked: Asked, *, cursor: str, page_size: int, metadata: Any = ()) -> list[Told]:
    """What ListJobEvents has after a cursor."""
    told: list[Told] = []
    while True:
        request = pb.ListJobEventsRequest(**asked.fields(), cursor=cursor, page_size=page_size)
        response = await stub.ListJobEvents(request, metadata=metadata)
        told += [told_of(event) for event in response.events]
        cursor = response.cursor
        if response.end_reached:
            return told
