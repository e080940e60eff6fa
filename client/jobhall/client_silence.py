"""Streams of the blocking client that hear nothing for too long: one thread cancels them, since a read cannot end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any


class Ear:
    """One stream, as whoever reads it listens; only the time of listening counts, not that between two reads."""

    __slots__ = ("_cancel", "_seconds", "_since", "silent")

    def __init__(self, cancel: Callable[[], object], seconds: float) -> None:
        self._cancel = cancel
        self._seconds = seconds
        self._since: float | None = None
        self.silent = False
        """Nothing was heard for too long, and the stream is cancelled."""

    def hear(self, messages: Iterator[Any]) -> Any:
        """The next message; None at the end."""
        self._since = monotonic()
        try:
            return next(messages, None)
        finally:
            self._since = None

    def left_seconds(self, now: float) -> float:
        """How long the silence may still last; cancels the stream, once, where it has lasted too long."""
        since = self._since
        left = self._seconds - (0.0 if since is None else now - since)
        if left <= 0 and not self.silent:
            self.silent = True
            self._cancel()
        return self._seconds if self.silent else left


class Listeners:
    """All that listen in one client; their thread is there as long as there are any."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ears: set[Ear] = set()
        self._thread: threading.Thread | None = None

    def ear(self, cancel: Callable[[], object], seconds: float) -> Ear:
        """One more, for a stream that may be silent for so long."""
        ear = Ear(cancel, seconds)
        with self._changed:
            self._ears.add(ear)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="jobhall-silence", daemon=True)
                self._thread.start()
            else:
                self._changed.notify()
        return ear

    def drop(self, ear: Ear) -> None:
        """One fewer."""
        with self._changed:
            self._ears.discard(ear)
            if not self._ears:
                self._changed.notify()

    def close(self) -> None:
        """Leaves alone who still listens, or would: a watch that nobody reads any more, and nobody closed."""
        with self._changed:
            self._ears.clear()
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while self._ears:
                now = monotonic()
                self._changed.wait(min(ear.left_seconds(now) for ear in self._ears))
            self._thread = None
