"""The writer: what it takes together, what it does when the database fails, and how it ends."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from jobhall.errors import DatabaseBusyError, DatabaseFullError, DrainingError, QueueFullError
from jobhall.states import JobState
from jobhall_server.domain import worker_moves
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import Payload
from jobhall_server.hall.store import Group, Store
from jobhall_server.storage.group import Group as SqlGroup
from jobhall_server.storage.writer import WAITING_MAX
from tests.support.held_back import held_back
from tests.support.stores import FILE_NAME, Act, ActAfterSave, Floor, claim_unit, open_store, sql_only

pytestmark = sql_only


def inserting(floor: Floor, count: int = 1, **fields: Any) -> Act[tuple[list[int], Group]]:
    """Insert so many jobs; answers their keys and the group that they were in."""
    news = [floor.new(**fields) for _ in range(count)]
    return Act(lambda group: ([group.insert_job(new) for new in news], group))


def raw(group: Group) -> sqlite3.Connection:
    """The driver's connection under the group."""
    return cast("SqlGroup", group).execution._connection


async def pragma(store: Store, text: str) -> Any:
    return await store.run(Act(lambda group: cast("SqlGroup", group).execution.scalar(sa.text(f"PRAGMA {text}"))))


async def test_units_that_wait_are_one_group_and_are_told_of_once(floor: Floor) -> None:
    told: list[tuple[int, list[int]]] = []
    floor.store.on_commit(lambda last, logged: told.append((last, [*chain.from_iterable(logged)])))

    async with held_back(floor.store):
        runs = [floor.store.run(inserting(floor)) for _ in range(5)]
    answers = await asyncio.gather(*runs)

    assert len({id(group) for _, group in answers}) == 1
    assert [key for keys, _ in answers for key in keys] == [1, 2, 3, 4, 5]
    assert told == [(5, [1, 2, 3, 4, 5])]


async def test_a_group_is_closed_when_it_has_much_to_write_and_the_rest_makes_the_next(floor: Floor) -> None:
    async with held_back(floor.store):
        runs = [floor.store.run(inserting(floor, 400)) for _ in range(8)]
    answers = await asyncio.gather(*runs)

    groups = [id(group) for _, group in answers]
    assert len(set(groups)) > 1
    assert [key for keys, _ in answers for key in keys] == list(range(1, 3201)), "in the order in which they came"


async def test_a_unit_that_raises_is_the_only_one_that_suffers(floor: Floor) -> None:
    def broken(group: Group) -> None:
        group.insert_job(floor.new())
        raise LookupError("mine")

    async with held_back(floor.store):
        before = floor.store.run(Act(lambda group: group.insert_job(floor.new())))
        failing = floor.store.run(Act(broken))
        after = floor.store.run(Act(lambda group: group.insert_job(floor.new())))

    with pytest.raises(LookupError, match="mine"):
        await failing
    assert [await before, await after] == [1, 2]
    assert len(await floor.events()) == 2


async def test_a_save_that_fails_twice_is_cut_in_halves_until_the_culprit_stands_alone(floor: Floor) -> None:
    taken = floor.new()
    await floor.submit_all([taken])
    news = [floor.new() for _ in range(6)] + [taken] + [floor.new() for _ in range(6)]

    async with held_back(floor.store):
        runs = [floor.store.run(Act(lambda group, new=new: group.insert_job(new))) for new in news]  # type: ignore[misc]
    answers = await asyncio.gather(*runs, return_exceptions=True)

    assert [type(answer) for answer in answers if not isinstance(answer, int)] == [sqlite3.IntegrityError]
    assert isinstance(answers[6], sqlite3.IntegrityError)
    assert sorted(answer for answer in answers if isinstance(answer, int)) == list(range(2, 14))
    assert [event.number for event in await floor.events()] == list(range(1, 14))


async def test_a_failure_that_passes_costs_nobody_anything(floor: Floor) -> None:
    tries: list[int] = []

    def flickering(group: Group) -> int:
        tries.append(group.insert_job(floor.new()))
        if len(tries) == 1:
            raise sqlite3.OperationalError("a passing fault")
        return tries[-1]

    assert await floor.store.run(Act(flickering)) == 1
    assert tries == [1, 1]


async def test_a_claim_that_raises_after_it_wrote_is_undone_and_costs_the_others_nothing(floor: Floor) -> None:
    session = await floor.session()
    want = floor.want(session, 5)

    def broken(group: Group) -> None:
        assert group.claim([want])
        raise LookupError("after the claim")

    async with held_back(floor.store):
        submitted = floor.store.run(Act(lambda group: group.insert_job(floor.new())))
        failing = floor.store.run(ActAfterSave(broken, session_keys=[session.key]))

    with pytest.raises(LookupError, match="after the claim"):
        await failing
    key = await submitted
    record = await floor.record(key)
    assert record is not None
    assert record.state is JobState.PENDING
    assert len(await floor.events()) == 1


