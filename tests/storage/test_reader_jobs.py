"""Reading one job or a few: every column, what hangs on the attempt, and what does not exist for the caller."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobhall.ids import new_id
from jobhall.states import FailureKind, JobState, LogLevel
from jobhall_server.domain.access import ANYBODY, Principal, may_touch
from jobhall_server.domain.job import ItemError, JobFailure, Payload, TaskView
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.views import JobFilter, LogLine, Page
from jobhall_server.storage.codec import id_of_hex
from jobhall_server.storage.read_clauses import stored_id
from jobhall_server.storage.reader import Reader
from tests.support.rows import NOW, Rows, reading, rows_in

OF_BATCH = {"namespace_key": 1, "created_at": NOW, "updated_at": NOW}


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    with rows_in(tmp_path) as made:
        made.queue(1)
        yield made


@pytest.fixture
async def reader(rows: Rows) -> AsyncIterator[Reader]:
    async with reading(rows) as made:
        yield made


async def test_a_job_is_read_with_every_column_that_it_was_given(rows: Rows, reader: Reader) -> None:
    job_id = rows.job(
        7,
        priority_order=-5,
        labels='{"team":"risk"}',
        path="/companies/2024",
        file_name="annual.csv",
        file_size=1234,
        owner="alice",
        organization_id="acme",
        created_by="Alice",
        ready_at=NOW,
        fence=3,
        due_at=NOW + 2,
        start_deadline=NOW + 2,
        schedule_at=NOW - 1,
        batch_key=4,
        unique_key="acme-2024",
        retention_us=5,
        access="[2,[],[],[]]",
        trace='["00-1","x"]',
        held_back=1,
    )
    batch_id = new_id()
    rows.put(rows.tables.batches, key=4, batch_id=UUID(batch_id).bytes, completion_policy=0, **OF_BATCH)
    rows.put(rows.tables.parameters, job_key=7, text='{"a": 1}', content_type="application/json")

    job = await reader.job(ANYBODY, job_id)

    assert job is not None
    assert (job.key, job.job_id, job.state, job.priority) == (7, job_id, JobState.PENDING, 5)
    assert (job.namespace, job.job_type) == ("default", "score")
    assert (job.labels, job.path, job.file_name, job.file_size) == (
        {"team": "risk"},
        "/companies/2024",
        "annual.csv",
        1234,
    )
    assert (job.owner, job.organization_id, job.created_by) == ("alice", "acme", "Alice")
    assert (job.created_at, job.ready_at, job.claimed_at, job.ended_at, job.updated_at) == (NOW, NOW, None, None, NOW)
    assert (job.attempt, job.max_attempts, job.worker_losses, job.revision) == (0, 4, 0, 1)
    assert job.parameters == Payload('{"a": 1}', "application/json")
    assert (job.fence, job.due_at, job.start_deadline, job.schedule_at) == (3, NOW + 2, NOW + 2, NOW - 1)
    assert (job.batch_id, job.unique_key, job.retention_us, job.held_back) == (batch_id, "acme-2024", 5, True)
    assert (job.access, job.trace) == ("[2,[],[],[]]", '["00-1","x"]')
    assert await reader.jobs_by_id(ANYBODY, [job_id]) == [job._replace(parameters=None)]
    assert (job.result, job.failure, job.progress, job.current_task, job.item_errors) == (None, None, None, None, ())


async def test_a_basic_read_leaves_the_payloads_and_the_error_out(rows: Rows, reader: Reader) -> None:
    job_id = rows.job(1, state=JobState.FAILED, failure_kind=FailureKind.APPLICATION, failure_code="BAD")
    rows.put(rows.tables.parameters, job_key=1, text="{}")
    rows.put(rows.tables.failures, job_key=1, fence=0, kind=FailureKind.APPLICATION, code="BAD", message="no")

    job = await reader.job(ANYBODY, job_id, full=False)

    assert job is not None
    assert (job.parameters, job.failure) == (None, None)
    assert (job.failure_kind, job.failure_code) == (FailureKind.APPLICATION, "BAD")


async def test_a_payload_of_bytes_comes_back_as_bytes_and_an_empty_one_is_one(rows: Rows, reader: Reader) -> None:
    job_id = rows.job(1, state=JobState.COMPLETED)
    rows.put(rows.tables.parameters, job_key=1, data=b"")
    rows.put(rows.tables.results, job_key=1, data=b"\x00\xff", content_type="image/png")

    job = await reader.job(ANYBODY, job_id)

    assert job is not None
    assert job.parameters == Payload(b"", "")
    assert job.result == Payload(b"\x00\xff", "image/png")


async def test_a_failed_job_is_read_with_its_error(rows: Rows, reader: Reader) -> None:
    job_id = rows.job(1, state=JobState.FAILED, failure_kind=FailureKind.APPLICATION, failure_code="ROW")
    failure = JobFailure(
        FailureKind.APPLICATION, "bad row", "ROW", retryable=True, details='{"row": 3}', stack="Traceback …", attempt=2
    )
    rows.put(
        rows.tables.failures,
        job_key=1,
        fence=0,
        kind=failure.kind,
        code=failure.code,
        message=failure.message,
        retryable=1,
        attempt=2,
        details=failure.details,
        stack=failure.stack,
    )

    job = await reader.job(ANYBODY, job_id)

    assert job is not None
    assert job.failure == failure


async def test_a_job_that_failed_without_a_report_still_says_why(rows: Rows, reader: Reader) -> None:
    kind = FailureKind.WORKER_LOST
    job_id = rows.job(1, state=JobState.FAILED, failure_kind=kind, failure_code="ATTEMPTS_EXHAUSTED", attempt=4)

    job = await reader.job(ANYBODY, job_id)

    assert job is not None
    assert job.failure == JobFailure(kind, "", "ATTEMPTS_EXHAUSTED", attempt=4)


@pytest.mark.parametrize(("state", "attempt", "shown"), [(JobState.CLAIMED, 1, 2), (JobState.RUNNING, 2, 2)])
async def test_a_held_job_shows_its_task_by_the_session_that_holds_it(
    rows: Rows, reader: Reader, state: JobState, attempt: int, shown: int
) -> None:
    session_id = rows.session(9)
    times = {"claimed_at": NOW - 5, "started_at": NOW - 3}
    job_id = rows.job(1, state=state, session_key=9, attempt=attempt, fence=3, worker="scorer", **times)

    job = await reader.job(ANYBODY, job_id)

    started_at = NOW - 3 if state is JobState.RUNNING else None
    assert job is not None
    assert job.current_task == TaskView(shown, 3, "scorer", session_id, NOW - 5, started_at)


async def test_a_job_that_nobody_holds_shows_no_task_though_its_last_session_is_known(
    rows: Rows, reader: Reader
) -> None:
    rows.session(9)
    job_id = rows.job(1, session_key=9, claimed_at=NOW, worker="scorer")

    job = await reader.job(ANYBODY, job_id)

    assert job is not None
    assert job.current_task is None


async def test_progress_is_of_the_newest_lease_and_item_errors_and_logs_of_the_named_one(
    rows: Rows, reader: Reader
) -> None:
    old, new = rows.job(1, fence=2), rows.job(2, fence=2)
    for job_key, fence in ((1, 1), (2, 2)):
        rows.put(rows.tables.progress, job_key=job_key, fence=fence, data='{"percent":12.5,"message":"half"}')
        for number in (1, 2, 3):
            place = {"job_key": job_key, "fence": fence, "number": number}
            rows.put(rows.tables.item_errors, **place, item_index=number, item_key="k", code="C", message="m")
            rows.put(rows.tables.logs, **place, at=NOW, level=LogLevel.INFO, text=f"line {number}", fields="{}")

    jobs = {job.key: job for job in await reader.jobs_by_id(ANYBODY, [old, new])}

    assert jobs[1].progress is None
    assert jobs[2].progress == Progress(percent=12.5, message="half")
    assert await reader.item_errors(1, fence=2, after_number=0, limit=10) == []
    assert await reader.log_lines(1, fence=2, after_number=0, limit=10) == []
    assert await reader.item_errors(2, fence=2, after_number=1, limit=1) == [(2, ItemError(2, "k", "C", "m"))]
    assert await reader.log_lines(2, fence=2, after_number=2, limit=10) == [
        (3, LogLine(NOW, LogLevel.INFO, "line 3", None, "{}"))
    ]


async def test_several_jobs_are_read_at_once_and_unknown_ones_left_out(rows: Rows, reader: Reader) -> None:
    ids = [rows.job(key) for key in range(1, 6)]

    found = await reader.jobs_by_id(ANYBODY, [*ids[1:4], new_id(), "no id at all"], full=True)

    assert {job.job_id for job in found} == set(ids[1:4])
    assert await reader.jobs_by_id(ANYBODY, []) == []
    assert await reader.jobs_by_id(ANYBODY, ["no id at all"]) == []


@pytest.mark.parametrize(
    "job_id", ["", "no id at all", "00", "0" * 31, "0" * 34, "01a20185-9a6b-7803-9dbe-fdd8c304fd12"]
)
async def test_a_job_that_is_not_there_is_none(rows: Rows, reader: Reader, job_id: str) -> None:
    rows.job(1)

    assert await reader.job(ANYBODY, job_id) is None


PRINCIPALS = [
    Principal("alice"),
    Principal("alice", organization_id="acme"),
    Principal("bob", organization_id="acme"),
    Principal("bob"),
    Principal(""),
    Principal("root", roles=frozenset({"admin"})),
]


async def test_sql_and_domain_agree_on_what_exists_for_a_caller(rows: Rows, reader: Reader) -> None:
    owned = [(owner, organization) for owner in ("alice", "bob", "") for organization in ("acme", "other", "")]
    ids = {
        rows.job(key, owner=owner, organization_id=organization): (owner, organization)
        for key, (owner, organization) in enumerate(owned)
    }

    for principal in PRINCIPALS:
        allowed = {
            job_id
            for job_id, (owner, organization_id) in ids.items()
            if may_touch(principal, owner=owner, organization_id=organization_id)
        }
        assert {job.job_id for job in await reader.jobs_by_id(principal, list(ids))} == allowed
        assert {job_id for job_id in ids if await reader.job(principal, job_id)} == allowed
        assert {job.job_id for job in (await reader.jobs(principal, JobFilter(), Page(100))).jobs} == allowed


@given(st.uuids())
def test_ids_are_kept_as_bytes_and_shown_as_canonical_text(value: UUID) -> None:
    stored = stored_id(str(value))

    assert stored == value.bytes
    assert id_of_hex(stored.hex()) == str(value)


async def test_a_reader_of_another_prefix_reads_its_own_tables(tmp_path: Path) -> None:
    with rows_in(tmp_path, prefix="host_") as rows:
        rows.queue(1)
        job_id = rows.job(1)
        async with reading(rows) as reader:
            assert await reader.job(ANYBODY, job_id) is not None
