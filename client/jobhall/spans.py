"""Spans of time as callers give them, seconds or a timedelta, and as people read them."""

from __future__ import annotations

from datetime import timedelta

from jobhall.errors import FieldInvalidError

_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def seconds(span: float | timedelta, *, field: str) -> float:
    """The span in seconds; FIELD_INVALID where it is negative, or none."""
    try:
        value = span.total_seconds() if isinstance(span, timedelta) else float(span)
    except (TypeError, ValueError) as error:
        raise FieldInvalidError(field, f"is {span!r}; it has to be seconds or a timedelta") from error
    if not value >= 0:
        raise FieldInvalidError(field, f"is {value} s; it has to be zero or more")
    return value


def span_text(span: timedelta | None) -> str:
    """`0.4s`, `42s`, `1m 25s`, `3h 5m`, `2d 1h`: its two largest units; nothing of None."""
    if span is None:
        return ""
    total = span.total_seconds()
    if total < 9.95:
        return f"{total:.1f}s".replace(".0s", "s")
    left = round(total)
    parts: list[str] = []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return " ".join(part for part in parts[:2] if part)