async def test_a_full_database_refuses_and_takes_again_when_there_is_room(floor: Floor) -> None:
    big = Payload("x" * 900_000)
    pages = await pragma(floor.store, "page_count")
    await pragma(floor.store, f"max_page_count = {pages + 20}")

    async with held_back(floor.store):
        runs = [floor.store.run(inserting(floor, parameters=big)) for _ in range(3)]
    refused = await asyncio.gather(*runs, return_exceptions=True)

    assert [type(answer) for answer in refused] == [DatabaseFullError] * 3
    assert await floor.events() == []
    await pragma(floor.store, f"max_page_count = {pages + 2000}")
    assert await floor.submit(2, parameters=big) == [1, 2]
    assert [event.number for event in await floor.events()] == [1, 2]


async def test_a_database_that_another_program_holds_is_busy_until_it_lets_go(floor: Floor, tmp_path: Path) -> None:
    await pragma(floor.store, "busy_timeout = 0")

    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseBusyError):
            await floor.submit()
        other.execute("ROLLBACK")

    assert await floor.submit() == [1]


async def test_a_commit_that_fails_ends_the_writer_and_nobody_is_told_that_it_was_done(
    engine: str, tmp_path: Path
) -> None:
    fatal: list[BaseException] = []

    def refuse_commit(action: int, first: str | None, *_: str | None) -> int:
        commit = action == sqlite3.SQLITE_TRANSACTION and first == "COMMIT"
        return sqlite3.SQLITE_DENY if commit else sqlite3.SQLITE_OK

    async with open_store(engine, tmp_path, on_fatal=fatal.append) as store:
        floor = await Floor.of(store, tmp_path)

        def break_disk(group: Group) -> None:
            raw(group).set_authorizer(refuse_commit)

        with pytest.raises(DatabaseBusyError, match="done or not"):
            await store.run(Act(break_disk))
        with pytest.raises(DrainingError):
            await floor.submit()

    assert len(fatal) == 1


async def test_only_refusable_units_are_refused_when_too_many_wait(store: Store) -> None:
    async with held_back(store):
        waiting = [store.run(Act(lambda _: 1)) for _ in range(WAITING_MAX)]
        with pytest.raises(QueueFullError):
            await store.run(Act(lambda _: 1), refusable=True)
        waiting.append(store.run(Act(lambda _: 1)))

    assert sum(await asyncio.gather(*waiting)) == WAITING_MAX + 1


async def test_whoever_stops_waiting_does_not_undo_the_unit(floor: Floor) -> None:
    async with held_back(floor.store):
        task = asyncio.ensure_future(floor.store.run(Act(lambda group: group.insert_job(floor.new()))))
        task.cancel()

    assert await floor.submit() == [2]
    assert len(await floor.events()) == 2


async def test_closing_writes_what_waits_and_takes_nothing_more(engine: str, tmp_path: Path) -> None:
    async with open_store(engine, tmp_path) as store:
        floor = await Floor.of(store, tmp_path)
        runs = [floor.store.run(Act(lambda group: group.insert_job(floor.new()))) for _ in range(20)]

    assert [run.result() for run in map(asyncio.ensure_future, runs)] == list(range(1, 21))
    with pytest.raises(DrainingError):
        await store.run(Act(lambda _: None))


def steps_of(store: Store, units: Callable[[], list[Act[Any]]]) -> Any:
    """Run the units as one group and count the statements that SQLite was given."""

    async def count() -> int:
        seen: list[str] = []
        await store.run(Act(lambda group: raw(group).set_trace_callback(seen.append)))
        async with held_back(store):
            seen_before = len(seen)
            runs = [store.run(unit) for unit in units()]
        await asyncio.gather(*runs)
        await store.run(Act(lambda group: raw(group).set_trace_callback(None)))
        group = [text for text in seen[seen_before:] if not text.startswith("--")]
        # Of the unit that held the others back, then the group itself.
        begins = [place for place, text in enumerate(group) if text.startswith("BEGIN")]
        return begins[1] - begins[0] if len(begins) > 1 else len(group)

    return count()


@pytest.mark.parametrize("jobs", [10, 500])
async def test_a_group_takes_about_thirty_steps_whatever_its_size(floor: Floor, jobs: int) -> None:
    """SQLite gives the interpreter's lock up at every step, and a busy loop then keeps it for a whole slice."""
    session = await floor.session()
    await floor.submit(2 * jobs, parameters=Payload('{"row": 1}'))
    [claimed] = await floor.claim(floor.want(session, jobs))
    assert len(claimed) == jobs

    def complete_all(group: Group) -> None:
        for task in claimed:
            change, values = worker_moves.complete(
                group.job(task.lease.job_key), task.lease, worker_moves.NO_RESULT_DIGEST
            )
            assert isinstance(change, Change)
            job = group.job(task.lease.job_key)
            assert job is not None
            group.change(job, change, values)

    news = [floor.new(parameters=Payload("{}")) for _ in range(jobs)]
    steps = await steps_of(
        floor.store,
        lambda: [
            Act(lambda group: [group.insert_job(new) for new in news]),
            Act(complete_all, job_keys=[task.lease.job_key for task in claimed]),
            claim_unit(floor.want(session, jobs)),
        ],
    )

    assert 10 < steps <= 30
