"""The SDK's converters: what goes to the wire and comes back is the same, and nothing odd from a server hurts."""

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from jobhall import (
    BackoffStrategy,
    EventType,
    FileInfo,
    ItemError,
    JobState,
    LogEntry,
    LogLevel,
    Progress,
    RetryPolicy,
    Submission,
    Submitted,
    Visibility,
)
from jobhall.errors import FieldInvalidError, JobTypeNotFoundError, PayloadTooLargeError
from jobhall.limits import PAYLOAD_BYTES_MAX
from jobhall.v1 import event_pb2, job_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall.wire import (
    event_from_wire,
    item_error_from_wire,
    item_error_to_wire,
    job_from_wire,
    log_entry_from_wire,
    log_entry_to_wire,
    outcome_from_wire,
    progress_from_wire,
    progress_to_wire,
    watch_update_from_wire,
)
from jobhall.wire_errors import status_from_error
from jobhall.wire_submissions import retry_policy_from_wire, submission_to_wire
from jobhall.wire_values import (
    duration_from_wire,
    payload_from_wire,
    payload_to_wire,
    struct_from_wire,
    struct_to_wire,
    time_from_wire,
    time_to_wire,
)

texts = st.text(max_size=20)
counts = st.integers(0, 2**53)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
finite = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
# A Struct knows only doubles: whole ones come back as int, so those are what goes in here.
numbers = st.integers(-(2**53), 2**53) | finite.filter(lambda number: not number.is_integer())
objects = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | numbers | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=3,
)
spans = st.timedeltas(timedelta(), timedelta(days=365 * 200))
strategies = st.sampled_from([strategy for strategy in BackoffStrategy if strategy])
progresses = st.builds(
    Progress,
    step=texts,
    stage=texts,
    step_index=st.integers(0, 2**31 - 1),
    step_count=st.integers(0, 2**31 - 1),
    percent=st.none() | st.floats(0, 100),
    message=texts,
    items_total=st.none() | counts,
    items_processed=counts,
    items_succeeded=counts,
    items_failed=counts,
    unit=texts,
    details=st.none() | objects,
)
log_entries = st.builds(
    LogEntry,
    message=texts,
    level=st.sampled_from(LogLevel),
    written_at=st.none() | moments,
    raw=st.binary(max_size=10),
    fields=st.none() | objects,
)


@given(plain.filter(lambda content: content is not None))
def test_anything_that_json_can_say_comes_back(content: Any) -> None:
    payload = payload_to_wire(content, field="job.parameters")

    assert payload is not None
    assert json.loads(payload.json) == content
    assert payload_from_wire(payload) == (content, "application/json")


@given(st.binary(), st.sampled_from(["", "image/png"]))
def test_bytes_come_back_with_their_media_type(content: bytes, content_type: str) -> None:
    payload = payload_to_wire(content, field="job.parameters", content_type=content_type)

    assert payload is not None
    assert payload_from_wire(payload) == (content, content_type or "application/octet-stream")


def test_nothing_is_no_payload() -> None:
    assert payload_to_wire(None, field="job.parameters") is None
    assert payload_from_wire(job_pb2.Payload()) == (None, "")


@given(objects)
def test_an_object_comes_back_with_its_whole_numbers_whole(content: dict[str, Any]) -> None:
    struct = Struct.FromString(struct_to_wire(content, field="details").SerializeToString())

    assert struct_from_wire(struct) == content


@given(moments)
def test_a_moment_comes_back_to_the_microsecond(moment: datetime) -> None:
    message = job_pb2.Job(create_time=time_to_wire(moment))

    assert time_from_wire(message, "create_time") == moment
    assert time_from_wire(message, "end_time") is None


@given(progresses)
def test_progress_comes_back(progress: Progress) -> None:
    assert progress_from_wire(progress_to_wire(progress)) == progress


@given(st.builds(ItemError, index=counts, key=texts, code=texts, message=texts))
def test_an_item_error_comes_back(error: ItemError) -> None:
    assert item_error_from_wire(item_error_to_wire(error)) == error


@given(log_entries)
def test_a_log_entry_comes_back(entry: LogEntry) -> None:
    assert log_entry_from_wire(log_entry_to_wire(entry)) == entry


@given(
    st.builds(
        Submission,
        texts,
        plain,
        content_type=texts,
        namespace=texts,
        labels=st.dictionaries(texts, texts, max_size=3),
        path=texts,
        file_info=st.none() | st.builds(FileInfo, texts, counts),
        priority=st.none() | st.integers(-100, 100),
        max_attempts=st.integers(0, 1000),
        retry_policy=st.none() | st.builds(RetryPolicy, strategy=strategies, initial_delay=spans),
        run_timeout=st.none() | spans,
        progress_timeout=st.none() | spans,
    )
)
def test_a_submission_says_everything_and_nothing_else(submission: Submission) -> None:
    message = submission_to_wire(submission, job_id="j1")

    read = Submission(
        message.job_type,
        payload_from_wire(message.parameters)[0],
        content_type=message.parameters.content_type,
        namespace=message.namespace,
        labels=dict(message.labels),
        path=message.path,
        file_info=FileInfo(message.file_info.name, message.file_info.size_bytes)
        if message.HasField("file_info")
        else None,
        priority=message.priority if message.HasField("priority") else None,
        max_attempts=message.max_attempts,
        retry_policy=retry_policy_from_wire(message.retry_policy) if message.HasField("retry_policy") else None,
        run_timeout=duration_from_wire(message, "run_timeout"),
        progress_timeout=duration_from_wire(message, "progress_timeout"),
    )
    assert message.job_id == "j1"
    if submission.parameters is not None:
        assert read == submission


