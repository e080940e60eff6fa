"""The fixture `jobhall` of the pytest plugin: its server, and how it runs workers, as a user's own test sees them."""

import asyncio
import os
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

import jobhall as sdk
from jobhall import JobState, RetryPolicy, Task, TaskFailed, TaskReleased, Worker
from jobhall_server.testing import Jobhall
from jobhall_server.testing.host import Host
from tests.support.servers import nothing_left_over
from tests.support.waiting import eventually

worker = Worker("127.0.0.1:1", name="of a module", concurrency=3)
"""As a module under test has one: made once, with an address of its own where nobody answers."""


@worker.handler("double")
def double(task: Task) -> int:
    result: int = 2 * task.parameters
    return result


@worker.handler("public:halve")
async def halve(task: Task) -> float:
    await asyncio.sleep(0)
    result: float = task.parameters / 2
    return result


def fail(task: Task) -> None:
    raise LookupError(f"no picture {task.parameters}")


# --- its server ---


def test_code_under_test_finds_the_server_by_itself(jobhall: Jobhall) -> None:
    jobhall.register("double")

    with sdk.Client() as client:
        job = client.jobs.submit("double", 4)

    assert os.environ["JOBHALL_ADDRESS"] == jobhall.address
    assert jobhall.client.jobs.get_job(job.id).parameters == 4


def test_each_test_has_a_server_without_jobs_of_others(jobhall: Jobhall) -> None:
    assert jobhall.jobs() == ()
    assert list(jobhall.client.types.list()) == []


async def test_async_tests_use_it_in_their_own_loop(jobhall: Jobhall) -> None:
    jobhall.register(worker)

    async with jobhall.async_client() as client:
        waiting = asyncio.create_task(client.jobs.wait_for_job((await client.jobs.submit("halve", 4)).id, timeout=10))
        ran = await jobhall.run_async(worker)

        assert (await waiting).result == 2
    assert [job.result for job in ran] == [2]


@pytest.mark.jobhall(retention_completed_seconds=60)
def test_a_marker_changes_its_settings(jobhall: Jobhall) -> None:
    job = jobhall.perform(worker, "double", 4)

    assert job.ended_at is not None
    assert job.purge_at == job.ended_at + timedelta(seconds=60)


def test_a_url_is_understood_as_well(jobhall: Jobhall) -> None:
    with sdk.Client(jobhall.url) as client:
        assert client.server_info().engine == "sqlite"


async def test_nothing_is_left_of_a_server(tmp_path: Path) -> None:
    async with nothing_left_over(tmp_path):
        host = Host()
        with host.serving({"database_url": f"sqlite:///{tmp_path / 'kept.db'}"}) as server, sdk.Client(server.address):
            pass
        host.close()

    assert (tmp_path / "kept.db").exists()


def test_servers_come_and_go_in_milliseconds() -> None:
    """Some 30 each on an idle machine; the first makes the database that the others copy."""
    host = Host()
    with host.serving({}):
        pass
    began = time.monotonic()

    for _ in range(20):
        with host.serving({}) as server:
            assert server.address

    assert time.monotonic() - began < 4
    host.close()


