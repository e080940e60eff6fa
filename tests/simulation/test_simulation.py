"""The promises of DESIGN section 1 under thousands of schedules of deaths, pauses and cuts, each from one seed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.mutants import FINDERS, PATCHES, fault_of, patches_in, why_stale
from tests.support.simulation.schedules import Outcome, run_schedule

ROOT = Path(__file__).resolve().parents[2]
SEED = "SIMULATION_SEED"
"""Set in the environment, it names the first schedule: `SIMULATION_SEED=17 pytest tests/simulation`."""
SHORT_SECONDS, LONG_SECONDS = 12.0, 240.0
AT_LEAST_A_MINUTE = 300
"""Schedules a minute of one core's time, on the slowest of machines."""

pytestmark = [pytest.mark.timeout(120), pytest.mark.long_timeout(600)]


def kept_every_promise(seed: int) -> Outcome:
    outcome = run_schedule(seed)
    if outcome.broken is not None:
        again = f"python -m tests.support.simulation --seed {seed}"
        pytest.fail("\n".join([*outcome.story[-400:], f"{outcome.broken}\nseed {seed}; the whole story: {again}"]))
    return outcome


def test_no_schedule_breaks_a_promise(*, long: bool, figures: Callable[..., None]) -> None:
    """Two to four workers and a service in one process, with the clock and the network of a story that a seed tells:
    servers that are killed, stopped, paused for a minute and back again, full disks; workers likewise; streams that
    break or fall silent one way or both; clients that cancel, retry and delete. The hall, its session machine, the
    claims, the servicer's halves and the SDK's stream machine are the real ones.

    What is acknowledged is committed; a fence has one owner and one execution; nobody writes with a stale token; the
    trouble of a server takes no task from a worker that lives; a delivery that nobody began costs no attempt; the log
    and each job's history have no gap, and each watcher is told what it has for its filter, whatever server it asks and
    however often it is cut; every job ends.

    No job is begun before its schedule, first after its deadline, or while its batch is not active; a unique key has
    one live holder; what expires was never begun; a cancel of a batch comes to each of its jobs once, and its
    completion job is submitted once and in time; the attempts that are shown are those that were.
    """
    first = int(os.environ.get(SEED, "0")) or random.randrange(2**32)
    until = time.monotonic() + (LONG_SECONDS if long else SHORT_SECONDS)
    began_at = time.process_time()
    outcomes: list[Outcome] = []
    while time.monotonic() < until:
        outcomes.append(kept_every_promise(first + len(outcomes)))

    a_minute = len(outcomes) / (time.process_time() - began_at) * 60
    figures(
        first_seed=first,
        schedules=len(outcomes),
        a_minute=round(a_minute),
        jobs=sum(outcome.jobs for outcome in outcomes),
        executions=sum(outcome.executions for outcome in outcomes),
        completions=sum(outcome.completions for outcome in outcomes),
        troubles=sum(outcome.troubles for outcome in outcomes),
        virtual_hours=round(sum(outcome.virtual_seconds for outcome in outcomes) / 3600, 1),
    )
    assert a_minute > AT_LEAST_A_MINUTE


def test_a_seed_tells_the_same_story_in_every_process() -> None:
    """A story that came out differently each time could not be replayed: Python's hashes differ from process to
    process, and with them the order of every set of tokens.
    """
    told = [
        subprocess.run(
            [sys.executable, "-m", "tests.support.simulation", "--seed", "100", "--count", "8", "--quiet"],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]

    assert told[0] == told[1]
    assert len(told[0].splitlines()) == 8


def test_there_are_deliberate_faults_for_each_who_is_to_find_them() -> None:
    found_by = Counter(patch.parent.name for patch in patches_in(PATCHES))
    assert found_by.keys() == FINDERS.keys()
    assert min(found_by.values()) >= 5


@pytest.mark.parametrize("patch", patches_in(PATCHES), ids=lambda patch: patch.stem)
def test_a_deliberate_fault_still_applies_to_the_source_as_it_is(patch: Path) -> None:
    """A patch that is stale would let `make mutants` prove nothing: draw it anew when what it breaks has changed."""
    assert len(fault_of(patch).split()) > 5, "it says what it breaks, before its first hunk"
    assert not why_stale(patch)
