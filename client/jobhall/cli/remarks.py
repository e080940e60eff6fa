"""What a command says beside its answer."""

from __future__ import annotations

import sys


def remark(text: str) -> None:
    """One line on standard error, under the program's name."""
    print(f"jobhall: {text}", file=sys.stderr)
