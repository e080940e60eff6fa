"""Unique keys: which job has one, from the unit that submits it on until it is gone; on every engine."""

from __future__ import annotations

import pytest

from jobhall.states import JobState
from jobhall_server.domain.job import JobRecord, NewJob
from jobhall_server.hall.store import Group, Holder, UniqueKey
from tests.support.stores import START_US, Act, Floor
from tests.support.task_steps import SECOND, accept


async def holder(floor: Floor, new: NewJob) -> Holder | None:
    return await floor.store.run(Act(lambda group: group.holder(UniqueKey.of(new))))


def remove(group: Group, job_id: str) -> None:
    job = group.job_by_id(job_id)
    assert job is not None
    group.delete_job(job)


def id_of(found: Holder | None) -> str | None:
    return None if found is None else found.job.job_id


async def test_the_job_that_has_a_key_is_found_with_all_that_a_caller_is_judged_by(floor: Floor) -> None:
    new = floor.new(
        unique_key="daily", unique_window_us=SECOND, owner="ann", labels='{"a": "b"}', access="[1,[],[],[]]"
    )
    key, _ = await floor.submit_all([new, floor.new(unique_key="other")])

    found = await holder(floor, new)
    assert found is not None
    loaded = await floor.store.run(Act(lambda group: group.job_by_id(new.job_id), job_ids=[new.job_id]))
    assert loaded is not None
    assert {name: getattr(found.job, name) for name in JobRecord.__slots__} == {
        name: getattr(loaded, name) for name in JobRecord.__slots__
    }
    assert (found.job.key, found.until) == (key, START_US + SECOND)


async def test_the_holder_is_known_whole_though_a_report_in_the_same_group_has_moved_it_by_key(floor: Floor) -> None:
    """A report loads a job without its owner; a submit beside it must not take the job for nobody's."""
    new = floor.new(unique_key="daily", owner="ann", organization_id="acme", submit_digest=5)
    [key] = await floor.submit_all([new])
    lease = await floor.claim_one()

    def decide(group: Group) -> Holder | None:
        accept(group, lease)
        return group.holder(UniqueKey.of(new))

    found = await floor.store.run(Act(decide, job_keys=[key]))

    assert found is not None
    seen = found.job
    assert (seen.state, seen.job_id, seen.owner, seen.organization_id) == (JobState.RUNNING, new.job_id, "ann", "acme")
    assert (seen.created_at, seen.submit_digest, seen.unique_key) == (START_US, 5, "daily")


async def test_a_key_holds_in_its_own_queue_and_for_its_own_people(floor: Floor) -> None:
    new = floor.new(unique_key="daily", owner="ann", organization_id="acme")
    await floor.submit_all([new])

    assert id_of(await holder(floor, new._replace(owner="ben"))) == new.job_id
    assert await holder(floor, new._replace(organization_id="")) is None
    assert await holder(floor, new._replace(organization_id="", owner="acme")) is None
    assert await holder(floor, new._replace(queue_key=new.queue_key + 1)) is None
    assert await holder(floor, new._replace(unique_key="Daily")) is None


async def test_units_of_one_group_see_who_took_the_key_before_them(floor: Floor) -> None:
    first, second, third = (floor.new(unique_key="daily") for _ in range(3))
    await floor.submit_all([first])

    def decide(group: Group) -> list[str | None]:
        seen = [id_of(group.holder(UniqueKey.of(first)))]
        remove(group, first.job_id)
        seen.append(id_of(group.holder(UniqueKey.of(first))))
        for new in (second, third):
            group.insert_job(new)
            seen.append(id_of(group.holder(UniqueKey.of(first))))
        return seen

    seen = await floor.store.run(Act(decide, job_ids=[first.job_id]))

    assert seen == [first.job_id, None, second.job_id, third.job_id]
    assert id_of(await holder(floor, first)) == third.job_id


async def test_a_key_is_free_when_its_job_is_gone_and_not_when_an_earlier_one_is(floor: Floor) -> None:
    first, second = floor.new(unique_key="daily"), floor.new(unique_key="daily")
    await floor.submit_all([first])
    await floor.submit_all([second])

    await floor.store.run(Act(lambda group: remove(group, first.job_id), job_ids=[first.job_id]))
    assert id_of(await holder(floor, first)) == second.job_id
    await floor.store.run(Act(lambda group: remove(group, second.job_id), job_ids=[second.job_id]))
    assert await holder(floor, first) is None


async def test_a_job_takes_its_key_again(floor: Floor) -> None:
    first, second = floor.new(unique_key="daily", unique_window_us=SECOND), floor.new(unique_key="daily")
    await floor.submit_all([first])
    await floor.submit_all([second])

    def again(group: Group) -> Holder | None:
        job = group.job_by_id(first.job_id)
        assert job is not None
        for _ in range(2):
            group.take_unique_key(job)
        return group.holder(UniqueKey.of(first))

    seen = await floor.store.run(Act(again, job_ids=[first.job_id]))

    assert (id_of(seen), seen and seen.until) == (first.job_id, START_US + SECOND)
    assert id_of(await holder(floor, first)) == first.job_id
    await floor.store.run(Act(again, job_ids=[first.job_id]))
    assert id_of(await holder(floor, first)) == first.job_id


async def test_a_unit_that_raises_takes_no_key(floor: Floor) -> None:
    new = floor.new(unique_key="daily")

    def decide(group: Group) -> None:
        group.insert_job(new)
        raise LookupError

    with pytest.raises(LookupError):
        await floor.store.run(Act(decide))

    assert await holder(floor, new) is None
