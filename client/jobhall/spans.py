"""Spans of time as callers give them: seconds, or a timedelta."""

from __future__ import annotations

from datetime import timedelta

from jobhall.errors import FieldInvalidError


def seconds(span: float | timedelta, *, field: str) -> float:
    """The span in seconds; FIELD_INVALID where it is negative, or none."""
    try:
        value = span.total_seconds() if isinstance(span, timedelta) else float(span)
    except (TypeError, ValueError) as error:
        raise FieldInvalidError(field, f"is {span!r}; it has to be seconds or a timedelta") from error
    if not value >= 0:
        raise FieldInvalidError(field, f"is {value} s; it has to be zero or more")
    return value
