"""JSON Schemas: which are taken, what a payload is told, where two differ."""

import json
from typing import Any

import pytest

from jobhall.errors import FieldInvalidError
from jobhall.limits import SCHEMA_BYTES_MAX
from jobhall_server.domain.job import Payload
from jobhall_server.hall.schemas import FAULTS_MAX, Fault, check_schema, differences, schema_of


def faults(schema: Any, value: Any) -> list[Fault]:
    text = json.dumps(schema)
    check_schema(text, "schema")
    return schema_of(text).faults(Payload(json.dumps(value)))


def refused(schema: Any) -> str:
    """What is said of a schema that is not taken."""
    with pytest.raises(FieldInvalidError) as caught:
        check_schema(schema if isinstance(schema, str) else json.dumps(schema), "schema")
    [violation] = caught.value.violations
    assert violation.field == "schema"
    return violation.description


ORDER = {
    "type": "object",
    "properties": {
        "items": {
            "type": "array",
            "items": {"$ref": "#/$defs/item"},
        },
        "a b": {"const": 1},
    },
    "required": ["items"],
    "additionalProperties": False,
    "$defs": {
        "item": {
            "type": "object",
            "properties": {"price": {"type": "number"}, "note": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
            "required": ["price"],
        }
    },
}


def test_each_bad_place_is_named_by_its_path() -> None:
    value = {"items": [{"price": 1}, {"price": "dear"}, {}, {"price": 2, "note": 3}], "a b": 2, "colour": "red"}

    assert sorted(faults(ORDER, value)) == [
        Fault(".colour", "is not in the schema"),
        Fault(".items[1].price", 'is not of type "number"'),
        Fault(".items[2].price", "is required"),
        Fault(".items[3].note", "matches none of the schemas in `anyOf`"),
        Fault('["a b"]', "must be 1"),
    ]


def test_what_matches_has_no_fault() -> None:
    assert faults(ORDER, {"items": [{"price": 1.5, "note": None}]}) == []
    assert faults({}, "anything") == []


def test_an_object_that_may_have_no_properties_is_told_so() -> None:
    assert faults({"properties": {"o": {"additionalProperties": False}}}, {"o": {"a": 1}}) == [
        Fault(".o", "must have no properties")
    ]
    assert faults({"properties": {"o": False}}, {"o": 1}) == [Fault(".o", "is not allowed")]


def test_at_most_ten_places_are_named_and_none_echoes_a_value() -> None:
    found = faults({"items": {"maxLength": 1}}, ["secret " * 1000] * 50)

    assert len(found) == FAULTS_MAX
    assert not any("secret" in fault.what for fault in found)


def test_a_path_of_any_length_is_cut() -> None:
    [fault] = faults({"properties": {"a": True}, "additionalProperties": False}, {"k" * 100_000: 1})

    assert len(fault.path) == 200


def test_no_payload_is_null_and_bytes_are_no_json() -> None:
    schema = schema_of('{"type": "object"}')

    assert schema.faults(None) == [Fault("", 'is not of type "object"')]
    assert schema_of('{"type": "null"}').faults(None) == []
    [fault] = schema.faults(Payload(b"{}"))
    assert "must be JSON" in fault.what


def test_format_describes_and_is_not_checked() -> None:
    assert faults({"format": "date-time"}, "yesterday") == []


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ("nope", "is not JSON"),
        ("5", "is no schema"),
        ("[]", "is no schema"),
        ('{"type": 5}', "at /type: "),
        ({"properties": {"a": {"type": "strin"}}}, "at /properties/a/type: "),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "at /$schema: "),
        ({"$defs": {"a": {"$recursiveRef": "#"}}}, "at /$defs/a: $recursiveRef is of an older draft"),
        ({"properties": {"a": {"$id": "https://example.com/a"}}}, "at /properties/a: only the whole schema"),
        ({"$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}}, "is there twice"),
        ({"maxLength": -1}, "at /maxLength: "),
    ],
)
def test_what_is_no_schema_of_this_draft_is_refused_with_its_place(schema: Any, told: str) -> None:
    assert told in refused(schema)


