"""A disk that takes nothing more, under the writer: who is refused, who goes on, what the log says, and how it ends."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest
import structlog.testing

from jobhall.errors import DatabaseBusyError, DatabaseFullError
from jobhall_server.domain.job import Payload
from jobhall_server.hall.store import Group
from jobhall_server.storage import checkpoints, refusals
from jobhall_server.storage.checkpoints import Checkpoints
from jobhall_server.storage.engines import open_write_engine, parse_database_url
from jobhall_server.storage.group import Group as SqlGroup
from jobhall_server.storage.refusals import Outage, Refusal, answer_to, refusal_of, surely_not_committed
from tests.support.disks import no_file_longer_than
from tests.support.held_back import held_back
from tests.support.stores import FILE_NAME, Act, Floor, sql_only

NOTHING_BYTES = 4096
"""No file here is so short, so no write has room."""
BIG = Payload("x" * 900_000)


def inserting(floor: Floor, parameters: Payload | None = None) -> Act[int]:
    return Act(lambda group: group.insert_job(floor.new(parameters=parameters)))


async def leave_pages(floor: Floor, count: int) -> None:
    """The database may grow by so many pages."""

    def limit(group: Group) -> None:
        connection = cast("SqlGroup", group).execution._connection
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + count}")

    await floor.store.run(Act(limit))


@sql_only
async def test_reports_go_on_where_a_submit_in_their_group_does_not_fit(floor: Floor) -> None:
    """A flood of large submits on a full disk would otherwise take every group with it that has a report in it."""
    await leave_pages(floor, 20)

    async with held_back(floor.store):
        submits = [floor.store.run(inserting(floor, BIG), refusable=True) for _ in range(3)]
        report = floor.store.run(inserting(floor))
        late_submit = floor.store.run(inserting(floor, BIG), refusable=True)
    refused = await asyncio.gather(*submits, late_submit, return_exceptions=True)

    assert [type(answer) for answer in refused] == [DatabaseFullError] * 4
    assert len({id(answer) for answer in refused}) == 4, "whoever raises one must not write into another's traceback"
    assert await report == 1
    assert [event.number for event in await floor.events()] == [1]


@sql_only
async def test_where_nothing_fits_reports_are_refused_too_and_taken_when_there_is_room(floor: Floor) -> None:
    await leave_pages(floor, 0)

    async with held_back(floor.store):
        submit = floor.store.run(inserting(floor, BIG), refusable=True)
        report = floor.store.run(inserting(floor, BIG))
    refused = await asyncio.gather(submit, report, return_exceptions=True)

    assert [type(answer) for answer in refused] == [DatabaseFullError] * 2
    assert await floor.events() == []
    await leave_pages(floor, 1000)
    assert await floor.store.run(inserting(floor, BIG)) == 1


@sql_only
async def test_a_disk_that_refuses_writes_is_a_full_one_even_at_the_commit(floor: Floor) -> None:
    """A disk that has become read-only, or a quota that is used up, shows first when COMMIT writes the log.

    SQLite then says SQLITE_IOERR_WRITE, an I/O error like that of a failed fsync, after which nobody knows what is on
    the disk and the process has to end. Here everybody knows: the commit mark comes last, and it was not written.
    """
    [before] = await floor.submit()

    with no_file_longer_than(NOTHING_BYTES):
        with pytest.raises(DatabaseFullError) as refused:
            await floor.submit()
        assert refused.value.retry_after is not None
        assert [event.number for event in await floor.events()] == [1], "reading goes on"

    assert await floor.submit(2) == [before + 1, before + 2]
    assert floor.rows("PRAGMA integrity_check") == [("ok",)]
    assert [event.number for event in await floor.events()] == [1, 2, 3]


@sql_only
async def test_a_log_that_may_not_grow_is_brought_in_and_written_again_from_its_beginning(
    floor: Floor, tmp_path: Path
) -> None:
    """The write-ahead log keeps its length, so on a full disk it is the room that reports may have."""
    await floor.submit_all([floor.new(parameters=Payload("y" * 1000)) for _ in range(400)])
    for _ in range(10):
        await floor.store.run(Act(lambda group: group.namespace_key("default")))
        await floor.submit(20)
    log_bytes = (tmp_path / f"{FILE_NAME}-wal").stat().st_size

    with no_file_longer_than(log_bytes):
        async with held_back(floor.store):
            submit = floor.store.run(inserting(floor, Payload("z" * 200_000)), refusable=True)
            report = floor.store.run(inserting(floor))
        with pytest.raises(DatabaseFullError):
            await submit
        assert await report == 601

    assert (tmp_path / f"{FILE_NAME}-wal").stat().st_size <= log_bytes


@sql_only
async def test_an_outage_is_a_line_in_the_log_as_it_begins_and_one_as_it_ends(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "QUIET_SECONDS", 0.0)

    with structlog.testing.capture_logs() as lines:
        with no_file_longer_than(NOTHING_BYTES):
            for _ in range(20):
                with pytest.raises(DatabaseFullError):
                    await floor.submit()
            await floor.store.run(Act(lambda group: group.now))
            assert [line["event"] for line in lines if line["event"].startswith("writes_")] == ["writes_refused"]
        await floor.submit(1)
        await floor.submit(1)

    told = [line for line in lines if line["event"] != "checkpoint_waits"]
    assert [(line["event"], line["log_level"]) for line in told] == [
        ("writes_refused", "error"),
        ("writes_taken_again", "warning"),
    ]
    assert told[0]["why"] == "full"
    assert told[1]["groups_refused"] == 20
    assert len(lines) - len(told) <= 1


def test_small_writes_between_refusals_do_not_end_an_outage() -> None:
    seconds = 0.0
    outage = Outage(lambda: seconds)
    error = sqlite3.OperationalError("database or disk is full")

    with structlog.testing.capture_logs() as lines:
        for _ in range(100):
            outage.refused(Refusal.FULL, error)
            seconds += refusals.FULL_RETRY.total_seconds()
            outage.written()
        seconds += refusals.QUIET_SECONDS
        outage.written()
        outage.written()
        outage.refused(Refusal.AWAY, error)

    assert [line["event"] for line in lines] == ["writes_refused", "writes_taken_again", "writes_refused"]
    assert lines[1]["refused_for_seconds"] == 99 * refusals.FULL_RETRY.total_seconds()


@pytest.mark.parametrize(
    ("name", "meant", "not_committed"),
    [
        ("SQLITE_FULL", Refusal.FULL, True),
        ("SQLITE_READONLY", Refusal.FULL, True),
        ("SQLITE_READONLY_DBMOVED", Refusal.FULL, True),
        ("SQLITE_IOERR_WRITE", Refusal.FULL, True),
        ("SQLITE_IOERR_SHMSIZE", Refusal.FULL, True),
        ("SQLITE_BUSY", Refusal.AWAY, True),
        ("SQLITE_BUSY_SNAPSHOT", Refusal.AWAY, True),
        ("SQLITE_IOERR_FSYNC", Refusal.AWAY, False),
        ("SQLITE_IOERR_READ", Refusal.AWAY, False),
        ("SQLITE_CANTOPEN", Refusal.AWAY, False),
        ("SQLITE_CORRUPT", None, False),
        ("SQLITE_CONSTRAINT", None, False),
        ("SQLITE_ERROR", None, False),
    ],
)
def test_each_of_sqlites_codes_has_one_meaning(name: str, meant: Refusal | None, *, not_committed: bool) -> None:
    error = sqlite3.OperationalError("said")
    error.sqlite_errorcode = getattr(sqlite3, name)

    assert refusal_of(error) is meant
    assert surely_not_committed(error) is not_committed


def test_an_error_that_is_not_sqlites_is_no_refusal() -> None:
    assert refusal_of(ValueError("mine")) is None
    assert refusal_of(None) is None
    assert not surely_not_committed(sqlite3.ProgrammingError("the driver's own"))


@pytest.mark.parametrize(("refusal", "kind"), [(Refusal.FULL, DatabaseFullError), (Refusal.AWAY, DatabaseBusyError)])
def test_every_refusal_says_when_to_come_again(refusal: Refusal, kind: type[Exception]) -> None:
    answer = answer_to(refusal, sqlite3.OperationalError("said"))

    assert type(answer) is kind
    assert answer.retry_after is not None


def test_a_reader_that_stays_does_not_stop_the_writer_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup reads for as long as it takes. A log that has grown long waits for its readers so that it can begin
    again; with the patience of other statements, five seconds, each group would have been followed by such a pause.
    """
    monkeypatch.setattr(checkpoints, "LOG_PAGES", 10)
    opened = open_write_engine(parse_database_url(f"sqlite:///{tmp_path / FILE_NAME}")).raw_connection()
    connection = cast("sqlite3.Connection", opened.driver_connection)
    connection.execute("CREATE TABLE t (x)")
    with closing(opened), closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM t").fetchone()
        connection.execute("INSERT INTO t VALUES (zeroblob(1000000))")

        began_at = time.monotonic()
        Checkpoints(connection).after_group(1000)

        assert 0.09 < time.monotonic() - began_at < 1, "it waits, but not for long"
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (5000,)
