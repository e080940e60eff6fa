"""Watches by job id where one id is used by one job after the other."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from jobhall.ids import new_id
from jobhall.states import EventType
from jobhall_server.domain.access import ANYBODY
from jobhall_server.hall.job_units import DeleteJob
from jobhall_server.hall.submits import Submission
from jobhall_server.hall.watch import WatchRequest, watch
from jobhall_server.hall.watch_filter import WatchFilter
from tests.support.halls import SOON, Scene, open_hall
from tests.support.held_back import held_back
from tests.support.stores import SQL_ENGINES
from tests.support.waiting import eventually_async

_E = EventType


async def next_events(updates: Any, count: int) -> list[EventType]:
    found: list[EventType] = []
    async with asyncio.timeout(SOON):
        while len(found) < count:
            found += [event.row.event_type for event in (await anext(updates)).events]
    return found


async def read_to_the_end(scene: Scene) -> None:
    """Wait until the feed has told of everything, and found out which job has the id now."""
    feed = scene.hall.feed
    await eventually_async(lambda: feed.position == feed.head, within=SOON, what="everything is told")
    for _ in range(100):
        await asyncio.sleep(0)


@pytest.mark.parametrize("engine", SQL_ENGINES)
async def test_a_job_that_takes_the_id_of_one_deleted_in_the_same_moment_is_watched_too(
    engine: str, tmp_path: Path
) -> None:
    """Both events are found by one look at the log. The first job was sought there by its key, which the other one does
    not have: its event was passed over.
    """
    async with open_hall(engine, tmp_path) as scene:
        job_id = new_id()
        updates: Any = watch(
            scene.hall.feed,
            scene.store.reads,
            ANYBODY,
            WatchRequest(WatchFilter(namespace="default", job_ids=frozenset((job_id,)))),
        )
        await anext(updates)
        following = asyncio.create_task(next_events(updates, 1))
        await scene.hall.jobs.submit(ANYBODY, Submission("score", job_id=job_id, digest=1))
        assert await following == [_E.SUBMITTED]

        for digest in range(2, 6):
            following = asyncio.create_task(next_events(updates, 2))
            await read_to_the_end(scene)
            async with held_back(scene.store):
                deleting = asyncio.ensure_future(scene.store.run(DeleteJob(ANYBODY, job_id, 1, "")))
                again = Submission("score", job_id=job_id, digest=digest)
                submitting = asyncio.ensure_future(scene.hall.jobs.submit(ANYBODY, again))
                for _ in range(100):
                    await asyncio.sleep(0)
            await asyncio.gather(deleting, submitting)

            assert await following == [_E.DELETED, _E.SUBMITTED]
        await updates.aclose()
