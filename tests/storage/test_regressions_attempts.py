"""Faults of claims and what they leave behind that were found by hunting: each test opens with what went wrong."""

from dataclasses import replace
from pathlib import Path

from jobhall.states import JobState
from jobhall_server.domain.job import Lease, Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.frames import Body, CheckpointBody, ReleasedBody, Report, ReportKind
from jobhall_server.hall.leases import FallDue
from jobhall_server.hall.reports import JudgeReports
from jobhall_server.hall.store import Claimed
from jobhall_server.storage.claims import PASSED_OVER_MAX
from tests.support.stores import Floor, SetClock, open_store
from tests.support.task_steps import SECOND, TTL_US, expired, fail, leases_of, release, run, serve


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


class ClockSetBack(SetClock):
    """Somebody corrected the machine's clock; the monotonic one went on."""

    def __init__(self) -> None:
        super().__init__()
        self.back_us = 0

    def now_us(self) -> int:
        return self.at - self.back_us


async def test_what_is_due_does_not_wait_for_a_clock_that_was_set_back(engine: str, tmp_path: Path) -> None:
    """No time is written that is before one that was written already; so after the clock was set back an hour the time
    of the store stood still for that hour. A job that was to be tried again after a second waited for it, and so did
    every session that was to expire, every timeout, and every grace.
    """
    clock = ClockSetBack()
    async with open_store(engine, tmp_path, clock=clock) as store:
        floor = await Floor.of(store, tmp_path)
        [key] = await floor.submit()
        lease = await floor.claim_one()
        clock.back_us = 3600 * SECOND
        await run(floor, lambda group: fail(group, lease, delay_us=2 * SECOND), jobs=[lease])

        await serve(floor, clock, 1)
        early = (await expired(floor)).due
        await serve(floor, clock, 1)

        assert early == ()
        assert (await expired(floor)).due == (key,)

    async with open_store(engine, tmp_path, clock=clock) as store:
        clock.at += SECOND
        [moved] = await store.run(FallDue((await store.reads.expired(ttl_us=TTL_US)).due, [0.0]))
        assert moved.target is JobState.PENDING
