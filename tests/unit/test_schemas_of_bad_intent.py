"""Schemas and payloads made to keep the server busy: each is refused, or answered within a bounded time."""

import json
import random
import string
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobhall.errors import FieldInvalidError
from jobhall_server.domain.job import Payload
from jobhall_server.hall.schema_effort import VALUE_DEPTH_MAX
from jobhall_server.hall.schemas import Fault, Schema, check_schema, schema_of

BOUND_SECONDS = 10.0
"""The bound that is documented, a third of a second, for a machine that is busy with other tests."""


@contextmanager
def bounded() -> Iterator[None]:
    began = time.process_time()
    yield
    assert time.process_time() - began < BOUND_SECONDS


def ready(document: Any) -> Schema:
    text = json.dumps(document)
    with bounded():
        check_schema(text, "schema")
    return schema_of(text)


def answered(schema: Schema, value: Any) -> list[Fault]:
    payload = Payload(json.dumps(value))
    with bounded():
        return schema.faults(payload)


def too_much(found: list[Fault]) -> bool:
    return any("takes too much work" in fault.what for fault in found)


def doubling(levels: int, keyword: str = "allOf") -> dict[str, Any]:
    """Each definition names the next one twice."""
    steps = {f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$defs": {**steps, f"d{levels}": {"type": "string"}}, "$ref": "#/$defs/d0"}


def nested(levels: int, innermost: Any) -> Any:
    value: Any = innermost
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_definitions_that_double_are_counted_and_not_followed(keyword: str) -> None:
    """Thirty levels in 3 KB of schema took the validator a minute for one number; each error had a copy of it."""
    for levels in (4, 10, 16, 20, 24, 30):
        found = answered(ready(doubling(levels, keyword)), 5)
        assert found
        assert too_much(found) is (levels > 20)


def test_alternatives_that_both_go_deeper_are_counted() -> None:
    """A tree of `and` and `or`, written as people write it, doubles the work with each level of a value."""
    branch = {"type": "array", "items": {"$ref": "#"}}
    tree = {
        "type": "object",
        "oneOf": [
            {"properties": {"op": {"const": name}, "args": branch}, "required": ["op"]} for name in ("and", "or")
        ],
    }
    schema = ready(tree)

    value: Any = {"op": "and"}
    for _ in range(8):
        value = {"op": "or", "args": [value]}
    assert answered(schema, value) == []
    for _ in range(40):
        value = {"op": "or", "args": [value]}
    assert too_much(answered(schema, value))


def test_unevaluated_over_alternatives_is_counted_twice() -> None:
    """`unevaluatedProperties` asks a second time which alternative holds: twenty levels took 0.1 s."""
    steps = {
        f"d{n}": {"anyOf": [{"properties": {"a": {"$ref": f"#/$defs/d{n + 1}"}}}], "unevaluatedProperties": False}
        for n in range(40)
    }
    schema = ready({"$defs": {**steps, "d40": True}, "$ref": "#/$defs/d0"})

    assert answered(schema, nested(6, {})) == []
    assert too_much(answered(schema, nested(40, {})))


def test_a_value_of_any_depth_is_refused_before_it_can_overflow_a_stack() -> None:
    """A chain of 100 definitions over 900 levels ended the whole process."""
    chain = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}]} for n in range(30)}
    last = {"properties": {"a": {"$ref": "#"}}, "type": "object"}
    schema = ready({"$defs": {**chain, "d30": last}, "$ref": "#/$defs/d0"})

    [fault] = answered(schema, nested(VALUE_DEPTH_MAX - 1, 5))
    assert not too_much([fault])
    assert too_much(answered(schema, nested(900, 5)))


def test_a_row_of_references_is_bounded() -> None:
    with pytest.raises(FieldInvalidError, match="in a row look at the same value"):
        check_schema(json.dumps(doubling(100)), "schema")


@pytest.mark.parametrize("count", [1000, 100_000])
def test_many_alternatives_for_many_items(count: int) -> None:
    """A thousand wrong items and five thousand alternatives took minutes and gigabytes to be complained of."""
    schema = ready({"items": {"anyOf": [{"const": number} for number in range(2000)]}})

    found = answered(schema, [0.5] * count)
    assert found == [Fault("[0]", "matches none of the schemas in `anyOf`")] or too_much(found)


def test_a_large_value_that_misses_a_thousand_things_is_not_copied_for_each() -> None:
    """Each error had a copy of the whole value: 1 MB and a thousand names that were required took 4 GB."""
    value = {f"k{number}": "v" * 100 for number in range(9000)}

    found = answered(ready({"allOf": [{"required": [f"x{number}"]} for number in range(1000)]}), value)
    assert len(found) == 1


