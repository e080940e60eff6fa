"""What a task tells beside how far it is, pb2 → domain: log lines, item errors, and the details of either."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct

from jobhall.errors import FieldInvalidError
from jobhall.limits import CODE_BYTES_MAX, INTEGER_MAX, LOG_FIELDS_BYTES_MAX, LOG_LINE_BYTES_MAX, TEXT_BYTES_MAX
from jobhall.states import LogLevel
from jobhall.v1 import job_pb2
from jobhall_server.domain.job import ItemError
from jobhall_server.hall.views import LogLine
from jobhall_server.rpc.convert import microseconds, struct_text

_LEVELS = {int(level): level for level in LogLevel if level}


def log_line_in(entry: job_pb2.LogEntry, field: str, now_us: int) -> LogLine:
    """One log line; of now where it has no time. What is too long of it is cut off."""
    return LogLine(
        at=microseconds(entry.time, f"{field}.time") if entry.HasField("time") else now_us,
        level=_LEVELS.get(entry.level, LogLevel.INFO),
        text=cut(entry.message, LOG_LINE_BYTES_MAX),
        raw=entry.raw[:LOG_LINE_BYTES_MAX] or None,
        fields=details_in(entry.fields, LOG_FIELDS_BYTES_MAX, f"{field}.fields") if entry.HasField("fields") else None,
    )


def item_error_in(error: job_pb2.ItemError, field: str) -> ItemError:
    """One item that went badly."""
    if abs(error.index) > INTEGER_MAX:
        raise FieldInvalidError(f"{field}.index", f"is {error.index}; the greatest is {INTEGER_MAX}")
    return ItemError(
        error.index,
        bounded(error.key, CODE_BYTES_MAX, f"{field}.key"),
        bounded(error.code, CODE_BYTES_MAX, f"{field}.code"),
        bounded(error.message, TEXT_BYTES_MAX, f"{field}.message"),
    )


def details_in(message: Struct, limit: int, field: str) -> str:
    """The object as JSON text; FieldInvalidError where it is too large."""
    # By the message and not by its JSON: a sender can measure that, and nobody's lines are lost over a difference.
    if (size := message.ByteSize()) > limit:
        raise FieldInvalidError(field, f"has {size} bytes; the limit is {limit}")
    return struct_text(message, field)


def bounded(text: str, limit: int, field: str) -> str:
    """The text; FieldInvalidError where it is too long."""
    # A character has at most four bytes: short texts need not be encoded to know.
    if 4 * len(text) > limit and len(text.encode()) > limit:
        raise FieldInvalidError(field, f"has more than {limit} bytes")
    return text


def cut(text: str, limit: int) -> str:
    """As much of the text as so many bytes hold."""
    if 4 * len(text) <= limit:
        return text
    return text.encode()[:limit].decode(errors="ignore")
