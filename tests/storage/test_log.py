"""The event log as it is read: its bounds, slices of it by every filter, and nothing of it passed over."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobhall.ids import new_id
from jobhall.states import EventType, FailureKind, JobState
from jobhall_server.domain import moves
from jobhall_server.domain.change import Change
from jobhall_server.hall.store import Group, Logged
from jobhall_server.hall.views import EventRow, LogFilter, LogPlace, LogSlice
from jobhall_server.storage.reader import Reader
from jobhall_server.storage.statements_read_log import LOOKED_AT_MAX
from tests.support import batches
from tests.support.memory.conditions import is_asked_for
from tests.support.rows import NOW, Rows, reading, rows_in
from tests.support.stores import Act, Floor


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    with rows_in(tmp_path) as made:
        made.queue(1)
        yield made


@pytest.fixture
async def reader(rows: Rows) -> AsyncIterator[Reader]:
    async with reading(rows) as made:
        yield made


async def test_a_new_event_log_is_empty_and_its_next_number_is_one(reader: Reader) -> None:
    assert await reader.log_place() == LogPlace("log", first=1, last=0)
    assert (await reader.log(LogFilter(), after=0, limit=10)).rows == []


async def test_the_event_log_knows_its_bounds_after_its_old_end_was_cut(rows: Rows, reader: Reader) -> None:
    for number in (5, 6, 7):
        rows.event(number, 1)
    rows.count_event(7)

    assert await reader.log_place() == LogPlace("log", first=5, last=7)


async def test_an_event_log_that_was_cut_to_nothing_still_knows_where_it_is(rows: Rows, reader: Reader) -> None:
    rows.count_event(7)

    assert await reader.log_place() == LogPlace("log", first=8, last=7)


async def test_events_are_read_in_order_after_a_number_with_all_that_they_hold(rows: Rows, reader: Reader) -> None:
    batch = {"key": 5, "batch_id": bytes(range(16, 32)), "namespace_key": 1, "completion_policy": 0}
    rows.put(rows.tables.batches, **batch, created_at=NOW, updated_at=NOW)
    for number in (3, 1, 2):
        rows.event(number, 9, revision=number)
    rows.event(
        4,
        9,
        EventType.FAILED,
        job_id=bytes(range(16)),
        state=JobState.FAILED,
        revision=4,
        attempt=2,
        worker="w",
        failure_kind=FailureKind.TIMEOUT,
        failure_code="SLOW",
        owner="alice",
        organization_id="acme",
        labels='{"a":"b"}',
        batch_key=5,
        fence=3,
        path="/a/b",
    )

    rows.count_event(4)

    assert [event.number for event in (await reader.log(LogFilter(), after=1, limit=2)).rows] == [2, 3]
    assert (await reader.log(LogFilter(), after=3, limit=10)).rows == [
        EventRow(
            4,
            9,
            "00010203-0405-0607-0809-0a0b0c0d0e0f",
            "default",
            "score",
            EventType.FAILED,
            JobState.FAILED,
            4,
            2,
            "w",
            FailureKind.TIMEOUT,
            "SLOW",
            "alice",
            "acme",
            '{"a":"b"}',
            NOW,
            batch_id="10111213-1415-1617-1819-1a1b1c1d1e1f",
            batch_key=5,
            fence=3,
            path="/a/b",
        )
    ]


EVENTS = 400
QUEUES = [("default", "score"), ("default", "train"), ("lab", "score"), ("lab", "a b")]
JOBS = [str(UUID(int=number)) for number in range(1, 13)]

FILTERS = st.builds(
    LogFilter,
    namespaces=st.frozensets(st.sampled_from(["default", "lab", "nowhere"]), max_size=2),
    queues=st.frozensets(st.sampled_from([*QUEUES, ("default", "nothing")]), max_size=2),
    job_ids=st.frozensets(st.sampled_from([*JOBS, "no id", str(UUID(int=99))]), max_size=3),
    job_keys=st.frozensets(st.integers(0, 13), max_size=3),
    batch_keys=st.frozensets(st.integers(1, 4), max_size=2),
)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rows]:
    """Events of a few jobs in four queues and three batches; the log begins at 11, and two numbers are left out."""
    chance = random.Random(1)
    with rows_in(tmp_path_factory.mktemp("rows")) as made:
        for key, (namespace, job_type) in enumerate(QUEUES, 1):
            # The type of one is everybody's: it goes by its name, wherever it is registered.
            made.queue(key, namespace=namespace, job_type=job_type, type_namespace="@global" if key == 2 else "")
        told = []
        for number in {*range(11, 11 + EVENTS)} - {100, 250}:
            key = chance.randint(1, len(JOBS))
            of_job = {"job_key": key, "job_id": UUID(JOBS[key - 1]).bytes, "queue_key": key % 4 + 1}
            place = {"namespace_key": 1 if key % 4 < 2 else 3, "batch_key": chance.choice([None, 1, 2, 3])}
            kind = {"event_type": 1, "state": 1, "revision": 1, "attempt": 0, "at": NOW}
            told.append({"number": number, **of_job, **place, **kind})
        made.put_many(made.tables.events, told)
        made.count_event(10 + EVENTS)
        yield made


@pytest.fixture
async def reader_of_many(many: Rows) -> AsyncIterator[Reader]:
    async with reading(many) as made:
        yield made


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=FILTERS, after=st.integers(0, 420), limit=st.integers(1, 60), until=st.none() | st.integers(0, 500))
async def test_a_slice_is_what_plain_python_finds_among_all_events(
    reader_of_many: Reader, where: LogFilter, after: int, limit: int, until: int | None
) -> None:
    everything = await reader_of_many.log(LogFilter(), after=0, limit=1000)
    last = 10 + EVENTS
    assert len(everything.rows) == EVENTS - 2

    found = await reader_of_many.log(where, after=after, limit=limit, until=until)

    end = last if until is None else min(until, last)
    wanted = [row for row in everything.rows if after < row.number <= end and is_asked_for(row, where)][:limit]
    assert found == LogSlice(11, last, wanted[-1].number if len(wanted) == limit else end, wanted)


async def test_ten_thousand_job_ids_are_one_filter(reader_of_many: Reader) -> None:
    wanted = LogFilter(job_ids=frozenset({JOBS[3], *(new_id() for _ in range(10_000))}))

    found = await reader_of_many.log(wanted, after=0, limit=1000)

    assert found.rows
    assert {row.job_key for row in found.rows} == {4}


async def test_a_slice_goes_through_a_bounded_part_of_the_log_and_no_gap_counts_in_it(
    rows: Rows, reader: Reader
) -> None:
    far = 3_000_000_000
    for number in (1, 2, far, far + LOOKED_AT_MAX + 5):
        rows.event(number, 7)
    rows.count_event(far + LOOKED_AT_MAX + 9)
    nobody, everybody = LogFilter(job_keys=frozenset({8})), LogFilter()

    assert (await reader.log(nobody, after=0, limit=10)).until == 1 + LOOKED_AT_MAX
    assert (await reader.log(nobody, after=2, limit=10)).until == far + LOOKED_AT_MAX
    assert (await reader.log(nobody, after=far + LOOKED_AT_MAX, limit=10)).until == far + LOOKED_AT_MAX + 9
    assert [row.number for row in (await reader.log(everybody, after=1, limit=2)).rows] == [2]
    assert [row.number for row in (await reader.log(everybody, after=2, limit=2)).rows] == [far]


async def test_a_slice_says_how_far_it_looked(floor: Floor) -> None:
    """Up to its last event when there may be more, and else to the end of what was asked for, or of the log."""
    other = await Floor.of(floor.store, floor.folder, job_type="train")
    keys = await floor.submit(3)
    [wanted] = await other.submit()
    await floor.submit(2)
    everything, train, one = LogFilter(), LogFilter(queues=frozenset({("default", "train")})), frozenset({keys[1]})

    async def read(where: LogFilter, **place: Any) -> tuple[int, list[int], int, int]:
        part = await floor.store.reads.log(where, **{"after": 0, "limit": 10, **place})
        return part.until, [row.number for row in part.rows], part.first, part.last

    assert await read(everything) == (6, [1, 2, 3, 4, 5, 6], 1, 6)
    assert await read(everything, after=1, limit=2) == (3, [2, 3], 1, 6)
    assert await read(everything, after=1, until=4) == (4, [2, 3, 4], 1, 6)
    assert await read(train) == (6, [4], 1, 6)
    assert await read(train, until=3) == (3, [], 1, 6)
    assert await read(LogFilter(job_keys=one | {wanted}), limit=2) == (4, [2, 4], 1, 6)
    assert await read(everything, after=6, until=99) == (6, [], 1, 6)


async def test_the_keys_of_jobs_are_found_by_their_ids(floor: Floor) -> None:
    jobs = [floor.new() for _ in range(1001)]
    keys = await floor.submit_all(jobs)
    ids = [job.job_id for job in jobs]

    found = await floor.store.reads.job_keys_of([*ids, new_id(), "no id"])

    assert found == dict(zip(ids, keys, strict=True))


async def test_an_event_tells_the_path_the_batch_and_the_lease_of_its_job(floor: Floor) -> None:
    batch = await batches.opened(floor)
    await floor.submit(path="/data/1", batch_key=batch.key)
    await floor.submit()
    await batches.held(floor, 2)

    submitted, plain, claimed, also = await floor.events()

    assert (submitted.path, submitted.batch_key, submitted.batch_id) == ("/data/1", batch.key, batch.batch_id)
    assert (claimed.path, claimed.batch_key, claimed.batch_id) == ("/data/1", batch.key, batch.batch_id)
    assert (plain.path, plain.batch_key, plain.batch_id) == ("", None, "")
    assert [event.fence for event in (submitted, plain, claimed, also)] == [0, 0, 1, 1]


async def test_after_each_commit_it_is_told_whose_events_were_logged(floor: Floor) -> None:
    """A watch of a job is read for only where its job is named: an insert of events that said nothing would hide them.

    Every way in which events come: submits, moves, updates, claims, jobs that go as they are and after a move.
    """
    told: list[tuple[int, set[int]]] = []

    def note(last: int, logged: Logged) -> None:
        told.append((last, {key for part in logged for key in part}))

    floor.store.on_commit(note)
    keys = await floor.submit(6)
    leases = await batches.held(floor, 3)
    await batches.step(floor, leases[0], "accept", "complete")

    def manage(group: Group) -> None:
        update = moves.JobUpdate(frozenset({"labels"}), labels="{}")
        for key, decided in ((keys[3], "update"), (keys[4], "cancel"), (keys[5], "")):
            job = group.job(key)
            assert job is not None
            if decided:
                change, values = (
                    moves.update(job, update, group.now)
                    if decided == "update"
                    else moves.cancel(job, reason="", by="", stop_at=group.now)
                )
                assert isinstance(change, Change)
                group.change(job, change, values)
            if decided != "update":
                job = group.job(key)
                assert job is not None
                group.delete_job(job)

    session = await floor.session()
    managed = floor.store.run(Act(manage, job_keys=keys))
    more = floor.store.run(Act(lambda group: group.insert_job(floor.new())))
    await asyncio.gather(managed, more, floor.claim(floor.want(session, 1)))

    before = 0
    events = await floor.events()
    assert [event.number for event in events] == list(range(1, len(events) + 1)), "in the order of commits, without gap"
    for last, concerned in told:
        assert concerned == {event.job_key for event in events if before < event.number <= last}
        before = last
    assert before == len(events)
    assert {event.event_type for event in events} > {EventType.DELETED, EventType.UPDATED, EventType.CLAIMED}
