"""A TCP proxy that does to connections what networks do: cuts, holds, swallows, delays, forgets one side of them."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Self, TypeVar

T = TypeVar("T")

CHUNK_BYTES = 65_536
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that makes close() send RST."""


class Way(Enum):
    """The direction of bytes."""

    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


BOTH = frozenset(Way)


class _Flow(Enum):
    FLOWS = 1
    HELD = 2
    """The bytes wait, and go on when it is healed: packets that were lost and are sent again."""
    SWALLOWED = 3
    """The bytes are taken and never passed on; since bytes are missing, nothing ever flows here again."""


class Proxy:
    """Stands between clients and a server, in a thread of its own; its methods may be called from any thread.

    What is done to the network holds for the connections there are and, unless `new=False`, for those to come, until
    `heal`. A connection that one side closed is closed on the other side as well, once everything was passed on.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server
        self._pairs: dict[_Pair, asyncio.Task[None]] = {}
        self._refusing = False
        self._flow = dict.fromkeys(Way, _Flow.FLOWS)
        self.delay_seconds = 0.0
        """How long each piece of bytes is on its way."""
        self.address = ""
        self.accepted_count = 0
        """Connections that were opened to it."""

    def __enter__(self) -> Self:
        self._thread.start()
        self.address = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, *_error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    # --- what may happen to a network ---

    def cut(self) -> None:
        """Resets every connection on both sides, and refuses new ones until it is healed."""

        def cut() -> None:
            self._refusing = True
            self._abort()

        self._do(cut)

    def drop_connections(self) -> None:
        """Resets every connection on both sides; new ones are welcome."""
        self._do(self._abort)

    def hold(self, ways: frozenset[Way] = BOTH, *, new: bool = True) -> None:
        """Keeps the bytes that go these ways, in order, until it is healed; both sides believe in the connection."""
        self._do(lambda: self._set(_Flow.HELD, ways, new=new))

    def swallow(self, ways: frozenset[Way] = BOTH, *, new: bool = True) -> None:
        """Takes the bytes that go these ways and loses them; both sides believe in the connection."""
        self._do(lambda: self._set(_Flow.SWALLOWED, ways, new=new))

    def forget_server_side(self) -> None:
        """Half-open: the server sees each connection reset, the client hears nothing of it, ever."""
        self._do(lambda: self._forget(Way.TO_SERVER))

    def forget_client_side(self) -> None:
        """Half-open the other way round: the client sees each connection reset, the server hears nothing of it."""
        self._do(lambda: self._forget(Way.TO_CLIENT))

    def heal(self) -> None:
        """New connections work, and what was held flows. Where bytes were lost nothing flows any more."""

        def heal() -> None:
            self._refusing = False
            self._flow = dict.fromkeys(Way, _Flow.FLOWS)
            for pair in self._pairs:
                pair.let_go()

        self._do(heal)

    @property
    def open_count(self) -> int:
        """Connections that clients have to it."""
        return self._do(lambda: len(self._pairs))

    # --- inside, on its loop ---

    async def _open(self) -> str:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def _close(self) -> None:
        self._server.close()
        self._abort()
        running = list(self._pairs.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted_count += 1
        if self._refusing:
            _reset(writer)
            return
        pair = _Pair(self, dict(self._flow), reader, writer)
        running = self._loop.create_task(pair.run(self._target))
        self._pairs[pair] = running
        running.add_done_callback(lambda _: self._pairs.pop(pair, None))

    def _abort(self) -> None:
        for pair in self._pairs:
            pair.reset(Way.TO_CLIENT)
            pair.reset(Way.TO_SERVER)

    def _set(self, flow: _Flow, ways: frozenset[Way], *, new: bool) -> None:
        if new:
            self._flow.update(dict.fromkeys(ways, flow))
        for pair in self._pairs:
            pair.set(flow, ways)

    def _forget(self, side: Way) -> None:
        for pair in self._pairs:
            pair.set(_Flow.SWALLOWED, BOTH)
            pair.reset(side)

    def _do(self, action: Callable[[], T]) -> T:
        """Runs it between two steps of the loop, and answers what it answered."""

        async def act() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(10)


class _Pair:
    """A client's connection and the one to the server that was made for it."""

    def __init__(
        self, proxy: Proxy, flow: dict[Way, _Flow], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._flow = flow
        self._reader = reader
        self._writers = {Way.TO_CLIENT: writer}
        self._changed = asyncio.Event()
        self._half_open = False

    async def run(self, target: tuple[str, int]) -> None:
        """Passes bytes on until both sides are closed."""
        try:
            reader, self._writers[Way.TO_SERVER] = await asyncio.open_connection(*target)
            await asyncio.gather(self._pass(self._reader, Way.TO_SERVER), self._pass(reader, Way.TO_CLIENT))
        except OSError:
            self.reset(Way.TO_CLIENT)
        finally:
            for writer in self._writers.values():
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    def set(self, flow: _Flow, ways: frozenset[Way]) -> None:
        for way in ways:
            if self._flow[way] is not _Flow.SWALLOWED:
                self._flow[way] = flow
        self._changed.set()

    def let_go(self) -> None:
        self.set(_Flow.FLOWS, BOTH)

    def reset(self, side: Way) -> None:
        """Resets the connection to the client, or that to the server."""
        self._half_open = True
        if writer := self._writers.get(side):
            _reset(writer)

    async def _pass(self, reader: asyncio.StreamReader, way: Way) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(CHUNK_BYTES):
                await self._deliver(data, way)
        if not self._half_open and await self._flows(way):
            self._writers[way].close()

    async def _deliver(self, data: bytes, way: Way) -> None:
        if self._proxy.delay_seconds:
            await asyncio.sleep(self._proxy.delay_seconds)  # sleeps: it is the delay of the network
        if await self._flows(way):
            writer = self._writers[way]
            writer.write(data)
            await writer.drain()

    async def _flows(self, way: Way) -> bool:
        """Waits while bytes that go this way are held; whether they are passed on then."""
        while self._flow[way] is _Flow.HELD:
            self._changed.clear()
            await self._changed.wait()
        return self._flow[way] is _Flow.FLOWS


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() != -1:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
