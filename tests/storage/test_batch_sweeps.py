"""Steps of sweeps that come too late: what was read for one sweep does nothing once another has taken its place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobhall.states import JobState
from jobhall_server.domain.batch import BatchRecord, Counts, Sweep
from jobhall_server.hall.batch_sweeps import EndSweep, HoldStep, RemoveBatch, SweepStep
from tests.support.batches import changed, held, opened, record
from tests.support.stores import Floor

GRACE_US = 1_000_000


async def sweeping(floor: Floor, sweep: Sweep, count: int = 2) -> tuple[BatchRecord, list[int]]:
    """A batch of so many jobs with that sweep before it."""
    batch = await opened(floor)
    keys = await floor.submit(count, batch_key=batch.key)
    await changed(floor, batch, sweep=sweep, sweep_reason="why", sweep_by="ann")
    [at_work] = await floor.store.reads.batches_at_work()
    return at_work, keys


async def states(floor: Floor, keys: list[int]) -> list[JobState | None]:
    found = [await floor.record(key) for key in keys]
    return [None if job is None else job.state for job in found]


async def test_a_step_cancels_its_jobs_and_remembers_its_place(floor: Floor) -> None:
    batch, keys = await sweeping(floor, Sweep.CANCEL, 3)

    await floor.store.run(SweepStep(batch, keys[:2], GRACE_US))

    assert await states(floor, keys) == [JobState.CANCELLED, JobState.CANCELLED, JobState.PENDING]
    assert (await record(floor, batch)).sweep_after == keys[1]


async def test_a_step_that_another_loop_has_done_does_nothing_again(floor: Floor) -> None:
    """Two loops read the same place; a job that the first one cancelled is retried before the second one's step."""
    batch, keys = await sweeping(floor, Sweep.CANCEL)
    await floor.store.run(SweepStep(batch, keys[:1], GRACE_US))

    told = await floor.store.run(SweepStep(batch, keys, GRACE_US))

    assert told == []
    assert await states(floor, keys) == [JobState.CANCELLED, JobState.PENDING]


@pytest.mark.parametrize("later", [Sweep.NONE, Sweep.HAND_OUT, Sweep.DELETE])
async def test_a_step_of_a_sweep_that_is_no_more_does_nothing(floor: Floor, later: Sweep) -> None:
    batch, keys = await sweeping(floor, Sweep.CANCEL)
    held_back = replace(batch, sweep=Sweep.HOLD_BACK)
    await changed(floor, batch, sweep=later)

    await floor.store.run(SweepStep(batch, keys, GRACE_US))
    await floor.store.run(HoldStep(held_back, keys))
    await floor.store.run(EndSweep(batch))
    given = await held(floor, 2)

    assert [lease.job_key for lease in given] == keys
    assert [one.sweep for one in await floor.store.reads.batches_at_work()] == [later] * (later is not Sweep.NONE)


async def test_a_step_over_jobs_that_have_ended_or_are_gone_goes_on(floor: Floor) -> None:
    batch, keys = await sweeping(floor, Sweep.CANCEL, 3)
    await floor.store.run(SweepStep(batch, keys[:1], GRACE_US))
    left = await record(floor, batch)

    await floor.store.run(SweepStep(left, [*keys, 999], GRACE_US))

    assert await states(floor, keys) == [JobState.CANCELLED] * 3
    assert (await record(floor, batch)).counts == Counts(cancelled=3)


async def test_a_delete_asks_what_a_worker_holds_to_stop_and_deletes_the_rest(floor: Floor) -> None:
    batch, keys = await sweeping(floor, Sweep.DELETE)
    [lease] = await held(floor, 1)

    told = await floor.store.run(SweepStep(batch, keys, GRACE_US))

    assert [one.lease for one in told] == [lease]
    assert await states(floor, keys) == [JobState.CANCELLED, None]


async def test_a_batch_that_is_gone_is_passed_over(floor: Floor) -> None:
    batch, _ = await sweeping(floor, Sweep.DELETE, 0)

    for _time in range(2):
        await floor.store.run(RemoveBatch(batch))
    await floor.store.run(EndSweep(batch))

    assert await floor.store.reads.batches_at_work() == []
