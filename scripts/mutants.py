"""Applies the faults in tests/mutants, one at a time, to a copy of the source: each must be found by whom its folder
names: the simulation, the lifecycle machine or the tests of the watch.

With `--check` it only shows that every patch still applies.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PATCHES = ROOT / "tests" / "mutants"
SOURCES = ("client", "server", "tests")
_FOUND = re.compile(r"seed (\d+) broke a promise, after (\d+) \w+: (.*)")


class Finder(NamedTuple):
    """Who plays the source: schedules, stories or tests."""

    module: str
    sound_runs: int
    """So many the source without a fault has to survive first: else whatever is found proves nothing."""
    runs_max: int


FINDERS = {
    "simulation": Finder("tests.support.simulation", 200, 5000),
    "lifecycle": Finder("tests.support.lifecycle", 60, 1000),
    "watching": Finder("tests.support.watching", 1, 1),
}
"""By the folders of their faults."""


class Found(NamedTuple):
    """How a fault was found."""

    seed: int
    runs: int
    promise: str


def main() -> int:
    """1 when a patch is stale, or a fault was not found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only these, by the names of their files")
    parser.add_argument("--check", action="store_true", help="only look whether each still applies")
    parser.add_argument("--runs", type=int, help="so many at most for each")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    chosen = parser.parse_args()
    patches = [path for path in patches_in(PATCHES) if not chosen.names or path.stem in chosen.names]
    if not chosen.check:
        finders = sorted({patch.parent.name for patch in patches})
        if not all(_is_sound(FINDERS[name], first_seed=chosen.seed) for name in finders):
            return 1
    failed = 0
    for patch in patches:
        stale = why_stale(patch)
        if stale:
            print(f"{patch.stem}: STALE, it does not apply any more; draw it anew\n{stale}")
            failed += 1
        elif not chosen.check:
            failed += not _hunt(patch, first_seed=chosen.seed, runs_max=chosen.runs)
    print(f"{failed} of {len(patches)} mutants failed" if failed else f"{len(patches)} mutants: all is well")
    return 1 if failed or not patches else 0


def patches_in(folder: Path) -> list[Path]:
    """The deliberate faults."""
    return sorted(folder.glob("*/*.patch"))


def why_stale(patch: Path) -> str:
    """What keeps the patch from being applied to the source as it is; empty when nothing does."""
    tried = subprocess.run(["git", "apply", "--check", patch], cwd=ROOT, capture_output=True, text=True)
    return tried.stderr if tried.returncode else ""


def fault_of(patch: Path) -> str:
    """What the patch breaks: the words before its first hunk."""
    return " ".join(patch.read_text().partition("\n--- ")[0].partition("\ndiff ")[0].split())


def _is_sound(finder: Finder, *, first_seed: int) -> bool:
    """Whether the source as it is keeps every promise."""
    found, said = _play(ROOT, finder, first_seed=first_seed, runs_max=finder.sound_runs)
    print(f"without a fault: {said.strip()}" if found is None else f"the source itself breaks a promise: {found}")
    return found is None


def _hunt(patch: Path, *, first_seed: int, runs_max: int | None) -> bool:
    finder, began_at = FINDERS[patch.parent.name], time.monotonic()
    with _mutated(patch) as copy:
        found, said = _play(copy, finder, first_seed=first_seed, runs_max=runs_max or finder.runs_max)
    seconds = time.monotonic() - began_at
    print(f"{patch.parent.name}/{patch.stem}: {fault_of(patch)}")
    if found is None:
        print(f"    NOT FOUND, {seconds:.0f} s\n{said}", flush=True)
        return False
    print(f"    found in run {found.runs}, {seconds:.0f} s (seed {found.seed}): {found.promise}", flush=True)
    return True


@contextmanager
def _mutated(patch: Path) -> Iterator[Path]:
    """A copy of the source with the fault in it."""
    with tempfile.TemporaryDirectory(prefix="jobhall-mutant-") as folder:
        copy = Path(folder)
        for source in SOURCES:
            ignored = shutil.ignore_patterns("__pycache__", "node_modules")
            shutil.copytree(ROOT / source, copy / source, ignore=ignored)
        subprocess.run(["git", "apply", patch], cwd=copy, check=True)
        yield copy


def _play(copy: Path, finder: Finder, *, first_seed: int, runs_max: int) -> tuple[Found | None, str]:
    """Runs of the copy until one breaks a promise; else what was said instead."""
    seeds = ["--seed", str(first_seed), "--count", str(runs_max)]
    paths = os.pathsep.join([str(copy), str(copy / "client"), str(copy / "server")])
    played = subprocess.run(
        [sys.executable, "-m", finder.module, *seeds],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    told = _FOUND.search(played.stdout)
    if told is None:
        return None, played.stderr or played.stdout
    return Found(int(told[1]), int(told[2]), told[3]), ""


if __name__ == "__main__":
    sys.exit(main())
