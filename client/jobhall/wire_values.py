"""Single values on the wire: payloads, structs, times, enums; what `wire` and the worker's stream build messages of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import cache
from typing import Any, TypeVar, cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from jobhall.errors import FieldInvalidError, PayloadTooLargeError
from jobhall.json_faults import fault_in
from jobhall.limits import CONTENT_TYPE_BYTES, CONTENT_TYPE_JSON, PAYLOAD_BYTES_MAX
from jobhall.spans import seconds
from jobhall.v1.job_pb2 import Payload

_encode_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE_MAX = 2.0**53
_SPAN_SECONDS_MAX = 315_576_000_000
"""Of the longest Duration that there is."""
_E = TypeVar("_E", bound=IntEnum)


def payload_to_wire(content: object, *, field: str, content_type: str = "") -> Payload | None:
    """The payload of anything that JSON can say, or of bytes; None of None. `field` is for the error's sake."""
    if content is None:
        return None
    if isinstance(content, (bytes, bytearray, memoryview)):
        data = bytes(content)
        _check_size(len(data), field)
        return Payload(data=data, content_type=content_type)
    text = json_text(content, field=field)
    # An ASCII character is a byte, any other at most four; most payloads need no second look.
    if len(text) * (1 if text.isascii() else 4) > PAYLOAD_BYTES_MAX:
        _check_size(len(text.encode()), field)
    return Payload(json=text, content_type=content_type)


def json_text(content: object, *, field: str) -> str:
    """The content as JSON; FIELD_INVALID says where in it stands what JSON cannot say, and what to write instead."""
    try:
        text = _encode_json(content)
        if not text.isascii():
            text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        fault = fault_in(content, field=field)
        place, why = (fault.place, fault.description) if fault else (field, f"cannot be written as JSON: {error}")
        raise FieldInvalidError(place, why) from error
    return text


def payload_from_wire(payload: Payload) -> tuple[Any, str]:
    """The content, decoded where it is JSON, and its media type; (None, "") where there is no content."""
    match payload.WhichOneof("content"):
        case "json":
            return json.loads(payload.json), payload.content_type or CONTENT_TYPE_JSON
        case "data":
            return payload.data, payload.content_type or CONTENT_TYPE_BYTES
        case "object":
            return struct_from_wire(payload.object), payload.content_type or CONTENT_TYPE_JSON
        case _:
            return None, ""


def struct_to_wire(content: Mapping[str, Any], *, field: str) -> Struct:
    """The mapping as a Struct; FIELD_INVALID where it holds what JSON cannot say."""
    struct = Struct()
    # By way of JSON, so that tuples and subclasses are taken as they are everywhere else.
    plain = json.loads(json_text(content, field=field))
    try:
        struct.update(plain)
    except (ValueError, OverflowError) as error:
        raise FieldInvalidError(field, f"cannot be sent: {error}") from error
    return struct


def struct_from_wire(struct: Struct) -> dict[str, Any]:
    """The Struct as a dict; whole doubles come back as int, since JSON knows but one kind of number."""
    return {key: _value_from_wire(value) for key, value in struct.fields.items()}


def time_to_wire(moment: datetime) -> Timestamp:
    """The moment as a Timestamp; a naive one is taken to be local, as everywhere in Python."""
    stamp = Timestamp()
    stamp.FromDatetime(moment.astimezone(UTC))
    return stamp


def time_from_wire(message: Any, field: str) -> datetime | None:
    """The message's Timestamp field as an aware UTC datetime, None where it is absent."""
    if not message.HasField(field):
        return None
    stamp = getattr(message, field)
    return _EPOCH + timedelta(
        0, stamp.seconds, stamp.nanos // 1000
    )  # By place: a third quicker, and events have one each.


def duration_to_wire(span: timedelta) -> Duration:
    """The span as a Duration."""
    duration = Duration()
    duration.FromTimedelta(span)
    return duration


def now() -> datetime:
    """What a span that stands for a moment counts from: this machine's time. The pytest plugin sets its own."""
    return datetime.now(UTC)


def when_to_wire(when: datetime | timedelta | None, *, field: str) -> Timestamp | None:
    """What a caller gave as a time: a moment, or how long from now; FIELD_INVALID where it cannot be one."""
    if when is None:
        return None
    try:
        return time_to_wire(now() + when if isinstance(when, timedelta) else when)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise FieldInvalidError(field, f"is {when!r}; it has to be a datetime, or a timedelta from now") from error


def span_to_wire(span: float | timedelta | None, *, field: str) -> Duration | None:
    """What a caller gave as a span as a Duration, None as none; FIELD_INVALID where it cannot be one."""
    if span is None:
        return None
    value = seconds(span, field=field)
    if value > _SPAN_SECONDS_MAX:
        raise FieldInvalidError(field, f"is {value:g} s, which is more than ten thousand years")
    return duration_to_wire(timedelta(seconds=value))


def duration_from_wire(message: Any, field: str) -> timedelta | None:
    """The message's Duration field as a timedelta, None where it is absent."""
    if not message.HasField(field):
        return None
    span: timedelta = getattr(message, field).ToTimedelta()
    return span


def enum_from_wire(kind: type[_E], number: int) -> _E:
    """The member of that number; UNSPECIFIED for one that a newer server knows and this SDK does not."""
    members = _members(kind)
    return cast("_E", members.get(number) or members[0])


def int32(value: int, *, field: str) -> int:
    """The number, if a message can hold it: what it may really be is the server's to say."""
    return _within(value, 32, field)


def int64(value: int, *, field: str) -> int:
    """The same of a larger one."""
    return _within(value, 64, field)


@cache
def _members(kind: type[IntEnum]) -> dict[int, IntEnum]:
    # A quarter of the time of `kind(number)`, and the events of a watch have three each.
    return {int(member): member for member in kind}


def _within(value: int, bits: int, field: str) -> int:
    half = 1 << (bits - 1)
    if not -half <= value < half:
        raise FieldInvalidError(field, f"is {value}, which is beyond {bits} bits")
    return value


def _check_size(size_bytes: int, field: str) -> None:
    if size_bytes > PAYLOAD_BYTES_MAX:
        raise PayloadTooLargeError(field, size_bytes=size_bytes, limit_bytes=PAYLOAD_BYTES_MAX)


def _value_from_wire(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) <= _WHOLE_MAX else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return struct_from_wire(value.struct_value)
        case "list_value":
            return _list_from_wire(value.list_value)
        case _:
            return None


def _list_from_wire(values: ListValue) -> list[Any]:
    return [_value_from_wire(value) for value in values.values]
