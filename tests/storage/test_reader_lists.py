"""Lists of jobs: every filter alone and all of them together, newest first, page by page."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobhall.states import JobState
from jobhall_server.domain.access import ANYBODY, Principal, may_touch
from jobhall_server.domain.job import JobView
from jobhall_server.hall.views import JobFilter, Page
from jobhall_server.storage.reader import Reader
from tests.support.rows import NOW, Rows, job_row, reading, rows_in

QUEUES = {1: ("default", "score"), 2: ("default", "image:resize"), 3: ("lab", "score")}
LABEL_KEYS = ["team", "a.b/c-d_e", "0"]
PATHS = [None, "/companies", "/companies/2024"]
OWNERS = ["alice", "bob", 'o\'hara "x"']


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    with rows_in(tmp_path) as made:
        for key, (namespace, job_type) in QUEUES.items():
            made.queue(key, namespace=namespace, job_type=job_type)
        yield made


@pytest.fixture
async def reader(rows: Rows) -> AsyncIterator[Reader]:
    async with reading(rows) as made:
        yield made


async def test_a_list_is_newest_first_and_as_long_as_asked(rows: Rows, reader: Reader) -> None:
    for key in range(1, 6):
        rows.job(key)

    assert await keys(reader, JobFilter(), Page(3)) == [5, 4, 3]
    assert await keys(reader, JobFilter(), Page(3, before_key=3)) == [2, 1]
    assert await keys(reader, JobFilter(), Page(2, before_key=5, skip=1)) == [3, 2]
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
        (JobFilter(created_before=NOW + 2), [1]),
        (JobFilter(namespace="default", job_types=frozenset({"score"}), created_before=NOW + 3), [1]),
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
    )
    rows.job(3, state=JobState.COMPLETED, queue_key=3, namespace_key=2, created_at=NOW + 3)

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

    (listed,) = await reader.jobs(ANYBODY, JobFilter(), Page(1))
    full = await reader.job(ANYBODY, job_id)

    assert full is not None
    for job in (listed, full):
        assert (job.path, job.file_name, job.file_size, job.labels) == (text, text, 2**63 - 1, {"k": text})


JOBS = st.lists(
    st.fixed_dictionaries(
        {
            "state": st.sampled_from([state for state in JobState if state and not state.held]),
            "queue_key": st.sampled_from(sorted(QUEUES)),
            "owner": st.sampled_from(OWNERS),
            "organization_id": st.sampled_from(["", "acme"]),
            "labels": st.dictionaries(st.sampled_from(LABEL_KEYS), st.sampled_from(["x", "ü y", ""]), max_size=2),
            "path": st.sampled_from(PATHS),
            "created_at": st.integers(NOW, NOW + 5),
        }
    ),
    max_size=20,
)
FILTERS = st.builds(
    JobFilter,
    namespace=st.sampled_from([None, "default", "lab"]),
    job_types=st.frozensets(st.sampled_from(["score", "image:resize"]), max_size=2),
    states=st.frozensets(st.sampled_from(JobState), max_size=3),
    owners=st.frozensets(st.sampled_from(OWNERS), max_size=2),
    labels=st.lists(st.tuples(st.sampled_from(LABEL_KEYS), st.sampled_from(["x", "ü y", ""])), max_size=2).map(tuple),
    path=st.sampled_from(PATHS),
    created_after=st.none() | st.integers(NOW, NOW + 5),
    created_before=st.none() | st.integers(NOW, NOW + 6),
)
CALLERS = st.sampled_from([ANYBODY, Principal("alice"), Principal("bob", organization_id="acme"), Principal("eve")])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jobs=JOBS, where=FILTERS, principal=CALLERS, size=st.integers(1, 7))
async def test_pages_give_every_match_once_and_nothing_else_though_jobs_come_in_between(
    rows: Rows, reader: Reader, jobs: list[dict[str, Any]], where: JobFilter, principal: Principal, size: int
) -> None:
    with rows.engine.begin() as connection:
        connection.execute(rows.tables.jobs.delete())
    stored = {key: _stored(job) for key, job in enumerate(jobs, start=1)}
    if stored:
        rows.put_many(rows.tables.jobs, [job_row(key, **job) for key, job in stored.items()])

    found: list[JobView] = []
    newest = len(jobs)
    page = Page(size)
    while answer := await reader.jobs(principal, where, page):
        assert len(answer) <= size
        found += answer
        newest += 1
        rows.job(newest, owner="alice", created_at=NOW)
        page = Page(size, before_key=answer[-1].key)

    assert [job.key for job in found] == [
        key for key in sorted(stored, reverse=True) if _matches(jobs[key - 1], where, principal)
    ]


def _stored(job: dict[str, Any]) -> dict[str, Any]:
    labels = orjson.dumps(job["labels"], option=orjson.OPT_SORT_KEYS).decode() if job["labels"] else None
    return {**job, "labels": labels, "namespace_key": 2 if job["queue_key"] == 3 else 1}


def _matches(job: dict[str, Any], where: JobFilter, principal: Principal) -> bool:
    """The same filter, in Python."""
    namespace, job_type = QUEUES[job["queue_key"]]
    return (
        may_touch(principal, owner=job["owner"], organization_id=job["organization_id"])
        and where.namespace in (None, namespace)
        and (not where.job_types or job_type in where.job_types)
        and (not where.states or job["state"] in where.states)
        and (not where.owners or job["owner"] in where.owners)
        and all(job["labels"].get(key) == value for key, value in where.labels)
        and where.path in (None, job["path"])
        and (where.created_after is None or job["created_at"] >= where.created_after)
        and (where.created_before is None or job["created_at"] < where.created_before)
    )


async def keys(reader: Reader, where: JobFilter, page: Page) -> list[int]:
    return [job.key for job in await reader.jobs(ANYBODY, where, page)]
