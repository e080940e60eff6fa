"""Spans and moments as a command line says them; raises UsageError, which names the option, where that cannot be."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from jobhall.cli.exits import UsageError

_PART = r"\d+(?:\.\d+)?(?:ms|[smhdw])"
_SPAN = re.compile(rf"(?:{_PART})+", re.ASCII)
_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_NUMBER_AND_UNIT = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])", re.ASCII)
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_span(text: str | None, *, option: str) -> timedelta | None:
    """A span such as `90s`, `1h30m` or `250ms` (ms, s, m, h, d, w), `90` being seconds; None where none was given."""
    if text is None:
        return None
    try:
        span = timedelta(seconds=float(text)) if _SECONDS.fullmatch(text) else _span(text)
    except OverflowError as error:
        raise UsageError(f"{option}: {text!r} is too long") from error
    if span is None:
        raise UsageError(f"{option}: {text!r} is no span such as 90s, 5m or 1h30m")
    return span


def read_moment(text: str | None, *, option: str, now: datetime) -> datetime | None:
    """A moment in the past: `2h` before now, or a date or time of RFC 3339, local where it names no zone."""
    return _moment(text, option=option, now=now, sign=-1)


def read_due(text: str | None, *, option: str, now: datetime) -> datetime | None:
    """A moment to come: `10m` from now, or a date or time as above."""
    return _moment(text, option=option, now=now, sign=1)


def is_moment(text: str) -> bool:
    """Whether it reads as a moment in the past."""
    try:
        read_moment(text, option="", now=datetime.now(UTC))
    except UsageError:
        return False
    return True


def here(moment: datetime) -> datetime:
    """The moment in this place's time; one at the end of all years, which a worker's clock may say, stays as it is."""
    try:
        return moment.astimezone()
    except OverflowError:
        return moment


def _moment(text: str | None, *, option: str, now: datetime, sign: int) -> datetime | None:
    if text is None:
        return None
    try:
        # A number alone is no span here: 20260131 is a date.
        if (span := _span(text)) is not None:
            return now + sign * span
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{option}: {text!r} is neither a span such as 2h nor a time such as 2026-01-31T12:00"
        ) from error


def _span(text: str) -> timedelta | None:
    if not _SPAN.fullmatch(text):
        return None
    parts = _NUMBER_AND_UNIT.findall(text)
    return sum((timedelta(**{_UNITS[unit]: float(number)}) for number, unit in parts), timedelta())
