"""Watchers of every kind while the server is killed again and again: what each was told is what the log has for it."""

import asyncio
import random
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import jobhall
from jobhall.errors import JobNotFoundError, JobRunningError, JobTerminalError
from jobhall.states import JobState
from tests.support.chaos import Storm
from tests.support.load import SUBMITTERS, Load
from tests.support.processes import Processes
from tests.support.stored import Stored
from tests.support.waiting import eventually_async
from tests.support.watching.audience import Audience

ENOUGH = 1000
PATIENT = jobhall.CallRetry(attempts_max=ENOUGH, delay_max=timedelta(seconds=0.3))
SETTINGS: dict[str, Any] = {"session_ttl_seconds": 1.0, "heartbeat_seconds": 0.3, "worker_losses_max": ENOUGH}
RED = {"team": "red"}
TEAMS: tuple[dict[str, str], ...] = ({}, RED, {"team": "blue"})
END_SECONDS = 60.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150), pytest.mark.long_timeout(900)]


async def test_in_a_storm_of_kills_no_watcher_misses_anything_or_hears_it_twice(
    processes: Processes, tmp_path: Path, long: bool, figures: Callable[..., None]
) -> None:
    """Jobs are submitted, run, relabelled, cancelled, retried and deleted while the server, its workers and some of the
    watchers are killed. There are watchers by both clients, by bare streams that are cut after a few messages and go on
    by stream or by page, and processes that go on from what they had written down before they were killed.

    Who comes when all is over is told by a snapshot how it ended.
    """
    seed, seconds, jobs = random.randrange(2**32), 300 if long else 8, 4000 if long else 80
    chance = random.Random(seed)
    storm = Storm(
        processes, chance, SETTINGS, calm_seconds=(0.8, 2.5), workers_count=2, concurrency=8, server_share=0.6
    )
    await asyncio.to_thread(storm.begin)
    async with jobhall.AsyncClient(storm.address, retry=PATIENT) as client:
        await client.types.register("nap")
        async with Audience(client, storm.address, processes, PATIENT) as audience:
            load = Load(
                client,
                "nap",
                parameters=lambda: {"seconds": chance.uniform(0, 0.5)},
                pause_seconds=seconds * SUBMITTERS / jobs / 2,
                max_attempts=ENOUGH,
            )
            async with load:
                reddened: set[str] = set()
                meddler = asyncio.create_task(meddle(client, load.acknowledged, reddened, random.Random(seed)))
                await asyncio.to_thread(storm.rage, over(seconds, load, jobs, reddened))
                meddler.cancel()
                await asyncio.wait([meddler])
            stored = Stored(storm.server.database)
            await eventually_async(
                lambda: all(state.terminal for state in stored.states().values()),
                within=END_SECONDS,
                what="every job has ended",
            )
            counts = await audience.has_missed_nothing(stored)
        await hears_how_it_ended(client, stored)
    await asyncio.to_thread(storm.stop)

    figures(
        seed=seed,
        kills_of_the_server=storm.server_kills,
        of_workers=len(storm.deaths),
        of_watchers=audience.kills,
        cuts=audience.cuts,
        jobs=len(load.acknowledged),
        events_told=sum(counts.values()),
    )
    stored.check()
    assert storm.server_kills
    assert min(counts.values()) > jobs / 10


async def meddle(client: jobhall.AsyncClient, job_ids: list[str], reddened: set[str], chance: random.Random) -> None:
    """One job after the other gets other labels, is cancelled, run again or deleted; tells which ones became red."""
    while True:
        await asyncio.sleep(chance.uniform(0, 0.1))  # sleeps: its pace
        if not job_ids:
            continue
        job_id = chance.choice(job_ids[-50:])
        try:
            match chance.choice(("label", "label", "label", "cancel", "retry", "delete")):
                case "label":
                    labels = chance.choice(TEAMS)
                    await client.jobs.update_job(job_id, labels=labels)
                    if labels == RED:
                        reddened.add(job_id)
                case "cancel":
                    await client.jobs.cancel_job(job_id)
                case "retry":
                    await client.jobs.retry_job(job_id)
                case _:
                    await client.jobs.delete_job(job_id)
        except (JobNotFoundError, JobTerminalError, JobRunningError):
            continue


async def hears_how_it_ended(client: jobhall.AsyncClient, stored: Stored) -> None:
    """The watcher of the last minute."""
    states = stored.states()
    told: dict[str, JobState] = {}
    job_ids = sorted(states)
    for first in range(0, len(job_ids), 1000):
        watch = client.jobs.watch(job_ids=job_ids[first : first + 1000], include_snapshot=True, stop_when_terminal=True)
        async for update in watch:
            told |= {job.id: job.state for job in update.jobs}
    assert told == states


def over(seconds: float, load: Load, jobs: int, reddened: set[str]) -> Callable[[], bool]:
    """When the time is over, so many jobs were submitted, and the watchers of the red ones heard of enough of them."""
    until = time.monotonic() + seconds

    def is_over() -> bool:
        load.check()
        return time.monotonic() >= until and len(load.acknowledged) >= jobs and len(reddened) > jobs / 10

    return is_over
