"""Schedules by hand: `python -m tests.support.simulation --seed 17` tells the story of one, `--count 99` plays more."""

# A command prints.
# ruff: noqa: T201

from __future__ import annotations

import argparse
import hashlib
import sys
import time

from tests.support.simulation.schedules import Outcome, run_schedule


def main() -> int:
    """1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the schedule, or the first of them")
    parser.add_argument("--count", type=int, default=1, help="how many, with seeds one after the other")
    parser.add_argument("--quiet", action="store_true", help="no stories, only their digests")
    chosen = parser.parse_args()
    began_at = time.process_time()
    for seed in range(chosen.seed, chosen.seed + chosen.count):
        outcome = run_schedule(seed)
        if outcome.broken is not None:
            _tell(outcome, quiet=chosen.quiet)
            print(f"seed {seed} broke a promise, after {seed - chosen.seed + 1} schedules: {outcome.broken}")
            return 1
        if chosen.count == 1 or chosen.quiet:
            _tell(outcome, quiet=chosen.quiet)
    seconds = time.process_time() - began_at
    print(
        f"{chosen.count} schedules kept every promise; {chosen.count / seconds * 60:,.0f} a minute of one core",
        file=sys.stderr,
    )
    return 0


def _tell(outcome: Outcome, *, quiet: bool) -> None:
    if quiet:
        story = "\n".join(outcome.story)
        print(outcome.seed, len(outcome.story), hashlib.sha256(story.encode()).hexdigest()[:16])
        return
    sys.stdout.writelines(f"{line}\n" for line in outcome.story)


if __name__ == "__main__":
    sys.exit(main())
