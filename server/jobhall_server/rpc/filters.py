"""The filter of ListJobs as text → JobFilter; its language is in `filter_language.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from jobhall.states import JobState
from jobhall_server.hall.views import JobFilter
from jobhall_server.rpc.filter_language import (
    Comparison,
    check_equals,
    conditions,
    fail,
    invalid,
    label_key,
    only_one,
    same,
)

_STATES = {state.name: state for state in JobState if state}
_CHOICES = ("state", "type", "owner")
"""Fields of which a job may have one of several values."""
_CHOICES_TEXT = "state, type and owner"


@dataclass(slots=True)
class _Gathered:
    """What the conditions read so far ask for."""

    choices: dict[str, frozenset[str]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    path: str | None = None
    after: int | None = None
    before: int | None = None


def parse_filter(text: str, where: JobFilter) -> JobFilter:
    """`where`, narrowed by the filter. FilterUnsupportedError, or FieldInvalidError for a value that is none, says
    what is wrong and at which character (from 0).
    """
    gathered = _Gathered()
    for condition in conditions(text):
        _gather(gathered, condition)
    return replace(
        where,
        states=frozenset(_STATES[name] for name in gathered.choices.get("state", ())),
        job_types=gathered.choices.get("type", frozenset()),
        owners=gathered.choices.get("owner", frozenset()),
        labels=tuple(sorted(gathered.labels.items())),
        path=gathered.path,
        created_after=gathered.after,
        created_before=gathered.before,
    )


def _gather(gathered: _Gathered, alternatives: Sequence[Comparison]) -> None:
    first = alternatives[0]
    if first.field == "create_time":
        only_one(alternatives, _CHOICES_TEXT)
        _gather_time(gathered, first)
        return
    check_equals(alternatives)
    if first.field in _CHOICES:
        _gather_choice(gathered, alternatives)
        return
    only_one(alternatives, _CHOICES_TEXT)
    if first.field == "path":
        gathered.path = same(gathered.path, first)
    elif (key := label_key(first)) is not None:
        gathered.labels[key] = same(gathered.labels.get(key), first)
    else:
        fail(f"names {first.field[:80]!r}; fields are state, type, owner, path, labels.KEY and create_time", first.at)


def _gather_choice(gathered: _Gathered, alternatives: Sequence[Comparison]) -> None:
    first = alternatives[0]
    values = frozenset(_state(choice) if first.field == "state" else choice.value for choice in alternatives)
    if first.field in gathered.choices:
        values &= gathered.choices[first.field]
    if not values:
        fail(f"asks for two values of {first.field} at once, which no job has", first.at)
    gathered.choices[first.field] = values


def _state(comparison: Comparison) -> str:
    name = comparison.value.upper()
    if name not in _STATES:
        invalid(f"{comparison.value[:80]!r} is no state; states are {', '.join(_STATES)}", comparison.at)
    return name


def _gather_time(gathered: _Gathered, comparison: Comparison) -> None:
    us = _microseconds(comparison)
    match comparison.operator:
        case ">":
            gathered.after = max(gathered.after or us + 1, us + 1)
        case ">=":
            gathered.after = max(gathered.after or us, us)
        case "<":
            gathered.before = min(gathered.before or us, us)
        case "<=":
            gathered.before = min(gathered.before or us + 1, us + 1)
        case _:
            fail("compares create_time by =; use < and >=", comparison.at)


def _microseconds(comparison: Comparison) -> int:
    try:
        time = datetime.fromisoformat(comparison.value)
    except ValueError:
        invalid(f"{comparison.value[:80]!r} is no time; write it as 2026-01-31T12:00:00Z", comparison.at)
    if time.tzinfo is None:
        invalid(f"{comparison.value[:80]!r} is a time without a zone; end it with Z", comparison.at)
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
