"""How a worker reaches its server: the address, the token, which is asked for anew for each stream, and the channel."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

import grpc
from grpc import aio

from jobhall.channel import CHANNEL_OPTIONS, Endpoint, resolve_endpoint
from jobhall.errors import ApiError, Code
from jobhall.limits import HELLO_TIMEOUT

TokenSource: TypeAlias = str | Callable[[], str] | None
"""The token, or what gives a fresh one; None: JOBHALL_TOKEN as it is then."""

# A connection of its own for each stream: after silence the old one may be dead without anybody knowing.
TOKEN_SECONDS: Final = HELLO_TIMEOUT.total_seconds()
"""So long a token is waited for."""
_OPTIONS: Final = (*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1))


class Access:
    """The address and the source of tokens, as the worker was given them."""

    def __init__(self, address: str | None, token: TokenSource) -> None:
        self._given = address
        self._token = token
        self._asked: asyncio.Future[str] | None = None
        """What its source has not answered yet."""
        self.address = resolve_endpoint(address, "").address
        """For people."""

    async def endpoint(self) -> Endpoint:
        """Where to go now and what to show; ApiError (UNAVAILABLE) where the token's source fails or hangs."""
        if not callable(self._token):
            return resolve_endpoint(self._given, self._token)
        # One that hangs is not asked again and again: each time would cost a thread.
        asked = self._asked = self._asked or _in_a_thread(self._token)
        try:
            async with asyncio.timeout(TOKEN_SECONDS):
                token: object = await asyncio.shield(asked)
        except Exception as error:
            why = f"{type(error).__name__}: {error}" if str(error) else f"{type(error).__name__}, it does not answer"
            raise ApiError(f"the token's source failed: {why}", code=Code.UNAVAILABLE) from error
        finally:
            if asked.done():
                self._asked = None
        if not isinstance(token, str):
            why = f"it gave a {type(token).__name__}, not a str"
            raise ApiError(f"the token's source failed: {why}", code=Code.UNAVAILABLE)
        return resolve_endpoint(self._given, token)


def open_channel(endpoint: Endpoint) -> aio.Channel:
    """A channel with a connection of its own."""
    if endpoint.secure:
        return aio.secure_channel(endpoint.address, grpc.ssl_channel_credentials(), options=_OPTIONS)
    return aio.insecure_channel(endpoint.address, options=_OPTIONS)


def _in_a_thread(function: Callable[[], str]) -> asyncio.Future[str]:
    """What the function gives. It is a user's: it may block, and no beat may wait for it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()

    def settle(settler: Callable[[], None]) -> None:
        # Nobody waits any more for what came too late.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(lambda: None if future.done() else settler())

    def run() -> None:
        try:
            token = function()
        except BaseException as error:  # noqa: BLE001 - whoever asked for the token gets it
            reason = error if isinstance(error, Exception) else RuntimeError(repr(error))
            settle(lambda: future.set_exception(reason))
        else:
            settle(lambda: future.set_result(token))

    threading.Thread(target=run, name="jobhall-token", daemon=True).start()
    return future