@pytest.mark.parametrize("length", [1000, 30_000, 1_000_000])
@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|b)*a(a|b){1000}$", "^(a|b)*a" + "(a|b)" * 10, r"^(\w+\s?)*$"])
def test_patterns_take_linear_time_and_little_of_it(pattern: str, length: int) -> None:
    text = "".join(random.Random(1).choices("ab", k=length))

    _ = answered(ready({"pattern": pattern}), text)
    _ = answered(ready({"patternProperties": {pattern: False}}), {text: 1})


def test_the_patterns_of_one_schema_share_a_bound_of_memory() -> None:
    """Each had a bound of its own: a hundred of them took a hundred megabytes, for as long as the schema was known."""

    def named(count: int) -> dict[str, Any]:
        return {"properties": {f"p{number}": {"pattern": rf"^\p{{L}}{{1,10}}{number}$"} for number in range(count)}}

    with bounded(), pytest.raises(FieldInvalidError, match="too large"):
        check_schema(json.dumps(named(100)), "schema")
    assert answered(ready(named(10)), {"p3": "abc3"}) == []


def test_a_large_honest_value_is_checked_whole() -> None:
    row = {"type": "object", "properties": {name: {"type": "integer"} for name in "abcde"}}
    schema = ready({"properties": {"rows": {"items": {**row, "required": list("abcde")}}}})
    rows: list[dict[str, object]] = [dict.fromkeys("abcde", 1) for _ in range(20_000)]

    assert answered(schema, {"rows": rows}) == []
    rows[19_000]["c"] = "x"
    assert answered(schema, {"rows": rows}) == [Fault(".rows[19000].c", 'is not of type "integer"')]


def test_uniqueness_within_uniqueness_is_counted() -> None:
    schema = ready({"items": {"$ref": "#"}, "uniqueItems": True})

    assert answered(schema, list(range(10_000))) == []
    value: list[Any] = list(range(100_000))
    for _ in range(60):
        value = [*range(16), value]
    assert too_much(answered(schema, value))


def test_comparing_with_many_objects_is_counted() -> None:
    schema = ready({"items": {"enum": [{"c": number} for number in range(1000)]}})

    assert answered(schema, [{"c": 999}] * 10) == []
    assert too_much(answered(schema, [{"c": 999}] * 10_000))


def test_the_same_value_is_answered_alike_whatever_was_checked_before() -> None:
    schema = ready(doubling(20))

    values: list[Any] = [5, "a", 5, [], 5]
    answers = [answered(schema, value) for value in values]
    assert answers[0] == answers[2] == answers[4]


_NAMES = st.sampled_from(["a", "b", "c"])
_SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    st.booleans()
    | st.fixed_dictionaries({"type": st.sampled_from(["string", "integer", "object", "array", "null"])})
    | st.fixed_dictionaries({"$ref": st.sampled_from(["#", "#/$defs/a", "#/$defs/b", "#/items", "#/properties/a"])})
    | st.fixed_dictionaries({"$dynamicRef": st.just("#n")})
    | st.fixed_dictionaries({"enum": st.lists(st.integers() | st.text(max_size=3), max_size=3)})
    | st.fixed_dictionaries({"pattern": st.text(string.printable, max_size=6)})
    | st.fixed_dictionaries(
        {}, optional={"minLength": st.integers(-1, 3), "multipleOf": st.floats(), "$anchor": _NAMES}
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(_NAMES, inner, max_size=3),
            "patternProperties": st.dictionaries(st.text("ab.*", max_size=3), inner, max_size=2),
            "additionalProperties": inner,
            "propertyNames": inner,
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "contains": inner,
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=3),
            "oneOf": st.lists(inner, min_size=1, max_size=3),
            "not": inner,
            "if": inner,
            "then": inner,
            "dependentSchemas": st.dictionaries(_NAMES, inner, max_size=2),
            "dependencies": st.dictionaries(_NAMES, inner | st.lists(_NAMES, max_size=2), max_size=2),
            "unevaluatedProperties": inner,
            "unevaluatedItems": inner,
            "uniqueItems": st.booleans(),
            "required": st.lists(_NAMES, unique=True, max_size=3),
            "$defs": st.dictionaries(_NAMES, inner, max_size=3),
            "$dynamicAnchor": st.just("n"),
        },
    ),
    max_leaves=12,
)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=15,
)


@settings(max_examples=300, deadline=None)
@given(schema=_SCHEMAS, value=_VALUES)
def test_whatever_is_registered_is_refused_or_answers_every_value(schema: Any, value: Any) -> None:
    try:
        check_schema(json.dumps(schema), "schema")
    except FieldInvalidError:
        return
    found = answered(schema_of(json.dumps(schema)), value)
    assert all(fault.what and len(fault.path) <= 200 and len(fault.what) <= 200 for fault in found)
