"""The filter and order of ListJobs as text → JobFilter, ListOrder; the language is in `filter_language.py`."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType

from jobhall.errors import FilterUnsupportedError
from jobhall.states import FailureKind, JobState
from jobhall_server.hall.views import JobFilter, ListOrder
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
_KINDS = {kind.name: kind for kind in FailureKind if kind}
_CHOICES = ("state", "type", "owner")
"""Fields of which a job may have one of several values."""
_CHOICES_TEXT = "state, type and owner"
_TEXTS = ("path", "batch", "unique_key", "error_kind", "error_code")
_TIMES = ("create_time", "update_time", "end_time")
_FIELDS_TEXT = f"{', '.join((*_CHOICES, *_TEXTS, 'labels.KEY', 'priority', *_TIMES[:-1]))} and {_TIMES[-1]}"
_NUMBER = re.compile(r"-?[0-9]{1,9}")
_ORDERS = MappingProxyType({order.value: order for order in ListOrder})


@dataclass(slots=True)
class Bounds:
    """What comparisons ask of a number: from `low` (inclusive) to `high` (exclusive)."""

    low: int | None = None
    high: int | None = None

    def take(self, operator: str, value: int) -> None:
        """One more comparison, which is to hold too."""
        if operator in (">", ">=", "="):
            least = value + (operator == ">")
            self.low = least if self.low is None else max(self.low, least)
        if operator in ("<", "<=", "="):
            beyond = value + (operator != "<")
            self.high = beyond if self.high is None else min(self.high, beyond)


@dataclass(slots=True)
class _Gathered:
    """What the conditions read so far ask for."""

    choices: dict[str, frozenset[str]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    bounds: dict[str, Bounds] = field(default_factory=dict)


def parse_filter(text: str, where: JobFilter) -> JobFilter:
    """`where`, narrowed by the filter. FilterUnsupportedError, or FieldInvalidError for a value that is none, says
    what is wrong and at which character (from 0).
    """
    gathered = _Gathered()
    for condition in conditions(text):
        _gather(gathered, condition)
    texts, times = gathered.texts, [gathered.bounds.get(name, Bounds()) for name in _TIMES]
    priority = gathered.bounds.get("priority", Bounds())
    return replace(
        where,
        states=frozenset(_STATES[name] for name in gathered.choices.get("state", ())),
        job_types=gathered.choices.get("type", frozenset()),
        owners=gathered.choices.get("owner", frozenset()),
        labels=tuple(sorted(gathered.labels.items())),
        path=texts.get("path"),
        batch_id=texts.get("batch"),
        unique_key=texts.get("unique_key"),
        failure_kinds=frozenset({_KINDS[texts["error_kind"]]} if "error_kind" in texts else ()),
        failure_codes=frozenset({texts["error_code"]} if "error_code" in texts else ()),
        priority_min=priority.low,
        priority_max=None if priority.high is None else priority.high - 1,
        created_after=times[0].low,
        created_before=times[0].high,
        updated_after=times[1].low,
        updated_before=times[1].high,
        ended_after=times[2].low,
        ended_before=times[2].high,
    )


def parse_order(text: str) -> ListOrder:
    """The order that the caller asks for, the newest first where it is empty; FilterUnsupportedError."""
    order = _ORDERS.get(" ".join(text.split()) or ListOrder.CREATED_DESC.value)
    if order is None:
        fault = f"{text[:80]!r} is no order of this list; it can be {', '.join(f'`{name}`' for name in _ORDERS)}"
        raise FilterUnsupportedError(fault, field="order_by")
    return order


def time_in(comparison: Comparison) -> int:
    """The comparison's value as microseconds UTC."""
    try:
        time = datetime.fromisoformat(comparison.value)
    except ValueError:
        invalid(f"{comparison.value[:80]!r} is no time; write it as 2026-01-31T12:00:00Z", comparison.at)
    if time.tzinfo is None:
        invalid(f"{comparison.value[:80]!r} is a time without a zone; end it with Z", comparison.at)
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _gather(gathered: _Gathered, alternatives: Sequence[Comparison]) -> None:
    first = alternatives[0]
    if first.field not in _CHOICES:
        only_one(alternatives, _CHOICES_TEXT)
    if first.field in _TIMES:
        if first.operator == "=":
            fail(f"compares {first.field} by =; use < and >=", first.at)
        gathered.bounds.setdefault(first.field, Bounds()).take(first.operator, time_in(first))
        return
    if first.field == "priority":
        gathered.bounds.setdefault("priority", Bounds()).take(first.operator, _number(first))
        return
    check_equals(alternatives)
    if first.field in _CHOICES:
        _gather_choice(gathered, alternatives)
    elif first.field in _TEXTS:
        given = first._replace(value=_text(first))
        gathered.texts[first.field] = same(gathered.texts.get(first.field), given)
    elif (key := label_key(first)) is not None:
        gathered.labels[key] = same(gathered.labels.get(key), first)
    else:
        fail(f"names {first.field[:80]!r}; fields are {_FIELDS_TEXT}", first.at)


def _gather_choice(gathered: _Gathered, alternatives: Sequence[Comparison]) -> None:
    first = alternatives[0]
    values = frozenset(
        _word(choice, _STATES, "state") if first.field == "state" else choice.value for choice in alternatives
    )
    if first.field in gathered.choices:
        values &= gathered.choices[first.field]
    if not values:
        fail(f"asks for two values of {first.field} at once, which no job has", first.at)
    gathered.choices[first.field] = values


def _text(comparison: Comparison) -> str:
    """The value in the form in which it is stored."""
    if comparison.field == "error_kind":
        return _word(comparison, _KINDS, "kind of failure")
    if comparison.field == "batch":
        try:
            return str(uuid.UUID(comparison.value))
        except ValueError:
            invalid(f"{comparison.value[:80]!r} is no UUID", comparison.at)
    return comparison.value


def _word(comparison: Comparison, known: Collection[str], what: str) -> str:
    name = comparison.value.upper()
    if name not in known:
        invalid(f"{comparison.value[:80]!r} is no {what}; those are {', '.join(known)}", comparison.at)
    return name


def _number(comparison: Comparison) -> int:
    if not _NUMBER.fullmatch(comparison.value):
        invalid(f"{comparison.value[:80]!r} is no whole number", comparison.at)
    return int(comparison.value)
