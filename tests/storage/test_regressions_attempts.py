"""Faults of claims and what they leave behind that were found by hunting: each test opens with what went wrong."""

from dataclasses import replace

from jobhall_server.domain.job import Lease, Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.frames import Body, CheckpointBody, ReleasedBody, Report, ReportKind
from jobhall_server.hall.reports import JudgeReports
from jobhall_server.hall.store import Claimed
from jobhall_server.storage.claims import PASSED_OVER_MAX
from tests.support.stores import Floor
from tests.support.task_steps import leases_of, release, run


async def test_a_session_that_gave_very_many_jobs_back_is_given_those_behind_them(floor: Floor) -> None:
    """A claim passes over at most 1,000 jobs that a session has given back as not its own, and each began again at the
    front: with one job more in front nothing of the queue was ever given to the only worker there was.
    """
    others = await floor.submit(3 * PASSED_OVER_MAX, priority=5)
    keys = await floor.submit(2)
    session = await floor.session()
    for place in range(0, len(others), 500):
        given = await leases_of(floor, session, 500, job_keys=tuple(others[place : place + 500]))
        await run(floor, *(lambda group, lease=lease: release(group, lease, session) for lease in given), jobs=given)

    claims: list[list[Claimed]] = []
    for _ in range(5):
        claims += await floor.claim(floor.want(session, 1))
    [urgent] = await floor.submit(priority=9)
    claims += await floor.claim(floor.want(session, 1))

    assert [task.lease.job_key for claimed in claims for task in claimed] == [*keys, urgent]


async def test_a_checkpoint_without_progress_stands_where_the_task_was(floor: Floor) -> None:
    """The contract says "absent means the last that was reported"; the next attempt was told of none, and counted from
    zero. What an attempt has not reported at all is where the checkpoint was that it began from.
    """
    told = Progress(total=9, processed=4)
    checkpoint = CheckpointBody(Payload('"half"'), None)
    release = ReleasedBody("later", 5)
    await floor.submit()
    session = await floor.session()

    [first] = await leases_of(floor, session, 1)
    await judge(floor, first, (ReportKind.PROGRESS, told))
    await judge(floor, first, (ReportKind.CHECKPOINT, checkpoint), (ReportKind.RELEASED, release))
    [[again]] = await floor.claim(floor.want(session, 1))
    await judge(floor, again.lease, (ReportKind.CHECKPOINT, checkpoint))
    later = replace(told, processed=5)
    await judge(floor, again.lease, (ReportKind.PROGRESS, later), (ReportKind.CHECKPOINT, checkpoint))
    await judge(floor, again.lease, (ReportKind.RELEASED, release))
    [[last]] = await floor.claim(floor.want(session, 1))

    assert (again.progress, last.progress, last.checkpoint) == (told, later, checkpoint.state)


async def judge(floor: Floor, lease: Lease, *reports: tuple[ReportKind, Body]) -> None:
    said = [Report(place, lease.token(), kind, body) for place, (kind, body) in enumerate(reports, 1)]
    judged = await floor.store.run(JudgeReports(said, chance=0.0))
    assert not judged.refused
