"""A value of the wrong Python type is refused by name, with what to give instead, before anything is sent."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from operator import attrgetter
from typing import Any

import pytest

from jobhall import AccessControl, AsyncClient, CallRetry, Client, FileInfo, Job, JobState, RetryPolicy, Submission
from jobhall.calls import get_job, submit_jobs, update_job
from jobhall.errors import FieldInvalidError
from jobhall.model_admin import ImportedJob
from jobhall.model_types import JobDefaults
from jobhall.reports import Completed
from jobhall.submission import SubmitAnswer
from tests.support.public_methods import METHODS

A_JOB = Job(id="01890a5d-ac96-774b-bcce-b302099a8057", namespace="default", job_type="resize", state=JobState.PENDING)
A_LIST: Any = ["a"]
WRONG: Any = 5
NOWHERE = "127.0.0.1:1"
"""Nobody answers here: whatever is sent ends as another error."""
ONE_TRY = CallRetry(attempts_max=1)

CALLS: dict[str, list[tuple[dict[str, Any], str]]] = {
    "jobs.submit": [({"job_type": 5}, "job.job_type: is 5, an int; give text")],
    "jobs.submit_many": [
        ({"submissions": [Submission("a"), Submission("a", path=WRONG)]}, "jobs[1].path: is 5, an int; give text"),
        ({"submissions": [{"job_type": "a"}]}, "jobs[0]: is {'job_type': 'a'}, a dict; give Submission(…)"),
        ({"submissions": 5}, "jobs: is 5, an int; give a list"),
    ],
    "jobs.get_job": [
        ({"job_id": 123}, "job_id: is 123, an int; ids are text, as job.id"),
        ({"job_id": "a", "include_errors": "yes"}, "include_errors: is 'yes', a str; give True or False"),
    ],
    "jobs.get_jobs": [
        ({"job_ids": [A_JOB]}, "a jobhall.Job; ids are text, as job.id"),
        ({"job_ids": 5}, "job_ids: is 5, an int; give a list"),
    ],
    "jobs.list_jobs": [
        ({"job_types": [1]}, "job_types[0]: is 1, an int; give text"),
        ({"labels": {"team": 1}}, "labels.team: is 1, an int; give text"),
        ({"states": JobState.FAILED}, "a jobhall.JobState; give a list"),
        ({"states": [5.5]}, "states[0]: is 5.5, a float; give JobState."),
        ({"page_size": "10"}, "page_size: is '10', a str; give a whole number"),
        ({"order_by": 5}, "order_by: is 5, an int; give text"),
    ],
    "jobs.wait_for_job": [({"job_id": 123}, "job_id: is 123, an int; ids are text, as job.id")],
    "jobs.wait_for_jobs": [
        ({"job_ids": ["01890a5d-ac96-774b-bcce-b302099a8057", 123]}, "job_ids[1]: is 123, an int"),
        ({"job_ids": 5}, "job_ids: is 5, an int; give a list"),
    ],
    "jobs.update_job": [
        ({"job_id": A_JOB}, "a jobhall.Job; ids are text, as job.id"),
        ({"job_id": "a", "labels": {"team": 1}}, "labels.team: is 1, an int; give text"),
        ({"job_id": "a", "priority": "high"}, "priority: is 'high', a str; give a whole number"),
    ],
    "jobs.cancel_job": [({"job_id": "a", "reason": 5}, "reason: is 5, an int; give text")],
    "jobs.cancel_jobs": [
        ({"owner": "a", "reason": 5}, "reason: is 5, an int; give text"),
        ({"owner": "a", "jobs_max": "5"}, "jobs_max: is '5', a str; give a whole number"),
        ({"owner": "a", "jobs_max": 1.5}, "jobs_max: is 1.5, a float; give a whole number"),
    ],
    "jobs.retry_job": [({"job_id": 5}, "job_id: is 5")],
    "jobs.retry_jobs": [({"namespace": 5}, "namespace: is 5, an int; give text")],
    "jobs.delete_job": [({"job_id": "a", "etag": 5}, "etag: is 5, an int; give text")],
    "jobs.purge_jobs": [({"min_age": 1, "owner": 5}, "owner: is 5, an int; give text")],
    "jobs.stats": [({"job_types": [5]}, "job_types[0]: is 5, an int; give text")],
    "jobs.explain": [({"job_id": 5}, "job_id: is 5")],
    "jobs.attempts": [({"job_id": 5}, "job_id: is 5")],
    "jobs.logs": [
        ({"job_id": 5}, "job_id: is 5"),
        ({"job_id": "a", "follow": True, "attempt": "x"}, "attempt: is 'x', a str; give a whole number"),
        ({"job_id": "a", "min_level": "warning"}, "min_level: is 'warning', a str; give LogLevel.WARNING"),
    ],
    "jobs.item_errors": [({"job_id": "a", "attempt": "x"}, "attempt: is 'x', a str; give a whole number")],
    "jobs.events": [({"event_types": ["RUNNING"]}, "event_types[0]: is 'RUNNING', a str; give EventType.RUNNING")],
    "jobs.watch": [
        ({"job_ids": [5]}, "job_ids[0]: is 5, an int; ids are text, as job.id"),
        ({"stop_when_terminal": "yes"}, "stop_when_terminal: is 'yes', a str; give True or False"),
    ],
    "batches.create": [
        ({"name": 5}, "name: is 5, an int; give text"),
        ({"jobs": [5]}, "jobs[0]: is 5, an int; give Submission(…)"),
        ({"completion_job": Submission("a", path=WRONG)}, "completion_job.path: is 5, an int; give text"),
    ],
    "batches.get": [({"batch_id": 5}, "batch_id: is 5, an int; ids are text, as batch.id")],
    "batches.list": [({"name": 5}, "name: is 5, an int; give text")],
    "batches.update": [({"batch_id": "a", "name": 5}, "name: is 5, an int; give text")],
    "batches.wait": [({"batch_id": 5}, "batch_id: is 5, an int; ids are text, as batch.id")],
    "batches.cancel": [({"batch_id": 5}, "batch_id: is 5")],
    "batches.delete": [({"batch_id": 5}, "batch_id: is 5")],
    "types.register": [
        ({"name": 5}, "name: is 5, an int; give text"),
        ({"name": "a", "defaults": {}}, "defaults: is {}, a dict; give JobDefaults(…)"),
        ({"name": "a", "defaults": JobDefaults(max_attempts="3")}, "defaults.max_attempts: is '3', a str"),  # type: ignore[arg-type]
    ],
    "types.get": [({"name": 5}, "name: is 5, an int; give text")],
    "types.list": [({"namespace": 5}, "namespace: is 5, an int; give text")],
    "types.delete": [({"name": 5}, "name: is 5, an int; give text")],
    "types.pause": [({"name": 5}, "name: is 5, an int; give text")],
    "types.resume": [({"name": 5}, "name: is 5, an int; give text")],
    "workers.claim_tasks": [
        ({"job_types": [5]}, "job_types[0]: is 5, an int; give text"),
        ({"job_types": ["a"], "runtime": "python"}, "runtime: is 'python', a str; give RuntimeInfo(…)"),
    ],
    "workers.report_tasks": [
        ({"session_id": "a", "reports": [Completed(WRONG)]}, "reports[0].lease_token: is 5, an int; give bytes"),
        ({"session_id": "a", "reports": 5}, "reports: is 5, an int; give a list"),
    ],
    "workers.heartbeat": [({"session_id": "a", "lease_tokens": [5]}, "lease_tokens[0]: is 5, an int; give bytes")],
    "workers.get": [({"worker_id": 5}, "worker_id: is 5, an int; ids are text, as worker.id")],
    "workers.list": [({"name": 5}, "name: is 5, an int; give text")],
    "workers.drain": [({"worker_id": 5}, "worker_id: is 5")],
    "admin.create_api_key": [({"name": 5, "subject": "a"}, "name: is 5, an int; give text")],
    "admin.list_api_keys": [({"subject": 5}, "subject: is 5, an int; give text")],
    "admin.revoke_api_key": [({"api_key_id": 5}, "api_key_id: is 5, an int; ids are text, as api_key.id")],
    "admin.audit_entries": [({"method": 5}, "method: is 5, an int; give text")],
    "admin.import_jobs": [
        ({"jobs": [A_JOB]}, "a jobhall.Job; give ImportedJob(…)"),
        (
            {"jobs": [ImportedJob(job=replace(A_JOB, labels={"a": WRONG}))]},
            "jobs[0].job.labels.a: is 5, an int; give text",
        ),
    ],
}
"""By method, wrong arguments and what is said of them."""
CASES = [(place, given, said) for place, cases in CALLS.items() for given, said in cases]
ALL_CASES = pytest.mark.parametrize(("place", "given", "said"), CASES, ids=[f"{it[0]}-{it[2][:30]}" for it in CASES])

FIELDS: dict[str, tuple[Any, str]] = {
    "content_type": (5, "job.content_type: is 5, an int; give text"),
    "namespace": (5, "job.namespace: is 5, an int; give text"),
    "labels": ({"a": 1}, "job.labels.a: is 1, an int; give text"),
    "path": (5, "job.path: is 5, an int; give text"),
    "file_info": ("a.png", "job.file_info: is 'a.png', a str; give FileInfo(…)"),
    "priority": ("high", "job.priority: is 'high', a str; give a whole number"),
    "job_id": (7, "job.job_id: is 7, an int; ids are text, as job.id"),
    "max_attempts": (1.5, "job.max_attempts: is 1.5, a float; give a whole number"),
    "schedule_time": ("noon", "job.schedule_time: is 'noon'; it has to be a datetime, or a timedelta from now"),
    "start_deadline": (5, "job.start_deadline: is 5; it has to be a datetime"),
    "retry_policy": ({}, "job.retry_policy: is {}, a dict; give RetryPolicy(…)"),
    "run_timeout": ("long", "job.run_timeout: is 'long'; it has to be seconds or a timedelta"),
    "progress_timeout": ([], "job.progress_timeout: is []; it has to be seconds"),
    "batch_id": (7, "job.batch_id: is 7, an int; ids are text, as batch.id"),
    "unique_key": (5, "job.unique_key: is 5, an int; give text"),
    "unique_policy": ("reject", "job.unique_policy: is 'reject', a str; give UniquePolicy.REJECT"),
    "unique_window": ("a", "job.unique_window: is 'a'; it has to be seconds"),
    "retention": ("a", "job.retention: is 'a'; it has to be seconds"),
    "access_control": (
        AccessControl(visibility="PUBLIC"),  # type: ignore[arg-type]
        "job.access_control.visibility: is 'PUBLIC', a str; give Visibility.PUBLIC",
    ),
    "trace_context": ("00-a", "job.trace_context: is '00-a', a str; give TraceContext(…)"),
}
"""By what may be said of a job, a wrong value, and what is said of that."""


def test_every_method_that_sends_something_of_its_callers_is_in_the_table() -> None:
    methods = {place for rpcs in METHODS.values() for place in rpcs.values()}

    assert methods - CALLS.keys() == {"server_info", "jobs.submit_stream"}


@ALL_CASES
def test_the_blocking_client_names_the_argument(place: str, given: dict[str, Any], said: str) -> None:
    with Client(NOWHERE, retry=ONE_TRY) as client, pytest.raises(FieldInvalidError) as refused:
        answer = attrgetter(place)(client)(**given)
        if isinstance(answer, Iterator):
            next(answer)

    assert said in refused.value.message


@ALL_CASES
async def test_the_async_client_names_the_argument(place: str, given: dict[str, Any], said: str) -> None:
    async with AsyncClient(NOWHERE, retry=ONE_TRY) as client:
        with pytest.raises(FieldInvalidError) as refused:
            answer = attrgetter(place)(client)(**given)
            await (anext(answer) if isinstance(answer, AsyncIterator) else answer)

    assert said in refused.value.message


def test_every_field_of_a_submit_is_in_the_table() -> None:
    from_the_start = {"self", "job_type", "parameters"}  # What JSON cannot say has its own words.

    assert FIELDS.keys() == inspect.signature(Submission.__init__).parameters.keys() - from_the_start


@pytest.mark.parametrize("field", FIELDS)
def test_a_submit_names_the_field(field: str) -> None:
    value, said = FIELDS[field]
    with Client(NOWHERE, retry=ONE_TRY) as client:
        with pytest.raises(FieldInvalidError) as refused:
            client.jobs.submit("resize", {}, **{field: value})
        answer = client.jobs.try_submit("resize", {}, **{field: value})
        with pytest.raises(FieldInvalidError) as of_the_check:
            client.jobs.validate("resize", {}, **{field: value})

    assert said in refused.value.message
    assert answer == SubmitAnswer(status_code=400, failure_reason=refused.value.message)
    assert of_the_check.value.message == refused.value.message


def test_the_fast_path_names_the_field_and_goes_on() -> None:
    with Client(NOWHERE, retry=ONE_TRY) as client:
        stream = client.jobs.submit_stream()
        with pytest.raises(FieldInvalidError, match=r"job\.path: is 5, an int; give text"):
            stream.submit_soon(Submission("resize", path=WRONG))
        with pytest.raises(FieldInvalidError, match=r"job: is 5, an int; give Submission"):
            stream.submit_soon(WRONG)


async def test_the_async_fast_path_names_the_field() -> None:
    async with AsyncClient(NOWHERE, retry=ONE_TRY) as client:
        with pytest.raises(FieldInvalidError, match=r"job\.path: is 5, an int; give text"):
            async with client.jobs.submit_stream() as stream:
                await stream.submit_soon(Submission("resize", path=WRONG))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retry_policy": RetryPolicy(multiplier="2")}, "job.retry_policy.multiplier: is '2', a str; give a number"),  # type: ignore[arg-type]
        (
            {"retry_policy": RetryPolicy(strategy="FIXED")},  # type: ignore[arg-type]
            "job.retry_policy.strategy: is 'FIXED', a str; give BackoffStrategy.FIXED",
        ),
        ({"file_info": FileInfo(5)}, "job.file_info.name: is 5, an int; give text"),  # type: ignore[arg-type]
        ({"path": "\ud800"}, "job.path: holds half a character"),
        ({"labels": {1: "a"}}, "job.labels[1]: is 1, an int; give text"),
        ({"labels": {"a b": None}}, "job.labels['a b']: is None; give text"),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_what_is_wrong_is_named_however_deep_it_stands(options: dict[str, Any], said: str) -> None:
    with pytest.raises(FieldInvalidError) as refused:
        submit_jobs([Submission("resize", **options)])

    assert f"jobs[0].{said.removeprefix('job.')}" in refused.value.message


def test_what_is_right_is_not_blamed_for_what_is_wrong() -> None:
    class Whole:
        def __index__(self) -> int:
            return 7

    right: dict[str, Any] = {
        "labels": {"a": "b"},
        "priority": Whole(),
        "run_timeout": timedelta(seconds=1),
        "file_info": FileInfo("a", None),
        "access_control": AccessControl(read_access=("a",)),
    }
    with pytest.raises(FieldInvalidError, match=r"jobs\[0\]\.unique_key: is 5"):
        submit_jobs([Submission("resize", **right, unique_key=WRONG)])


def test_an_error_of_the_callers_own_code_stays_what_it_is() -> None:
    """A generator that fails while it is gone through is none of our arguments."""

    def broken() -> Iterator[Submission]:
        yield Submission("resize")
        raise ValueError("the file is empty")

    with pytest.raises(ValueError, match="the file is empty"):
        submit_jobs(broken())


def test_a_value_is_told_shortly_and_what_went_wrong_inside_stays_its_cause() -> None:
    with pytest.raises(FieldInvalidError) as refused:
        get_job(A_LIST * 10_000)

    assert len(refused.value.message) < 200
    assert isinstance(refused.value.__cause__, TypeError)


def test_what_may_be_left_as_it_is_is_not_offered() -> None:
    unchanged: Any = inspect.signature(Client("127.0.0.1:1").jobs.update_job).parameters["labels"].default

    with pytest.raises(FieldInvalidError, match=r"labels: is 5, an int; give a dict \["):
        update_job(
            "a",
            priority=unchanged,
            schedule_time=unchanged,
            start_deadline=unchanged,
            labels=WRONG,
            access_control=unchanged,
            etag="",
        )
