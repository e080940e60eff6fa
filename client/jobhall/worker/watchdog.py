"""Whether the thread that talks to the server still moves; one that does not is loud, and the worker's health fails."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable
from time import monotonic
from typing import Final

_log = logging.getLogger("jobhall.worker")
BEAT_SECONDS: Final = 0.25
LOOK_SECONDS: Final = 1.0
STUCK_SECONDS: Final = 3.0
"""Less than a heartbeat interval: there is still time to act on it."""


class Watchdog:
    """One thread calls `beat`, another one `look`; both pass in the monotonic clock's `now`."""

    def __init__(self, *, title: str, stack: Callable[[], str], now: float) -> None:
        self._title = title
        self._stack = stack
        self._beat_at = now
        self._looked_at = now
        self._excused_until = now
        """Nobody could have moved before."""
        self._stuck_since: float | None = None

    def beat(self, now: float) -> None:
        """The watched thread moves."""
        self._beat_at = now

    def still_seconds(self, now: float) -> float:
        """How long it has not moved, if that is too long; else 0."""
        still = now - max(self._beat_at, self._excused_until)
        return still if still > STUCK_SECONDS else 0.0

    def look(self, now: float) -> None:
        """Says what is wrong, once, and when it is over."""
        paused = now - self._looked_at - LOOK_SECONDS
        self._looked_at = now
        if paused > STUCK_SECONDS:
            # Then this thread stood still as well: the fault is not the other one's.
            self._excused_until = now
            why = "it was suspended, or a handler kept the interpreter to itself"
            _log.warning("%s: the whole process stood still for %.1f s: %s", self._title, paused, why)
        elif self.still_seconds(now) and self._stuck_since is None:
            self._stuck_since = self._beat_at
            text = "%s: its connection's thread has not moved for %.1f s and sends no heartbeats; it stands at\n%s"
            _log.critical(text, self._title, now - self._beat_at, self._stack())
        elif self._stuck_since is not None and not self.still_seconds(now):
            _log.warning("%s: its connection's thread moves again", self._title)
            self._stuck_since = None


def watch(thread: threading.Thread, watchdog: Watchdog, *, until: threading.Event) -> None:
    """Looks every second, in a thread of its own, until the event is set."""

    def run() -> None:
        while not until.wait(LOOK_SECONDS):
            watchdog.look(monotonic())

    threading.Thread(target=run, name=f"{thread.name}-watchdog", daemon=True).start()


def stack_of(thread: threading.Thread) -> str:
    """Where the thread is now, as a traceback would show it."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - the documented way, its name notwithstanding
    return "".join(traceback.format_stack(frame)) if frame is not None else "nowhere: it has ended"
