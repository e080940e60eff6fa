"""Who calls: the authenticator's part, and where the use cases' callers find the principal of the present RPC."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Protocol

from jobhall_server.domain.access import ANYBODY, Principal

Metadata = Sequence[tuple[str, str | bytes]]
"""The call's metadata; keys are lower case and may repeat."""

_PRINCIPAL: ContextVar[Principal] = ContextVar("principal")


class Authenticator(Protocol):
    """Tells who calls. A host brings its own by `app.build(authenticator=…)`."""

    async def authenticate(self, metadata: Metadata) -> Principal:
        """The caller; TokenInvalidError or TokenExpiredError, or another ApiError, when it does not say who it is."""


class NoAuthentication:
    """Everybody is the admin: for a server that only its own machine can reach."""

    async def authenticate(self, metadata: Metadata) -> Principal:
        """Whoever calls."""
        del metadata
        return ANYBODY


def principal() -> Principal:
    """The caller of the RPC that this task serves."""
    return _PRINCIPAL.get()


def set_principal(caller: Principal) -> None:
    """Once per RPC, by the interceptor."""
    _PRINCIPAL.set(caller)
