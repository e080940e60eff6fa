"""What a process knows of job types: what others change reaches it, and what it reads too early undoes nothing."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from jobhall.errors import JobTypeNotFoundError
from jobhall_server.hall.job_type_units import DeleteJobType, RegisterJobType, Registration, SetPaused
from jobhall_server.hall.registry import Registry, Served
from jobhall_server.hall.store import Store
from jobhall_server.hall.views import JobTypeView
from tests.support.halls import open_hall
from tests.support.waiting import eventually_async


class LateReads:
    """The reads of a store; a read of the types answers when it may, with what was there when it was asked."""

    def __init__(self, store: Store) -> None:
        self._reads = store.reads
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reads, name)

    async def job_types(self) -> list[JobTypeView]:
        found = await self._reads.job_types()
        self.asked.set()
        await self.may_answer.wait()
        return found


class LateStore:
    """A store whose reads are late."""

    def __init__(self, store: Store) -> None:
        self.reads: Any = LateReads(store)
        self.run = store.run


async def test_what_another_process_makes_of_a_type_is_known_within_a_second(tmp_path: Path) -> None:
    async with open_hall("memory", tmp_path) as scene:
        registry, queue_key = scene.hall.registry, scene.floor.queue_key
        served = Served(registry, namespaces=("default",), job_types=("score",))
        known = await registry.job_type("default", "score")
        assert list(served.names()) == [queue_key]

        changed = await scene.store.run(SetPaused(known, paused=True))
        await eventually_async(lambda: queue_key in registry.paused, within=5, what="the pause is known")
        assert not served.names()

        wanted = Registration("default", "score", parameters_schema="{}")
        await scene.store.run(RegisterJobType(wanted, replace=True))
        await eventually_async(lambda: queue_key in registry.ruled, within=5, what="the schema is known")

        await scene.store.run(DeleteJobType(changed, "", auto_only=False))
        await eventually_async(lambda: not registry.types(), within=5, what="the deletion is known")
        assert (registry.paused, registry.ruled) == (set(), {})


async def test_a_read_that_began_before_a_pause_does_not_undo_it(tmp_path: Path) -> None:
    """A refresh asked, a type was paused and its caller told so, the old answer came: until the next look, a second
    later, the type was handed out.
    """
    async with open_hall("memory", tmp_path) as scene:
        late: Any = LateStore(scene.store)
        registry = Registry(late)
        late.reads.may_answer.set()
        await registry.refresh()
        known = await registry.job_type("default", "score")
        late.reads.may_answer.clear()
        late.reads.asked.clear()

        reading = asyncio.create_task(registry.refresh())
        await late.reads.asked.wait()
        registry.put(await scene.store.run(SetPaused(known, paused=True)))
        late.reads.may_answer.set()
        await reading

        assert registry.paused == {scene.floor.queue_key}


async def test_a_type_that_is_about_to_be_deleted_is_found_by_no_submit_and_one_that_stays_is_found_again(
    tmp_path: Path,
) -> None:
    async with open_hall("memory", tmp_path) as scene:
        registry = scene.hall.registry
        await registry.queue_for("default", "score")
        known = await registry.job_type("default", "score")

        with registry.hidden(known):
            assert registry.known_queue("default", "score") is None
            with pytest.raises(JobTypeNotFoundError):
                await registry.queue_for("default", "score")

        assert (await registry.queue_for("default", "score")).key == scene.floor.queue_key


async def test_a_type_that_two_callers_are_about_to_delete_or_pause_is_kept_back_until_both_are_done(
    tmp_path: Path,
) -> None:
    """The first who was done gave it back to submits and claims, on which the second still relied."""
    async with open_hall("memory", tmp_path) as scene:
        registry, queue_key = scene.hall.registry, scene.floor.queue_key
        known = await registry.job_type("default", "score")
        with registry.hidden(known), registry.shut(known):
            with registry.hidden(known), registry.shut(known):
                pass

            assert queue_key in registry.paused
            with pytest.raises(JobTypeNotFoundError):
                await registry.queue_for("default", "score")

        assert queue_key not in registry.paused
        assert (await registry.queue_for("default", "score")).key == queue_key


async def test_most_types_cost_a_submit_nothing(tmp_path: Path) -> None:
    """Only what has schemas or defaults is looked at; a result schema alone makes reports be checked."""
    async with open_hall("memory", tmp_path) as scene:
        registry = scene.hall.registry
        assert (registry.ruled, registry.checks_results) == ({}, False)

        wanted = Registration("default", "score", result_schema="{}")
        registered, _ = await scene.store.run(RegisterJobType(wanted, replace=False))
        registry.put(registered)

        assert (registry.ruled, registry.checks_results) == ({scene.floor.queue_key: registered}, True)
