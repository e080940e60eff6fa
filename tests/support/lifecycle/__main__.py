"""Stories by hand: `python -m tests.support.lifecycle --seed 17 --count 99` plays them over SQLite."""

# A command prints.
# ruff: noqa: T201

from __future__ import annotations

import argparse
import sys
import time
import traceback

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.lifecycle.machine import machine_on, stories


def main() -> int:
    """1 when the store was not where the model is."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.lifecycle", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="what all stories are drawn from")
    parser.add_argument("--count", type=int, default=1, help="how many")
    parser.add_argument("--engine", default="sqlite", help="of the store")
    chosen = parser.parse_args()
    began_at = time.process_time()
    begun = 0

    @seed(chosen.seed)
    class Counted(machine_on(chosen.engine)):  # type: ignore[misc]  # which one is known only now
        def __init__(self) -> None:
            super().__init__()
            nonlocal begun
            begun += 1

    quickly = settings(stories(chosen.count, (Phase.generate,)), suppress_health_check=list(HealthCheck))
    try:
        run_state_machine_as_test(Counted, settings=quickly)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is told
        # The one that failed is told once more for the trace.
        print(f"seed {chosen.seed} broke a promise, after {begun - 1} stories: {_line(error)}")
        return 1
    seconds = time.process_time() - began_at
    print(f"{begun} stories kept every promise; {begun / seconds * 60:,.0f} a minute of one core", file=sys.stderr)
    return 0


def _line(error: BaseException) -> str:
    """What went wrong; of an assert that says nothing, the assert."""
    said = str(error) or traceback.extract_tb(error.__traceback__)[-1].line or type(error).__name__
    return " ".join(said.split())[:200]


if __name__ == "__main__":
    sys.exit(main())