@pytest.mark.parametrize(
    ("content", "place", "why"),
    [
        ({"a": math.nan}, ".a", "NaN"),
        ([math.inf], "[0]", "NaN"),
        ({"when": datetime(2026, 1, 1, tzinfo=UTC)}, ".when", "datetime"),
        ({1, 2}, "", "set"),
        ("\ud800", "", "surrogates"),
    ],
)
def test_what_json_cannot_say_is_refused_with_its_place_and_the_reason(content: Any, place: str, why: str) -> None:
    with pytest.raises(FieldInvalidError, match=why) as caught:
        payload_to_wire(content, field="job.parameters")

    assert caught.value.violations[0].field == f"job.parameters{place}"


def test_a_payload_that_holds_itself_is_refused() -> None:
    content: list[Any] = []
    content.append(content)

    with pytest.raises(FieldInvalidError, match="Circular"):
        payload_to_wire(content, field="job.parameters")


@pytest.mark.parametrize("content", [b"x" * (PAYLOAD_BYTES_MAX + 1), "x" * PAYLOAD_BYTES_MAX, "é" * 600_000])
def test_an_oversized_payload_is_refused_with_its_size(content: Any) -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        payload_to_wire(content, field="job.parameters")

    assert int(caught.value.metadata["size_bytes"]) > PAYLOAD_BYTES_MAX


def test_a_payload_at_the_limit_passes() -> None:
    assert payload_to_wire("é" * 500_000, field="job.parameters") is not None
    assert payload_to_wire("x" * (PAYLOAD_BYTES_MAX - 2), field="job.parameters") is not None


def test_an_empty_job_reads_as_one_that_says_nothing() -> None:
    job = job_from_wire(job_pb2.Job(id="j1"))

    assert job.state is JobState.UNSPECIFIED
    assert (job.error, job.created_at, job.current_task, job.file_info, job.parameters) == (None,) * 5
    assert job.progress == Progress()
    assert job.access_control.visibility is Visibility.PRIVATE


def test_values_of_a_newer_server_read_as_unspecified() -> None:
    job = job_pb2.Job()
    job.state = 77  # type: ignore[assignment]
    event = event_pb2.JobEvent()
    event.event_type = 99  # type: ignore[assignment]

    assert job_from_wire(job).state is JobState.UNSPECIFIED
    assert event_from_wire(event).event_type is EventType.UNSPECIFIED


def test_a_full_job_reads_with_all_its_parts() -> None:
    message = job_pb2.Job(
        id="j1",
        state=job_pb2.JOB_STATE_RUNNING,
        result=job_pb2.Payload(json="[1]"),
        error=job_pb2.JobError(kind=job_pb2.FAILURE_KIND_TIMEOUT, message="slow", retryable=True),
        timing=job_pb2.Timing(items_per_second=7.97),
        labels={"team": "a"},
        file_info=job_pb2.FileInfo(name="rows.csv", size_bytes=2048),
        current_task=job_pb2.TaskInfo(attempt=2, fence=3, worker_name="w"),
        access_control=job_pb2.AccessControl(visibility=job_pb2.VISIBILITY_PUBLIC, read_access=["ann"]),
        item_errors=[job_pb2.ItemError(index=45, key="INVALID")],
    )
    message.timing.run_duration.FromTimedelta(timedelta(seconds=125.5))

    job = job_from_wire(message)

    assert job.result == [1]
    assert job.error is not None
    assert job.error.retryable
    assert (job.timing.items_per_second, job.timing.recent_items_per_second) == (7.97, None)
    assert job.timing.run_duration == timedelta(seconds=125.5)
    assert job.file_info == FileInfo("rows.csv", 2048)
    assert job.current_task is not None
    assert job.current_task.fence == 3
    assert job.access_control.read_access == ("ann",)
    assert job.item_errors == (ItemError(45, "INVALID"),)


def test_a_watch_update_reads_with_events_and_snapshot() -> None:
    update = watch_update_from_wire(
        pb.WatchJobsResponse(
            cursor="c",
            events=[event_pb2.JobEvent(event_type=event_pb2.EVENT_TYPE_PROGRESS, progress=job_pb2.Progress(percent=5))],
            snapshot_jobs=[job_pb2.Job(id="j1")],
            cursor_reset=True,
        )
    )

    assert (update.cursor, update.reset, update.snapshot_complete) == ("c", True, False)
    assert update.events[0].progress == Progress(percent=5.0)
    assert update.jobs[0].id == "j1"


def test_an_outcome_on_the_submit_stream_is_a_job_or_an_error() -> None:
    good = pb.SubmitOutcome(seq=1, submitted=pb.SubmittedJob(job_id="j1", revision=1))
    bad = pb.SubmitOutcome(seq=2, error=status_from_error(JobTypeNotFoundError("resise", nearest="resize")))

    assert outcome_from_wire(good) == Submitted("j1", 1)
    assert isinstance(outcome_from_wire(bad), JobTypeNotFoundError)
