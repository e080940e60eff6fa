"""JSON Schemas (2020-12) of parameters and results: checked before they are registered, compiled once, compared.

What is decided here: `format` and `content…` describe and are not checked, as the standard has it, so that every
validator of every language answers the same. References stay within the schema (`#…`): nothing is ever fetched.
Patterns are those of the linear-time engine, without look-around and back references. No payload at all is `null`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple
from urllib.parse import quote

import jsonschema_rs
import orjson

from jobhall.errors import FieldInvalidError
from jobhall.limits import SCHEMA_BYTES_MAX, SCHEMA_DEPTH_MAX
from jobhall_server.domain.job import Payload
from jobhall_server.hall.schema_effort import Effort, Efforts
from jobhall_server.hall.schema_graph import Graph, Json, Part, SchemaError, pointer_of

FAULTS_MAX = 10
DIFFERENCES_MAX = 20
TEXT_LENGTH_MAX = 200
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_PATTERN_BYTES_MAX = 1024 * 1024
"""Of one compiled pattern: `.{1,255}` takes half of it."""
_PATTERNS_BYTES_MAX = 8 * _PATTERN_BYTES_MAX
"""Of all patterns of a schema: `_SCHEMAS_KEPT_MAX` of them are kept in memory."""
_SCHEMAS_KEPT_MAX = 128
_UNITS_MAX = 10_000_000
"""A third of a second at the very worst; an honest payload of 1 MiB takes a tenth."""
_SEARCH_UNITS_MAX = 3 * _UNITS_MAX
_NAMED_LOOKS_MAX = 10_000
_NAMED_BYTES_MAX = 20_000_000
_NAMED_STACK_MAX = 512
_OWN = "urn:jobhall:schema"
_SHOWN_LENGTH_MAX = 60


class Fault(NamedTuple):
    """One thing that is wrong with a payload: where, such as `.items[3].price` (empty: all of it), and what."""

    path: str
    what: str


class Schema:
    """A schema that was checked, compiled for use."""

    def __init__(self, document: Json) -> None:
        self._graph = Graph(document, _check_form)
        self._validator = _compiled(document, self._graph.patterns)
        self._efforts = Efforts(self._graph)
        self._document = document

    def faults(self, payload: Payload | None) -> list[Fault]:
        """What is wrong with the payload, at most ten things; nothing when it matches."""
        content = "null" if payload is None else payload.content
        if isinstance(content, bytes):
            return [Fault("", "is bytes; its type has a JSON Schema, so it must be JSON")]
        value = orjson.loads(content)
        effort = None
        if not self._efforts.surely_within(_UNITS_MAX, size=len(content)):
            effort = self._efforts.of(value, units_max=_UNITS_MAX)
            if effort is None:
                return [Fault("", "takes too much work to check against its schema: it is too large, or too deep")]
        if self._validator.is_valid(value):
            return []
        effort = effort or self._efforts.of(value, units_max=_UNITS_MAX)
        if effort is not None and self._may_name(effort, len(content)):
            return _faults_of(self._validator, value)
        return [self._first_fault(value)]

    def _may_name(self, effort: Effort, size: int) -> bool:
        """Whether errors may be asked for: each look may be one, with a copy of its value and the errors below it."""
        return (
            effort.looks <= _NAMED_LOOKS_MAX
            and effort.layers * size <= _NAMED_BYTES_MAX
            and effort.depth * self._graph.chain <= _NAMED_STACK_MAX
        )

    def _first_fault(self, value: Json) -> Fault:
        """Go down to one place that does not match, where naming them all would take too much."""
        part, path, left = self._graph.root, "", _SEARCH_UNITS_MAX
        while True:
            # What is looked at below takes no more than this.
            effort = self._efforts.of(value, units_max=min(left, _UNITS_MAX), root=part)
            if effort is None:
                break
            left -= effort.units
            if (inner := self._mismatch_inside(part, value)) is None:
                if self._may_name(effort, len(orjson.dumps(value))):
                    for fault in _faults_of(self._validator_of(part), value):
                        return Fault(_cut(path + fault.path), fault.what)
                break
            step, part, value = inner
            path += _step(step)
        return Fault(_cut(path), "does not match its schema")

    def _mismatch_inside(self, part: Part, value: Json) -> tuple[str | int, Part, Json] | None:
        validators: dict[Part, jsonschema_rs.Validator] = {}
        for step, child, inner in self._graph.within(part, value):
            if child not in validators:
                validators[child] = self._validator_of(child)
            if not validators[child].is_valid(inner):
                return step, child, inner
        return None

    def _validator_of(self, part: Part) -> jsonschema_rs.Validator:
        """One of a part alone, which still finds what it refers to."""
        document = self._document
        if isinstance(document, dict) and "$id" in document:
            document = {name: value for name, value in document.items() if name != "$id"}
        registry = jsonschema_rs.Registry([(_OWN, document)])
        return _compiled({"$ref": _OWN + "#" + quote(part.pointer)}, self._graph.patterns, registry)


@lru_cache(maxsize=_SCHEMAS_KEPT_MAX)
def schema_of(text: str) -> Schema:
    """The schema in a text that `check_schema` has taken."""
    return Schema(orjson.loads(text))


def check_schema(text: str, field: str) -> None:
    """FieldInvalidError when the text is no JSON Schema that can be taken: where in it, and why."""
    if len(text.encode()) > SCHEMA_BYTES_MAX:
        raise FieldInvalidError(field, f"has {len(text.encode())} bytes; the limit is {SCHEMA_BYTES_MAX}")
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise FieldInvalidError(field, f"is not JSON: {error}") from None
    try:
        _check_document(document)
        _ = schema_of(text)
    except SchemaError as error:
        raise FieldInvalidError(field, str(error)) from None


def differences(old: str | None, new: str | None) -> list[tuple[str, str]]:
    """Where two schemas differ, as JSON pointers, and how, at most twenty. Form and order of keys are no difference."""
    if old is None or new is None:
        return (
            []
            if old == new
            else [("", "there is none, and is one now" if old is None else "there is one, and is none now")]
        )
    return list(islice(_different((), orjson.loads(old), orjson.loads(new)), DIFFERENCES_MAX))


def _check_document(document: Json) -> None:
    if not isinstance(document, (dict, bool)):
        raise SchemaError("", "is no schema: it must be a JSON object, true or false")
    level = [document]
    for _ in range(SCHEMA_DEPTH_MAX):
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise SchemaError("", f"is nested deeper than {SCHEMA_DEPTH_MAX} levels")
    if isinstance(document, dict) and document.get("$schema", _DRAFT) != _DRAFT:
        raise SchemaError("/$schema", f"{_cut(str(document['$schema']))} is not spoken here; write {_DRAFT}")


def _inside(value: Json) -> Iterator[Json]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _compiled(document: Json, patterns: int, registry: jsonschema_rs.Registry | None = None) -> jsonschema_rs.Validator:
    size = min(_PATTERN_BYTES_MAX, _PATTERNS_BYTES_MAX // max(1, patterns))
    try:
        return jsonschema_rs.Draft202012Validator(
            document,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=size),
            offline=True,
            mask="it",
            validate_formats=False,
            registry=registry,
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise _schema_error(error) from None


def _check_form(pointer: str, document: Json) -> None:
    try:
        jsonschema_rs.meta.validate(document)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise _schema_error(error, pointer) from None


def _schema_error(error: Exception, pointer: str = "") -> SchemaError:
    if not isinstance(error, jsonschema_rs.ValidationError):
        return SchemaError(pointer, _cut(str(error)))
    what = error.message
    if what.endswith('is not a "regex"'):
        what = "is no pattern of the linear-time engine (no look-around, no back references), or too large a one"
    return SchemaError(pointer + pointer_of(error.instance_path), _cut(what.removeprefix("it ")))


def _faults_of(validator: jsonschema_rs.Validator, value: Json) -> list[Fault]:
    found = (fault for error in validator.iter_errors(value) for fault in _described(error))
    return list(islice(dict.fromkeys(found), FAULTS_MAX))


def _described(error: jsonschema_rs.ValidationError) -> Iterator[Fault]:
    path = "".join(map(_step, error.instance_path))
    kinds = jsonschema_rs.ValidationErrorKind
    match error.kind:
        case kinds.Required(name):
            yield Fault(_cut(path + _step(name)), "is required")
        case kinds.AdditionalProperties(names) | kinds.UnevaluatedProperties(names):
            for name in names:
                yield Fault(_cut(path + _step(name)), "is not in the schema")
        case kinds.FalseSchema():
            # Of an object that may have no properties at all only the object is named.
            empty = error.schema_path[-1:] in (["additionalProperties"], ["propertyNames"])
            yield Fault(_cut(path), "must have no properties" if empty else "is not allowed")
        case kinds.Constant(value):
            yield Fault(_cut(path), _cut(f"must be {orjson.dumps(value).decode()}"))
        case kinds.Contains():
            yield Fault(_cut(path), "has no item such as `contains` asks for, or too many")
        case kinds.Not():
            yield Fault(_cut(path), "matches what `not` excludes")
        case kinds.AnyOf():
            yield Fault(_cut(path), "matches none of the schemas in `anyOf`")
        case kinds.OneOfNotValid():
            yield Fault(_cut(path), "matches none of the schemas in `oneOf`")
        case kinds.OneOfMultipleValid():
            yield Fault(_cut(path), "matches more than one of the schemas in `oneOf`")
        case _:
            yield Fault(_cut(path), _cut(error.message.removeprefix("it ")))


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if step.isidentifier() else f"[{orjson.dumps(step[:TEXT_LENGTH_MAX]).decode()}]"


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH_MAX else text[: TEXT_LENGTH_MAX - 1] + "…"


def _different(steps: tuple[str, ...], old: Json, new: Json) -> Iterator[tuple[str, str]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            here = (*steps, name)
            if name not in new:
                yield pointer_of(here), f"is {_shown(old[name])}, and is left out now"
            elif name not in old:
                yield pointer_of(here), f"is not there, and is {_shown(new[name])} now"
            else:
                yield from _different(here, old[name], new[name])
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _different((*steps, str(place)), one, other)
    elif _shape(old) != _shape(new):
        yield pointer_of(steps), f"is {_shown(old)}, and is {_shown(new)} now"


def _shape(value: Json) -> bytes:
    """Tells true from 1, and does not tell 1 from 1.0."""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return orjson.dumps(whole, option=orjson.OPT_SORT_KEYS)


def _shown(value: Json) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN_LENGTH_MAX else text[:_SHOWN_LENGTH_MAX] + "…"
