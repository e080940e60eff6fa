"""The server's converters: payloads, JSON objects, submissions, reports and assignments, each way and at the limits."""

import json
import math
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from jobhall import states
from jobhall.errors import FieldInvalidError, PayloadTooLargeError
from jobhall.limits import PAYLOAD_BYTES_MAX, STREAM_MESSAGE_BYTES_TARGET
from jobhall.v1 import event_pb2, job_pb2, worker_service_pb2
from jobhall_server.domain.job import Lease, Payload
from jobhall_server.hall.frames import Ack, Assignment, CompletedBody, Rejection, ReportKind
from jobhall_server.hall.outbox import Outbox
from jobhall_server.hall.store import Claimed
from jobhall_server.rpc import convert
from jobhall_server.rpc.convert_work_in import logs_in, updates_in
from jobhall_server.rpc.convert_work_out import FrameWriter

finite = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.text() | finite,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (states.JobState, job_pb2.JobState),
        (states.FailureKind, job_pb2.FailureKind),
        (states.LogLevel, job_pb2.LogLevel),
        (states.EventType, event_pb2.EventType),
        (states.AttemptOutcome, job_pb2.AttemptOutcome),
        (states.UniquePolicy, job_pb2.UniquePolicy),
        (states.Visibility, job_pb2.Visibility),
        (states.BackoffStrategy, job_pb2.BackoffStrategy),
    ],
)
def test_enums_have_the_numbers_of_the_protos(ours: Any, theirs: Any) -> None:
    prefix = "".join(f"_{letter}" if letter.isupper() else letter for letter in ours.__name__).strip("_").upper()

    assert {f"{prefix}_{member.name}": int(member) for member in ours} == dict(theirs.items())


@given(st.dictionaries(st.text(), values, max_size=5))
def test_an_object_becomes_the_json_of_the_same_content(content: dict[str, Any]) -> None:
    message = Struct()
    message.update(content)

    text = convert.struct_text(message, "parameters.object")

    assert json.loads(text) == content


def test_whole_doubles_are_integers_up_to_where_they_are_exact() -> None:
    message = Struct()
    message.update({"a": 3.0, "b": -0.5, "c": 2.0**53, "d": 2.0**54, "e": 1e300})

    text = convert.struct_text(message, "object")

    assert text.startswith('{"a":3,"b":-0.5,"c":9007199254740992,')
    assert json.loads(text) == {"a": 3, "b": -0.5, "c": 2**53, "d": 2.0**54, "e": 1e300}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_has_not_is_refused_by_its_path(number: float) -> None:
    message = job_pb2.Payload()
    message.object.update({"rows": [{"x": 1}, {"x": number}]})

    with pytest.raises(FieldInvalidError) as caught:
        convert.payload_in(message, "job.parameters")

    assert caught.value.violations[0].field == "job.parameters.object.rows[1].x"


@given(st.one_of(values.map(json.dumps), st.binary(max_size=100)), st.text(max_size=20))
def test_a_payload_comes_back_as_it_went_in(content: str | bytes, content_type: str) -> None:
    payload = Payload(content, content_type)

    assert convert.payload_in(convert.payload_out(payload), "payload") == payload


def test_a_payload_without_content_is_none() -> None:
    assert convert.payload_in(job_pb2.Payload(content_type="text/plain"), "parameters") is None


def test_json_is_kept_byte_for_byte() -> None:
    text = ' { "b" : 1.0 , "a" : "\\u00e9" } '

    assert convert.payload_in(job_pb2.Payload(json=text), "parameters") == Payload(text, "")


@pytest.mark.parametrize("text", ["", "{", "NaN", "{'a': 1}", "[1,]", "nul", '{"a": Infinity}', "\x00"])
def test_what_is_not_json_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(FieldInvalidError) as caught:
        convert.payload_in(job_pb2.Payload(json=text), "job.parameters")

    assert caught.value.violations[0].field == "job.parameters.json"


