"""Authenticators for tests of the edge: callers by name, and errors on demand."""

from collections.abc import Awaitable, Callable

from jobhall.errors import TokenInvalidError
from jobhall_server.domain.access import Principal
from jobhall_server.rpc.caller import Metadata


class ByToken:
    """Knows a caller by the token in `authorization`; nobody else gets in."""

    def __init__(self, **callers: Principal) -> None:
        self._callers = callers

    async def authenticate(self, metadata: Metadata) -> Principal:
        token = str(dict(metadata).get("authorization", "")).removeprefix("Bearer ")
        if token not in self._callers:
            raise TokenInvalidError("this call needs a bearer token that the server knows")
        return self._callers[token]


class Raising:
    """Does what the test says instead of telling who calls: the shortest way to an error inside the server."""

    def __init__(self, act: Callable[[], Awaitable[Principal]]) -> None:
        self.act = act

    async def authenticate(self, metadata: Metadata) -> Principal:
        return await self.act()
