"""The composition root: builds, starts, drains and stops everything; a host may embed it in its own loop."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from jobhall.errors import JobhallError
from jobhall_server.hall.clock import Clock, SystemClock
from jobhall_server.hall.frames import StreamSettings
from jobhall_server.hall.hall import Hall, HallSettings
from jobhall_server.hall.views import Retention
from jobhall_server.rpc.admin import About
from jobhall_server.rpc.caller import Authenticator, NoAuthentication
from jobhall_server.rpc.server import RpcServer
from jobhall_server.settings import Settings, load_settings
from jobhall_server.storage.backups import back_up
from jobhall_server.storage.engines import Database, Synchronous, open_write_engine, parse_database_url, serving
from jobhall_server.storage.migrations import migrate
from jobhall_server.storage.store import Store

log = structlog.get_logger(__name__)


class App:
    """A server: `async with app.build(settings) as server` serves until the block ends, then drains."""

    def __init__(self, settings: Settings, *, authenticator: Authenticator, clock: Clock) -> None:
        self.settings = settings
        self._database_url = settings.database_url.get_secret_value()
        self.database: Database = parse_database_url(self._database_url)
        self.address = ""
        """host:port, with the port that it really has; set once it serves."""
        self.hall: Hall | None = None
        """What it serves; set once it does."""
        self._authenticator = authenticator
        self._clock = clock
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            async with AsyncExitStack() as stack:
                await self._start(stack)
                self._stack = stack.pop_all()
        except BaseExceptionGroup as group:
            # The hall's loops run in a task group, which wraps what goes wrong beside them.
            raise _only(group) from group
        log.info("serving", address=self.address, database=str(self.database))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)
        log.info("stopped", address=self.address)

    async def _start(self, stack: AsyncExitStack) -> None:
        store = await stack.enter_async_context(
            Store.open(
                self._database_url,
                prefix=self.settings.table_prefix,
                clock=self._clock,
                synchronous=Synchronous[self.settings.synchronous],
                wait=self.settings.wait,
            )
        )
        self.hall = hall = await stack.enter_async_context(Hall.open(store, _hall_settings(self.settings), self._clock))
        about = About(
            started_at=self._clock.now_us(),
            engine=store.engine.name,
            engine_version=store.engine.version,
            schema_revision=store.engine.schema_revision,
            features=(f"sqlite.synchronous={store.engine.synchronous.value}",),
        )
        server = RpcServer(hall, about, authenticator=self._authenticator, with_reflection=self.settings.reflection)
        stack.push_async_callback(self._stop, hall, server)
        self.address = await server.start(self.settings.listen)

    async def _stop(self, hall: Hall, server: RpcServer) -> None:
        """Tell everybody first; `stop` waits its whole grace while any stream is open."""
        await server.leave()
        hall.drain()
        await server.stop(self.settings.drain_seconds)


def build(
    settings: Settings | None = None, *, authenticator: Authenticator | None = None, clock: Clock | None = None
) -> App:
    """A server that is not started yet. Without settings it takes those of the environment; without an authenticator
    everybody is the admin.
    """
    return App(
        settings or load_settings({}).settings,
        authenticator=authenticator or NoAuthentication(),
        clock=clock or SystemClock(),
    )


def migrate_database(settings: Settings) -> str:
    """Bring the schema up to date and say to which revision; nothing else may serve the database meanwhile."""
    database = parse_database_url(settings.database_url.get_secret_value())
    with serving(database):
        engine = open_write_engine(database)
        try:
            return f"{database} is at revision {migrate(engine, prefix=settings.table_prefix)}"
        finally:
            engine.dispose()


def back_up_database(settings: Settings, target: Path) -> str:
    """Copy the database, served or not, to a new file, and say what the copy holds."""
    database = parse_database_url(settings.database_url.get_secret_value())
    made = back_up(database, target, prefix=settings.table_prefix)
    return f"{made.path}: {made.jobs} jobs, {made.size_bytes / 1e6:.1f} MB, in {made.seconds:.1f} s"


def _hall_settings(settings: Settings) -> HallSettings:
    stream = StreamSettings(
        heartbeat_seconds=settings.heartbeat_seconds,
        session_ttl_seconds=settings.session_ttl_seconds,
        accept_seconds=settings.accept_seconds,
        hello_seconds=settings.hello_seconds,
        cancel_grace_seconds=settings.cancel_grace_seconds,
        drain_seconds=settings.drain_seconds,
    )
    return HallSettings(
        stream=stream,
        reaper_seconds=settings.reaper_seconds,
        auto_register=settings.auto_register,
        worker_streams_max=settings.worker_streams_max,
        worker_losses_max=settings.worker_losses_max,
        lease_seconds=settings.lease_seconds,
        watchers_max=settings.watchers_max,
        sweep_job_types_after_seconds=settings.sweep_job_types_after_seconds,
        retention=Retention(
            completed_us=_kept_us(settings.retention_completed_seconds),
            failed_us=_kept_us(settings.retention_failed_seconds),
            cancelled_us=_kept_us(settings.retention_cancelled_seconds),
            events_us=round(settings.event_log_seconds * 1e6),
            events_max=settings.event_log_entries_max,
        ),
    )


def _kept_us(seconds: float) -> int | None:
    return round(seconds * 1e6) or None


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error for people in the group, or the group itself."""
    errors = group.exceptions
    return errors[0] if len(errors) == 1 and isinstance(errors[0], JobhallError) else group
