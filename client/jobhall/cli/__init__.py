"""The `jobhall` command: `main` is its entry point; what it needs beyond the SDK comes when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_EXTRA = {"cyclopts", "rich"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; without the extra `cli` it only says what is missing."""
    try:
        from jobhall.cli.application import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print(f"jobhall: the command line needs {error.name}: pip install 'jobhall[cli]'", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return run(sys.argv[1:] if arguments is None else list(arguments))
