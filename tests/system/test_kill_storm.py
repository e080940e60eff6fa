"""Workers and the server die all the time: what was acknowledged is there, all of it ends once, and soon."""

import asyncio
import random
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import jobhall
from tests.support import journal
from tests.support.chaos import Storm
from tests.support.evidence import all_completed, executed_twice, history, image_check, rescues
from tests.support.history import Answer, Recorder, check
from tests.support.load import SUBMITTERS, Load
from tests.support.onlooker import Onlooker
from tests.support.processes import Processes
from tests.support.scripts import Scripts
from tests.support.stored import Stored

SESSION_TTL_SECONDS = 1.0
RESCUE_SECONDS = SESSION_TTL_SECONDS + 2
NAP_SECONDS = 1.0
ENOUGH = 1000
PATIENT = jobhall.CallRetry(attempts_max=ENOUGH, delay_max=timedelta(seconds=0.3))
"""The servers here live so shortly that who pauses for long never meets one."""
SETTINGS: dict[str, Any] = {
    "session_ttl_seconds": SESSION_TTL_SECONDS,
    "heartbeat_seconds": 0.3,
    # A storm takes a job's worker more often than any bug in its handler would.
    "worker_losses_max": ENOUGH,
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150), pytest.mark.long_timeout(1500)]


async def test_in_a_storm_of_kills_nothing_acknowledged_is_lost_and_everything_ends_once(
    processes: Processes, tmp_path: Path, long: bool, figures: Callable[..., None]
) -> None:
    """Four workers and a server; one of them is killed every 1 to 3 seconds while jobs are submitted and run.

    The SDK's own retries carry every submit, the workers and a watch through the deaths. Two scripts claim and report
    by the unary twins, and are slower than their lease at times. A job that a dead worker held runs again; it may have
    run to its end before and only its report was lost. What each dead server left on the disk is looked at as it is,
    before the next one recovers it.
    """
    seed, seconds, jobs = random.randrange(2**32), 600 if long else 13, 5000 if long else 100
    chance = random.Random(seed)
    storm = Storm(processes, chance, SETTINGS, calm_seconds=(1.0, 3.0) if long else (0.6, 1.4))
    await asyncio.to_thread(storm.begin)
    async with jobhall.AsyncClient(storm.address, retry=PATIENT) as client:
        await client.types.register("nap")
        async with Onlooker(client) as onlooker:
            load = Load(
                client,
                "nap",
                parameters=lambda: {"seconds": chance.uniform(0, NAP_SECONDS)},
                pause_seconds=seconds * SUBMITTERS / jobs / 2,
                recorder=Recorder(tmp_path / "load.calls", "load"),
                max_attempts=ENOUGH,
            )
            async with load:
                storm.after_server_death = image_check(load.acknowledged, tmp_path)
                await asyncio.to_thread(rage, storm, tmp_path, for_a_while(seconds, load, jobs))
            stored = Stored(storm.server.database)
            await all_completed(stored, within=60)
            await onlooker.has_missed_nothing(stored)
    await asyncio.to_thread(storm.stop)

    recorded = history(stored, tmp_path)
    taken = rescues(recorded.events, deaths=storm.deaths, ready=storm.ready)
    longest = max((rescue.seconds for rescue in taken), default=0.0)
    figures(
        seed=seed,
        kills=storm.kills,
        of_the_server=storm.server_kills,
        jobs=len(recorded.finals),
        executions=journal.executions(tmp_path).total(),
        taken_from_the_dead=len(taken),
        late_reports_refused=sum(call.answer is Answer.REFUSED for call in recorded.calls),
        longest_wait=f"{longest:.2f} s (at most {RESCUE_SECONDS:g} s)",
    )
    stored.check()
    check(recorded)
    assert executed_twice(tmp_path) == []
    assert set(load.acknowledged) <= recorded.finals.keys()
    assert taken
    assert longest <= RESCUE_SECONDS


def rage(storm: Storm, folder: Path, over: Callable[[], bool]) -> None:
    """The storm, with two workers beside the four that nobody kills: they are slow instead, and believe no silence."""
    with Scripts(storm.address, "nap", folder):
        storm.rage(over)


def for_a_while(seconds: float, load: Load, jobs: int) -> Callable[[], bool]:
    """Until the time is over and so many jobs were submitted."""
    until = time.monotonic() + seconds

    def over() -> bool:
        load.check()
        return time.monotonic() >= until and len(load.acknowledged) >= jobs

    return over
