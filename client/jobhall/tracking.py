"""Progress that follows from a loop: what `Task.track` says while its items are taken one by one."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sized
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar

from jobhall.model import Progress

if TYPE_CHECKING:
    from jobhall.task import Task

_T = TypeVar("_T")
REPORT_SECONDS: Final = 0.2
"""A report costs as much as 25 items of a loop that does nothing, and nobody reads it more often."""


class Counting:
    """How far a loop is, and when that is said."""

    def __init__(
        self,
        task: Task,
        check: Callable[[], None],
        so_far: Callable[[], Progress],
        count_from: Callable[[int], None],
        *,
        total: int | None,
        unit: str | None,
        step: str | None,
        start: int,
    ) -> None:
        if start < 0:
            raise ValueError(f"track: start is {start}; what was done before is not negative")
        self._task = task
        self._check = check
        self._so_far = so_far
        self._count_from = count_from
        self._total = total
        self._unit = unit
        self._step = step
        self._count = start
        self._said_at = 0.0

    def begin(self, items: object) -> None:
        """The loop begins: says of how many, where that can be known."""
        if self._total is None and (length := _length(items)) is not None:
            self._total = self._count + length
        self._count_from(self._count)
        self._said_at = monotonic()
        self._task.progress(processed=self._count, total=self._bound(self._count), unit=self._unit, step=self._step)

    def done(self) -> None:
        """One more item is done; raises TaskCancelled where there is to be no other one."""
        self._count += 1
        self._check()
        if (now := monotonic()) - self._said_at >= REPORT_SECONDS:
            self._said_at = now
            self._say()

    def end(self) -> None:
        """The items are at their end: their number is the total where nobody knew one."""
        self._total = self._count if self._total is None else self._total
        self._say()

    def leave(self) -> None:
        """The loop is left before that: what was done until then stands."""
        if not self._task.cancelled:
            self._say()

    def _say(self) -> None:
        before = self._so_far()
        count = max(self._count, before.items_succeeded + before.items_failed)
        self._task.progress(processed=count, total=self._bound(count))

    def _bound(self, count: int) -> int | None:
        # Somebody else may have counted them wrongly: no reason to fail a job.
        total = self._so_far().items_total if self._total is None else self._total
        return None if total is None else max(total, count)


def counted_from(start: int, before: Progress) -> Progress:
    """What stays of it for a loop that starts there: what is beyond is of another loop, or of an attempt before."""
    if before.items_processed <= start:
        return before
    judged = before.items_succeeded + before.items_failed
    well, badly = (0, 0) if judged > start else (before.items_succeeded, before.items_failed)
    return replace(before, items_processed=start, items_total=None, items_succeeded=well, items_failed=badly)


def track(items: Iterable[_T], counting: Counting) -> Iterator[_T]:
    """The items of a plain loop."""
    counting.begin(items)
    try:
        for item in items:
            yield item
            counting.done()
    except GeneratorExit:
        counting.leave()
        raise
    counting.end()


async def track_async(items: AsyncIterable[_T], counting: Counting) -> AsyncIterator[_T]:
    """The items of an `async for`."""
    counting.begin(items)
    try:
        async for item in items:
            yield item
            counting.done()
    except GeneratorExit:
        counting.leave()
        raise
    counting.end()


def _length(items: object) -> int | None:
    """How many there are, where they know it: some have a `__len__` only to say that they do not."""
    try:
        return len(items) if isinstance(items, Sized) else None
    except (TypeError, NotImplementedError, OverflowError):
        return None
