"""A running hall over a store, without gRPC, and workers that speak to it frame by frame."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from jobhall.errors import ApiError
from jobhall.ids import new_id
from jobhall.states import JobState
from jobhall_server.domain.access import ANYBODY
from jobhall_server.hall.clock import SystemClock
from jobhall_server.hall.frames import (
    Assignment,
    Assignments,
    FrameOut,
    Heartbeat,
    HeartbeatReply,
    Hello,
    ListedTask,
    Report,
    Reports,
    StreamSettings,
    Welcome,
)
from jobhall_server.hall.hall import Hall, HallSettings
from jobhall_server.hall.store import Store
from tests.support.stores import Floor, open_store
from tests.support.waiting import eventually_async
from tests.support.worker_frames import accepted, hello

F = TypeVar("F", bound=FrameOut)

SOON = 10.0
QUICK = HallSettings(
    stream=StreamSettings(heartbeat_seconds=5.0, session_ttl_seconds=3.0),
    reaper_seconds=0.02,
    tick_seconds=0.02,
    reconcile_seconds=0.02,
)
"""Looks often."""


class LeapingClock(SystemClock):
    """The machine's clocks, which a test may set forward: for the process it is as if it had stood still meanwhile."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def leap(self, seconds: float) -> None:
        self._ahead += seconds

    def now_us(self) -> int:
        return super().now_us() + round(self._ahead * 1e6)

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead


class Scene:
    """A hall with a queue `score`, and the store below it, on which a test acts as another process would."""

    def __init__(self, hall: Hall, floor: Floor, clock: LeapingClock) -> None:
        self.hall = hall
        self.floor = floor
        self.clock = clock

    @property
    def store(self) -> Store:
        return self.floor.store

    def features(self) -> tuple[str, ...]:
        return self.hall.repairs.features()


@asynccontextmanager
async def open_hall(engine: str, folder: Path, settings: HallSettings = QUICK) -> AsyncIterator[Scene]:
    """A hall whose loops run until the block ends."""
    clock = LeapingClock()
    async with open_store(engine, folder, clock=clock) as store:
        floor = await Floor.of(store, folder)
        async with Hall.open(store, settings, clock) as hall:
            yield Scene(hall, floor, clock)


class HallWorker:
    """A worker's side of one stream; what it was sent is kept. `reading=False`: it reads nothing until told to."""

    def __init__(self, scene: Scene, *, reading: bool = True) -> None:
        self.frames: list[FrameOut] = []
        self.end: ApiError | None = None
        self.connection = scene.hall.workers.connect(ANYBODY)
        self._may_read = asyncio.Event()
        self._seq = 0
        self._beats = 0
        self._reading = asyncio.create_task(self._read(), name="a worker reads")
        if reading:
            self.read_on()

    def read_on(self) -> None:
        self._may_read.set()

    async def _read(self) -> None:
        await self._may_read.wait()
        try:
            while frames := await self.connection.outgoing():
                self.frames += frames
        except ApiError as error:
            self.end = error

    # --- what it says ---

    async def hello(self, first: Hello | None = None, held: Sequence[bytes] = ()) -> Welcome:
        """Say Hello, listing these as started; the Welcome."""
        listed = tuple(ListedTask(token, started=True) for token in held)
        self.connection.receive(replace(first or greeting(), held=listed))
        return (await self.heard(Welcome))[0]

    def say(self, *reports: Report) -> None:
        """Reports, which are numbered here."""
        numbered = [report._replace(seq=self._seq + place) for place, report in enumerate(reports, 1)]
        self._seq += len(numbered)
        self.connection.receive(Reports(numbered))

    async def beat(self, *tokens: bytes) -> HeartbeatReply:
        """A beat that has seen all assignments; its reply."""
        self._beats += 1
        seen = max((frame.number for frame in self.frames if isinstance(frame, Assignments)), default=0)
        self.connection.receive(Heartbeat(self._beats, tokens, seen))

        def replies() -> list[HeartbeatReply]:
            found = [frame for frame in self.frames if isinstance(frame, HeartbeatReply)]
            return [frame for frame in found if frame.number == self._beats]

        return (await eventually_async(replies, within=SOON, what="the beat is answered"))[-1]

    async def ended(self) -> ApiError | None:
        """What the stream ends with; None is OK."""
        await asyncio.wait_for(self._reading, SOON)
        return self.end

    async def over(self) -> ApiError | None:
        """The same, and the stream is closed as the handler of the call would."""
        await self.ended()
        await self.connection.close()
        return self.end

    async def leave(self) -> None:
        """Go without a word."""
        self._reading.cancel()
        await asyncio.wait({self._reading})
        await self.connection.close()

    # --- what it hears ---

    async def heard(self, kind: type[F]) -> list[F]:
        """All frames of that kind so far, as soon as there is one."""

        def found() -> list[F]:
            return [frame for frame in self.frames if isinstance(frame, kind)]

        return await eventually_async(found, within=SOON, what=f"{kind.__name__} comes")

    async def tasks(self, count: int = 1) -> list[Assignment]:
        """Its tasks, as soon as there were so many in all."""

        def enough() -> list[Assignment]:
            tasks = [task for frame in self.frames if isinstance(frame, Assignments) for task in frame.tasks]
            return tasks if len(tasks) >= count else []

        return await eventually_async(enough, within=SOON, what=f"{count} tasks come")

    def lost(self) -> list[bytes]:
        """Tokens that it was told are not its own any more."""
        return [token for frame in self.frames if isinstance(frame, HeartbeatReply) for token in frame.lost]


def greeting(*, tasks_max: int = 10) -> Hello:
    """The first Hello of a session that chose its id and secret."""
    first = hello(tasks_max=tasks_max, job_types=("score",))
    return replace(first, session_id=new_id(), resume_token=new_id())


async def state(scene: Scene, job_key: int) -> JobState:
    """The state of the job."""
    record = await scene.floor.record(job_key)
    assert record is not None
    return record.state


async def reaches(scene: Scene, job_key: int, wanted: JobState) -> None:
    """Wait until the job is in that state."""

    async def there() -> bool:
        return await state(scene, job_key) is wanted

    await eventually_async(there, within=SOON, what=f"the job is {wanted.name}")


async def counted(scene: Scene, repair: str) -> None:
    """Wait until that repair is shown."""
    await eventually_async(lambda: repair in scene.features(), within=SOON, what=f"{repair} is counted")


async def begun(scene: Scene, worker: HallWorker) -> tuple[int, bytes]:
    """A job that the worker has started: its key and its token."""
    (job_key,) = await scene.floor.submit()
    (*_, task) = await worker.tasks()
    worker.say(accepted(0, task.token))
    await reaches(scene, job_key, JobState.RUNNING)
    return job_key, task.token
