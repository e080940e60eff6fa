"""Job types as units see and write them: registered by a Hello or by a caller, retired, and registered again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from jobhall_server.domain import moves
from jobhall_server.domain.change import Change
from jobhall_server.hall.store import Group
from jobhall_server.hall.views import JobTypeView
from tests.support.stores import START_US, Act, Floor, SetClock
from tests.support.task_steps import SECOND


async def told(floor: Floor, name: str, change: Callable[[JobTypeView], JobTypeView]) -> JobTypeView:
    """Write what the function makes of the type; answers it as it is then."""

    def decide(group: Group) -> JobTypeView | None:
        known = group.job_type("default", name)
        assert known is not None
        group.save_job_type(change(known))
        return group.job_type("default", name)

    seen = await floor.store.run(Act(decide))
    stored = await floor.store.run(Act(lambda group: group.job_type("default", name)))
    assert stored is not None
    assert seen == stored, "the group that writes it sees it as those after it do"
    return stored


async def by_hello(floor: Floor, name: str) -> tuple[int, bool]:
    return await floor.store.run(Act(lambda group: group.job_type_key(floor.namespace_key, name)))


async def test_a_hello_registers_a_type_that_is_new(floor: Floor) -> None:
    def decide(group: Group) -> tuple[tuple[int, bool], tuple[int, bool], JobTypeView | None]:
        assert not group.has_job_type("default", "resize")
        first, second = (group.job_type_key(floor.namespace_key, "resize") for _ in range(2))
        assert group.has_job_type("default", "resize")
        return first, second, group.job_type("default", "resize")

    first, second, seen = await floor.store.run(Act(decide))

    key, _ = first
    assert (first, second) == ((key, True), (key, False))
    assert seen == JobTypeView(key, "default", "resize", START_US, updated_at=START_US, auto=True)
    assert await by_hello(floor, "resize") == (key, False)
    assert await floor.store.run(Act(lambda group: group.job_type("default", "resize"))) == seen


async def test_a_type_of_another_namespace_is_another(floor: Floor) -> None:
    def decide(group: Group) -> list[bool]:
        group.job_type_key(group.namespace_key("other"), "resize")
        return [group.has_job_type(namespace, "resize") for namespace in ("default", "other", "unheard-of")]

    assert await floor.store.run(Act(decide)) == [False, True, False]
    assert await floor.store.run(Act(lambda group: group.job_type("unheard-of", "resize"))) is None


async def test_all_that_a_caller_registers_is_kept(floor: Floor, clock: SetClock) -> None:
    clock.at += SECOND
    wanted: dict[str, Any] = {
        "description": "d",
        "parameters_schema": "{}",
        "result_schema": '{"a": 1}',
        "defaults": '{"priority": 3}',
    }

    stored = await told(
        floor,
        "score",
        lambda known: replace(known, **wanted, version=2, revision=7, paused=True, auto=False, updated_at=clock.at),
    )

    assert {name: getattr(stored, name) for name in wanted} == wanted
    assert (stored.version, stored.revision, stored.paused, stored.auto) == (2, 7, True, False)
    assert (stored.created_at, stored.updated_at) == (START_US, clock.at)


async def test_older_schemas_stay_for_the_jobs_that_were_submitted_under_them(floor: Floor) -> None:
    first = await told(floor, "score", lambda known: replace(known, parameters_schema="1"))
    second = await told(floor, "score", lambda known: replace(known, result_schema="2", version=known.version + 1))

    assert await floor.store.reads.schemas(first.key, first.version) == ("1", None)
    assert await floor.store.reads.schemas(second.key, second.version) == ("1", "2")


async def test_a_retired_type_is_registered_again_by_a_hello_as_if_it_were_new(floor: Floor) -> None:
    """Its older version's schemas stay: jobs of that time are still judged by them."""
    old = await told(
        floor, "score", lambda known: replace(known, retired=True, parameters_schema="1", paused=True, auto=False)
    )
    assert not await floor.store.run(Act(lambda group: group.has_job_type("default", "score")))

    assert await by_hello(floor, "score") == (old.key, True)
    assert await by_hello(floor, "score") == (old.key, False)

    again = await floor.store.run(Act(lambda group: group.job_type("default", "score")))
    assert again is not None
    assert (again.retired, again.auto, again.paused, again.parameters_schema) == (False, True, False, None)
    assert again.version == old.version + 1
    assert again.revision == old.revision + 1
    assert await floor.store.reads.schemas(old.key, old.version) == ("1", None)


async def test_jobs_that_have_not_ended_are_counted_in_every_namespace(floor: Floor) -> None:
    job_type_key, _ = await by_hello(floor, "score")

    def elsewhere(group: Group) -> int:
        return group.queue_key(group.namespace_key("other"), job_type_key)

    other = await floor.store.run(Act(elsewhere))
    keys = await floor.submit(3)
    await floor.submit_all([floor.new(queue_key=other), floor.new(queue_key=other, schedule_at=START_US + SECOND)])

    def cancel(group: Group) -> None:
        job = group.job(keys[0])
        assert job is not None
        change, values = moves.cancel(job, reason="", by="", stop_at=0)
        assert isinstance(change, Change)
        group.change(job, change, values)

    await floor.store.run(Act(cancel, job_keys=keys))

    assert await floor.store.run(Act(lambda group: group.jobs_waiting(job_type_key))) == 4
    assert await floor.store.run(Act(lambda group: group.jobs_waiting(job_type_key + 1))) == 0


async def test_a_unit_that_raises_registers_and_changes_nothing(floor: Floor) -> None:
    before = await floor.store.run(Act(lambda group: group.job_type("default", "score")))
    assert before is not None

    def decide(group: Group) -> None:
        group.job_type_key(group.namespace_key("gone"), "gone")
        group.save_job_type(replace(before, paused=True, version=9, parameters_schema="1"))
        raise LookupError

    with pytest.raises(LookupError):
        await floor.store.run(Act(decide))

    assert await floor.store.run(Act(lambda group: group.job_type("default", "score"))) == before
    assert await floor.store.run(Act(lambda group: group.job_type("gone", "gone"))) is None
    assert await floor.store.reads.schemas(before.key, 9) == (None, None)
