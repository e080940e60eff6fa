"""Page sizes, and lists cut so that no answer is larger than a message may be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from jobhall.errors import FieldInvalidError
from jobhall.limits import MESSAGE_BYTES_MAX, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX

T = TypeVar("T")
M = TypeVar("M", bound=Message)

_FRAME_BYTES = 8
"""Tag and length of one entry in its list."""


def page_size_in(page_size: int) -> int:
    """The size asked for, 100 where it is 0."""
    if not 0 <= page_size <= PAGE_SIZE_MAX:
        raise FieldInvalidError("page_size", f"is {page_size}; write 1 to {PAGE_SIZE_MAX}, or 0 for the default")
    return page_size or PAGE_SIZE_DEFAULT


def how_many_fit(messages: Sequence[Message], *, limit: int = MESSAGE_BYTES_MAX) -> int:
    """How many of the messages, from the first on, fit into one answer; at least one, if there is one."""
    size = 0
    for count, message in enumerate(messages):
        size += message.ByteSize() + _FRAME_BYTES
        if size > limit and count:
            return count
    return len(messages)


async def page_that_fits(
    ask: Callable[[int], Awaitable[tuple[Sequence[T], str]]],
    encode: Callable[[Sequence[T]], Awaitable[list[M]]],
    page_size: int,
) -> tuple[list[M], str]:
    """A page and the token of the next one; where the answer would be too large, a shorter page asked for anew."""
    entries, token = await ask(page_size)
    messages = await encode(entries)
    while (fitting := how_many_fit(messages)) < len(messages):
        # Until all of them fit: the list may have changed in between, and the token stands after the last one.
        entries, token = await ask(fitting)
        messages = await encode(entries)
    return messages, token
