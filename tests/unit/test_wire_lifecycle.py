"""The converters of submissions, batches, types, attempts and counts: nothing that is said is lost on the way."""

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from jobhall import (
    AccessControl,
    CompletionPolicy,
    FileInfo,
    JobDefaults,
    RetryPolicy,
    Submission,
    TraceContext,
    UniquePolicy,
    Visibility,
)
from jobhall.calls import SubmitOptions
from jobhall.errors import FieldInvalidError
from jobhall.v1 import admin_service_pb2, batch_pb2, job_pb2, job_service_pb2, job_type_pb2, worker_service_pb2
from jobhall.wire import item_error_from_wire, job_from_wire, log_entry_from_wire
from jobhall.wire_admin import api_key_from_wire, audit_entry_from_wire
from jobhall.wire_batches import batch_from_wire
from jobhall.wire_insight import attempt_from_wire, explanation_from_wire, stats_from_wire
from jobhall.wire_submissions import submission_from_wire, submission_to_wire
from jobhall.wire_tasks import claim_from_wire, heartbeat_from_wire
from jobhall.wire_types import defaults_to_wire, job_type_from_wire
from jobhall.wire_values import when_to_wire

texts = st.text(max_size=20)
spans = st.none() | st.timedeltas(timedelta(), timedelta(days=300))
moments = st.none() | st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
subjects = st.lists(texts, max_size=3).map(tuple)
submissions = st.builds(
    Submission,
    job_type=texts,
    parameters=st.none() | st.dictionaries(texts, st.integers(-(2**50), 2**50), max_size=3),
    content_type=st.just("application/json"),
    namespace=texts,
    labels=st.dictionaries(texts, texts, max_size=3),
    path=texts,
    file_info=st.none() | st.builds(FileInfo, texts, st.none() | st.integers(0, 2**53)),
    priority=st.none() | st.integers(-100, 100),
    job_id=texts,
    max_attempts=st.integers(0, 1000),
    schedule_time=moments,
    start_deadline=moments,
    retry_policy=st.none() | st.builds(RetryPolicy, initial_delay=st.timedeltas(timedelta(), timedelta(days=1))),
    run_timeout=spans,
    progress_timeout=spans,
    batch_id=texts,
    unique_key=texts,
    unique_policy=st.sampled_from(UniquePolicy),
    unique_window=spans,
    retention=spans,
    access_control=st.none()
    | st.builds(
        AccessControl,
        visibility=st.sampled_from([Visibility.PRIVATE, Visibility.PUBLIC]),
        read_access=subjects,
        write_access=subjects,
        admin_access=subjects,
    ),
    trace_context=st.none() | st.builds(TraceContext, texts, texts),
)

READERS: list[tuple[type[Message], Callable[[Any], Any]]] = [
    (job_pb2.Job, job_from_wire),
    (job_pb2.JobSubmission, submission_from_wire),
    (job_pb2.Attempt, attempt_from_wire),
    (job_pb2.LogEntry, log_entry_from_wire),
    (job_pb2.ItemError, item_error_from_wire),
    (batch_pb2.Batch, batch_from_wire),
    (job_type_pb2.JobType, job_type_from_wire),
    (job_service_pb2.GetJobStatsResponse, stats_from_wire),
    (job_service_pb2.JobExplanation, explanation_from_wire),
    (worker_service_pb2.ClaimTasksResponse, claim_from_wire),
    (worker_service_pb2.HeartbeatResponse, heartbeat_from_wire),
    (admin_service_pb2.ApiKey, api_key_from_wire),
    (admin_service_pb2.AuditEntry, audit_entry_from_wire),
]
NOT_READ = {"number"}
"""Of a progress: it counts the reports of one task, and is nobody's business but its server's."""


@given(submissions)
def test_a_submission_comes_back_as_it_was_made(submission: Submission) -> None:
    said = submission if submission.parameters is not None else replace(submission, content_type="")

    assert submission_from_wire(submission_to_wire(said, job_id=said.job_id)) == said


def test_what_a_submit_may_say_is_what_a_submission_has() -> None:
    said = {it.name for it in fields(Submission)} - {"job_type", "parameters"}

    assert set(SubmitOptions.__annotations__) == said


@pytest.mark.parametrize(("kind", "read"), READERS, ids=[kind.DESCRIPTOR.name for kind, _ in READERS])
def test_every_field_of_an_answer_is_read(kind: type[Message], read: Callable[[Any], Any]) -> None:
    """A field that is added to a proto must not be passed over in silence: without it the answer reads otherwise."""
    whole = read(filled(kind()))

    unread = [path for path, lesser in without_one(kind) if path[-1] not in NOT_READ and read(lesser) == whole]

    assert unread == []


