"""Values that every message shares, pb2 ↔ domain: times, payloads, JSON objects, progress; and what is refused."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Collection

import orjson
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from jobhall.errors import FieldInvalidError, FieldNotSupportedError, PayloadTooLargeError
from jobhall.limits import (
    CONTENT_TYPE_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    PROGRESS_DETAILS_BYTES_MAX,
    STEP_BYTES_MAX,
    TEXT_BYTES_MAX,
    UNIT_BYTES_MAX,
)
from jobhall.v1 import job_pb2
from jobhall_server.domain.job import Payload
from jobhall_server.domain.progress import Progress

_US = 1_000_000
_EXACT_INTEGER_MAX = 2.0**53
_TIMESTAMP_SECONDS_MIN = -62_135_596_800
_TIMESTAMP_SECONDS_MAX = 253_402_300_799
"""Years 1 to 9999, the range of google.protobuf.Timestamp."""

_SHOWN_LENGTH_MAX = 64 * 1024
"""JSON that may be shown as an object: it takes up to six times the bytes, and a third of a second for 1 MiB."""
_SHOWN_DEPTH_MAX = 30
"""Each level takes three of the hundred that protobuf reads."""

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


def timestamp(us: int) -> Timestamp:
    """Microseconds UTC as the message."""
    seconds, rest = divmod(us, _US)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def microseconds(message: Timestamp, field: str) -> int:
    """The message as microseconds UTC; FieldInvalidError outside the years 1 to 9999."""
    if not _TIMESTAMP_SECONDS_MIN <= message.seconds <= _TIMESTAMP_SECONDS_MAX or not 0 <= message.nanos < 10**9:
        raise FieldInvalidError(field, "is no time between the years 1 and 9999")
    return message.seconds * _US + message.nanos // 1000


def duration(seconds: float) -> Duration:
    """Seconds as the message, to the microsecond."""
    whole, rest = divmod(round(seconds * _US), _US)
    return Duration(seconds=whole, nanos=rest * 1000)


def seconds_of(message: Duration, field: str) -> float:
    """The message as seconds; FieldInvalidError below zero."""
    value = message.seconds + message.nanos / 1e9
    if value < 0:
        raise FieldInvalidError(field, f"is {value:g} s; it cannot be below zero")
    return value


def refuse_set(message: Message, names: Collection[str], prefix: str = "") -> None:
    """FieldNotSupportedError for the first of the fields that is set: this server does not honour them yet."""
    # One pass over the few fields that are set costs less than a question per name.
    for descriptor, _ in message.ListFields():
        if descriptor.name in names:
            raise FieldNotSupportedError(prefix + descriptor.name)


def check_mask(paths: Collection[str], changeable: Collection[str]) -> None:
    """FieldInvalidError unless an update_mask names fields that can be changed, and at least one."""
    if not paths:
        raise FieldInvalidError("update_mask", f"names no field; name some of {', '.join(changeable)}")
    for path in paths:
        if path not in changeable:
            fault = f"names {path[:80]!r}; what can be changed is {', '.join(changeable)}, each as a whole"
            raise FieldInvalidError("update_mask", fault)


def digest_of(*parts: bytes) -> int:
    """63 bits that tell one outcome or submission from another; never 0 or 1, which mean something of their own."""
    digest = hashlib.blake2b(b"".join(parts), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 1) | 2


# --- payloads ---


def payload_in(message: job_pb2.Payload, field: str) -> Payload | None:
    """The payload, checked; None when it has no content."""
    kind = message.WhichOneof("content")
    if kind is None:
        return None
    content_type = message.content_type
    if content_type and len(content_type.encode()) > CONTENT_TYPE_BYTES_MAX:
        raise FieldInvalidError(f"{field}.content_type", f"is longer than {CONTENT_TYPE_BYTES_MAX} bytes")
    content: str | bytes
    if kind == "json":
        content = message.json
        # A character has at most four bytes, so that most texts need not be encoded to know.
        size = len(content) if 4 * len(content) <= PAYLOAD_BYTES_MAX else len(content.encode())
        _check_size(size, f"{field}.json")
        _check_json(content, f"{field}.json")
    elif kind == "data":
        content = message.data
        _check_size(len(content), f"{field}.data")
    else:
        content = struct_text(message.object, f"{field}.object")
        _check_size(len(content.encode()), f"{field}.object")
    return Payload(content, content_type)


def payload_out(payload: Payload, *, as_object: bool = False) -> job_pb2.Payload:
    """The message; `as_object` shows a JSON object as `object`, unless it is too large or deep to be read by eye."""
    content, content_type = payload
    if isinstance(content, bytes):
        return job_pb2.Payload(data=content, content_type=content_type)
    if as_object and content.lstrip()[:1] == "{" and len(content) <= _SHOWN_LENGTH_MAX:
        shown = orjson.loads(content)
        if _nests_within(shown, _SHOWN_DEPTH_MAX):
            return job_pb2.Payload(object=struct(content), content_type=content_type)
    return job_pb2.Payload(json=content, content_type=content_type)


def payload_digest(payload: Payload) -> int:
    """The digest over the stored bytes."""
    content = payload.content
    kind, body = (b"d", content) if isinstance(content, bytes) else (b"j", content.encode())
    return digest_of(kind, body, payload.content_type.encode())


def _check_size(size: int, field: str) -> None:
    if size > PAYLOAD_BYTES_MAX:
        raise PayloadTooLargeError(field, size_bytes=size, limit_bytes=PAYLOAD_BYTES_MAX)


def _check_json(text: str, field: str) -> None:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise FieldInvalidError(field, f"is not JSON: {error}") from None


# --- JSON objects ---


def struct_text(message: Struct, field: str) -> str:
    """The object as JSON text, whole doubles as integers; FieldInvalidError names where it has a NaN or infinity."""
    # Sorted, since the order of a protobuf map changes from process to process, and digests are over this text.
    return orjson.dumps(_plain_object(message, field), option=orjson.OPT_SORT_KEYS).decode()


def struct(text: str) -> Struct:
    """The JSON object in `text`, which is one of ours."""
    message = Struct()
    message.update(orjson.loads(text))
    return message


def _nests_within(value: Json, depth: int) -> bool:
    if not isinstance(value, (dict, list)):
        return True
    return depth > 0 and all(
        _nests_within(part, depth - 1) for part in (value.values() if isinstance(value, dict) else value)
    )


def _plain_object(message: Struct, field: str) -> dict[str, Json]:
    return {key: _plain(value, f"{field}.{key}") for key, value in message.fields.items()}


def _plain_list(message: ListValue, field: str) -> list[Json]:
    return [_plain(value, f"{field}[{place}]") for place, value in enumerate(message.values)]


def _plain(value: Value, field: str) -> Json:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return _number(value.number_value, field)
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _plain_object(value.struct_value, field)
        case "list_value":
            return _plain_list(value.list_value, field)
        case _:
            return None


def _number(value: float, field: str) -> int | float:
    if not math.isfinite(value):
        raise FieldInvalidError(field, f"is {value}; JSON has no such number")
    return int(value) if value.is_integer() and abs(value) <= _EXACT_INTEGER_MAX else value


# --- progress ---

_PROGRESS_TEXTS = (
    ("step", STEP_BYTES_MAX),
    ("stage", STEP_BYTES_MAX),
    ("message", TEXT_BYTES_MAX),
    ("unit", UNIT_BYTES_MAX),
)
MALFORMED_PROGRESS = Progress(percent=math.nan)
"""What stands for a progress that cannot be kept: the session refuses it and names its token in the next ack."""


def progress_in(message: job_pb2.Progress) -> Progress:
    """The progress; one whose details cannot be JSON, or with a text that is too long, is MALFORMED_PROGRESS."""
    if any(len(getattr(message, name).encode()) > limit for name, limit in _PROGRESS_TEXTS):
        return MALFORMED_PROGRESS
    details = None
    if message.HasField("details"):
        if message.details.ByteSize() > PROGRESS_DETAILS_BYTES_MAX:
            return MALFORMED_PROGRESS
        try:
            details = struct_text(message.details, "details")
        except FieldInvalidError:
            return MALFORMED_PROGRESS
    return Progress(
        step=message.step,
        stage=message.stage,
        step_index=message.step_index or None,
        step_count=message.step_count or None,
        percent=message.percent if message.HasField("percent") else None,
        message=message.message,
        total=message.items_total if message.HasField("items_total") else None,
        processed=message.items_processed,
        succeeded=message.items_succeeded,
        failed=message.items_failed,
        unit=message.unit,
        details=details,
        number=message.number or None,
        reported_at=time.time_ns() // 1000,
    )


def progress_out(progress: Progress, *, basic: bool = False, as_reported: bool = False) -> job_pb2.Progress:
    """The message; BASIC shows percent, step and message only. What goes back to a worker is `as_reported`: a percent
    that was computed would stand still there while the worker goes on counting.
    """
    message = job_pb2.Progress(step=progress.step, message=progress.message)
    if (percent := progress.percent if as_reported else progress.percent_done) is not None:
        message.percent = percent
    if basic:
        return message
    message.stage = progress.stage
    message.step_index = progress.step_index or 0
    message.step_count = progress.step_count or 0
    if progress.total is not None:
        message.items_total = progress.total
    message.items_processed = progress.processed or 0
    message.items_succeeded = progress.succeeded or 0
    message.items_failed = progress.failed or 0
    message.unit = progress.unit
    if progress.details is not None:
        message.details.CopyFrom(struct(progress.details))
    message.number = progress.number or 0
    if progress.reported_at is not None:
        message.update_time.CopyFrom(timestamp(progress.reported_at))
    return message
