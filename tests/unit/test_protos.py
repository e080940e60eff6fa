"""The contract agrees with the SDK's words, can be lived with in other languages, and crosses the wire unchanged."""

import re
from collections.abc import Iterator
from enum import IntEnum
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from jobhall import errors, states
from jobhall.v1 import (
    batch_pb2,
    error_pb2,
    event_pb2,
    job_pb2,
    job_service_pb2,
    task_pb2,
    worker_pb2,
    worker_service_pb2,
)

PROTOS = Path(__file__).resolve().parents[2] / "protos" / "jobhall" / "v1"
FILES: list[FileDescriptor] = [
    import_module(f"jobhall.v1.{path.stem}_pb2").DESCRIPTOR for path in PROTOS.glob("*.proto")
]
WORDS = [
    (states.JobState, job_pb2.JobState),
    (states.FailureKind, job_pb2.FailureKind),
    (states.LogLevel, job_pb2.LogLevel),
    (states.EventType, event_pb2.EventType),
    (states.BackoffStrategy, job_pb2.BackoffStrategy),
    (states.WorkerState, worker_pb2.WorkerState),
    (states.Visibility, job_pb2.Visibility),
    (states.CancelCause, task_pb2.CancelCause),
    (states.ReleaseReason, task_pb2.ReleaseReason),
    (states.UniquePolicy, job_pb2.UniquePolicy),
    (states.AttemptOutcome, job_pb2.AttemptOutcome),
    (states.BatchState, batch_pb2.BatchState),
    (states.CompletionPolicy, batch_pb2.CompletionPolicy),
    (states.WaitReasonKind, job_service_pb2.WaitReasonKind),
]
LISTS_OF_EVENTS = {"ListJobEventsRequest"}  # pages by cursor, as the watch does
AWKWARD_FIELDS = {
    # Go's generated methods
    *("reset", "string", "descriptor", "proto_message", "proto_reflect"),
    # Java's Object and Message
    *("class", "initialized", "serialized_size", "all_fields", "unknown_fields", "default_instance_for_type"),
    # keywords of several languages
    *(
        "import",
        "package",
        "interface",
        "default",
        "switch",
        "function",
        "public",
        "private",
        "from",
        "in",
        "end",
        "await",
    ),
    # JavaScript's Object
    *("constructor", "prototype", "to_string", "has_own_property"),
}


@pytest.mark.parametrize(("ours", "wire"), WORDS, ids=lambda words: getattr(words, "__name__", "proto"))
def test_the_enums_of_the_contract_are_the_enums_of_the_sdk(ours: type[IntEnum], wire: Any) -> None:
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", ours.__name__).upper() + "_"

    assert {name.removeprefix(prefix): number for name, number in wire.items()} == {m.name: m.value for m in ours}


def test_every_reason_of_the_contract_has_its_class_and_every_class_its_reason() -> None:
    assert set(documented_codes()) == set(errors.REASONS)


def test_every_reason_is_documented_with_the_code_of_its_class() -> None:
    assert documented_codes() == {reason: error.code.name for reason, error in errors.REASONS.items()}


def test_every_file_names_its_package_in_every_language() -> None:
    options = {file.name: file.GetOptions() for file in FILES}

    for name, option in options.items():
        assert option.go_package == "jobhall.dev/go/jobhall/v1;jobhallv1", name
        assert (option.java_package, option.java_multiple_files) == ("dev.jobhall.v1", True), name
        assert option.csharp_namespace == "Jobhall.V1", name
    assert len({option.java_outer_classname for option in options.values()}) == len(options)


def test_no_field_has_a_name_that_some_language_must_change() -> None:
    assert not [field.full_name for field in fields() if field.name in AWKWARD_FIELDS]


def test_no_number_is_unsigned_for_java_has_no_such_thing() -> None:
    unsigned = {FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64}

    assert not [field.full_name for field in fields() if field.cpp_type in unsigned]


def test_every_moment_is_a_timestamp_and_every_span_a_duration() -> None:
    spans = ("_timeout", "_interval", "_ttl", "_delay", "_grace", "_age")
    kinds = {field.full_name: field.message_type.name if field.message_type else "" for field in fields()}

    assert not {name for name, kind in kinds.items() if name.endswith("_time") and kind != "Timestamp"}
    assert not {name for name, kind in kinds.items() if name.endswith(spans) and kind != "Duration"}