def test_what_the_server_warns_of_is_in_the_log_and_nothing_else(
    jobhall: Jobhall, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    jobhall.register("again")
    queue = sdk.JobQueue(jobhall.address)
    queue.initialize()
    queue.update_job_status(queue.create_job("again", {}).id, "running")

    jobhall.clock.advance(timedelta(hours=1))
    queue.close()

    assert [record.name for record in caplog.records if "sessions_lost" in record.message] != []
    assert {record.levelname for record in caplog.records if record.name.startswith("jobhall_server")} == {"WARNING"}
    assert capfd.readouterr() == ("", "")


# --- running workers ---


def test_a_worker_of_a_module_runs_in_every_test(jobhall: Jobhall) -> None:
    jobhall.register(worker)
    for number in range(20):
        jobhall.client.jobs.submit("double", number)

    first = jobhall.run(worker)
    jobhall.client.jobs.submit("double", 100)
    second = jobhall.run(worker)

    assert {job.result for job in first} == set(range(0, 40, 2))
    assert [job.result for job in second] == [200]
    assert not worker.connected


def test_a_worker_with_processes_runs_in_the_tests_own(jobhall: Jobhall, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = Worker(processes=2)
    apart.handler("where")(lambda _: os.environ["WHERE"])
    monkeypatch.setenv("WHERE", "here")

    assert jobhall.perform(apart, "where").result == "here"


def test_plain_handlers_run_without_a_worker_and_in_every_namespace(jobhall: Jobhall) -> None:
    jobhall.register("double", namespace="media")
    jobhall.client.jobs.submit("double", 4, namespace="media")

    (job,) = jobhall.run({"double": double})

    assert (job.result, job.namespace) == (8, "media")


def test_jobs_that_handlers_submit_are_run_as_well(jobhall: Jobhall) -> None:
    def split(task: Task) -> None:
        with sdk.Client() as client:
            for part in task.parameters:
                client.jobs.submit("double", part)

    jobhall.register("split", "double")
    jobhall.client.jobs.submit("split", [1, 2])

    ran = jobhall.run({"split": split, "double": double})

    assert sorted(str(job.result) for job in ran) == ["2", "4", "None"]


def test_a_handler_that_fails_fails_the_test_with_its_own_exception(jobhall: Jobhall) -> None:
    with pytest.raises(AssertionError, match=r"the handler of 'fail' failed, .*LookupError: no picture cat") as caught:
        jobhall.perform({"fail": fail}, "fail", "cat")

    assert isinstance(caught.value.__cause__, LookupError)


async def test_the_same_holds_of_async_handlers(jobhall: Jobhall) -> None:
    async def fail_slowly(_: Task) -> None:
        await asyncio.sleep(0)
        raise TaskFailed("declined", code="DECLINED")

    jobhall.register("pay")
    jobhall.client.jobs.submit("pay")

    with pytest.raises(AssertionError, match="TaskFailed: declined"):
        await jobhall.run_async({"pay": fail_slowly})


def test_a_result_that_cannot_be_told_fails_the_test_too(jobhall: Jobhall) -> None:
    with pytest.raises(AssertionError, match="the handler returned a set"):
        jobhall.perform({"odd": lambda _: {1}}, "odd")


def test_failures_that_are_meant_are_looked_at(jobhall: Jobhall) -> None:
    jobhall.register("fail")
    job = jobhall.client.jobs.submit("fail", "cat", max_attempts=1)

    assert jobhall.run({"fail": fail}, raise_errors=False) == (jobhall.client.jobs.get_job(job.id),)

    failed = jobhall.assert_failed(job, code="LookupError", message="picture cat")
    assert failed.error is not None
    assert "in fail" in failed.error.stack


def test_to_stop_when_asked_to_and_to_give_back_are_no_failures(jobhall: Jobhall) -> None:
    async def cancel_itself(task: Task) -> None:
        async with jobhall.async_client() as client:
            await client.jobs.cancel_job(task.job_id, reason="changed my mind")
            await asyncio.Event().wait()

    def give_back(_: Task) -> None:
        raise TaskReleased("not today", delay=timedelta(days=1))

    jobhall.register("cancel", "give")
    given = jobhall.client.jobs.submit("give")
    jobhall.client.jobs.submit("cancel")

    (job,) = jobhall.run({"cancel": cancel_itself, "give": give_back})

    assert (job.state, job.cancel_reason) == (JobState.CANCELLED, "changed my mind")
    assert jobhall.client.jobs.get_job(given.id).state is JobState.SCHEDULED


def test_an_attempt_that_waits_for_its_time_is_left(jobhall: Jobhall) -> None:
    policy = RetryPolicy(initial_delay=timedelta(hours=1), jitter=0)
    tried = []

    def flaky(task: Task) -> str:
        tried.append(task.attempt)
        if task.attempt == 1:
            raise OSError("the disk is away")
        return "at last"

    jobhall.register("flaky")
    job = jobhall.client.jobs.submit("flaky", retry_policy=policy)

    assert jobhall.run({"flaky": flaky}, raise_errors=False) == ()
    assert tried == [1]

    jobhall.clock.advance(timedelta(hours=1))
    jobhall.run({"flaky": flaky})
    jobhall.assert_completed(job, "at last")
    assert tried == [1, 2]


def test_jobs_of_a_paused_type_are_left(jobhall: Jobhall) -> None:
    jobhall.register(worker)
    job = jobhall.client.jobs.submit("double", 4)
    jobhall.client.types.pause("double")

    assert jobhall.run(worker) == ()

    assert jobhall.client.jobs.get_job(job.id).state is JobState.PENDING


def test_it_runs_as_many_tasks_as_it_may_and_no_more(jobhall: Jobhall) -> None:
    jobhall.register(worker)
    for number in range(5):
        jobhall.client.jobs.submit("double", number)

    assert [job.result for job in jobhall.run(worker, jobs_max=2)] == [0, 2]
    assert len(jobhall.jobs(state=JobState.PENDING)) == 3
    assert all(job.attempt == 0 for job in jobhall.jobs(state=JobState.PENDING))
    assert [job.result for job in jobhall.run(worker)] == [4, 6, 8]


def test_it_runs_until_something_is_true(jobhall: Jobhall) -> None:
    jobhall.register(worker)
    submitting = threading.Timer(0.05, lambda: jobhall.client.jobs.submit("double", 4))
    submitting.start()

    (job,) = jobhall.run(worker, until=lambda: jobhall.jobs("double", state=JobState.COMPLETED))

    submitting.join()
    assert job.result == 8


def test_a_run_that_does_not_end_says_what_it_waits_for(jobhall: Jobhall) -> None:
    async def hang(_: Task) -> None:
        await asyncio.Event().wait()

    jobhall.register("double", "hang")
    job = jobhall.client.jobs.submit("hang", 4)

    with pytest.raises(AssertionError, match=rf"still has 1 jobs to do after 0.3 s; hang 4 RUNNING \({job.id}\): "):
        jobhall.run({"hang": hang}, timeout=0.3)
    with pytest.raises(AssertionError, match=r"nothing left to do, and `until` was still not true after 0.1 s"):
        jobhall.run({"double": double}, until=lambda: False, timeout=0.1)


def test_a_worker_works_beside_the_test(jobhall: Jobhall) -> None:
    def wait(task: Task) -> None:
        eventually(lambda: task.cancelled, within=10, what="the task is cancelled")
        task.progress(message="stopped")

    jobhall.register("wait")
    with jobhall.working({"wait": wait}) as running:
        job = jobhall.client.jobs.submit("wait")
        assert jobhall.wait_for_state(job, JobState.RUNNING).current_task is not None
        assert running.connected
        jobhall.client.jobs.cancel_job(job.id, reason="enough")
        jobhall.wait_for_state(job.id, JobState.CANCELLED)
        with pytest.raises(AssertionError, match="is not RUNNING: enough"):
            jobhall.wait_for_state(job, JobState.RUNNING)