@pytest.mark.parametrize(
    "reference",
    [
        "http://127.0.0.1:9/schema",
        "https://json-schema.org/draft/2020-12/schema",
        "file:///etc/passwd",
        "other.json",
        "",
    ],
)
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
def test_nothing_is_ever_fetched(keyword: str, reference: str) -> None:
    assert "is elsewhere" in refused({"properties": {"a": {keyword: reference}}})


def test_a_reference_that_is_only_data_is_no_reference() -> None:
    assert faults({"const": {"$ref": "http://127.0.0.1:9/schema"}}, 1)


@pytest.mark.parametrize("reference", ["#/$defs/nope", "#nope", "#/type/5"])
def test_a_reference_that_leads_nowhere_is_refused(reference: str) -> None:
    assert "at /items" in refused({"items": {"$ref": reference}, "type": ["array"]})


def test_a_reference_may_lead_anywhere_within_the_schema_but_only_to_schemas() -> None:
    assert faults({"$ref": "#/x-mine/a%20b", "x-mine": {"a b": {"type": "string"}}}, 5)
    assert faults({"$ref": "#name", "$defs": {"a": {"$anchor": "name", "type": "string"}}}, 5)
    assert faults({"$id": "https://example.com/a", "$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, 5)
    assert "at /x-mine/type" in refused({"$ref": "#/x-mine", "x-mine": {"type": 5}})
    assert "at /x-mine" in refused({"$ref": "#/x-mine", "x-mine": 5})


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"not": {"$ref": "#"}},
        {"if": {"$ref": "#/then"}, "then": {"$ref": "#/if"}},
        {"$dynamicAnchor": "n", "anyOf": [{"$dynamicRef": "#n"}]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    ],
)
def test_a_schema_that_leads_back_to_itself_without_going_into_the_value_is_refused(schema: Any) -> None:
    assert "leads back to itself" in refused(schema)


def test_a_tree_may_refer_to_itself() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}

    assert faults(tree, {"left": {"right": {}}}) == []
    assert faults(tree, {"left": {"right": 5}}) == [Fault(".left.right", 'is not of type "object"')]


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "(", r"(\w{500}){500}"])
def test_only_patterns_of_the_linear_time_engine_are_taken(pattern: str) -> None:
    assert "linear-time" in refused({"properties": {"a": {"pattern": pattern}}})
    assert "linear-time" in refused({"patternProperties": {pattern: True}})


def test_a_schema_of_any_size_or_depth_is_refused() -> None:
    assert "bytes; the limit is" in refused('{"description": "' + "x" * SCHEMA_BYTES_MAX + '"}')
    assert "deeper than" in refused('{"not":' * 65 + "true" + "}" * 65)
    assert "deeper than" in refused('{"const":' * 2 + "[" * 70 + "]" * 70 + "}" * 2)
    assert "is not JSON" in refused("[" * 20_000 + "]" * 20_000)
    assert "more than 100 patterns" in refused({"patternProperties": {f"^{n}$": True for n in range(101)}})
    assert "more than 4096 subschemas" in refused({"allOf": [True] * 5000})


def test_differences_are_pointers_and_form_is_none() -> None:
    old = '{"properties": {"a": {"type": "string"}, "b": {"minimum": 1}}, "required": ["a"]}'
    same = '{ "required": ["a"],\n"properties": {"b": {"minimum": 1.0}, "a": {"type": "string"}}}'
    new = '{"properties": {"a": {"type": "integer"}, "c/d": true}, "required": ["a", "c/d"]}'

    assert differences(old, same) == []
    assert differences(None, None) == []
    assert differences(old, new) == [
        ("/properties/a/type", 'is "string", and is "integer" now'),
        ("/properties/b", 'is {"minimum":1}, and is left out now'),
        ("/properties/c~1d", "is not there, and is true now"),
        ("/required", 'is ["a"], and is ["a","c/d"] now'),
    ]
    assert differences('{"const": 1}', '{"const": true}') == [("/const", "is 1, and is true now")]
    assert differences(old, None) == [("", "there is one, and is none now")]


def test_at_most_twenty_differences_are_shown() -> None:
    many = {"properties": {f"p{n}": True for n in range(100)}}

    assert len(differences("{}", '{"properties": {}}')) == 1
    assert len(differences('{"properties": {}}', json.dumps(many))) == 20
