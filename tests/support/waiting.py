"""Waiting on a condition with a deadline and a description: what tests do instead of sleeping."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar, overload

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.1


def eventually(predicate: Callable[[], T], *, within: float, what: str) -> T:
    """The first true value of the predicate; it fails, saying what was awaited, after `within` seconds.

    What the predicate raises is not caught: a question that may fail answers with a false value.
    """
    deadline = time.monotonic() + within
    for pause in _pauses():
        if value := predicate():
            return value
        _check(deadline, within=within, what=what, last=value)
        time.sleep(pause)
    raise AssertionError


@overload
async def eventually_async(predicate: Callable[[], Awaitable[T]], *, within: float, what: str) -> T: ...


@overload
async def eventually_async(predicate: Callable[[], T], *, within: float, what: str) -> T: ...


async def eventually_async(predicate: Callable[[], T] | Callable[[], Awaitable[T]], *, within: float, what: str) -> T:
    """The same on the event loop; the predicate may be a coroutine function."""
    deadline = time.monotonic() + within
    for pause in _pauses():
        answer = predicate()
        if value := (await answer if isinstance(answer, Awaitable) else answer):
            return value
        _check(deadline, within=within, what=what, last=value)
        await asyncio.sleep(pause)
    raise AssertionError


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)


def _check(deadline: float, *, within: float, what: str, last: object) -> None:
    if time.monotonic() > deadline:
        message = f"not within {within:g} s: {what}"
        raise AssertionError(f"{message} (last answer: {last!r})" if last not in (None, False) else message)
