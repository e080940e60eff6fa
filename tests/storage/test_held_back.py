"""Jobs that are held back: no claim finds them, whichever way they become PENDING, until they are handed out."""

from __future__ import annotations

import pytest

from jobhall.states import JobState
from tests.support.batches import held, step
from tests.support.stores import ActAfterSave, Floor, SetClock


async def hold(floor: Floor, keys: list[int], *, held_back: bool) -> None:
    await floor.store.run(ActAfterSave(lambda group: group.hold_back(keys, held_back=held_back)))


async def test_what_is_held_back_is_not_claimed_and_keeps_its_turn(floor: Floor, clock: SetClock) -> None:
    keys = await floor.submit(2)
    await hold(floor, keys, held_back=True)
    clock.at += 1
    [later] = await floor.submit(1)
    clock.at += 1

    session = await floor.session()
    [named] = await floor.claim(floor.want(session, 3, job_keys=tuple(keys)))
    [first] = await floor.claim(floor.want(session, 1))
    [again] = await floor.submit(1)
    clock.at += 1
    await hold(floor, keys, held_back=False)
    [after] = await floor.claim(floor.want(session, 3))

    assert (named, [job.lease.job_key for job in first]) == ([], [later])
    assert [job.lease.job_key for job in after] == [*keys, again]


@pytest.mark.parametrize("way", ["release", "lose", "fail", "return", "retry"])
async def test_what_comes_back_while_it_is_held_back_stays_so(floor: Floor, clock: SetClock, way: str) -> None:
    [key] = await floor.submit(1)
    [lease] = await held(floor, 1)
    if way != "return":
        await step(floor, lease, "accept")
    if way == "retry":
        await step(floor, lease, "cancel", "release")

    await hold(floor, [key], held_back=True)
    await step(floor, lease, way)
    clock.at += 3_600_000_000
    await step(floor, lease, "fall_due")
    waiting = await floor.record(key)
    session = await floor.session()
    [given] = await floor.claim(floor.want(session, 1))
    await hold(floor, [key], held_back=False)
    [after] = await floor.claim(floor.want(session, 1))

    assert waiting is not None
    assert waiting.state is JobState.PENDING
    assert given == []
    assert [job.lease.job_key for job in after] == [key]


async def test_a_job_that_joins_an_inactive_batch_waits(floor: Floor) -> None:
    await floor.submit(1, held_back=True)
    await floor.submit(1, held_back=True, schedule_at=1)

    assert await held(floor, 2) == []