@pytest.mark.parametrize(
    "message",
    [
        job_pb2.Payload(json='"' + "é" * (PAYLOAD_BYTES_MAX // 2) + '"'),
        job_pb2.Payload(data=bytes(PAYLOAD_BYTES_MAX + 1)),
    ],
)
def test_a_payload_above_the_limit_is_refused_with_its_size_in_bytes(message: job_pb2.Payload) -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        convert.payload_in(message, "job.parameters")

    assert caught.value.metadata["limit_bytes"] == str(PAYLOAD_BYTES_MAX)
    assert int(caught.value.metadata["size_bytes"]) > PAYLOAD_BYTES_MAX


def test_a_payload_at_the_limit_is_taken() -> None:
    assert convert.payload_in(job_pb2.Payload(data=bytes(PAYLOAD_BYTES_MAX)), "parameters") is not None
    assert convert.payload_in(job_pb2.Payload(json='"' + "x" * (PAYLOAD_BYTES_MAX - 2) + '"'), "p") is not None


@given(st.integers(min_value=0, max_value=250_000_000_000_000_000))
def test_a_time_comes_back_to_the_microsecond(us: int) -> None:
    assert convert.microseconds(convert.timestamp(us), "time") == us


@pytest.mark.parametrize(("seconds", "nanos"), [(2**62, 0), (-(2**62), 0), (0, -1), (0, 2_000_000_000)])
def test_a_time_outside_the_calendar_is_refused(seconds: int, nanos: int) -> None:
    with pytest.raises(FieldInvalidError):
        convert.microseconds(Timestamp(seconds=seconds, nanos=nanos), "time")


def token(key: int) -> bytes:
    return Lease(key, 1, 7).token()


def test_reports_are_read_in_their_order() -> None:
    message = worker_service_pb2.TaskUpdates()
    message.updates.add(seq=1, lease_token=token(1)).accepted.SetInParent()
    message.updates.add(lease_token=token(1)).progress.percent = 40
    message.updates.add(seq=2, lease_token=token(1)).completed.result.json = "{}"
    message.updates.add(seq=3, lease_token=token(2)).failed.message = "no"
    malformed: list[Rejection] = []

    reports = updates_in(message.updates, malformed)

    kinds = [ReportKind.ACCEPTED, ReportKind.PROGRESS, ReportKind.COMPLETED, ReportKind.FAILED]
    assert [report.kind for report in reports] == kinds
    assert [report.seq for report in reports] == [1, 0, 2, 3]
    assert isinstance(reports[2].body, CompletedBody)
    assert reports[2].body.result == Payload("{}", "")
    assert not malformed


def test_a_malformed_report_is_rejected_in_the_ack_that_covers_it_and_costs_the_others_nothing() -> None:
    writer = FrameWriter()
    message = worker_service_pb2.TaskUpdates()
    message.updates.add(seq=1, lease_token=token(1)).completed.result.json = "{"
    message.updates.add(seq=2, lease_token=token(2)).completed.SetInParent()
    message.updates.add(seq=3, lease_token=token(3))

    reports = updates_in(message.updates, writer.malformed)
    first = list(writer.messages([Ack(2)]))
    second = list(writer.messages([Ack(3)]))

    assert [report.kind for report in reports] == [ReportKind.ACCEPTED, ReportKind.COMPLETED, ReportKind.ACCEPTED]
    assert [rejection.seq for rejection in first[0].ack.rejections] == [1]
    assert [rejection.seq for rejection in second[0].ack.rejections] == [3]
    assert first[0].ack.rejections[0].lease_token == token(1)


def test_log_lines_are_cut_and_those_without_a_time_are_stamped() -> None:
    message = worker_service_pb2.TaskLogs()
    log = message.logs.add(seq=1, lease_token=token(1), first_number=1)
    log.log_entries.add(message="é" * 20_000)
    log.log_entries.add(message="two", level=job_pb2.LOG_LEVEL_ERROR, time={"seconds": 5})

    (report,) = logs_in(message.logs, [])

    long, dated = report.body.lines  # type: ignore[union-attr]
    assert len(long.text.encode()) == 16 * 1024
    assert long.level is states.LogLevel.INFO
    assert long.at > 1_700_000_000_000_000
    assert (dated.at, dated.level) == (5_000_000, states.LogLevel.ERROR)


def claimed(key: int, parameters: str) -> Assignment:
    described = (None, None, None, None, "me", "", None)
    job = Claimed(Lease(key, 1, 7), f"job-{key}", 1, 1, 4, 0, 1_800_000_000_000_000, *described, Payload(parameters))
    return Assignment(job, "default", "score", job.lease.token())


def test_assignments_are_cut_at_64_kib_or_one_task_and_numbered_one_by_one() -> None:
    outbox = Outbox(STREAM_MESSAGE_BYTES_TARGET)
    small = [claimed(key, '"' + "x" * 1000 + '"') for key in range(200)]
    large = claimed(200, '"' + "x" * 200_000 + '"')

    frames = [*outbox.deliver([*small, large]), *outbox.deliver([claimed(201, "{}")])]
    messages = list(FrameWriter().messages(frames))

    assert [m.task_assignments.assignments_seq for m in messages] == list(range(1, len(messages) + 1))
    assert [t.job_id for m in messages for t in m.task_assignments.tasks] == [f"job-{key}" for key in range(202)]
    assert all(
        m.ByteSize() <= STREAM_MESSAGE_BYTES_TARGET * 1.1 or len(m.task_assignments.tasks) == 1 for m in messages
    )
