"""The language of filters, a subset of AIP-160 (https://google.aip.dev/160), as text → conditions.

The grammar stands at ListJobs in `protos/jobhall/v1/job_service.proto`. OR joins values of one field; there is no NOT,
`!=`, `:` or wildcard. What the fields are is for `filters.py` (jobs) and `worker_filters.py` to say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from jobhall.errors import FieldInvalidError, FilterUnsupportedError
from jobhall.limits import FILTER_BYTES_MAX, LABEL_KEY_PATTERN

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_TOKEN = re.compile(
    rf"(?:(?P<field>labels\.{_QUOTED})|(?P<word>[\w\-.:/@]+)|(?P<quoted>{_QUOTED})|(?P<sign><=|>=|!=|[()=<>!,]))",
    re.DOTALL,
)
_SPACE = re.compile(r"\s*")
_LABEL_KEY = re.compile(LABEL_KEY_PATTERN)
_ALIASES = {"job_type": "type", "batch_id": "batch"}
_CONDITIONS_MAX = 64


class Comparison(NamedTuple):
    """A field compared with a value; `at` is its place in the text, from 0."""

    field: str
    operator: str
    value: str
    at: int


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def conditions(text: str) -> list[list[Comparison]]:
    """Each a list of alternatives on one field; all of them must hold. None for an empty text.

    FilterUnsupportedError says what is wrong and at which character (from 0).
    """
    if len(text.encode()) > FILTER_BYTES_MAX:
        fail(f"has more than {FILTER_BYTES_MAX} bytes", 0)
    if not text.strip():
        return []
    found = _Parser(_tokens(text), len(text)).conditions()
    for alternatives in found:
        first = alternatives[0]
        if any(other.field != first.field for other in alternatives):
            fail("joins different fields by OR; only values of one field may be", first.at)
    return found


def check_equals(alternatives: Sequence[Comparison]) -> None:
    """FilterUnsupportedError for a comparison by anything but `=`."""
    for comparison in alternatives:
        if comparison.operator != "=":
            fail(f"compares {comparison.field} by {comparison.operator}; only = is supported", comparison.at)


def only_one(alternatives: Sequence[Comparison], choices: str) -> None:
    """FilterUnsupportedError for several values of a field of which there may be one; `choices` names the others."""
    if len(alternatives) > 1:
        fail(f"joins values of {alternatives[0].field} by OR; only {choices} may be", alternatives[1].at)


def same(known: str | None, comparison: Comparison) -> str:
    """The value, which is the only one that the filter asks for."""
    if known is not None and known != comparison.value:
        fail(f"asks for two values of {comparison.field} at once, which nothing has", comparison.at)
    return comparison.value


def label_key(comparison: Comparison) -> str | None:
    """The key of `labels.KEY`, None for another field."""
    key = comparison.field.removeprefix("labels.")
    if not key or key == comparison.field:
        return None
    if not _LABEL_KEY.fullmatch(key):
        invalid(f"{key[:80]!r} is no label's key; it must match {LABEL_KEY_PATTERN}", comparison.at)
    return key


def invalid(description: str, at: int) -> NoReturn:
    """A value that is none."""
    error = FieldInvalidError("filter", f"{description} (at character {at})")
    error.metadata["position"] = str(at)
    raise error


def fail(description: str, at: int) -> NoReturn:
    """A filter that is not supported."""
    error = FilterUnsupportedError(f"{description} (at character {at})")
    error.metadata["position"] = str(at)
    raise error


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    end = len(text.rstrip())
    place = _skip_space(text, 0)
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            fail(f"cannot be read from {text[place : place + 20]!r} on; put values in double quotes", place)
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

    def conditions(self) -> list[list[Comparison]]:
        """Each a list of alternatives; all of them must hold."""
        found = [self._condition()]
        while self._peek().kind != "end":
            if self._word("OR"):
                fail("joins different conditions by OR; only values of one field may be", self._peek().at)
            joint = self._take()
            if joint.kind != "word" or joint.text != "AND":
                fail(f"needs AND before {joint.text[:80]!r}", joint.at)
            found.append(self._condition())
            if len(found) > _CONDITIONS_MAX:
                fail(f"has more than {_CONDITIONS_MAX} conditions", self._peek().at)
        return found

    def _condition(self) -> list[Comparison]:
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
                fail(f"needs a closing parenthesis before {closing.text or 'its end'!r}", closing.at)
        return alternatives

    def _comparison(self) -> Comparison:
        name = self._take()
        if name.kind == "word" and name.text == "NOT":
            fail("uses NOT, which is not supported", name.at)
        if name.kind not in ("word", "field"):
            fail(f"needs a field's name, not {name.text[:80] or 'its end'!r}", name.at)
        operator = self._take()
        if operator.kind != "sign" or operator.text not in ("=", "<", "<=", ">", ">="):
            fail(
                f"needs =, <, <=, > or >= after {name.text[:80]}, not {operator.text[:80] or 'its end'!r}", operator.at
            )
        value = self._take()
        if value.kind not in ("word", "quoted"):
            fail(f"needs a value after {operator.text}, not {value.text or 'its end'!r}", value.at)
        plain = _unquoted(value.text) if value.kind == "quoted" else value.text
        field_name = f"labels.{_unquoted(name.text.removeprefix('labels.'))}" if name.kind == "field" else name.text
        return Comparison(_ALIASES.get(field_name, field_name), operator.text, plain, name.at)

    def _peek(self) -> _Token:
        return self._tokens[self._next] if self._next < len(self._tokens) else self._end

    def _take(self) -> _Token:
        token = self._peek()
        self._next += 1
        return token

    def _word(self, word: str) -> bool:
        return self._peek().kind == "word" and self._peek().text == word


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
