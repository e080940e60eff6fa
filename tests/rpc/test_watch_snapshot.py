"""A snapshot and the events after it, of jobs that change all the while: together they are how the jobs are."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from jobhall.ids import new_id
from jobhall.states import EventType
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.calls import register
from tests.support.servers import Running
from tests.support.stored import Stored
from tests.support.watching.model import check_model
from tests.support.watching.oracle import Asked, Sight, Told, expected, read_log, same
from tests.support.watching.watchers import CutWatcher, Leg

JOBS = 2000
RED: dict[str, str] = {"team": "red"}
WATCHED = {
    "everything": Asked(),
    "a label that comes and goes": Asked(labels=(("team", "red"),)),
    "a type": Asked(namespace="-", job_types=("score",)),
}


async def submit(server: Running, job_ids: list[str]) -> None:
    for first in range(0, len(job_ids), 1000):
        jobs = [
            {"job_type": "score", "job_id": job_id, "labels": RED if place % 3 else {}}
            for place, job_id in enumerate(job_ids[first : first + 1000])
        ]
        await server.jobs.BatchSubmitJobs(pb.BatchSubmitJobsRequest(jobs=jobs))  # type: ignore[arg-type]


async def change(server: Running, job_ids: list[str], chance: random.Random) -> None:
    """One after the other, each once, in any order."""
    for job_id in chance.sample(job_ids, len(job_ids)):
        match chance.randrange(5):
            case 0:
                await server.jobs.CancelJob(pb.CancelJobRequest(job_id=job_id))
            case 1:
                await server.jobs.DeleteJob(pb.DeleteJobRequest(job_id=job_id))
            case 2:
                await submit(server, [new_id()])
            case _:
                request = pb.UpdateJobRequest(job=job_pb2.Job(id=job_id, labels=RED if chance.randrange(2) else {}))
                request.update_mask.paths.append("labels")
                await server.jobs.UpdateJob(request)


@pytest.mark.parametrize("legs", [(), (Leg(1), Leg(3), Leg(4))], ids=["at one go", "cut in the midst of the snapshot"])
async def test_the_snapshot_and_what_comes_after_it_are_how_the_jobs_are(
    server: Running, tmp_path: Path, legs: tuple[Leg, ...]
) -> None:
    await register(server)
    chance = random.Random(5)
    job_ids = [new_id() for _ in range(JOBS)]
    await submit(server, job_ids)
    last_id = new_id()
    watchers = [CutWatcher(server.jobs, asked, legs, snapshot=True) for asked in WATCHED.values()]

    def is_last(told: Told) -> bool:
        return told.job_id == last_id and told.event_type is EventType.CANCELLED

    changing = [asyncio.create_task(change(server, job_ids[part::4][:40], chance)) for part in range(4)]
    watching = [asyncio.create_task(watcher.run(is_last)) for watcher in watchers]
    await asyncio.gather(*changing)
    last: Any = {"job_type": "score", "job_id": last_id, "labels": RED}
    await server.jobs.SubmitJob(pb.SubmitJobRequest(job=last))
    await server.jobs.CancelJob(pb.CancelJobRequest(job_id=last_id))
    await asyncio.wait_for(asyncio.gather(*watching), 20)

    log = read_log(Stored(tmp_path / "jobhall.db"))
    for watcher in watchers:
        assert len(watcher.jobs) > JOBS / 2
        same(watcher.told, expected(log, watcher.asked, after=watcher.first_number), of=watcher.asked)
        check_model(watcher, log, Sight())
