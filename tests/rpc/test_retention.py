"""Retention: what has ended goes after its time, with all that hangs on it, and in nobody's way; its counts stay."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from jobhall.errors import JobNotFoundError
from jobhall.limits import RETENTION
from jobhall.states import EventType, JobState
from jobhall.v1 import job_service_pb2 as pb
from jobhall.v1.job_type_service_pb2 import RegisterJobTypeRequest
from jobhall_server.domain.access import ANYBODY
from jobhall_server.hall.bulk import STEP_JOBS
from jobhall_server.hall.clock import SystemClock
from jobhall_server.hall.hall import Hall, HallSettings
from jobhall_server.hall.job_type_units import Registration
from jobhall_server.hall.retention import REST_SECONDS, PurgeOld, purge_what_is_over, rest_seconds
from jobhall_server.hall.submits import Submission
from jobhall_server.hall.unary import Asked
from jobhall_server.hall.views import JobFilter, Retention
from jobhall_server.storage.store import Store
from tests.support.calls import get, refusal, register, submit
from tests.support.servers import Running, running_server
from tests.support.unary_calls import SOON, claim, fail, report
from tests.support.waiting import eventually_async
from tests.support.worker_frames import completed

WITHIN = 20.0
SHORT: Any = {"seconds": 0, "nanos": 200_000_000}
YEAR: Any = {"seconds": 365 * 86_400}


@pytest.fixture
async def forgetful(tmp_path: Path) -> AsyncIterator[Running]:
    """A server that keeps what is COMPLETED for a fifth of a second, what FAILED for an hour, and the rest for ever."""
    settings: dict[str, Any] = {
        "retention_completed_seconds": 0.2,
        "retention_failed_seconds": 3600,
        "retention_cancelled_seconds": 0,
    }
    async with running_server(tmp_path, **settings) as server:
        await register(server)
        yield server


async def complete(server: Running, **fields: Any) -> str:
    """A job that ran to its end, and left something of every kind behind."""
    job = await submit(server, json="[1]", **fields)
    given = await claim(server, accept=True, timeout=SOON)
    token = given.tasks[0].lease_token
    await report(
        server,
        given.session_id,
        {"lease_token": token, "item_errors": {"first_number": 1, "item_errors": [{"key": "row"}]}},
        {"lease_token": token, "checkpoint": {"state": {"json": "{}"}}},
        {"lease_token": token, "completed": {"result": {"json": "2"}, "progress": {"items_processed": 1}}},
        logs=[{"seq": 4, "lease_token": token, "first_number": 1, "log_entries": [{"message": "hi"}]}],
    )
    return job.id


async def gone(server: Running, job_id: str) -> None:
    async def not_found() -> bool:
        page = await server.jobs.BatchGetJobs(pb.BatchGetJobsRequest(job_ids=[job_id]))
        return not page.jobs

    await eventually_async(not_found, within=WITHIN, what="the job is purged")


async def test_a_job_goes_after_its_time_with_all_that_hangs_on_it(forgetful: Running, tmp_path: Path) -> None:
    job_id = await complete(forgetful, retention=SHORT)

    await gone(forgetful, job_id)

    error = await refusal(forgetful.jobs.ListJobLogs(pb.ListJobLogsRequest(job_id=job_id)))
    assert error.reason == "JOB_NOT_FOUND"
    left = _rows_of_jobs(tmp_path)
    assert {name: rows for name, rows in left.items() if rows} == {}
    assert "jobhall_logs" in left
    assert "jobhall_parameters" in left
    assert _events(tmp_path) == [
        EventType.SUBMITTED,
        EventType.CLAIMED,
        EventType.RUNNING,
        EventType.COMPLETED,
        EventType.DELETED,
    ]


def _rows_of_jobs(folder: Path) -> dict[str, int]:
    """How many rows each table has that knows jobs by their key, the event log aside."""
    with closing(sqlite3.connect(folder / "jobhall.db")) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {name: {row[1] for row in database.execute(f"PRAGMA table_info({name})")} for name in names}
        of_jobs = [name for name in names if "job_key" in columns[name] and name != "jobhall_events"]
        counts = {}
        for name in (*of_jobs, "jobhall_jobs"):
            (counts[name],) = database.execute(f"SELECT count(*) FROM {name}").fetchone()
        return counts


def _events(folder: Path) -> list[EventType]:
    with closing(sqlite3.connect(folder / "jobhall.db")) as database:
        rows = database.execute("SELECT event_type FROM jobhall_events ORDER BY number")
        return [EventType(kind) for (kind,) in rows]


async def test_each_state_has_its_own_time_and_a_job_may_have_its_own(forgetful: Running) -> None:
    completed = await complete(forgetful)
    kept = await complete(forgetful, retention=YEAR)
    failed = await submit(forgetful, max_attempts=1)
    await fail(forgetful)
    cancelled = await submit(forgetful)
    await forgetful.jobs.CancelJob(pb.CancelJobRequest(job_id=cancelled.id))

    await gone(forgetful, completed)

    views = {job_id: await get(forgetful, job_id) for job_id in (kept, failed.id, cancelled.id)}
    ages = {
        job_id: view.purge_time.ToSeconds() - view.end_time.ToSeconds() if view.HasField("purge_time") else None
        for job_id, view in views.items()
    }
    assert ages == {kept: YEAR["seconds"], failed.id: 3600, cancelled.id: None}


async def test_a_job_that_has_not_ended_has_no_time_to_go(forgetful: Running) -> None:
    job = await submit(forgetful, retention=SHORT)

    assert not (await get(forgetful, job.id)).HasField("purge_time")


async def test_what_was_purged_is_counted(forgetful: Running) -> None:
    await gone(forgetful, await complete(forgetful))

    answer = await forgetful.jobs.GetJobStats(pb.GetJobStatsRequest())

    assert (answer.removed.completed, answer.total.completed) == (1, 0)


async def test_a_type_says_how_long_its_jobs_are_kept(forgetful: Running) -> None:
    job_type: Any = {"name": "brief", "defaults": {"retention": {"seconds": 60}}}
    await forgetful.job_types.RegisterJobType(RegisterJobTypeRequest(job_type=job_type))
    job = await submit(forgetful, "brief")
    await forgetful.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id))

    view = await get(forgetful, job.id)

    assert view.purge_time.ToSeconds() - view.end_time.ToSeconds() == 60


async def test_a_server_keeps_jobs_for_thirty_days_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        await register(server)
        job = await submit(server)
        await server.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id))

        view = await get(server, job.id)

    assert view.purge_time.ToSeconds() - view.end_time.ToSeconds() == RETENTION.total_seconds()


@asynccontextmanager
async def _hall(folder: Path) -> AsyncIterator[Hall]:
    async with (
        Store.open(f"sqlite:///{folder / 'jobhall.db'}") as store,
        Hall.open(store, HallSettings(), SystemClock()) as hall,
    ):
        await hall.job_types.register(ANYBODY, Registration("default", "score"), replace=False)
        yield hall


async def test_twenty_thousand_jobs_are_purged_and_no_submit_waits_for_them(tmp_path: Path) -> None:
    # Bounded by counting commit groups: the one under way when a submit comes, and its own.
    async with _hall(tmp_path) as hall:
        for _ in range(20):
            await hall.jobs.submit_many(ANYBODY, [Submission("score")] * 1000)
            await hall.management.cancel_jobs(ANYBODY, JobFilter("default"), reason="", jobs_max=1000, dry_run=False)
        last_events = [(await hall.store.reads.log_place()).last]
        hall.store.on_commit(lambda last, _: last_events.append(last))
        round_ = asyncio.create_task(purge_what_is_over(hall.store, Retention(cancelled_us=0), hall.clock))
        waited = []
        while not round_.done():
            before = len(last_events)
            await hall.jobs.submit(ANYBODY, Submission("score"))
            waited.append(len(last_events) - before)

        assert await round_ == 20_000
        assert max(waited) <= 2
        assert len(waited) > 20
        # A group purges one step, beside the submit that comes with it.
        assert max(after - before for before, after in pairwise(last_events)) <= STEP_JOBS + 1 <= 201
        stats = await hall.management.stats(ANYBODY, "default")
        assert (stats.removed.cancelled, stats.total.cancelled) == (20_000, 0)
        assert stats.total.pending == len(waited)


async def test_a_job_that_was_tried_again_since_it_was_looked_at_stays(tmp_path: Path) -> None:
    # It is the new end that counts, even where that came between the look and the purge.
    async with _hall(tmp_path) as hall:
        view, _ = await hall.jobs.submit(ANYBODY, Submission("score"))
        await hall.jobs.cancel(ANYBODY, view.job_id, reason="")
        looked_at = hall.clock.now_us()
        step = await hall.store.reads.jobs_to_purge(Retention(cancelled_us=0), after_key=0)
        await hall.jobs.retry(ANYBODY, view.job_id)
        while_it_waits = await hall.store.run(PurgeOld(step.job_keys, looked_at))
        asked = Asked(namespaces=("default",), worker_name="cron", job_types=("score",), accept=True)
        given = await hall.unary.claim(ANYBODY, asked, bytes_max=1_000_000)
        await hall.unary.report(given.session_id, [completed(1, given.tasks[0].token)])
        when_it_is_over = await hall.store.run(PurgeOld(step.job_keys, looked_at))

        assert step.job_keys == (view.key,)
        assert (while_it_waits, when_it_is_over) == (0, 0)
        assert (await hall.jobs.get(ANYBODY, view.job_id)).state is JobState.COMPLETED


async def test_a_purged_job_is_gone_for_its_readers(tmp_path: Path) -> None:
    async with _hall(tmp_path) as hall:
        view, _ = await hall.jobs.submit(ANYBODY, Submission("score"))
        await hall.jobs.cancel(ANYBODY, view.job_id, reason="")

        assert await purge_what_is_over(hall.store, Retention(cancelled_us=3_600_000_000), hall.clock) == 0
        assert await purge_what_is_over(hall.store, Retention(cancelled_us=0), hall.clock) == 1
        with pytest.raises(JobNotFoundError):
            await hall.jobs.get(ANYBODY, view.job_id)


@pytest.mark.parametrize(
    ("keep", "seconds"),
    [
        (Retention(), REST_SECONDS),
        (Retention(completed_us=30 * 86_400_000_000), REST_SECONDS),
        (Retention(completed_us=10_000_000), 1.0),
        (Retention(completed_us=0, failed_us=10_000_000), 0.05),
    ],
)
def test_rounds_come_more_often_where_jobs_are_kept_for_moments(keep: Retention, seconds: float) -> None:
    assert rest_seconds(keep) == pytest.approx(seconds)
