"""Every end of the worker stream has its one action; the table of `WorkerService.Work`, as code."""

from __future__ import annotations

from enum import Enum

from jobhall.errors import (
    ApiError,
    Code,
    MessageTooLargeError,
    SessionExpiredError,
    SessionSupersededError,
)


class After(Enum):
    """What the worker does when its stream has ended."""

    RECONNECT = "keep what it holds and what is unacked, and come back with full jitter"
    NEW_SESSION = "open a new session at once, the tokens it holds in its Hello"
    START_AFRESH = "drop its tasks, which another process has, and open a new session"
    REFRESH = "get a new token and come back, once; else stop"
    STOP = "stop, and tell the operator"


_STOPS = frozenset(
    {
        Code.INVALID_ARGUMENT,  # a bug of the SDK, or a name that the server does not take
        Code.NOT_FOUND,  # a job type that the server does not register by itself
        Code.FAILED_PRECONDITION,
        Code.UNIMPLEMENTED,  # whoever answers there is no jobhall server
    }
)

_REFRESHES = frozenset({Code.UNAUTHENTICATED, Code.PERMISSION_DENIED})


def after(error: ApiError | None, *, drained: bool, known: bool = False) -> After:
    """What to do after the stream ended with that; None is OK.

    `drained`: an operator sends the worker away, and nothing is its own any more. One that leaves of its own accord
    comes back as long as it holds anything. `known`: this server has welcomed the worker before; then a status
    without a reason, such as the 404 of a proxy that is being set up anew, is not its word and no reason to stop.
    """
    match error:
        case None:
            return After.STOP if drained else After.RECONNECT
        case SessionExpiredError():
            return After.NEW_SESSION
        case SessionSupersededError():
            return After.START_AFRESH
        case MessageTooLargeError():
            return After.STOP
        case _ if error.code in _REFRESHES:
            return After.REFRESH
        case _:
            stops = error.code in _STOPS and (error.reason or not known)
            return After.STOP if stops else After.RECONNECT
