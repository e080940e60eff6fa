"""A server process: the real hall over the tables in memory, the real servicer's halves over a simulated network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from random import Random
from typing import Any, Protocol, cast

from jobhall.errors import ApiError, Code, DatabaseBusyError, DrainingError, InternalError
from jobhall_server.domain.access import ANYBODY
from jobhall_server.hall.hall import Hall, HallSettings
from jobhall_server.hall.reads import Reads
from jobhall_server.rpc.convert_work_out import FrameWriter
from jobhall_server.rpc.streams import Stream
from jobhall_server.rpc.workers import _WorkStream
from tests.support.memory.group import Move
from tests.support.memory.store import MemoryStore
from tests.support.memory.tables import Tables
from tests.support.simulation.completions import read_completion
from tests.support.simulation.network import SimulatedStream
from tests.support.simulation.timeline import Process, Timeline
from tests.support.stores import START_US

READ_FAILS = 0.001
LEAVE_SECONDS = 3.0
"""So long a server that was told to stop waits for its workers to move."""
UNREACHABLE = ApiError("nobody listens", code=Code.UNAVAILABLE)


class SimulatedClock:
    """The timeline as a server's clock."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def now_us(self) -> int:
        return START_US + int(self._timeline.now * 1_000_000)

    def monotonic(self) -> float:
        return self._timeline.now


class SimulatedDisk:
    """Commits take a few milliseconds, now and then much longer; for a while all may be refused."""

    def __init__(self, timeline: Timeline, chance: Random) -> None:
        self._timeline = timeline
        self._chance = chance
        self.busy_until = 0.0

    def before_commit(self) -> float:
        return self._chance.expovariate(1 / 0.003) if self._chance.random() < 0.99 else self._chance.uniform(0, 0.1)

    def before_answer(self) -> float:
        return self._chance.expovariate(1 / 0.002)

    def busy(self) -> bool:
        return self._timeline.now < self.busy_until


class LateReads:
    """Queries that take their time: what they answer was so some moments ago. Now and then one cannot be answered."""

    def __init__(self, reads: Reads, chance: Random, *, may_fail: Callable[[], bool]) -> None:
        self._reads = reads
        self._chance = chance
        self._may_fail = may_fail

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def read(*args: Any, **named: Any) -> Any:
            await asyncio.sleep(self._seconds())  # sleeps: in virtual time
            if self._chance.random() < READ_FAILS and self._may_fail():
                raise DatabaseBusyError("the database is away", retry_after=timedelta(seconds=1))
            answer = await getattr(self._reads, name)(*args, **named)
            await asyncio.sleep(self._seconds())  # sleeps: the same
            return answer

        return read

    def _seconds(self) -> float:
        return self._chance.expovariate(1 / 0.001) if self._chance.random() < 0.98 else self._chance.uniform(0, 0.1)


class Onlooker(Protocol):
    """Who is told what the servers do."""

    def committed(self, moves: Sequence[Move]) -> None:
        """A group is durable."""

    def failed(self, error: BaseException) -> None:
        """A server did what it must never do."""


class SimulatedServer:
    """From its start to its death; what it committed is in the tables."""

    def __init__(
        self,
        process: Process,
        tables: Tables,
        disk: SimulatedDisk,
        onlooker: Onlooker,
        settings: HallSettings,
        chance: Random,
    ) -> None:
        self.process = process
        self.hall: Hall | None = None
        self.streams: list[SimulatedStream] = []
        self._tables = tables
        self._disk = disk
        self._onlooker = onlooker
        self._settings = settings
        self._chance = chance
        self._started_at = process.time()
        self._stopping: asyncio.Event | None = None
        self._serving = process.create_task(self._serve(), name="serve")

    @property
    def gone(self) -> bool:
        """Whether the process has ended."""
        return self._serving.done() or self.process.killed

    def _serves(self) -> bool:
        # One that finds its database away as it starts does not start: that is for whoever starts it again.
        return self.process.time() > self._started_at + 1.0

    def stop(self) -> None:
        """SIGTERM."""
        if self._stopping is not None:
            self.process.call_soon(self._stopping.set)

    def accept(self, stream: SimulatedStream) -> None:
        """A worker calls Work."""
        self.streams.append(stream)
        stream.task = self.process.create_task(self._stream(stream), name="work")

    def perform(self, call: Callable[[Hall], Awaitable[Any]], answer: Callable[[Any], None]) -> None:
        """Any other RPC; it is answered with what it returned or with its error."""
        _ = self.process.create_task(self._call(call, answer), name="call")

    # --- in detail ---

    async def _serve(self) -> None:
        stopping = self._stopping = asyncio.Event()
        clock = SimulatedClock(self.process.timeline)
        store = MemoryStore(
            self._tables,
            clock=clock,
            disk=self._disk,
            look_on=self._onlooker.committed,
            read_by=lambda reads: cast("Reads", LateReads(reads, self._chance, may_fail=self._serves)),
        )
        try:
            async with Hall.open(store, self._settings, clock) as hall:
                hall.batch_loop.read_submission = read_completion
                self.hall = hall
                await stopping.wait()
                hall.drain()
                await self._leave()
                self.hall = None
        except Exception as error:  # noqa: BLE001 - whatever ends a server is for the referee
            self._onlooker.failed(error)
        store.close()

    async def _leave(self) -> None:
        streams = [stream.task for stream in self.streams if stream.task is not None and not stream.task.done()]
        if streams:
            await asyncio.wait(streams, timeout=LEAVE_SECONDS)
        for stream in self.streams:
            if stream.task is not None and not stream.task.done():
                stream.task.cancel()
        left = [stream.task for stream in self.streams if stream.task is not None and not stream.task.done()]
        if left:
            await asyncio.wait(left)

    async def _stream(self, stream: SimulatedStream) -> None:
        try:
            await self._work(stream)
        except ApiError as error:
            stream.end(error)
        except asyncio.CancelledError:
            stream.end(DrainingError("this server is stopping"))
            raise
        except Exception as error:  # noqa: BLE001 - a bug, and the referee's
            self._onlooker.failed(error)
            stream.end(InternalError())
        else:
            stream.end(None)
        finally:
            self.streams.remove(stream)

    async def _work(self, stream: Any) -> None:
        if self.hall is None:
            raise DrainingError("this server is stopping")
        connection = self.hall.workers.connect(ANYBODY)
        await _WorkStream(connection, Stream(stream), FrameWriter(server_version="0", replica_id="1")).run()

    async def _call(self, call: Callable[[Hall], Awaitable[Any]], answer: Callable[[Any], None]) -> None:
        try:
            answer(UNREACHABLE if self.hall is None else await call(self.hall))
        except ApiError as error:
            answer(error)
        except Exception as error:  # noqa: BLE001 - a bug, and the referee's
            self._onlooker.failed(error)
