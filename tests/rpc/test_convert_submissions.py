"""Submissions and updates of jobs as they are read: every field is honoured, or refused by its path."""

import math
from typing import Any

import pytest

from jobhall.errors import FieldInvalidError
from jobhall.states import UniquePolicy, Visibility
from jobhall.v1 import job_pb2
from jobhall_server.domain.access import AccessRules
from jobhall_server.domain.job import Payload
from jobhall_server.domain.moves import JobUpdate
from jobhall_server.domain.rules import RetryPolicy
from jobhall_server.hall.submits import Submission
from jobhall_server.rpc.convert_submissions import submission_in, update_in

AT = 1_800_000_000
BATCH = "0190a0b0-0000-7000-8000-00000000000a"
KEY = {"unique_key": "k"}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

HONOURED: dict[str, tuple[Any, Any]] = {
    "namespace": ("acme", Submission("t", namespace="acme")),
    "parameters": ({"json": "1"}, Submission("t", parameters=Payload("1"))),
    "labels": ({"a": "b"}, Submission("t", labels={"a": "b"})),
    "path": ("/x", Submission("t", path="/x")),
    "file_info": ({"name": "f"}, Submission("t", file_name="f")),
    "priority": (0, Submission("t", priority=0)),
    "max_attempts": (7, Submission("t", max_attempts=7)),
    "schedule_time": ({"seconds": AT}, Submission("t", schedule_at=AT * 10**6)),
    "start_deadline": ({"seconds": AT}, Submission("t", start_deadline=AT * 10**6)),
    "retry_policy": ({}, Submission("t", retry=RetryPolicy())),
    "run_timeout": ({"seconds": 2}, Submission("t", run_timeout_us=2_000_000)),
    "progress_timeout": ({"nanos": 1000}, Submission("t", progress_timeout_us=1)),
    "batch_id": (BATCH.upper(), Submission("t", batch_id=BATCH)),
    "unique_key": ("k", Submission("t", unique_key="k")),
    "access_control": (
        {"visibility": 2, "read_access": ["ann", "ben", "ann"]},
        Submission("t", access=AccessRules(Visibility.PUBLIC, ("ann", "ben")).text()),
    ),
    "trace_context": ({"traceparent": TRACE, "tracestate": "v=1"}, Submission("t", trace=f'["{TRACE}","v=1"]')),
    "retention": ({"seconds": 0}, Submission("t", retention_us=0)),
}
"""Each field alone, and what becomes of it."""
WITH_ANOTHER = {"job_type", "job_id", "unique_policy", "unique_window"}


@pytest.mark.parametrize("name", HONOURED)
def test_each_field_of_a_submission_is_honoured(name: str) -> None:
    given, expected = HONOURED[name]

    assert submission_in(job_pb2.JobSubmission(job_type="t", **{name: given}), "job") == expected


def test_a_policy_and_a_window_go_with_a_unique_key() -> None:
    window = {"seconds": 60}
    message = job_pb2.JobSubmission(job_type="t", unique_key="k", unique_policy=2, unique_window=window)  # type: ignore[arg-type]

    submission = submission_in(message, "job")

    assert (submission.unique_policy, submission.unique_window_us) == (UniquePolicy.REJECT, 60_000_000)


def test_no_field_of_a_submission_is_dropped_in_silence() -> None:
    """A field that is added to the proto must not be."""
    assert {field.name for field in job_pb2.JobSubmission.DESCRIPTOR.fields} == HONOURED.keys() | WITH_ANOTHER


