"""Jobs that wait for a time, or have one to be begun by, and jobs that are updated while they wait; on every engine."""

from __future__ import annotations

import json
from typing import Any

from jobhall.states import EventType, FailureKind, JobState
from jobhall_server.domain import moves, server_moves
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import JobRecord
from jobhall_server.hall.store import Group
from tests.support.stores import START_US, Act, Floor, SetClock
from tests.support.task_steps import SECOND, accept, expired, leases_of, run, take

LATER = START_US + 10 * SECOND
MUCH_LATER = START_US + 20 * SECOND


async def fall_due(floor: Floor, *job_keys: int) -> list[JobState | None]:
    """What the reaper does to the jobs, and where they are then."""

    def decide(group: Group) -> list[JobState | None]:
        for key in job_keys:
            job = group.job(key)
            assert job is not None
            change, values = server_moves.fall_due(job, group.now, 0.0)
            if isinstance(change, Change):
                group.change(job, change, values)
        jobs = map(group.job, job_keys)
        return [None if job is None else job.state for job in jobs]

    return await floor.store.run(Act(decide, job_keys=job_keys))


def updating(job_id: str, **values: Any) -> Act[None]:
    def decide(group: Group) -> None:
        job = group.job_by_id(job_id)
        assert job is not None
        change, row = moves.update(job, moves.JobUpdate(frozenset(values), **values), group.now)
        assert isinstance(change, Change), change
        group.change(job, change, row)

    return Act(decide, job_ids=[job_id])


async def claimable(floor: Floor) -> list[int]:
    return [lease.job_key for lease in await leases_of(floor, await floor.session(), 100)]


async def record(floor: Floor, key: int) -> JobRecord:
    found = await floor.record(key)
    assert found is not None
    return found


async def test_a_job_with_a_time_ahead_waits_for_it(floor: Floor, clock: SetClock) -> None:
    [early, late, now] = await floor.submit_all(
        [floor.new(schedule_at=LATER), floor.new(schedule_at=MUCH_LATER), floor.new(schedule_at=START_US)]
    )
    assert [event.state for event in await floor.events()] == [JobState.SCHEDULED] * 2 + [JobState.PENDING]
    assert (await record(floor, early)).due_at == LATER
    assert await claimable(floor) == [now]

    clock.at = LATER
    assert (await expired(floor)).due == (early,)
    assert await fall_due(floor, early, late) == [JobState.PENDING, JobState.SCHEDULED]

    assert await claimable(floor) == [early]
    assert (await floor.events())[-2].event_type is EventType.READY


async def test_a_job_that_nobody_began_in_time_has_failed(floor: Floor, clock: SetClock) -> None:
    waiting, scheduled, begun = (
        floor.new(start_deadline=LATER, priority=-1),
        floor.new(schedule_at=MUCH_LATER, start_deadline=LATER),
        floor.new(start_deadline=LATER),
    )
    keys = await floor.submit_all([waiting, scheduled, begun])
    assert [(await record(floor, key)).due_at for key in keys] == [LATER] * 3
    [lease] = await leases_of(floor, await floor.session(), 1)
    await run(floor, lambda group: accept(group, lease), jobs=[lease])

    clock.at = LATER
    assert await fall_due(floor, *keys) == [JobState.FAILED, JobState.FAILED, JobState.RUNNING]

    view = await floor.view(waiting.job_id)
    assert view is not None
    assert (view.state, view.failure_kind, view.failure_code) == (
        JobState.FAILED,
        FailureKind.EXPIRED,
        server_moves.START_DEADLINE,
    )
    assert (await floor.events())[-1].failure_code == server_moves.START_DEADLINE


async def test_who_is_given_a_job_need_not_hurry_and_who_gives_it_back_unbegun_leaves_it_its_time(
    floor: Floor, clock: SetClock
) -> None:
    """Claimed with its time to be begun still set, the job would be taken back by the reaper then, from its worker."""
    [key, other] = await floor.submit_all([floor.new(start_deadline=LATER), floor.new()])
    session = await floor.session()
    first, second = await leases_of(floor, session, 2)
    assert (first.job_key, second.job_key) == (key, other)
    assert [(await record(floor, one)).due_at for one in (key, other)] == [None, None]

    def give_back(group: Group) -> None:
        take(group, first, server_moves.return_undelivered(group.job(key), first))

    await run(floor, give_back, jobs=[first])
    assert (await record(floor, key)).due_at == LATER

    clock.at = LATER - 1
    unary = await floor.session(ttl_us=60 * SECOND)
    [again] = await leases_of(floor, unary, 1, accept_us=SECOND)
    assert (await record(floor, again.job_key)).due_at == LATER - 1 + SECOND


async def test_a_job_that_is_held_back_waits_however_its_time_comes(floor: Floor, clock: SetClock) -> None:
    keys = await floor.submit_all([floor.new(held_back=True), floor.new(held_back=True, schedule_at=LATER)])
    assert await claimable(floor) == []

    clock.at = LATER
    assert await fall_due(floor, *keys) == [JobState.PENDING, JobState.PENDING]

    assert await claimable(floor) == []
    session = await floor.session()
    assert await leases_of(floor, session, 2, job_keys=tuple(keys)) == []


async def test_a_jobs_turn_can_be_changed_while_it_waits(floor: Floor, clock: SetClock) -> None:
    first, second, third = (floor.new() for _ in range(3))
    keys = await floor.submit_all([first, second, third])

    await floor.store.run(updating(third.job_id, priority=5))
    await floor.store.run(updating(first.job_id, schedule_at=LATER))
    assert await claimable(floor) == [keys[2], keys[1]]

    view = await floor.view(first.job_id)
    assert view is not None
    assert (view.state, view.schedule_at, view.due_at) == (JobState.SCHEDULED, LATER, LATER)
    await floor.store.run(updating(first.job_id, schedule_at=None))
    assert await claimable(floor) == [keys[0]]
    told = [(event.event_type, event.state) for event in await floor.events() if event.job_key == keys[0]]
    assert told == [
        (EventType.SUBMITTED, JobState.PENDING),
        (EventType.SCHEDULED, JobState.SCHEDULED),
        (EventType.READY, JobState.PENDING),
        (EventType.CLAIMED, JobState.CLAIMED),
    ]


async def test_each_update_of_one_group_tells_what_was_before_it(floor: Floor) -> None:
    new = floor.new(labels='{"a": "1"}')
    await floor.submit_all([new])

    def decide(group: Group) -> None:
        updating(new.job_id, labels='{"a": "2"}').decide(group)
        updating(new.job_id, labels=None, access="[2, [], [], []]").decide(group)
        updating(new.job_id, priority=3).decide(group)

    await floor.store.run(Act(decide, job_ids=[new.job_id]))

    updates = [event for event in await floor.events() if event.event_type is EventType.UPDATED]
    assert [(event.labels, event.access, event.revision) for event in updates] == [
        ('{"a": "2"}', None, 2),
        (None, "[2, [], [], []]", 3),
        (None, "[2, [], [], []]", 4),
    ]
    before = [None if event.previous is None else json.loads(event.previous) for event in updates]
    assert before == [{"labels": '{"a": "1"}'}, {"labels": '{"a": "2"}', "access": None}, None]
