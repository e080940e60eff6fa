"""Server streams of gRPC, read frame by frame: what is measured is the server, and hardly the client beside it.

A message costs this client about 2 µs, one of grpc.aio more than the server that sends it. It speaks as much HTTP/2 as
that takes: it gives the server windows that no run fills, asks little enough to fit into the server's first window, and
knows of an answer's headers only whether they end the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

from bench.processes import BenchmarkError

STREAMS_PER_CONNECTION = 100
_REQUEST_BYTES_MAX = 60_000
"""Of one connection's requests together: the server's first window is 65,535."""
_WINDOW_MAX = 2**31 - 1
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW_SIZE = 4
_FRAME_HEAD, _MESSAGE_HEAD = 9, 5

Received = Callable[[int, bytes], None]
"""Takes the number of the stream, as its request was numbered, and a message."""


Failed = Callable[[BenchmarkError], None]
"""Is told that a stream or its connection ended though nobody asked for it."""


@asynccontextmanager
async def open_streams(
    address: str, method: str, requests: Sequence[bytes], received: Received, failed: Failed
) -> AsyncIterator[None]:
    """A stream for each request, all asked for at once, so many to a connection; closed with the context."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    connections: list[_Connection] = []
    try:
        for first in range(0, len(requests), STREAMS_PER_CONNECTION):
            connection = _Connection(first, received, failed)
            await loop.create_connection(lambda made=connection: made, host, int(port))  # type: ignore[misc]
            connections.append(connection)
        for number, connection in enumerate(connections):
            first = number * STREAMS_PER_CONNECTION
            connection.ask(address, method, requests[first : first + STREAMS_PER_CONNECTION])
        yield
    finally:
        for connection in connections:
            connection.close()


class _Connection(asyncio.Protocol):
    """One HTTP/2 connection and its streams, which have the odd numbers from 1."""

    def __init__(self, first: int, received: Received, failed: Failed) -> None:
        self._first = first
        self._received = received
        self._failed = failed
        self._transport = cast("asyncio.Transport", None)
        self._unread = b""
        self._begun: dict[int, bytes] = {}
        """By stream: what has come of a message that is not whole yet."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        settings = _INITIAL_WINDOW_SIZE.to_bytes(2) + _WINDOW_MAX.to_bytes(4)
        self._transport.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, settings))
        self._transport.write(_frame(_WINDOW_UPDATE, 0, 0, (_WINDOW_MAX - 65_535).to_bytes(4)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._failed(BenchmarkError(f"a connection of streams was lost: {exc}"))

    def ask(self, address: str, method: str, requests: Sequence[bytes]) -> None:
        """Open a stream for each request."""
        assert sum(map(len, requests)) + _MESSAGE_HEAD * len(requests) < _REQUEST_BYTES_MAX
        headers = _headers(address, method)
        asked = bytearray()
        for place, request in enumerate(requests):
            stream = 2 * place + 1
            message = b"\0" + len(request).to_bytes(4) + request
            asked += _frame(_HEADERS, _END_HEADERS, stream, headers) + _frame(_DATA, _END_STREAM, stream, message)
        self._transport.write(asked)

    def close(self) -> None:
        self._failed = _ignored
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        data = self._unread + data
        at, size = 0, len(data)
        while size - at >= _FRAME_HEAD:
            end = at + _FRAME_HEAD + int.from_bytes(data[at : at + 3])
            if end > size:
                break
            stream = int.from_bytes(data[at + 5 : at + _FRAME_HEAD])
            if data[at + 3] == _DATA:
                self._take(stream, data[at + _FRAME_HEAD : end])
            else:
                self._heed(data[at + 3], data[at + 4], stream, data[at + _FRAME_HEAD : end])
            at = end
        self._unread = data[at:]

    def _take(self, stream: int, data: bytes) -> None:
        if stream in self._begun:
            data = self._begun.pop(stream) + data
        while len(data) >= _MESSAGE_HEAD:
            end = _MESSAGE_HEAD + int.from_bytes(data[1:_MESSAGE_HEAD])
            if end > len(data):
                break
            self._received(self._first + stream // 2, data[_MESSAGE_HEAD:end])
            data = data[end:]
        if data:
            self._begun[stream] = data

    def _heed(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in {_SETTINGS, _PING} and not flags & _ACK:
            self._transport.write(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
        elif kind in {_RST_STREAM, _GOAWAY} or (kind == _HEADERS and flags & _END_STREAM):
            self._failed(BenchmarkError(f"the server ended stream {self._first + stream // 2}: {payload!r}"))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _headers(address: str, method: str) -> bytes:
    """Each a literal that is not indexed (RFC 7541), but for the method and the scheme."""
    names = ((":path", method), (":authority", address), ("content-type", "application/grpc"), ("te", "trailers"))
    literals = b"".join(b"\0" + _text(name) + _text(value) for name, value in names)
    return b"\x83\x86" + literals


def _text(text: str) -> bytes:
    assert len(text) < 127
    return bytes((len(text),)) + text.encode()


def _ignored(_error: BenchmarkError) -> None:
    """After the end nothing is an error."""
