"""What a handler writes to its job's log, as the lines that go over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jobhall.clipping import clip
from jobhall.errors import FieldInvalidError
from jobhall.limits import LOG_FIELDS_BYTES_MAX, LOG_LINE_BYTES_MAX
from jobhall.model import LogEntry
from jobhall.states import LogLevel
from jobhall.v1.job_pb2 import LogEntry as LogEntryMessage
from jobhall.wire import log_entry_to_wire


def log_line(text: str | bytes, level: LogLevel, fields: Mapping[str, Any]) -> LogEntryMessage:
    """The line for the wire, cut to what the contract takes; what among the fields JSON cannot say becomes text."""
    message, raw = _decoded(text)
    now = datetime.now(UTC)
    message = clip(message, LOG_LINE_BYTES_MAX)
    try:
        line = log_entry_to_wire(LogEntry(message=message, level=level, written_at=now, raw=raw, fields=fields or None))
    except FieldInvalidError:
        # A line of log is no reason to fail a job.
        plain = {str(key): str(value) for key, value in fields.items()}
        line = log_entry_to_wire(LogEntry(message=message, level=level, written_at=now, raw=raw, fields=plain))
    if line.fields.ByteSize() > LOG_FIELDS_BYTES_MAX:
        line.ClearField("fields")
    return line


def log_level(level: str | LogLevel) -> LogLevel:
    """The level of that name; ValueError names the known ones."""
    if isinstance(level, LogLevel):
        return level
    try:
        return LogLevel[level.upper()]
    except KeyError:
        known = ", ".join(known.name.lower() for known in LogLevel if known)
        raise ValueError(f"log: level {level!r} is none of {known}") from None


def _decoded(text: str | bytes) -> tuple[str, bytes]:
    """The text, and the bytes where they are not UTF-8."""
    if isinstance(text, str):
        return text, b""
    try:
        return text.decode(), b""
    except UnicodeDecodeError:
        return text.decode(errors="replace"), text[:LOG_LINE_BYTES_MAX]
