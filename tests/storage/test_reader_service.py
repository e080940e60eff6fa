"""What is read for the service itself: names, the reaper's work; and the connections behind it."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobhall.errors import DatabaseBusyError, DrainingError
from jobhall.states import JobState
from jobhall_server.domain.session import SessionState
from jobhall_server.hall.views import JobTypeView, LogFilter, LogPlace, LogSlice, QueueView
from jobhall_server.storage.connections import open_connections
from jobhall_server.storage.reader import Reader
from tests.support.rows import NOW, THIS_REPLICA, Rows, job_row, reading, rows_in
from tests.support.waiting import eventually_async

SECOND = 1_000_000
TTL = 15 * SECOND


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    with rows_in(tmp_path) as made:
        made.queue(1)
        yield made


@pytest.fixture
async def reader(rows: Rows) -> AsyncIterator[Reader]:
    async with reading(rows) as made:
        yield made


async def test_job_types_are_read_by_namespace_and_name(rows: Rows, reader: Reader) -> None:
    rows.queue(2, namespace="lab", job_type="b")
    rows.queue(3, namespace="lab", job_type="a")
    rows.queue(4, namespace="lab", job_type="everywhere", type_namespace="@global")

    everyone = [(view.namespace, view.name) for view in await reader.job_types()]

    assert everyone == [("@global", "everywhere"), ("default", "score"), ("lab", "a"), ("lab", "b")]
    assert [view.name for view in await reader.job_types("lab")] == ["a", "b"]
    assert await reader.job_types("default") == [JobTypeView(1, "default", "score", NOW)]
    assert await reader.job_types("unknown") == []


async def test_queues_are_read_by_key_with_the_namespace_of_their_type(rows: Rows, reader: Reader) -> None:
    rows.queue(5, namespace="lab", job_type="everywhere", type_namespace="@global")

    assert await reader.queues() == [
        QueueView(1, 1, "default", "default", "score"),
        QueueView(5, 2, "lab", "@global", "everywhere"),
    ]
    assert [queue.key for queue in await reader.queues(after_key=1)] == [5]


async def test_more_names_than_one_read_takes_are_all_read(rows: Rows, reader: Reader) -> None:
    named = [{"key": key, "namespace_key": 1, "name": f"t{key:05}", "created_at": NOW} for key in range(2, 2101)]
    rows.put_many(rows.tables.job_types, named)
    queued = [{"key": key, "namespace_key": 1, "job_type_key": key} for key in range(2, 2101)]
    rows.put_many(rows.tables.queues, queued)

    assert [view.key for view in await reader.job_types("default")] == list(range(1, 2101))
    assert [queue.key for queue in await reader.queues()] == list(range(1, 2101))


async def test_a_detached_session_expires_when_its_time_to_live_is_over(rows: Rows, reader: Reader) -> None:
    rows.session(1, SessionState.DETACHED, detached_at=NOW - TTL)
    rows.session(2, SessionState.DETACHED, detached_at=NOW - TTL + 1)
    rows.session(3, SessionState.ATTACHED)
    rows.session(4, SessionState.LOST, detached_at=NOW - 2 * TTL, ended_at=NOW)

    assert (await reader.expired(ttl_us=TTL)).sessions == (1,)
    rows.now += 1
    assert (await reader.expired(ttl_us=TTL)).sessions == (1, 2)


async def test_no_session_expires_before_the_service_was_back_for_a_time_to_live(rows: Rows, reader: Reader) -> None:
    """The server was down for an hour: its workers get their whole time to come back, however long they were gone."""
    rows.session(1, SessionState.DETACHED, detached_at=NOW - 3600 * SECOND)
    rows.resume(NOW - TTL + 1)

    assert (await reader.expired(ttl_us=TTL)).sessions == ()
    rows.now += 1
    assert (await reader.expired(ttl_us=TTL)).sessions == (1,)


async def test_what_lost_sessions_hold_is_found_with_its_session(rows: Rows, reader: Reader) -> None:
    for key, state in ((1, SessionState.LOST), (2, SessionState.DETACHED), (3, SessionState.LOST)):
        rows.session(key, state, detached_at=NOW, ended_at=NOW if state is SessionState.LOST else None)
        rows.job(key * 10, state=JobState.RUNNING, session_key=key)
        rows.job(key * 10 + 1, state=JobState.CLAIMED, session_key=key)
    rows.job(40, session_key=1)

    assert sorted((await reader.expired(ttl_us=TTL)).held) == [(10, 1), (11, 1), (30, 3), (31, 3)]


async def test_what_lost_sessions_hold_is_given_a_thousand_at_a_time(rows: Rows, reader: Reader) -> None:
    rows.session(1, SessionState.LOST, ended_at=NOW)
    held = [job_row(key, state=JobState.CLAIMED, session_key=1) for key in range(1, 1101)]
    rows.put_many(rows.tables.jobs, held)

    assert len((await reader.expired(ttl_us=TTL)).held) == 1000


async def test_sessions_that_an_earlier_process_had_attached_are_stale(rows: Rows, reader: Reader) -> None:
    rows.put(rows.tables.replicas, key=2, replica_id="before", started_at=0, renewed_at=NOW)
    rows.session(1, SessionState.ATTACHED, replica_key=THIS_REPLICA)
    rows.session(2, SessionState.ATTACHED, replica_key=2)
    rows.session(3, SessionState.ATTACHED, replica_key=99)
    rows.session(4, SessionState.DETACHED, replica_key=2, detached_at=NOW)

    assert (await reader.expired(ttl_us=TTL)).stale == (2, 3)


async def test_reads_see_what_was_committed_and_wait_for_no_writer(rows: Rows, reader: Reader) -> None:
    with rows.engine.begin() as writing:
        writing.execute(sa.insert(rows.tables.namespaces).values(key=9, name="new"))
        writing.execute(sa.insert(rows.tables.job_types).values(key=9, namespace_key=9, name="t", created_at=0))

        assert await reader.job_types("new") == []
    assert len(await reader.job_types("new")) == 1


async def test_more_readers_than_connections_take_turns(rows: Rows, reader: Reader) -> None:
    rows.event(1, 1)
    rows.count_event(1)

    answers = await asyncio.gather(*(reader.log(LogFilter(), after=0, limit=1) for _ in range(50)))

    assert [len(answer.rows) for answer in answers] == [1] * 50


async def test_a_cancelled_read_leaves_its_connection_fit_for_the_next_one(rows: Rows) -> None:
    """A caller that went away cancelled its read in mid-statement; the connection went back to the pool with the
    statement still running on its thread, and the next reader must get its own answer and not that one."""
    async with open_connections(rows.database, count=1) as connections:
        reader = Reader(connections, rows.tables, now=lambda: NOW, replica_key=lambda: THIS_REPLICA)
        gone = asyncio.create_task(reader.log_place())
        await asyncio.sleep(0)
        gone.cancel()

        assert [view.name for view in await reader.job_types()] == ["score"]
        with pytest.raises(asyncio.CancelledError):
            await gone


async def test_nothing_is_left_when_the_connections_are_closed_while_reads_run(rows: Rows) -> None:
    before = set(threading.enumerate())
    async with open_connections(rows.database, count=2) as connections:
        reader = Reader(connections, rows.tables, now=lambda: NOW, replica_key=lambda: THIS_REPLICA)
        running = [asyncio.create_task(reader.log(LogFilter(), after=0, limit=1)) for _ in range(6)]
        await asyncio.sleep(0)

    ends = await asyncio.gather(*running, return_exceptions=True)

    assert [end.rows for end in ends if isinstance(end, LogSlice)] == [[], []]
    assert all(isinstance(end, LogSlice | DrainingError) for end in ends)
    await eventually_async(
        lambda: set(threading.enumerate()) == before, within=5, what="the connections' threads to have ended"
    )
    with pytest.raises(DrainingError):
        await reader.log_place()


async def test_a_database_that_somebody_keeps_to_himself_is_busy_and_may_be_asked_again(rows: Rows) -> None:
    async with open_connections(rows.database, count=1, busy_timeout_seconds=0.01) as connections:
        reader = Reader(connections, rows.tables, now=lambda: NOW, replica_key=lambda: THIS_REPLICA)
        keeper = sqlite3.connect(str(rows.database.path), isolation_level=None)
        keeper.executescript("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT")

        with pytest.raises(DatabaseBusyError, match="locked") as busy:
            await reader.log_place()
        keeper.close()

        assert busy.value.retry_after is not None
        assert await reader.log_place() == LogPlace("log", 1, 0)


async def test_readers_change_nothing(rows: Rows) -> None:
    async with open_connections(rows.database, count=1) as connections:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await connections.rows(sa.text("DELETE FROM jobhall_queues"), {})


async def test_a_file_may_have_a_name_that_an_address_would_have_to_escape(tmp_path: Path) -> None:
    folder = tmp_path / "a b#%41&c"
    folder.mkdir()
    with rows_in(folder) as rows:
        rows.queue(1)
        async with reading(rows) as reader:
            assert len(await reader.queues()) == 1
    assert (folder / "jobhall.db").exists()
