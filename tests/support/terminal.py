"""A terminal that a test sits at: what a program draws on it, its keys, its size, and how it was left."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.support.waiting import eventually

_DEADLINE_SECONDS = 20.0
_HOME = "\x1b[H"
_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TAKES_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Run in a session of its own, so that Ctrl-C reaches the program as it does from a keyboard."""


class Terminal:
    """A program on a terminal of that size; leaving the context ends it."""

    def __init__(
        self, command: Sequence[str], *, folder: Path, environment: dict[str, str], columns: int, rows: int
    ) -> None:
        self._leader, self._follower = pty.openpty()
        self.resize(columns=columns, rows=rows)
        self._untouched = self._modes()
        self._written = ""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TAKES_TERMINAL, *command],
            cwd=folder,
            env={name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}},
            stdin=self._follower,
            stdout=self._follower,
            stderr=self._follower,
            start_new_session=True,
        )

    @property
    def written(self) -> str:
        """All that was written so far, commands to the terminal among it."""
        while select.select([self._leader], [], [], 0)[0]:
            self._written += os.read(self._leader, 65536).decode(errors="replace")
        return self._written

    @property
    def screen(self) -> list[str]:
        """The last picture that was drawn whole, as plain lines."""
        pictures = self.written.split(_HOME)
        last = pictures[-2] if len(pictures) > 2 else pictures[-1]
        return [_STYLE.sub("", line).rstrip() for line in last.split("\r\n")]

    @property
    def left_as_it_was(self) -> bool:
        """Whether keys are shown again and come by the line, the cursor is there, and so is what stood before."""
        ends = self.written
        return (
            self._modes() == self._untouched
            and ends.rfind("\x1b[?25h") > ends.rfind("\x1b[?25l")
            and ends.rfind("\x1b[?1049l") > ends.rfind("\x1b[?1049h")
        )

    def shows(self, text: str) -> list[str]:
        """The picture, once that is in it."""

        def there() -> list[str]:
            assert self._process.poll() is None, self.written
            screen = self.screen
            return screen if text in "\n".join(screen) else []

        return eventually(there, within=_DEADLINE_SECONDS, what=f"the terminal shows {text!r}")

    def resize(self, *, columns: int, rows: int) -> None:
        fcntl.ioctl(self._leader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._leader, keys.encode())

    def send(self, how: signal.Signals) -> None:
        self._process.send_signal(how)

    def status(self) -> int:
        """The exit code, once it has ended."""

        def ended() -> bool:
            return bool(self.written) and self._process.poll() is not None

        eventually(ended, within=_DEADLINE_SECONDS, what="the program on the terminal ends")
        return self._process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._leader)
        os.close(self._follower)

    def _modes(self) -> list[Any]:
        return termios.tcgetattr(self._follower)
