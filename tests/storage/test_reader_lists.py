"""Lists of jobs: every filter alone and all of them together, newest first, page by page."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobhall.states import FailureKind, JobState
from jobhall_server.domain.access import ANYBODY, Principal, may_touch
from jobhall_server.domain.job import JobView
from jobhall_server.hall.views import JobFilter, ListOrder, Page, Place
from jobhall_server.storage import reader_lists
from jobhall_server.storage.reader import Reader
from tests.support.memory.conditions import DESCENDING, matches, place_of
from tests.support.rows import NOW, Rows, job_row, reading, rows_in

QUEUES = {1: ("default", "score"), 2: ("default", "image:resize"), 3: ("lab", "score"), 9: ("other", "sort")}
BATCH = "0199aaaa-0000-7000-8000-000000000007"
LABEL_KEYS = ["team", "a.b/c-d_e", "0"]
PATHS = [None, "/companies", "/companies/2024"]
BORN = {"created_at": NOW, "updated_at": NOW}
OWNERS = ["alice", "bob", 'o\'hara "x"']


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    with rows_in(tmp_path) as made:
        for key, (namespace, job_type) in QUEUES.items():
            made.queue(key, namespace=namespace, job_type=job_type)
        batch_id = UUID(BATCH).bytes
        made.put(made.tables.batches, key=7, batch_id=batch_id, completion_policy=0, namespace_key=1, **BORN)
        yield made


@pytest.fixture
async def reader(rows: Rows) -> AsyncIterator[Reader]:
    async with reading(rows) as made:
        yield made


async def test_a_list_is_newest_first_and_as_long_as_asked(rows: Rows, reader: Reader) -> None:
    for key in range(1, 6):
        rows.job(key)

    assert await keys(reader, JobFilter(), Page(3)) == [5, 4, 3]
    assert await keys(reader, JobFilter(), Page(3, Place(0, 3))) == [2, 1]
    assert await keys(reader, JobFilter(), Page(2, Place(0, 5), skip=1)) == [3, 2]
    assert await keys(reader, JobFilter(), Page(2, skip=9)) == []


async def test_a_list_never_takes_more_than_a_thousand_rows(rows: Rows, reader: Reader) -> None:
    rows.put_many(rows.tables.jobs, [job_row(key) for key in range(1, 1003)])

    assert len(await keys(reader, JobFilter(), Page(5000))) == 1000


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (JobFilter(namespace="lab"), [3]),
        (JobFilter(namespace="unknown"), []),
        (JobFilter(job_types=frozenset({"score"})), [3, 1]),
        (JobFilter(job_types=frozenset({"image:resize", "unknown"})), [2]),
        (JobFilter(states=frozenset({JobState.RUNNING, JobState.COMPLETED})), [3, 2]),
        (JobFilter(owners=frozenset({'o\'hara "x"'})), [2]),
        (JobFilter(labels=(("a.b/c-d_e", "1"),)), [2]),
        (JobFilter(labels=(("a.b/c-d_e", "2"),)), []),
        (JobFilter(labels=(("a", "1"),)), []),
        (JobFilter(labels=(("team", "risk"), ("a.b/c-d_e", "1"))), [2]),
        (JobFilter(path="/companies"), [1]),
        (JobFilter(created_after=NOW + 2), [3, 2]),
        (JobFilter(created_before=NOW + 2), [6, 5, 4, 1]),
        (JobFilter(namespace="default", job_types=frozenset({"score"}), created_before=NOW + 3), [1]),
        (JobFilter(states=frozenset({JobState.FAILED, JobState.SCHEDULED})), [5, 4]),
        (JobFilter(states=frozenset({JobState.PENDING})), [6, 1]),
        (JobFilter(namespace="default", states=frozenset({JobState.CLAIMED, JobState.RUNNING})), [2]),
        (JobFilter(failure_kinds=frozenset({FailureKind.TIMEOUT, FailureKind.APPLICATION})), [4]),
        (JobFilter(failure_codes=frozenset({"SLOW"})), [4]),
        (JobFilter(failure_codes=frozenset({"LATE"})), []),
        (JobFilter(unique_key="k"), [5]),
        (JobFilter(unique_key="k", states=frozenset({JobState.PENDING})), []),
        (JobFilter(batch_id=BATCH), [6, 5]),
        (JobFilter(batch_id=BATCH, states=frozenset({JobState.PENDING})), [6]),
        (JobFilter(batch_id=BATCH[::-1]), []),
        (JobFilter(batch_id="no id at all"), []),
        (JobFilter(priority_min=5), [6, 5]),
        (JobFilter(priority_min=5, priority_max=5), [6]),
        (JobFilter(priority_max=-1), [4]),
        (JobFilter(updated_after=NOW + 1), [2]),
        (JobFilter(updated_before=NOW + 1, states=frozenset({JobState.COMPLETED})), [3]),
        (JobFilter(ended_after=NOW + 3), [4, 3]),
        (JobFilter(ended_after=NOW, ended_before=NOW + 4), [3]),
    ],
)
async def test_a_list_keeps_what_its_filter_names(
    rows: Rows, reader: Reader, where: JobFilter, found: list[int]
) -> None:
    rows.session(1)
    rows.job(1, owner="alice", path="/companies", labels='{"team":"risk"}', created_at=NOW + 1)
    rows.job(
        2,
        state=JobState.RUNNING,
        session_key=1,
        queue_key=2,
        owner='o\'hara "x"',
        labels='{"a.b/c-d_e":"1","team":"risk"}',
        path="/companies/2024",
        created_at=NOW + 2,
        updated_at=NOW + 2,
    )
    late = {"failure_kind": FailureKind.TIMEOUT, "failure_code": "LATE"}
    rows.job(3, state=JobState.COMPLETED, queue_key=3, namespace_key=2, created_at=NOW + 3, ended_at=NOW + 3, **late)
    slow = late | {"failure_code": "SLOW"}
    rows.job(4, state=JobState.FAILED, namespace_key=9, queue_key=9, priority_order=1, ended_at=NOW + 4, **slow)
    rows.job(5, state=JobState.SCHEDULED, namespace_key=9, queue_key=9, priority_order=-6, unique_key="k", batch_key=7)
    rows.job(6, held_back=1, namespace_key=9, queue_key=9, priority_order=-5, batch_key=7)

    assert await keys(reader, where, Page(10)) == found


async def test_a_list_of_named_jobs_keeps_only_those(rows: Rows, reader: Reader) -> None:
    ids = [rows.job(key) for key in range(1, 6)]
    named = frozenset({ids[0], ids[3], "no id at all"})

    assert await keys(reader, JobFilter(job_ids=named, namespace="default"), Page(10)) == [4, 1]
    assert await keys(reader, JobFilter(job_ids=frozenset({"no id at all"})), Page(10)) == []


async def test_text_of_any_kind_comes_back_as_it_was_stored(rows: Rows, reader: Reader) -> None:
    text = 'nul \x00 quote " back\\slash \n é 😀 \u2028 {"a":[1]} 1e999 null'
    labels = orjson.dumps({"k": text}).decode()
    job_id = rows.job(1, path=text, file_name=text, file_size=2**63 - 1, labels=labels)

    [listed] = (await reader.jobs(ANYBODY, JobFilter(), Page(1))).jobs
    full = await reader.job(ANYBODY, job_id)

    assert full is not None
    for job in (listed, full):
        assert (job.path, job.file_name, job.file_size, job.labels) == (text, text, 2**63 - 1, {"k": text})


JOBS = st.lists(
    st.fixed_dictionaries(
        {
            "state": st.sampled_from([state for state in JobState if state]),
            "queue_key": st.sampled_from(sorted(QUEUES)),
            "owner": st.sampled_from(OWNERS),
            "organization_id": st.sampled_from(["", "acme"]),
            "labels": st.dictionaries(st.sampled_from(LABEL_KEYS), st.sampled_from(["x", "ü y", ""]), max_size=2),
            "path": st.sampled_from(PATHS),
            "batch_key": st.sampled_from([None, 7]),
            "unique_key": st.sampled_from([None, "k", "l"]),
            "failure_kind": st.sampled_from([FailureKind.UNSPECIFIED, FailureKind.TIMEOUT]),
            "failure_code": st.sampled_from(["", "SLOW"]),
            "priority_order": st.integers(-1, 1),
            "created_at": st.integers(NOW, NOW + 5),
            "updated_at": st.integers(NOW, NOW + 5),
        }
    ),
    max_size=20,
)
TIMES = st.none() | st.integers(NOW, NOW + 6)
FILTERS = st.builds(
    JobFilter,
    namespace=st.sampled_from([None, "default", "lab"]),
    job_types=st.frozensets(st.sampled_from(["score", "image:resize"]), max_size=2),
    states=st.frozensets(st.sampled_from(JobState), max_size=3),
    owners=st.frozensets(st.sampled_from(OWNERS), max_size=2),
    labels=st.lists(st.tuples(st.sampled_from(LABEL_KEYS), st.sampled_from(["x", "ü y", ""])), max_size=2).map(tuple),
    path=st.sampled_from([None, *PATHS]),
    batch_id=st.sampled_from([None, None, BATCH]),
    unique_key=st.sampled_from([None, None, "k"]),
    failure_kinds=st.frozensets(st.sampled_from([FailureKind.TIMEOUT]), max_size=1),
    failure_codes=st.frozensets(st.sampled_from(["FAST", "SLOW"]), max_size=1),
    priority_min=st.none() | st.integers(-1, 1),
    priority_max=st.none() | st.integers(-1, 1),
    created_after=TIMES,
    updated_before=TIMES,
    ended_after=TIMES,
)
NARROW = st.sampled_from([field.name for field in fields(JobFilter)])
CALLERS = st.sampled_from([ANYBODY, Principal("alice"), Principal("bob", organization_id="acme"), Principal("eve")])


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    jobs=JOBS,
    where=FILTERS,
    asked=st.frozensets(NARROW, max_size=3),
    principal=CALLERS,
    size=st.integers(1, 7),
    skip=st.integers(0, 4),
    order=st.sampled_from(ListOrder),
)
async def test_pages_give_every_match_once_in_order_however_short_a_look_is(
    rows: Rows,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
    *,
    jobs: list[dict[str, Any]],
    where: JobFilter,
    asked: frozenset[str],
    principal: Principal,
    size: int,
    skip: int,
    order: ListOrder,
) -> None:
    # More than a few conditions at once, and nothing matches.
    where = JobFilter(**{name: getattr(where, name) for name in asked})
    monkeypatch.setattr(reader_lists, "FIRST_LOOK", 2)
    monkeypatch.setattr(reader_lists, "LOOK", 5)
    with rows.engine.begin() as connection:
        connection.execute(rows.tables.jobs.delete())
    if jobs:
        rows.put_many(rows.tables.jobs, [_stored(key, job) for key, job in enumerate(jobs, start=1)])

    found: list[JobView] = []
    page = Page(size, skip=skip, order=order)
    while True:
        answer = await reader.jobs(principal, where, page)
        assert len(answer.jobs) <= size
        found += answer.jobs
        if answer.next is None:
            break
        page = Page(size, answer.next, order=order)

    everything = (await reader.jobs(ANYBODY, JobFilter(), Page(100))).jobs
    matching = [job for job in everything if _seen(principal, job) and matches(job, where)]
    matching.sort(key=lambda job: place_of(job, order), reverse=order in DESCENDING)
    assert [job.key for job in found] == [job.key for job in matching][skip:]
    ids, place = await reader.job_ids(principal, where, Page(1000, skip=skip, order=order))
    assert ids == [job.job_id for job in found][: len(ids)]
    assert (place is None) <= (len(ids) == len(found))


def _seen(principal: Principal, job: JobView) -> bool:
    return may_touch(principal, owner=job.owner, organization_id=job.organization_id)


def _stored(key: int, job: dict[str, Any]) -> dict[str, Any]:
    labels = orjson.dumps(job["labels"], option=orjson.OPT_SORT_KEYS).decode() if job["labels"] else None
    namespace_key = {3: 2, 9: 3}.get(job["queue_key"], 1)
    ended_at = job["updated_at"] if job["state"].terminal else None
    session_key = 1 if job["state"].held else None
    more = {"labels": labels, "namespace_key": namespace_key, "ended_at": ended_at, "session_key": session_key}
    return job_row(key, **job | more)


async def keys(reader: Reader, where: JobFilter, page: Page) -> list[int]:
    return [job.key for job in (await reader.jobs(ANYBODY, where, page)).jobs]
