"""Tells who waits for a job why it does not run: where no worker comes there would be silence for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

from jobhall.cli.remarks import remark
from jobhall.errors import JobhallError
from jobhall.states import JobState, WaitReasonKind

if TYPE_CHECKING:
    from jobhall.model_insight import JobExplanation

_FIRST_SECONDS = 3.0
"""A shorter wait is not worth a word."""
_AGAIN_SECONDS = 10.0
_STOP_SECONDS = 0.5


@contextmanager
def told_why_it_waits(
    explain: Callable[[], JobExplanation],
    *,
    first_seconds: float = _FIRST_SECONDS,
    again_seconds: float = _AGAIN_SECONDS,
) -> Iterator[None]:
    """While the block runs and the job waits, its weightiest reason is told, and each time that it is another one."""
    over = Event()

    def ask() -> None:
        told: WaitReasonKind | None = None
        pause = first_seconds
        while not over.wait(pause):
            pause = again_seconds
            try:
                explanation = explain()
            except JobhallError:
                continue  # Whoever follows the job hears of it by that.
            if explanation.state not in (JobState.SCHEDULED, JobState.PENDING) or not explanation.reasons:
                continue
            reason = explanation.reasons[0]
            if reason.kind is not told and not over.is_set():
                remark(f"still {explanation.state.name}: {explanation.summary} {reason.suggestion}".rstrip())
                told = reason.kind

    asking = Thread(target=ask, name="jobhall-why", daemon=True)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join(_STOP_SECONDS)
