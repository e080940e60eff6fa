"""Batches in the store, on every engine: their counts, items and times, and what is left to be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from jobhall.ids import new_id
from jobhall.states import BatchState, CompletionPolicy
from jobhall_server.domain.access import ANYBODY, Principal
from jobhall_server.domain.batch import BatchRecord, Completion, Counts, NewBatch, Sweep
from jobhall_server.domain.job import Lease
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.store import Group
from jobhall_server.hall.views import BatchFilter, BatchOrder
from tests.support.batches import OnBatches, changed, held, opened, record, step, telling, view
from tests.support.stores import Act, Floor, SetClock


async def test_a_batch_is_read_back_as_it_was_opened(floor: Floor, clock: SetClock) -> None:
    batch = await opened(
        floor,
        name="nightly",
        closed=False,
        active=False,
        completion_policy=CompletionPolicy.ALL_TERMINAL,
        completion_job="{}",
        owner="ann",
        organization_id="acme",
        created_by="Ann",
        access='[2,["bob"],[],[]]',
        request_digest=7,
    )

    assert await record(floor, batch) == batch
    assert (batch.completion, batch.created_at, batch.namespace) == (Completion.WANTED, clock.at, "default")
    assert (await view(floor, batch)).progress.percent is None


async def test_it_exists_for_its_owner_and_their_organisation_only(floor: Floor) -> None:
    batch = await opened(floor, owner="ann", organization_id="acme")
    reads = floor.store.reads

    seen = [
        principal.subject
        for principal in (Principal("ann"), Principal("bob", "acme"), Principal("cid", "other"), Principal("dan"))
        if await reads.batch(principal, batch.batch_id) is not None
    ]
    listed = await reads.batches(Principal("dan"), BatchFilter(), order=BatchOrder.CREATED, after=None, limit=9)

    assert seen == ["ann", "bob"]
    assert listed == []


async def test_its_state_and_times_follow_from_its_jobs(floor: Floor, clock: SetClock) -> None:
    batch = await opened(floor)
    begun_at, over_at = clock.at + 10, clock.at + 20

    async def state() -> tuple[BatchState, int | None, int | None]:
        found = await record(floor, batch)
        return found.state, found.started_at, found.ended_at

    await floor.submit(2, batch_key=batch.key)
    first, second = await held(floor, 2)
    assert await state() == (BatchState.PENDING, None, None)

    clock.at = begun_at
    await step(floor, first, "accept", "complete")
    assert await state() == (BatchState.PROCESSING, begun_at, None)

    await step(floor, second, "accept", "complete")
    assert await state() == (BatchState.PROCESSING, begun_at, None)

    clock.at = over_at
    await changed(floor, batch, closed=True)
    clock.at = over_at + 1
    assert await state() == (BatchState.COMPLETED, begun_at, over_at)


async def test_a_member_that_is_retried_opens_the_end_again_and_one_that_is_deleted_may_be_it(floor: Floor) -> None:
    batch = await opened(floor)
    keys = await floor.submit(2, batch_key=batch.key)
    await changed(floor, batch, closed=True)
    for key in keys:
        await step(floor, Lease(key, 0, 0), "cancel")
    assert (await record(floor, batch)).state is BatchState.FAILED

    await step(floor, Lease(keys[0], 0, 0), "retry")
    retried = await record(floor, batch)
    await floor.store.run(Act(lambda group: group.delete_job(group.job(keys[0])), job_keys=[keys[0]]))  # type: ignore[arg-type]
    deleted = await record(floor, batch)

    assert (retried.state, retried.ended_at, retried.counts) == (
        BatchState.PENDING,
        None,
        Counts(pending=1, cancelled=1),
    )
    assert (deleted.state, deleted.counts) == (BatchState.FAILED, Counts(cancelled=1))


async def test_the_end_stays_when_it_was_whatever_is_done_to_the_batch_after_it(floor: Floor, clock: SetClock) -> None:
    batch = await opened(floor)
    keys = await floor.submit(2, batch_key=batch.key)
    await changed(floor, batch, closed=True)
    for key in keys:
        await step(floor, Lease(key, 0, 0), "cancel")
    over_at = clock.at
    clock.at += 1

    await changed(floor, batch, name="renamed")
    renamed = await record(floor, batch)
    await floor.store.run(Act(lambda group: group.delete_job(group.job(keys[0])), job_keys=[keys[0]]))  # type: ignore[arg-type]
    deleted = await record(floor, batch)

    assert (renamed.ended_at, deleted.ended_at) == (over_at, over_at)
    assert (renamed.updated_at, deleted.counts) == (clock.at, Counts(cancelled=1))


async def test_an_empty_batch_that_is_closed_is_completed(floor: Floor) -> None:
    born_closed = await opened(floor, closed=True)
    closed_later = await opened(floor)
    await changed(floor, closed_later, closed=True)

    for batch in (born_closed, closed_later):
        found = await record(floor, batch)
        assert (found.state, found.ended_at is not None) == (BatchState.COMPLETED, True)


async def test_one_that_is_closed_by_the_group_that_opens_it_with_jobs_goes_on(floor: Floor) -> None:
    def decide(group: Group) -> BatchRecord:
        batch = group.open_batch(NewBatch(new_id(), floor.namespace_key, "default", closed=True))
        group.insert_job(floor.new(batch_key=batch.key))
        return batch

    batch = await floor.store.run(Act(decide))

    found = await record(floor, batch)
    assert (found.ended_at, found.counts) == (None, Counts(pending=1))


async def test_the_store_calls_back_when_the_last_job_of_a_closed_batch_ends(floor: Floor) -> None:
    calls: list[Sequence[int]] = []
    floor.store.on_batch_end(calls.append)
    batch = await opened(floor)
    await floor.submit(2, batch_key=batch.key)
    first, second = await held(floor, 2)
    await changed(floor, batch, closed=True)

    await step(floor, first, "accept", "complete")
    assert not calls
    await step(floor, second, "accept", "complete")

    assert calls == [[batch.key]]


async def test_what_purges_remove_stays_counted_with_its_items_and_what_is_deleted_does_not(floor: Floor) -> None:
    batch = await opened(floor)
    keys = await floor.submit(2, batch_key=batch.key)
    told = Progress(total=10, processed=4, succeeded=3, failed=1)
    for lease in await held(floor, 2):
        await floor.store.run(telling(lease, told))
        await step(floor, lease, "accept", "complete")

    def remove(group: Group, key: int, *, purged: bool) -> None:
        job = group.job(key)
        assert job is not None
        group.delete_job(job, purged=purged)

    await floor.store.run(Act(lambda group: remove(group, keys[0], purged=True), job_keys=keys))
    purged = await view(floor, batch)
    await floor.store.run(Act(lambda group: remove(group, keys[1], purged=False), job_keys=keys))
    deleted = await view(floor, batch)

    assert (purged.record.counts, purged.progress.total) == (Counts(completed=2), 20)
    assert (deleted.record.counts, deleted.progress.total, deleted.progress.failed) == (Counts(completed=1), 10, 1)


async def test_its_items_are_those_that_each_member_told_last(floor: Floor) -> None:
    batch = await opened(floor)
    [key] = await floor.submit(1, batch_key=batch.key)
    await floor.submit(1)
    mine, other = await held(floor, 2)
    assert mine.job_key == key

    async def tell(*told: tuple[Lease, Progress]) -> Progress:
        def decide(group: Group) -> None:
            for lease, progress in told:
                group.save_progress(lease.job_key, lease.fence, progress)

        await floor.store.run(Act(decide, job_keys=[lease.job_key for lease, _ in told]))
        return (await view(floor, batch)).progress

    await tell((mine, Progress(total=10, processed=1)), (other, Progress(total=99, processed=9)))
    second = await tell((mine, Progress(total=10, processed=5, succeeded=4, failed=1)))
    later = await tell((mine._replace(fence=2), Progress(total=8, processed=2)))
    late_word = await tell((mine, Progress(total=10, processed=10)))

    assert (second.total, second.processed, second.succeeded, second.failed) == (10, 5, 4, 1)
    assert (later.total, later.processed, later.succeeded, later.failed) == (8, 2, 0, 0)
    assert (late_word.total, late_word.processed) == (8, 2)


async def test_its_percent_is_over_jobs_one_that_ended_counting_whole(floor: Floor) -> None:
    batch = await opened(floor)
    await floor.submit(4, batch_key=batch.key)
    first, second, third = await held(floor, 3)
    await step(floor, first, "accept", "complete")
    for lease, percent in ((second, 50.0), (third, 10.0)):
        await step(floor, lease, "accept")
        await floor.store.run(telling(lease, Progress(percent=percent)))

    assert (await view(floor, batch)).progress.percent == pytest.approx((100 + 50 + 10 + 0) / 4)


async def test_members_are_told_by_key(floor: Floor) -> None:
    batch, other = await opened(floor), await opened(floor)
    keys = await floor.submit(3, batch_key=batch.key)
    await floor.submit(2, batch_key=other.key)

    assert await floor.store.reads.members(batch.key, after_key=0) == keys
    assert await floor.store.reads.members(batch.key, after_key=keys[0]) == keys[1:]
    assert await floor.store.reads.members(batch.key, after_key=keys[-1]) == []


async def test_batches_at_work_are_those_with_a_sweep_or_a_completion_job_that_is_due(floor: Floor) -> None:
    wanted: dict[str, Any] = {"closed": True, "completion_job": "{}"}
    due = await opened(floor, **wanted)
    failed = await opened(floor, **wanted)
    failed_but_due = await opened(floor, **wanted, completion_policy=CompletionPolicy.ALL_TERMINAL)
    waits = await opened(floor, **wanted)
    swept = await opened(floor)
    await opened(floor, closed=True)
    await opened(floor, completion_job="{}")
    submitted = await opened(floor, **wanted)
    await changed(floor, submitted, completion=Completion.SUBMITTED, completion_job_id=new_id())
    await changed(floor, swept, sweep=Sweep.HOLD_BACK, sweep_after=9, sweep_reason="r", sweep_by="b")
    for batch in (failed, failed_but_due):
        [key] = await floor.submit(1, batch_key=batch.key)
        await step(floor, Lease(key, 0, 0), "cancel")
    await floor.submit(1, batch_key=waits.key)

    at_work = await floor.store.reads.batches_at_work()

    assert [batch.key for batch in at_work] == [due.key, failed_but_due.key, swept.key]
    assert at_work[-1] == await record(floor, swept)
    assert (at_work[-1].sweep_after, at_work[-1].sweep_reason, at_work[-1].sweep_by) == (9, "r", "b")


async def test_one_that_is_being_deleted_exists_for_nobody_and_goes_at_last(floor: Floor) -> None:
    batch = await opened(floor)
    await changed(floor, batch, sweep=Sweep.DELETE, closed=True)

    gone = await floor.store.reads.batch(ANYBODY, batch.batch_id)
    [left] = await floor.store.reads.batches_at_work()
    await floor.store.run(OnBatches(lambda group: group.delete_batch(group.batch(batch.key)), batch.key))  # type: ignore[arg-type]

    assert gone is None
    assert left.key == batch.key
    assert await floor.store.reads.batches_at_work() == []


async def test_units_of_one_group_see_what_those_before_made_of_a_batch_and_nothing_of_one_that_raises(
    floor: Floor,
) -> None:
    batch = await opened(floor)

    def rename(group: Group) -> None:
        found = group.batch(batch.key)
        assert found is not None
        group.save_batch(replace(found, name="new"))

    def rename_in_vain(group: Group) -> None:
        found = group.batch(batch.key)
        assert found is not None
        group.save_batch(replace(found, name="never"))
        group.open_batch(NewBatch(new_id(), floor.namespace_key, "default"))
        raise ValueError

    first = floor.store.run(OnBatches(rename, batch.key))
    second = floor.store.run(OnBatches(rename_in_vain, batch.key))
    third = floor.store.run(OnBatches(lambda group: group.batch(batch.key), batch.key))

    await first
    with pytest.raises(ValueError):
        await second
    seen = await third
    assert (seen.name, (await record(floor, batch)).name) == ("new", "new")
    assert len(await floor.store.reads.batches(ANYBODY, BatchFilter(), order=BatchOrder.NAME, after=None, limit=9)) == 1
