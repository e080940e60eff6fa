"""Regressions of the testing tools: what the suites of three projects met that used the fixture `jobhall`."""

import threading
import time
from datetime import timedelta
from traceback import extract_tb

import pytest

import jobhall as sdk
from jobhall import JobDefaults, JobState, RetryPolicy, Submission, Task, Worker
from jobhall_server.testing import Jobhall
from tests.support.waiting import eventually

HOUR = timedelta(hours=1)


def test_a_type_that_the_test_registered_keeps_its_schema_and_defaults(jobhall: Jobhall) -> None:
    """`perform` and `register` registered anew what was there: the schema was a conflict, the defaults were gone."""
    schema = {"type": "object", "required": ["file"]}
    jobhall.client.types.register("resize", parameters_schema=schema, defaults=JobDefaults(max_attempts=7))

    jobhall.register("resize")
    job = jobhall.perform({"resize": lambda _: None}, "resize", {"file": "cat.png"})

    assert job.max_attempts == 7
    assert jobhall.client.types.get("resize").parameters_schema == schema


def test_a_type_of_all_namespaces_is_registered_once_as_a_worker_would(jobhall: Jobhall) -> None:
    """As a worker's Hello has it: a bare name means the type of `@global` where there is one, `private:` its own."""
    jobhall.client.types.register("mail", namespace="@global")

    jobhall.register("mail", namespace="shop")
    assert [it.namespace for it in jobhall.client.types.list(namespace="shop")] == ["@global"]
    jobhall.register("private:mail", namespace="shop")
    assert {it.namespace for it in jobhall.client.types.list(namespace="shop")} == {"@global", "shop"}


def test_a_public_handler_performs_its_type_by_either_name(jobhall: Jobhall) -> None:
    """By the bare name a type of the namespace was registered, which the worker did not serve: the job stayed PENDING.
    And `jobs` looked for a type whose name begins with `public:`; there is none.
    """
    worker = Worker()
    worker.handler("public:mail")(lambda _: "sent")

    assert jobhall.perform(worker, "mail").result == "sent"
    assert jobhall.perform(worker, "public:mail").result == "sent"

    jobhall.assert_submitted("public:mail", count=2)


@pytest.mark.parametrize(("job_type", "namespace"), [("odrer", "default"), ("order", "shop")])
def test_to_perform_what_the_worker_does_not_serve_is_an_error(jobhall: Jobhall, job_type: str, namespace: str) -> None:
    """A misspelt type was registered, and a job of it handed back PENDING, as if all were well."""
    worker = Worker()
    worker.handler("order")(lambda _: None)

    with pytest.raises(ValueError, match=f"would not run '{job_type}' in '{namespace}'; it serves order in default"):
        jobhall.perform(worker, job_type, namespace=namespace)

    assert jobhall.jobs() == ()


def test_plain_handlers_are_registered_by_their_types(jobhall: Jobhall) -> None:
    jobhall.register({"resize": lambda _: None})

    assert [it.name for it in jobhall.client.types.list()] == ["resize"]
    with pytest.raises(TypeError, match="is no Worker, and no mapping of job types to handlers"):
        jobhall.register(len)  # type: ignore[arg-type]


def test_the_completion_job_of_a_batch_is_run_as_well(jobhall: Jobhall) -> None:
    """It is submitted a moment after the last job has ended, and `run` had returned by then."""
    handlers = {"resize": lambda _: None, "album": lambda _: "all there"}
    jobhall.register(handlers)
    for _ in range(5):
        parts = [Submission("resize", number) for number in range(3)]
        jobhall.client.batches.create(jobs=parts, closed=True, completion_job=Submission("album"))

        assert [job.job_type for job in jobhall.run(handlers)][3:] == ["album"]


def test_an_attempt_that_follows_at_once_is_run_as_well(jobhall: Jobhall) -> None:
    def flaky(task: Task) -> int:
        if task.attempt < 3:
            raise OSError
        return task.attempt

    jobhall.register("flaky")
    job = jobhall.client.jobs.submit("flaky", retry_policy=RetryPolicy(initial_delay=timedelta(0)))

    jobhall.run({"flaky": flaky}, raise_errors=False)

    jobhall.assert_completed(job, 3)


def test_an_hour_from_now_is_an_hour_from_the_tests_now(jobhall: Jobhall) -> None:
    """A timedelta counted from the machine's time, which an advance leaves behind: a job that submits its own next one
    an hour ahead was due at once, and ran without end.
    """
    ran = []

    def report(task: Task) -> None:
        ran.append(task.job_id)
        with sdk.Client() as client:
            client.jobs.submit("report", schedule_time=HOUR, start_deadline=2 * HOUR)

    jobhall.register("report")
    jobhall.client.jobs.submit("report")
    for days in range(1, 4):
        jobhall.run({"report": report}, timeout=10)
        assert len(ran) == days
        jobhall.clock.advance(HOUR)
    assert [job.state for job in jobhall.jobs()] == [JobState.COMPLETED] * 3 + [JobState.PENDING]


def test_a_failure_is_told_at_once_whatever_else_runs(jobhall: Jobhall) -> None:
    """The others had half a minute to end, as at any stop of a worker, before the test heard of the failure."""
    may_end = threading.Event()

    def fail(_: Task) -> None:
        eventually(lambda: jobhall.jobs("linger", state=JobState.RUNNING), within=10, what="the other one is at work")
        raise OSError

    handlers = {"linger": lambda _: may_end.wait(20), "fail": fail}
    jobhall.register(handlers)
    jobhall.client.jobs.submit_many([Submission("linger"), Submission("fail")])

    began = time.monotonic()
    with pytest.raises(AssertionError, match="the handler of 'fail' failed"):
        jobhall.run(handlers)

    assert time.monotonic() - began < 10
    may_end.set()


def test_the_trace_of_a_handlers_failure_has_its_own_frames_alone(jobhall: Jobhall) -> None:
    """A handler of another module than the test's was shown with the frames of the worker that called it."""

    def fail(_: Task) -> None:
        raise OSError

    with pytest.raises(AssertionError) as caught:
        jobhall.perform({"fail": fail}, "fail")

    assert caught.value.__cause__ is not None
    assert [frame.name for frame in extract_tb(caught.value.__cause__.__traceback__)] == ["fail"]


def test_a_timeout_of_perform_bounds_the_run(jobhall: Jobhall) -> None:
    """It went to the submit, which said to add wait_for_completion=True: nobody would have run the job then."""
    may_end = threading.Event()

    with pytest.raises(AssertionError, match="linger"):
        jobhall.perform({"linger": lambda _: may_end.wait(20)}, "linger", timeout=0.5)

    may_end.set()
