"""The quick proofs of the watch, by hand: `python -m tests.support.watching --seed 17` plays that seed's stories."""

# A command prints.
# ruff: noqa: T201

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[2]
LOOP = ("asyncio_mode=auto", *(f"asyncio_default_{what}_loop_scope=session" for what in ("fixture", "test")))
"""As in pyproject.toml, which a mutated copy of the source does not have."""


class Ledger:
    """How many tests passed, and which one did not."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed
        if report.failed and not self.failed:
            self.failed = f"{report.nodeid.rpartition('::')[2]} ({_last_line(report)})"


def main() -> int:
    """1 when a test failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.watching", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="what the stories are drawn from")
    parser.add_argument("--count", type=int, default=1000, help="how many tests at most; there are fewer")
    chosen = parser.parse_args()
    ledger = Ledger()
    files = sorted(map(str, TESTS.glob("rpc/test_watch*.py")))
    options = ["-x", "-q", "--import-mode=importlib", "-p", "no:randomly", "-p", "no:cacheprovider", "--timeout=60"]
    options += [f"--hypothesis-seed={chosen.seed}", f"--rootdir={TESTS.parent}", "-c", "/dev/null"]
    options += [word for option in LOOP for word in ("-o", option)]
    pytest.main([*options, *files], plugins=[ledger])
    if ledger.failed:
        print(f"seed {chosen.seed} broke a promise, after {ledger.passed} tests: {ledger.failed}")
        return 1
    print(f"{ledger.passed} tests kept every promise", file=sys.stderr)
    return 0 if ledger.passed else 1


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return " ".join(str(crash.message if crash else report.longrepr).split())[:120]


if __name__ == "__main__":
    sys.exit(main())
