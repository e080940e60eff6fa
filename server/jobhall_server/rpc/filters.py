"""The filter language of ListJobs, a subset of AIP-160 (https://google.aip.dev/160), as text → JobFilter.

The grammar stands at the RPC in `protos/jobhall/v1/job_service.proto`. OR joins values of state, type or owner; there
is no NOT, `!=`, `:` or wildcard.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple, NoReturn

from jobhall.errors import FieldInvalidError, FilterUnsupportedError
from jobhall.limits import FILTER_BYTES_MAX, LABEL_KEY_PATTERN
from jobhall.states import JobState
from jobhall_server.hall.store import JobFilter

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_TOKEN = re.compile(
    rf"(?:(?P<field>labels\.{_QUOTED})|(?P<word>[\w\-.:/@]+)|(?P<quoted>{_QUOTED})|(?P<sign><=|>=|!=|[()=<>!,]))",
    re.DOTALL,
)
_LABEL_KEY = re.compile(LABEL_KEY_PATTERN)
_SPACE = re.compile(r"\s*")
_STATES = {state.name: state for state in JobState if state}
_CHOICES = ("state", "type", "owner")
"""Fields of which a job may have one of several values."""
_ALIASES = {"job_type": "type"}
_CONDITIONS_MAX = 64


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class _Comparison(NamedTuple):
    field: str
    operator: str
    value: str
    at: int


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
    if len(text.encode()) > FILTER_BYTES_MAX:
        _fail(f"has more than {FILTER_BYTES_MAX} bytes", 0)
    if not text.strip():
        return where
    gathered = _Gathered()
    for condition in _Parser(_tokens(text), len(text)).conditions():
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


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    end = len(text.rstrip())
    place = _skip_space(text, 0)
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            _fail(f"cannot be read from {text[place : place + 20]!r} on; put values in double quotes", place)
        tokens.append(_Token(str(match.lastgroup), match[0], place))
        place = _skip_space(text, match.end())
    return tokens


def _skip_space(text: str, place: int) -> int:
    space = _SPACE.match(text, place)
    assert space is not None
    return space.end()


class _Parser:
    def __init__(self, tokens: Sequence[_Token], end: int) -> None:
        self._tokens = tokens
        self._next = 0
        self._end = _Token("end", "", end)

    def conditions(self) -> list[list[_Comparison]]:
        """Each a list of alternatives; all of them must hold."""
        found = [self._condition()]
        while self._peek().kind != "end":
            if self._word("OR"):
                _fail("joins different conditions by OR; only values of one field may be", self._peek().at)
            joint = self._take()
            if joint.kind != "word" or joint.text != "AND":
                _fail(f"needs AND before {joint.text[:80]!r}", joint.at)
            found.append(self._condition())
            if len(found) > _CONDITIONS_MAX:
                _fail(f"has more than {_CONDITIONS_MAX} conditions", self._peek().at)
        return found

    def _condition(self) -> list[_Comparison]:
        enclosed = self._peek().text == "(" and self._peek().kind == "sign"
        if enclosed:
            self._next += 1
        alternatives = [self._comparison()]
        while self._word("OR"):
            self._next += 1
            alternatives.append(self._comparison())
        if enclosed:
            closing = self._take()
            if closing.text != ")":
                _fail(f"needs a closing parenthesis before {closing.text or 'its end'!r}", closing.at)
        return alternatives

    def _comparison(self) -> _Comparison:
        name = self._take()
        if name.kind == "word" and name.text == "NOT":
            _fail("uses NOT, which is not supported", name.at)
        if name.kind not in ("word", "field"):
            _fail(f"needs a field's name, not {name.text[:80] or 'its end'!r}", name.at)
        operator = self._take()
        if operator.kind != "sign" or operator.text not in ("=", "<", "<=", ">", ">="):
            _fail(
                f"needs =, <, <=, > or >= after {name.text[:80]}, not {operator.text[:80] or 'its end'!r}", operator.at
            )
        value = self._take()
        if value.kind not in ("word", "quoted"):
            _fail(f"needs a value after {operator.text}, not {value.text or 'its end'!r}", value.at)
        plain = _unquoted(value.text) if value.kind == "quoted" else value.text
        field_name = f"labels.{_unquoted(name.text.removeprefix('labels.'))}" if name.kind == "field" else name.text
        return _Comparison(_ALIASES.get(field_name, field_name), operator.text, plain, name.at)

    def _peek(self) -> _Token:
        return self._tokens[self._next] if self._next < len(self._tokens) else self._end

    def _take(self) -> _Token:
        token = self._peek()
        self._next += 1
        return token

    def _word(self, word: str) -> bool:
        return self._peek().kind == "word" and self._peek().text == word


def _gather(gathered: _Gathered, alternatives: list[_Comparison]) -> None:
    first = alternatives[0]
    if any(other.field != first.field for other in alternatives):
        _fail("joins different fields by OR; only values of one field may be", first.at)
    if first.field == "create_time":
        _only_one(alternatives)
        _gather_time(gathered, first)
        return
    for comparison in alternatives:
        if comparison.operator != "=":
            _fail(f"compares {comparison.field} by {comparison.operator}; only = is supported", comparison.at)
    if first.field in _CHOICES:
        _gather_choice(gathered, alternatives)
        return
    _only_one(alternatives)
    if first.field == "path":
        gathered.path = _same(gathered.path, first)
    elif first.field.startswith("labels.") and len(first.field) > len("labels."):
        key = first.field.removeprefix("labels.")
        if not _LABEL_KEY.fullmatch(key):
            _invalid(f"{key[:80]!r} is no label's key; it must match {LABEL_KEY_PATTERN}", first.at)
        gathered.labels[key] = _same(gathered.labels.get(key), first)
    else:
        _fail(f"names {first.field[:80]!r}; fields are state, type, owner, path, labels.KEY and create_time", first.at)


def _gather_choice(gathered: _Gathered, alternatives: list[_Comparison]) -> None:
    first = alternatives[0]
    values = frozenset(_state(choice) if first.field == "state" else choice.value for choice in alternatives)
    if first.field in gathered.choices:
        values &= gathered.choices[first.field]
    if not values:
        _fail(f"asks for two values of {first.field} at once, which no job has", first.at)
    gathered.choices[first.field] = values


def _state(comparison: _Comparison) -> str:
    name = comparison.value.upper()
    if name not in _STATES:
        _invalid(f"{comparison.value[:80]!r} is no state; states are {', '.join(_STATES)}", comparison.at)
    return name


def _gather_time(gathered: _Gathered, comparison: _Comparison) -> None:
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
            _fail("compares create_time by =; use < and >=", comparison.at)


def _microseconds(comparison: _Comparison) -> int:
    try:
        time = datetime.fromisoformat(comparison.value)
    except ValueError:
        _invalid(f"{comparison.value[:80]!r} is no time; write it as 2026-01-31T12:00:00Z", comparison.at)
    if time.tzinfo is None:
        _invalid(f"{comparison.value[:80]!r} is a time without a zone; end it with Z", comparison.at)
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _same(known: str | None, comparison: _Comparison) -> str:
    if known is not None and known != comparison.value:
        _fail(f"asks for two values of {comparison.field} at once, which no job has", comparison.at)
    return comparison.value


def _only_one(alternatives: list[_Comparison]) -> None:
    if len(alternatives) > 1:
        _fail(f"joins values of {alternatives[0].field} by OR; only state, type and owner may be", alternatives[1].at)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)


def _invalid(description: str, at: int) -> NoReturn:
    raise FieldInvalidError("filter", f"{description} (at character {at})")


def _fail(description: str, at: int) -> NoReturn:
    error = FilterUnsupportedError(f"{description} (at character {at})")
    error.metadata["position"] = str(at)
    raise error