def test_every_list_is_paged_in_the_same_way() -> None:
    lists = {
        message.name: message for message in messages() if re.fullmatch(r"List\w+(Request|Response)", message.name)
    }

    for name, message in lists.items():
        if name.endswith("Request") and name not in LISTS_OF_EVENTS:
            assert {"page_size", "page_token", "skip"} <= set(message.fields_by_name), name
        if name.endswith("Response") and name.replace("Response", "Request") not in LISTS_OF_EVENTS:
            assert "next_page_token" in message.fields_by_name, name


@given(st.data())
@pytest.mark.parametrize(
    "kind",
    [
        job_pb2.Job,
        job_pb2.JobSubmission,
        job_service_pb2.SubmitJobStreamResponse,
        job_service_pb2.WatchJobsResponse,
        worker_service_pb2.WorkRequest,
        worker_service_pb2.WorkResponse,
    ],
    ids=lambda kind: kind.DESCRIPTOR.name,
)
def test_a_message_crosses_the_wire_and_json_unchanged(kind: type[Message], data: st.DataObject) -> None:
    message = kind()
    fill(message, data)

    assert kind.FromString(message.SerializeToString()) == message
    assert json_format.Parse(json_format.MessageToJson(message), kind()) == message


def documented_codes() -> dict[str, str]:
    text = (PROTOS / "error.proto").read_text()
    values = re.findall(r"((?:^ +//.*\n)+) +ERROR_REASON_(\w+) = [1-9]", text, re.MULTILINE)
    assert len(values) == len(error_pb2.ErrorReason.keys()) - 1
    return {reason: re.findall(r"// (\w+)\. ", comment)[0] for comment, reason in values}


def messages() -> Iterator[Descriptor]:
    for file in FILES:
        yield from file.message_types_by_name.values()


def fields() -> Iterator[FieldDescriptor]:
    for message in messages():
        yield from message.fields


def fill(message: Any, data: st.DataObject, depth: int = 0) -> None:
    """Sets some of the message's fields, to a bounded depth, to whatever fits them."""
    message.SetInParent()
    by_name = message.DESCRIPTOR.fields_by_name
    for field in [by_name[name] for name in data.draw(st.lists(st.sampled_from([*by_name, ""]), max_size=4)) if name]:
        if field.message_type is None:
            value = st.lists(SCALARS[field.type], max_size=3) if field.is_repeated else SCALARS[field.type]
            set_scalar(message, field, data.draw(value))
        elif field.message_type.GetOptions().map_entry:
            getattr(message, field.name).update(data.draw(st.dictionaries(TEXT, TEXT, max_size=3)))
        elif field.message_type.full_name.startswith("google.protobuf."):
            WELL_KNOWN[field.message_type.name](getattr(message, field.name), data)
        elif depth < 3 and not field.message_type.full_name.startswith("google."):
            fill(
                getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name),
                data,
                depth + 1,
            )


def set_scalar(message: Any, field: FieldDescriptor, value: Any) -> None:
    if field.is_repeated:
        getattr(message, field.name).extend(value)
    else:
        setattr(message, field.name, value)


def fill_duration(message: Any, data: st.DataObject) -> None:
    message.FromMicroseconds(data.draw(st.integers(0, 10**15)))


def fill_struct(message: Struct, data: st.DataObject) -> None:
    message.update(data.draw(st.dictionaries(TEXT, TEXT | st.booleans() | st.integers(-(2**53), 2**53), max_size=3)))


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
INTEGERS_32 = st.integers(-(2**31), 2**31 - 1)
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_INT32: INTEGERS_32,
    FieldDescriptor.TYPE_INT64: st.integers(-(2**53), 2**53),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_ENUM: INTEGERS_32,
    FieldDescriptor.TYPE_STRING: TEXT,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=20),
}
WELL_KNOWN = {"Timestamp": fill_duration, "Duration": fill_duration, "Struct": fill_struct}