def test_a_time_from_now_is_counted_by_this_clock() -> None:
    before = datetime.now(UTC)
    stamp = when_to_wire(timedelta(hours=1), field="job.schedule_time")

    assert stamp is not None
    assert before <= stamp.ToDatetime(tzinfo=UTC) - timedelta(hours=1) <= datetime.now(UTC)


@pytest.mark.parametrize("when", ["tomorrow", timedelta.max, 17])
def test_what_is_no_time_is_refused_by_its_field(when: Any) -> None:
    with pytest.raises(FieldInvalidError) as caught:
        submission_to_wire(Submission("resize", schedule_time=when), job_id="", field="jobs[3]")

    assert caught.value.violations[0].field == "jobs[3].schedule_time"


def test_a_file_larger_than_a_message_can_say_is_refused_by_its_field() -> None:
    with pytest.raises(FieldInvalidError, match=r"job\.file_info\.size_bytes: .* beyond 64 bits"):
        submission_to_wire(Submission("resize", file_info=FileInfo("a", 2**63)), job_id="")


def test_an_access_list_without_a_visibility_reads_as_private() -> None:
    message = job_pb2.Job(access_control=job_pb2.AccessControl(read_access=["ann"]))

    assert job_from_wire(message).access_control == AccessControl(read_access=("ann",))


def test_a_batch_says_what_holds_where_its_creator_said_nothing() -> None:
    batch = batch_from_wire(batch_pb2.Batch(id="b1"), job_ids=["j1", "j2"])

    assert batch.completion_policy is CompletionPolicy.ALL_COMPLETED
    assert (batch.completion_job, batch.counts.total, batch.progress.error_rate) == (None, 0, None)
    assert batch.job_ids == ("j1", "j2")


def test_a_schema_reads_as_what_its_text_says_and_none_as_none() -> None:
    message = job_type_pb2.JobType(name="resize", parameters_schema='{"type": "object"}', result_schema="false")

    job_type = job_type_from_wire(message)

    assert job_type.parameters_schema == {"type": "object"}
    assert job_type.result_schema is False
    assert job_type_from_wire(job_type_pb2.JobType(name="resize")).parameters_schema is None


def test_defaults_come_back_with_their_spans_as_timedeltas() -> None:
    defaults = JobDefaults(priority=0, max_attempts=7, run_timeout=90, retention=timedelta(days=1))
    message = job_type_pb2.JobType(name="resize", defaults=defaults_to_wire(defaults, field="job_type.defaults"))

    assert job_type_from_wire(message).defaults == replace(defaults, run_timeout=timedelta(seconds=90))
    assert job_type_from_wire(job_type_pb2.JobType()).defaults == JobDefaults()


def filled(message: Any) -> Any:
    """The message with every field set to something that is not its default."""
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof is None or field.containing_oneof.name.startswith("_") or field.name == "json":
            _fill(message, field)
    return message


def without_one(kind: type[Message]) -> list[tuple[tuple[str, ...], Any]]:
    """The same message lacking one field, for each field, those of the messages in it too."""
    lesser = []
    for path in _paths(filled(kind())):
        message = inner = filled(kind())
        for name in path[:-1]:
            inner = _first(getattr(inner, name))
        inner.ClearField(path[-1])
        lesser.append((path, message))
    return lesser


def _paths(message: Any) -> list[tuple[str, ...]]:
    paths: list[tuple[str, ...]] = []
    for field, value in message.ListFields():
        paths.append((field.name,))
        if field.message_type is not None and not _plain(field.message_type):
            paths.extend((field.name, *path) for path in _paths(_first(value)))
    return paths


def _first(value: Any) -> Any:
    return value[0] if hasattr(value, "append") else value


def _plain(kind: Descriptor) -> bool:
    """Whether a message of this kind is a value rather than a record of ours."""
    return kind.GetOptions().map_entry or kind.file.package != "jobhall.v1" or kind.name == "Payload"


def _fill(message: Any, field: FieldDescriptor) -> None:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        getattr(message, field.name)["key"] = "value"
    elif kind is not None and kind.name == "Struct":
        getattr(message, field.name)["a"] = 1
    elif kind is not None:
        target = getattr(message, field.name)
        filled(target.add() if field.is_repeated else target)
    elif field.is_repeated:
        getattr(message, field.name).append(b"some" if field.type == FieldDescriptor.TYPE_BYTES else "some")
    else:
        setattr(message, field.name, _SAMPLES.get(field.type, 3))


_SAMPLES: dict[int, object] = {
    # A text that is JSON too, for those fields that hold it.
    FieldDescriptor.TYPE_STRING: '"some"',
    FieldDescriptor.TYPE_BYTES: b"some",
    FieldDescriptor.TYPE_BOOL: True,
    FieldDescriptor.TYPE_ENUM: 2,
}
