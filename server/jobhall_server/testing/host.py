"""The thread in which the servers of a test run live, one for each test, and the database that each begins with."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog
from pydantic import ValidationError

from jobhall_server import app
from jobhall_server.settings import Settings, SettingsError
from jobhall_server.testing.clock import AheadClock

T = TypeVar("T")

# A database that lives as long as a test need not survive a power cut, nor need calls end in peace.
_DEFAULTS: Mapping[str, Any] = {"listen": "127.0.0.1:0", "synchronous": "OFF", "drain_seconds": 0, "reflection": False}
_FILE_NAME = "jobhall.db"


class Server:
    """A server that serves in the host's loop, and its clock."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self.clock = AheadClock()
        self._away_us = round(max(settings.session_ttl_seconds, settings.lease_seconds) * 1e6)
        """How long a worker may be away."""
        self._host = host
        self._app = app.build(settings, clock=self.clock)
        self._up = asyncio.Event()
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """host:port, with the port that it really has."""
        return self._app.address

    def advance(self, by_us: int) -> None:
        """Set its clock forward, and wait until all that became due is done."""
        self._host.run(self._advance(by_us))

    async def start(self) -> None:
        """Serve, in a task of its own; raises what keeps it from that."""
        self._serving = asyncio.create_task(self._serve(), name="jobhall under test")
        up = asyncio.create_task(self._up.wait())
        await asyncio.wait({self._serving, up}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self._serving.done():
            self._serving.result()

    async def stop(self) -> None:
        """Stop; raises what the server died of, if it did."""
        assert self._serving is not None
        self._stop.set()
        await self._serving

    async def _serve(self) -> None:
        # It began a while ago: a server that has only just started takes nothing from anybody yet.
        self.clock.ahead_us = -self._away_us
        async with self._app:
            await self._advance(self._away_us)
            self._up.set()
            await self._stop.wait()

    async def _advance(self, by_us: int) -> None:
        assert self._app.hall is not None
        await self._app.hall.leap(by_us, partial(self.clock.set_ahead, by_us))


class Host:
    """A thread with a loop: gRPC wants few of them in a process, so all servers share it, and a test's own is free."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="jobhall-testing", daemon=True)
        self._thread.start()
        self._empty: dict[str, bytes] = {}
        """A database without jobs, by its tables' prefix: a copy takes no time, a new one a tenth of a second."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run that in the loop, and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Ends the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def serving(self, chosen: Mapping[str, Any]) -> Iterator[Server]:
        """A server with those settings, on a free port and a database of its own where they do not say otherwise."""
        with tempfile.TemporaryDirectory(prefix="jobhall-") as folder, _quiet_logs():
            file = Path(folder) / _FILE_NAME
            settings = _settings({**_DEFAULTS, "database_url": f"sqlite:///{file}", **chosen})
            if "database_url" not in chosen:
                file.write_bytes(self._empty_database(settings.table_prefix))
            server = self.run(self._started(settings))
            try:
                yield server
            finally:
                self.run(server.stop())

    async def _started(self, settings: Settings) -> Server:
        server = Server(self, settings)
        await server.start()
        return server

    def _empty_database(self, prefix: str) -> bytes:
        if prefix not in self._empty:
            with tempfile.TemporaryDirectory(prefix="jobhall-") as folder:
                file = Path(folder) / _FILE_NAME
                app.migrate_database(_settings({"database_url": f"sqlite:///{file}", "table_prefix": prefix}))
                self._empty[prefix] = file.read_bytes()
        return self._empty[prefix]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


def _settings(values: Mapping[str, Any]) -> Settings:
    known = Settings.model_fields
    for name in values.keys() - known.keys():
        near = get_close_matches(name, known, n=1)
        meant = f"; did you mean {near[0]}" if near else f"; there are {', '.join(known)}"
        raise SettingsError(f"the server has no setting {name!r}{meant}")
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        place = f"{first['loc'][0]}: " if first["loc"] else ""
        raise SettingsError(f"{place}{first['msg']}") from None


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """Warnings of the server go to the standard library's log, which pytest shows of tests that fail; all else would
    stand in every test's output. Who has configured structlog for himself is left in peace.
    """
    if structlog.is_configured():
        yield
        return
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer(key_order=["event"])],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.reset_defaults()
