"""The store as a whole: what outlives it, the time it tells, and its row among the replicas."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.session import SessionRecord, SessionState
from jobhall_server.hall.store import Group
from jobhall_server.storage.checkpoints import LOG_PAGES, Checkpoints
from jobhall_server.storage.statements_write import PAUSE_US
from tests.support.stores import Act, Floor, SetClock, open_store, sql_only


async def test_what_was_written_is_there_when_the_store_is_opened_again(engine: str, tmp_path: Path) -> None:
    async with open_store(engine, tmp_path) as store:
        floor = await Floor.of(store, tmp_path)
        keys = await floor.submit(3)
        session = await floor.session()
        place = await store.reads.log_place()
        replica_key = store.replica_key

    async with open_store(engine, tmp_path) as store:
        again = await Floor.of(store, tmp_path)
        assert (again.namespace_key, again.queue_key) == (floor.namespace_key, floor.queue_key)
        assert await again.submit() == [keys[-1] + 1]
        assert (await again.session()).key == session.key + 1
        assert store.replica_key == replica_key + 1
        assert (await store.reads.log_place()) == place._replace(last=place.last + 1)


async def test_time_never_goes_back_whatever_the_clock_does(engine: str, tmp_path: Path) -> None:
    clock = SetClock()
    async with open_store(engine, tmp_path, clock=clock) as store:
        clock.at += 50
        late = await store.run(Act(lambda group: group.now))
        clock.at -= 1_000_000
        assert await store.run(Act(lambda group: group.now)) == late
        assert await store.renew()

    async with open_store(engine, tmp_path, clock=clock) as store:
        assert await store.run(Act(lambda group: group.now)) == late


@sql_only
async def test_served_time_begins_anew_after_a_pause_and_only_then(floor: Floor, clock: SetClock) -> None:
    start = clock.at
    served = "SELECT resumed_at, last_at FROM jobhall_service"
    clock.at += PAUSE_US
    assert await floor.store.renew()
    assert floor.rows(served) == [(start, start + PAUSE_US)]

    clock.at += PAUSE_US + 1
    assert await floor.store.renew()

    assert floor.rows(served) == [(clock.at, clock.at)]
    [(renewed_at,)] = floor.rows("SELECT renewed_at FROM jobhall_replicas")
    assert renewed_at == clock.at


@sql_only
async def test_a_replica_whose_row_is_gone_is_told_and_serves_no_time(floor: Floor, clock: SetClock) -> None:
    with closing(sqlite3.connect(floor.folder / "jobhall.db")) as other, other:
        other.execute("DELETE FROM jobhall_replicas")
    clock.at += 1

    assert not await floor.store.renew()

    assert floor.rows("SELECT last_at FROM jobhall_service") == [(clock.at - 1,)]


@sql_only
async def test_a_session_is_stamped_where_it_goes_and_every_move_is_an_epoch(floor: Floor, clock: SetClock) -> None:
    session = await floor.session()

    def attached(record: SessionRecord, _now: int) -> SessionRecord:
        return record.attached(replica_key=9, connection=record.connection + 1)

    async def go(*moves: Callable[[SessionRecord, int], SessionRecord]) -> SessionRecord:
        clock.at += 1

        def move(group: Group) -> None:
            for make in moves:
                found = group.session(session.key)
                assert found is not None
                group.save_session(make(found, group.now))

        await floor.store.run(Act(move, session_keys=[session.key]))
        found = await floor.store.run(Act(lambda group: group.session(session.key), session_keys=[session.key]))
        assert found is not None
        return found

    detached, lost = SessionRecord.detached, SessionRecord.lost
    record = await go(detached)
    assert record == replace(session, state=SessionState.DETACHED, epoch=2, detached_at=clock.at)
    record = await go(attached)
    assert record == replace(session, epoch=3, replica_key=9, connection=2)
    record = await go(detached, attached)
    assert record == replace(session, epoch=5, replica_key=9, connection=3)
    record = await go(detached, lost)
    assert (record.state, record.epoch, record.ended_at) == (SessionState.LOST, 7, clock.at)


@sql_only
async def test_tables_bear_the_prefix_that_was_asked_for(engine: str, tmp_path: Path) -> None:
    async with open_store(engine, tmp_path, prefix="host_") as store:
        floor = await Floor.of(store, tmp_path)
        new = floor.new()
        await floor.submit_all([new])

        assert await store.reads.job(ANYBODY, new.job_id) is not None
        names = {name for (name,) in floor.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {str(name).startswith("host_") for name in names} == {True}


async def test_a_name_is_registered_once(floor: Floor) -> None:
    def register(group: Group) -> tuple[int, bool, int, bool, bool]:
        namespace_key = group.namespace_key("lab")
        before = group.has_job_type("lab", "mix")
        key, new = group.job_type_key(namespace_key, "mix")
        return key, new, group.queue_key(namespace_key, key), before, group.has_job_type("lab", "mix")

    first = await floor.store.run(Act(register))
    again = await floor.store.run(Act(register))

    assert first == (first[0], True, first[2], False, True)
    assert again == (first[0], False, first[2], True, True)
    assert not await floor.store.run(Act(lambda group: group.has_job_type("nowhere", "mix")))


def test_the_log_is_brought_in_when_it_has_grown(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE t (x)")
        checkpoints = Checkpoints(connection)
        rows, largest = 1000, 0
        for _ in range(40):
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO t VALUES (zeroblob(2000))", [()] * rows)
            connection.execute("COMMIT")
            checkpoints.after_group(rows)
            largest = max(largest, (tmp_path / "log.db-wal").stat().st_size)

    assert largest < 3 * LOG_PAGES * 4096
