"""The board live on a terminal: redrawn when it changed, its keys read, the terminal left as it was however it ends."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from jobhall.cli.board import ORDERS
from jobhall.cli.board_drawing import Heading, draw
from jobhall.cli.board_feed import BoardFeed

_FRAME_SECONDS = 0.25
_QUIT = b"q"


class BoardDisplay:
    """Shows what the feed has to show, until q or Ctrl-C; Ctrl-Z and `fg` are as everywhere."""

    def __init__(self, feed: BoardFeed, heading: Heading, *, console: Console | None = None) -> None:
        self._feed = feed
        self._heading = replace(heading, keys=sys.stdin.isatty())
        self._console = console or Console(highlight=False)
        self._suspended = False

    def run(self) -> None:
        """Returns when somebody pressed q; raises what ended the watch for good."""
        with _handled(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)):
            while True:
                with _handled(signal.SIGTSTP, self._suspend), _single_keys():
                    self._show()
                if not self._suspended:
                    return
                self._suspended = False
                os.kill(os.getpid(), signal.SIGTSTP)

    def _suspend(self, *_: object) -> None:
        self._suspended = True

    def _show(self) -> None:
        drawn: list[Text] = []
        with Live(console=self._console, screen=True, auto_refresh=False) as live:
            while not self._suspended:
                if self._feed.failure is not None:
                    raise self._feed.failure
                lines = self._lines()
                if lines != drawn:
                    live.update(Group(*lines), refresh=True)
                    drawn = lines
                key = self._key()
                if key == _QUIT.decode():
                    return
                if key == "s":
                    order = ORDERS[(ORDERS.index(self._heading.order) + 1) % len(ORDERS)]
                    self._heading = replace(self._heading, order=order)

    def _lines(self) -> list[Text]:
        width, height = self._console.size
        view = self._feed.view(self._heading.order, jobs_max=height)
        return draw(view, replace(self._heading, trouble=self._feed.trouble), width=width, height=height)

    def _key(self) -> str:
        """What was pressed until the next frame is due; nothing where nobody can press anything."""
        if not self._heading.keys:
            time.sleep(_FRAME_SECONDS)
            return ""
        ready, _, _ = select.select([sys.stdin], [], [], _FRAME_SECONDS)
        return (os.read(sys.stdin.fileno(), 1) or _QUIT).decode(errors="replace") if ready else ""


@contextmanager
def _single_keys() -> Iterator[None]:
    """Keys come as they are pressed, and are not shown."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin, termios.TCSANOW)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


@contextmanager
def _handled(which: signal.Signals, handler: signal._HANDLER) -> Iterator[None]:
    before = signal.signal(which, handler)
    try:
        yield
    finally:
        signal.signal(which, before)