UNKNOWN = 99
LONG = "x" * 256
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("job_id", {"job_id": "no uuid"}),
    ("batch_id", {"batch_id": "no uuid"}),
    ("unique_key", {"unique_key": LONG}),
    ("unique_policy", {"unique_policy": UNKNOWN, **KEY}),
    ("unique_policy", {"unique_policy": 2}),
    ("unique_window", {"unique_window": {"seconds": 1}}),
    ("unique_window", {"unique_window": {"seconds": -1}, **KEY}),
    ("unique_window", {"unique_window": {"seconds": 400 * 86_400}, **KEY}),
    ("schedule_time", {"schedule_time": {"seconds": 2**62}}),
    ("schedule_time", {"schedule_time": {"nanos": -1}}),
    ("start_deadline", {"start_deadline": {"seconds": -(2**62)}}),
    ("start_deadline", {"start_deadline": {"seconds": AT}, "schedule_time": {"seconds": AT}}),
    ("start_deadline", {"start_deadline": {"seconds": AT}, "schedule_time": {"seconds": AT + 1}}),
    ("retention", {"retention": {"seconds": -1}}),
    ("retention", {"retention": {"seconds": 2**40}}),
    ("run_timeout", {"run_timeout": {}}),
    ("run_timeout", {"run_timeout": {"seconds": -5}}),
    ("progress_timeout", {"progress_timeout": {"seconds": 2**40}}),
    ("retry_policy.strategy", {"retry_policy": {"strategy": UNKNOWN}}),
    ("retry_policy.multiplier", {"retry_policy": {"multiplier": 0.5}}),
    ("retry_policy.multiplier", {"retry_policy": {"multiplier": math.nan}}),
    ("retry_policy.jitter", {"retry_policy": {"jitter": 1.5}}),
    ("retry_policy.jitter", {"retry_policy": {"jitter": math.nan}}),
    ("retry_policy.initial_delay", {"retry_policy": {"initial_delay": {"seconds": -1}}}),
    ("retry_policy.max_delay", {"retry_policy": {"initial_delay": {"seconds": 2}, "max_delay": {"seconds": 1}}}),
    ("retry_policy.non_retryable_codes", {"retry_policy": {"non_retryable_codes": ["X"] * 101}}),
    ("retry_policy.non_retryable_codes[1]", {"retry_policy": {"non_retryable_codes": ["X", LONG]}}),
    ("access_control.visibility", {"access_control": {"visibility": UNKNOWN}}),
    ("access_control.read_access", {"access_control": {"read_access": [f"s{place}" for place in range(101)]}}),
    ("access_control.write_access[1]", {"access_control": {"write_access": ["ann", LONG]}}),
    ("access_control.admin_access[0]", {"access_control": {"admin_access": [""]}}),
    ("trace_context.traceparent", {"trace_context": {"traceparent": "00-0-0-00"}}),
    ("trace_context.traceparent", {"trace_context": {"traceparent": TRACE.upper()}}),
    ("trace_context.traceparent", {"trace_context": {"traceparent": f"{TRACE}-more"}}),
    ("trace_context.traceparent", {"trace_context": {"traceparent": "ff" + TRACE[2:]}}),
    ("trace_context.traceparent", {"trace_context": {"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"}}),
    ("trace_context.traceparent", {"trace_context": {"traceparent": f"{TRACE[:36]}{'0' * 16}-01"}}),
    ("trace_context.traceparent", {"trace_context": {"traceparent": f"01{TRACE[2:]}-{'x' * 255}"}}),
    ("trace_context.traceparent", {"trace_context": {"traceparent": f"{TRACE}\n"}}),
    ("trace_context.tracestate", {"trace_context": {"tracestate": "v=1"}}),
    ("trace_context.tracestate", {"trace_context": {"traceparent": TRACE, "tracestate": "v=1\r\nx: y"}}),
    ("trace_context.tracestate", {"trace_context": {"traceparent": TRACE, "tracestate": "x" * 513}}),
    ("labels", {"labels": {f"k{number}": "" for number in range(10_000)}}),
    ("labels['!']", {"labels": {"!": ""}}),
    ("labels['k']", {"labels": {"k": LONG}}),
    ("path", {"path": "x" * 1025}),
    ("file_info.name", {"file_info": {"name": "x" * 1025}}),
    ("file_info.size_bytes", {"file_info": {"size_bytes": -1}}),
    ("file_info.size_bytes", {"file_info": {"size_bytes": 2**53}}),
    ("priority", {"priority": 101}),
    ("priority", {"priority": -101}),
    ("max_attempts", {"max_attempts": -1}),
    ("max_attempts", {"max_attempts": 1001}),
    ("parameters.content_type", {"parameters": {"json": "1", "content_type": LONG}}),
]


@pytest.mark.parametrize(("path", "fields"), WRONG)
def test_a_value_that_cannot_be_taken_is_refused_by_its_path(path: str, fields: dict[str, Any]) -> None:
    with pytest.raises(FieldInvalidError) as caught:
        submission_in(job_pb2.JobSubmission(job_type="t", **fields), "jobs[3]").check()

    assert [violation.field for violation in caught.value.violations] == [f"jobs[3].{path}"]


def test_a_later_version_of_a_trace_context_is_handed_on() -> None:
    message = job_pb2.JobSubmission(job_type="t", trace_context={"traceparent": f"01{TRACE[2:]}-later"})  # type: ignore[arg-type]

    assert "-later" in (submission_in(message, "job").trace or "")


def test_an_update_names_what_it_changes_and_nothing_else_is_looked_at() -> None:
    message = job_pb2.Job(priority=5, labels={"a": "b"}, path="/not/asked/for")

    assert update_in(message, ["priority"]) == JobUpdate(frozenset({"priority"}), priority=5)
    assert update_in(message, ["labels", "schedule_time"]) == JobUpdate(
        frozenset({"labels", "schedule_at"}), labels='{"a": "b"}'
    )


@pytest.mark.parametrize("paths", [[], ["*"], ["priority", "state"], ["labels.team"], ["job.priority"], [""]])
def test_a_mask_that_names_nothing_that_can_be_changed_is_refused(paths: list[str]) -> None:
    with pytest.raises(FieldInvalidError) as caught:
        update_in(job_pb2.Job(), paths)

    assert caught.value.violations[0].field == "update_mask"
    assert "priority, schedule_time, start_deadline, labels, access_control" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("priority", {"priority": 101}),
        ("labels", {"labels": {f"k{number}": "" for number in range(65)}}),
        ("schedule_time", {"schedule_time": {"seconds": 2**62}}),
        ("start_deadline", {"start_deadline": {"nanos": -1}}),
        ("access_control.visibility", {"access_control": {"visibility": UNKNOWN}}),
    ],
)
def test_a_new_value_that_cannot_be_taken_is_refused_by_its_path(path: str, fields: dict[str, Any]) -> None:
    with pytest.raises(FieldInvalidError) as caught:
        update_in(job_pb2.Job(**fields), list(fields))

    assert caught.value.violations[0].field == f"job.{path}"


JOB_ID = "0190a0b0-0000-7000-8000-000000000000"


def test_the_same_submission_has_the_same_digest_and_another_has_not() -> None:
    first = job_pb2.JobSubmission(job_type="a", job_id=JOB_ID, labels={"x": "1", "y": "2"})
    again = job_pb2.JobSubmission(job_type="a", job_id=JOB_ID, labels={"y": "2", "x": "1"})
    other = job_pb2.JobSubmission(job_type="a", job_id=JOB_ID, labels={"x": "1", "y": "3"})

    digests = [submission_in(message, "job").digest for message in (first, again, other)]

    assert digests[0] == digests[1] != digests[2]
    assert all(0 < digest < 2**63 for digest in digests)
