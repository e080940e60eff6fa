"""The hall itself: the use cases put together over one store, and the loops that run as long as it is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from jobhall.errors import ApiError, DrainingError
from jobhall.limits import WATCHERS_MAX, WORKER_LOSSES_MAX, WORKER_STREAMS_MAX
from jobhall_server.domain.job import JobView
from jobhall_server.domain.timing import purge_at
from jobhall_server.hall.batch_loop import BatchLoop
from jobhall_server.hall.batches import Batches
from jobhall_server.hall.claims import Dispatcher, Seat
from jobhall_server.hall.clock import Clock
from jobhall_server.hall.feed import Feed
from jobhall_server.hall.frames import StreamSettings
from jobhall_server.hall.history import History
from jobhall_server.hall.imports import Imports
from jobhall_server.hall.job_types import JobTypes
from jobhall_server.hall.jobs import Jobs
from jobhall_server.hall.management import Management
from jobhall_server.hall.reaper import JOBS_PER_PASS, reap
from jobhall_server.hall.reconciliation import Reconciliation
from jobhall_server.hall.registry import Registry
from jobhall_server.hall.repairs import Repairs
from jobhall_server.hall.result_checks import ResultChecks
from jobhall_server.hall.retention import (
    CUT_EVERY_SECONDS,
    cut_what_is_old,
    keep_purging,
    kept_us,
    purge_what_is_over,
)
from jobhall_server.hall.roster import Roster
from jobhall_server.hall.store import Store
from jobhall_server.hall.type_rules import Pace
from jobhall_server.hall.type_sweep import TypeSweep
from jobhall_server.hall.unary import Unary
from jobhall_server.hall.views import Retention
from jobhall_server.hall.workers import Workers

log = structlog.get_logger(__name__)

RENEW_EVERY_SECONDS = 5.0
REFRESH_EVERY_SECONDS = 1.0
"""What other processes make of job types, their pauses above all, is known here so soon."""
OVERDUE_SECONDS = RENEW_EVERY_SECONDS + 1.0
"""Not renewed for so long, this process stood still or could not write: what was read then proves nothing, and each
pass of the reaper tries again, so that time is served from a second after the trouble is over.
"""
AWAY_SECONDS = 10.0
"""And for so long: others may take it for dead, so its streams end."""


@dataclass(frozen=True, slots=True)
class HallSettings:
    """What an operator may choose; `stream` is told to every worker."""

    stream: StreamSettings = field(default_factory=StreamSettings)
    reaper_seconds: float = 1.0
    tick_seconds: float = 0.5
    reconcile_seconds: float = 1.0
    auto_register: bool = True
    watchers_max: int = WATCHERS_MAX
    worker_streams_max: int = WORKER_STREAMS_MAX
    worker_losses_max: int = WORKER_LOSSES_MAX
    lease_seconds: float = 60.0
    """The time to live of a unary session that does not ask for another."""
    retention: Retention = field(default_factory=Retention)
    sweep_job_types_after_seconds: float = 0.0
    """Types that only a worker's Hello registered are deleted when they were idle for so long; 0: never."""


