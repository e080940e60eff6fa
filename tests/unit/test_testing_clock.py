"""The clock of the fixture `jobhall`: whatever is due after an advance has been done when it returns."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from jobhall import ApiError, JobQueue, JobState, Task
from jobhall.errors import JobNotFoundError
from jobhall_server.testing import Jobhall
from tests.support.waiting import eventually

HOUR = timedelta(hours=1)


@pytest.fixture
def jobhall(jobhall: Jobhall) -> Jobhall:
    jobhall.register("report")
    return jobhall


def state(jobhall: Jobhall, job_id: str) -> JobState:
    return jobhall.client.jobs.get_job(job_id).state


def test_it_begins_with_the_machines_own_time_and_runs_on(jobhall: Jobhall) -> None:
    assert abs(jobhall.clock.now() - datetime.now(UTC)) < timedelta(seconds=5)

    before = jobhall.clock.now()
    jobhall.clock.advance(90)

    assert timedelta(seconds=90) <= jobhall.clock.now() - before < timedelta(seconds=100)


def test_time_does_not_go_back(jobhall: Jobhall) -> None:
    with pytest.raises(ApiError, match="by: is -1"):
        jobhall.clock.advance(-1)


def test_what_is_scheduled_becomes_pending(jobhall: Jobhall) -> None:
    job = jobhall.client.jobs.submit("report", schedule_time=HOUR)

    jobhall.clock.advance(HOUR - timedelta(minutes=1))
    assert state(jobhall, job.id) is JobState.SCHEDULED
    jobhall.clock.advance(timedelta(minutes=1))

    assert state(jobhall, job.id) is JobState.PENDING


def test_what_nobody_began_by_its_deadline_fails(jobhall: Jobhall) -> None:
    job = jobhall.client.jobs.submit("report", start_deadline=HOUR)

    jobhall.clock.advance(HOUR)

    jobhall.assert_failed(job, code="START_DEADLINE")


@pytest.mark.parametrize("run_timeout", [timedelta(seconds=5), timedelta(seconds=40), HOUR])
def test_a_task_that_runs_too_long_is_stopped_however_soon_after_the_start(
    jobhall: Jobhall, run_timeout: timedelta
) -> None:
    """A server that has only just started gives workers the time to come back before it takes anything from them, and
    so does one whose clock has leapt: five seconds after the start of the server nothing timed out.
    """
    stopped = threading.Event()

    def dawdle(task: Task) -> None:
        eventually(lambda: task.cancelled, within=10, what="the task is stopped")
        stopped.set()

    with jobhall.working({"report": dawdle}) as worker:
        job = jobhall.client.jobs.submit("report", run_timeout=run_timeout, max_attempts=1)
        jobhall.wait_for_state(job, JobState.RUNNING)

        jobhall.clock.advance(run_timeout)

        jobhall.assert_failed(job, code="RUN_TIMEOUT")
        assert stopped.wait(10)
        assert worker.connected


def test_workers_keep_their_tasks_over_any_advance(jobhall: Jobhall) -> None:
    may_end = threading.Event()

    def work(_: Task) -> str:
        assert may_end.wait(10)
        return "done"

    with jobhall.working({"report": work}):
        job = jobhall.client.jobs.submit("report")
        jobhall.wait_for_state(job, JobState.RUNNING)
        for _ in range(3):
            jobhall.clock.advance(timedelta(days=1))
        assert jobhall.client.jobs.get_job(job.id).attempt == 1
        may_end.set()
        assert jobhall.client.jobs.wait_for_job(job.id, timeout=10).result == "done"


@pytest.mark.jobhall(retention_completed_seconds=3600, retention_failed_seconds=7200)
def test_what_was_kept_long_enough_is_deleted(jobhall: Jobhall) -> None:
    job = jobhall.perform({"report": lambda _: None}, "report")
    waiting = jobhall.client.jobs.submit("report", schedule_time=timedelta(days=2))

    jobhall.clock.advance(timedelta(minutes=59))
    assert state(jobhall, job.id) is JobState.COMPLETED
    jobhall.clock.advance(timedelta(minutes=1))

    with pytest.raises(JobNotFoundError):
        jobhall.client.jobs.get_job(job.id)
    assert state(jobhall, waiting.id) is JobState.SCHEDULED


def test_a_year_goes_by_in_no_time(jobhall: Jobhall) -> None:
    began = time.monotonic()

    jobhall.clock.advance(timedelta(days=365))

    assert time.monotonic() - began < 5


def test_a_lease_without_a_stream_is_over(jobhall: Jobhall) -> None:
    with JobQueue(jobhall.address) as queue:
        queue.initialize()
        job = queue.create_job("report", {})
        queue.update_job_status(job.id, "running")
        assert state(jobhall, job.id) is JobState.RUNNING

        jobhall.clock.advance(timedelta(minutes=5))

        assert state(jobhall, job.id) is JobState.PENDING