class Hall:
    """Everything that a caller can ask of the service; `rpc` knows nothing else."""

    def __init__(self, store: Store, settings: HallSettings, clock: Clock) -> None:
        self.store = store
        self.settings = settings
        self.clock = clock
        self.registry = Registry(store)
        self.feed = Feed(store, watchers_max=settings.watchers_max)
        self.workers = Workers(self, settings.stream, auto_register=settings.auto_register)
        self.unary = Unary(self, lease_seconds=settings.lease_seconds, auto_register=settings.auto_register)
        self.roster = Roster(self)
        self.dispatcher = Dispatcher(store, self._seats, lambda: [queue.key for queue in self.registry.queues()])
        self.pace = Pace(clock)
        self.jobs = Jobs(self)
        self.batches = Batches(self)
        self.batch_loop = BatchLoop(self)
        self.history = History(self)
        self.imports = Imports(self)
        self.management = Management(self)
        self.job_types = JobTypes(self)
        self.result_checks = ResultChecks(self)
        self.type_sweep = TypeSweep(self, after_seconds=settings.sweep_job_types_after_seconds)
        self.repairs = Repairs()
        self.reconciliation = Reconciliation(self)
        self.draining = False
        self._renewed_at = clock.monotonic()
        self._renewing = asyncio.Lock()
        self._spawned: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, store: Store, settings: HallSettings, clock: Clock) -> AsyncIterator[Hall]:
        """A running hall. If one of its loops dies, everything ends loudly; leaving the context stops them."""
        hall = cls(store, settings, clock)
        await hall.registry.look()
        await hall.feed.begin()
        async with asyncio.TaskGroup() as loops:
            running = [
                loops.create_task(hall.feed.run(), name="feed"),
                loops.create_task(hall.batch_loop.run(), name="batches"),
                loops.create_task(hall._every(settings.tick_seconds, hall.workers.tick), name="worker-timers"),
                loops.create_task(hall._every(settings.reaper_seconds, hall._reap), name="reaper"),
                loops.create_task(hall._every(settings.reconcile_seconds, hall.reconciliation.look), name="repairs"),
                loops.create_task(hall._every(RENEW_EVERY_SECONDS, hall._renew), name="replica"),
                loops.create_task(hall._every(CUT_EVERY_SECONDS, hall._cut), name="old-rows"),
                loops.create_task(hall._every(REFRESH_EVERY_SECONDS, hall.registry.look), name="registry"),
                loops.create_task(keep_purging(store, settings.retention, clock), name="retention"),
            ]
            if settings.sweep_job_types_after_seconds:
                every = min(60.0, settings.sweep_job_types_after_seconds / 4)
                running.append(loops.create_task(hall._every(every, hall.type_sweep.look), name="type-sweep"))
            try:
                yield hall
            finally:
                hall.drain()
                await hall.dispatcher.settle()
                if hall._spawned:
                    await asyncio.wait(hall._spawned)
                for task in running:
                    task.cancel()

    def drain(self) -> None:
        """Tell every stream to go: workers keep their tasks, watchers their cursors."""
        if not self.draining:
            self.draining = True
            self.workers.tell_to_move()
            self.feed.drain()

    def spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        """Run a small piece of work to its end, whatever happens to its caller; the hall waits for it as it closes."""
        task = asyncio.create_task(work, name=name)
        self._spawned.add(task)
        task.add_done_callback(self._ended)
        return task

    async def leap(self, ahead_us: int, move: Callable[[], None]) -> None:
        """Let `move` set the clock ahead by so much, as if this process had served all the while, and do at once what
        the loops would find due then.
        """
        async with self._renewing:
            await self.store.renew(ahead_us=ahead_us)
            move()
        while await reap(self):
            continue
        await self.batch_loop.catch_up()
        self.dispatcher.poll()
        await self.dispatcher.settle()
        await purge_what_is_over(self.store, self.settings.retention, self.clock, pause_seconds=0)
        await self._cut()

    def _seats(self) -> list[Seat]:
        return [*self.workers.seats(), *self.unary.seats()]

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._spawned.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("work_failed", work=task.get_name(), exc_info=error)

    def live(self, job: JobView) -> JobView:
        """The job with the newest progress that its worker reported to this process, ahead of the stored one."""
        progress = self.workers.progress(job.key) if job.state.held else None
        return job if progress is None else job._replace(progress=progress)

    def shown(self, job: JobView) -> JobView:
        """The job as its FULL view shows it: the same, and when it will be removed, once it has ended."""
        if not job.state.terminal:
            return self.live(job)
        return job._replace(purge_at=purge_at(job, kept_us(self.settings.retention, job.state)))

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` again and again; what the database could not do just now, and said so in the log, is tried at the
        next turn.
        """
        while True:
            try:
                await work()
            except ApiError as error:
                log.debug("housekeeping_waits", work=work.__name__, error=str(error))
            await asyncio.sleep(seconds)

    async def _reap(self) -> None:
        if self._unheard_seconds() > OVERDUE_SECONDS:
            # First of all after a start or a pause: it tells since when time is served.
            await self._renew()
        while await reap(self) >= JOBS_PER_PASS:
            continue
        self.dispatcher.poll()

    async def _cut(self) -> None:
        removed = await cut_what_is_old(self.store, self.settings.retention)
        if removed:
            log.info("old_rows_removed", rows=removed)

    async def _renew(self) -> None:
        """Say that this process lives. Where others may have taken it for dead, every stream ends, and it goes on as a
        new one: what it promised a worker may be another's by now.
        """
        async with self._renewing:
            renewal = asyncio.ensure_future(self.store.renew())
            await asyncio.wait({renewal}, timeout=max(0.0, AWAY_SECONDS - self._unheard_seconds()))
            if not renewal.done():
                self.workers.end_all(DrainingError("this server cannot reach its database; connect again"))
            if not await renewal:
                self.workers.end_all(DrainingError("this server was away; connect again"))
                await self.store.register_anew()
                log.warning("replica_was_away", seconds=round(self._unheard_seconds(), 1))
            self._renewed_at = self.clock.monotonic()

    async def settled(self) -> None:
        """Wait while this process goes on as a new replica: what is attached to the old one meanwhile would be taken
        for a dead process's.
        """
        async with self._renewing:
            return

    def _unheard_seconds(self) -> float:
        return self.clock.monotonic() - self._renewed_at
