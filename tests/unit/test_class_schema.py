"""Dataclasses as JSON Schema: what each field type becomes, the way there and back, and clear words for the rest."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import Enum, IntEnum
from typing import Any, Literal, Optional
from uuid import UUID

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobhall.registry import ParametersError, schema_of
from jobhall.registry.class_schema import build, parameters_of
from jobhall.registry.registration import description_of, split_name


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


@dataclass
class Point:
    x: float
    y: float = 0.0


@dataclass
class Everything:
    """All that a field may be."""

    text: str
    whole: int
    number: float
    flag: bool
    nothing: None
    anything: Any
    point: Point
    colour: Colour
    size: Size
    mode: Literal["fast", "slow", 3]
    points: list[Point]
    names: Sequence[str]
    many: tuple[int, ...]
    pair: tuple[int, str]
    by_name: dict[str, Point]
    counts: Mapping[str, int]
    plain_list: list  # type: ignore[type-arg]
    perhaps: Optional[int]  # noqa: UP045 - the older spelling, too
    either: int | str | list[int] | None
    at: datetime
    on: date
    id: UUID
    limit: int = 10
    shades: list[Colour] = field(default_factory=list)
    derived: int = field(init=False, default=0)


JSON = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3), st.lists, max_leaves=4)
WHOLE = st.integers(-(2**40), 2**40)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
POINTS = st.builds(Point, NUMBERS, NUMBERS)
EVERYTHING = st.builds(
    Everything,
    text=st.text(max_size=5),
    whole=WHOLE,
    number=NUMBERS,
    flag=st.booleans(),
    nothing=st.none(),
    anything=JSON,
    point=POINTS,
    colour=st.sampled_from(Colour),
    size=st.sampled_from(Size),
    mode=st.sampled_from(["fast", "slow", 3]),
    points=st.lists(POINTS, max_size=2),
    names=st.lists(st.text(max_size=3), max_size=2),
    many=st.lists(WHOLE, max_size=3).map(tuple),
    pair=st.tuples(WHOLE, st.text(max_size=3)),
    by_name=st.dictionaries(st.text(max_size=3), POINTS, max_size=2),
    counts=st.dictionaries(st.text(max_size=3), WHOLE, max_size=2),
    plain_list=st.lists(JSON, max_size=2),
    perhaps=st.none() | WHOLE,
    either=st.none() | WHOLE | st.text(max_size=3) | st.lists(WHOLE, max_size=2),
    at=st.datetimes(timezones=st.just(UTC)),
    on=st.dates(),
    id=st.uuids(),
    limit=WHOLE,
    shades=st.lists(st.sampled_from(Colour), max_size=2),
)


@given(EVERYTHING)
def test_an_instance_fits_its_schema_and_comes_back_from_json_as_it_was(instance: Everything) -> None:
    schema = schema_of(Everything)
    plain = json.loads(json.dumps(parameters_of(instance)))

    assert schema is not None
    assert jsonschema_rs.validator_for(schema).is_valid(plain)
    assert build(Everything, plain) == instance


@given(EVERYTHING, st.data())
def test_what_the_schema_refuses_makes_no_instance(instance: Everything, data: st.DataObject) -> None:
    """And the other way round, but for `format`, which no schema of the server's checks."""
    plain = json.loads(json.dumps(parameters_of(instance)))
    name = data.draw(st.sampled_from(sorted(plain.keys() - {"at", "on", "id"})))
    plain[name] = data.draw(JSON | POINTS.map(parameters_of))

    schema = schema_of(Everything)
    assert schema is not None
    expected = nullcontext() if jsonschema_rs.validator_for(schema).is_valid(plain) else pytest.raises(ParametersError)
    with expected:
        build(Everything, plain)


def test_the_schema_says_what_is_required_and_what_is_left_out_means() -> None:
    assert schema_of(Point) == {
        "type": "object",
        "properties": {"x": {"type": "number"}, "y": {"type": "number", "default": 0.0}},
        "required": ["x"],
        "additionalProperties": False,
    }
    schema = schema_of(Everything)
    assert schema is not None
    properties = schema["properties"]
    assert "derived" not in properties
    assert "limit" not in schema["required"]
    assert properties["mode"] == {"enum": ["fast", "slow", 3]}
    assert properties["size"] == {"enum": [1, 2]}
    assert properties["perhaps"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert properties["at"] == {"type": "string", "format": "date-time"}
    assert properties["by_name"] == {"type": "object", "additionalProperties": schema_of(Point)}
    assert properties["anything"] == {}


def test_all_that_is_wrong_is_said_at_once_and_where() -> None:
    @dataclass
    class Path:
        points: list[Point]
        colour: Colour
        closed: bool = False

    with pytest.raises(ParametersError) as caught:
        build(Path, {"points": [{"x": "left"}, {"y": 1, "z": 2}], "closed": 1, "width": 3})

    told = {it.field: it.description for it in caught.value.violations}
    assert told == {
        "width": "is no field of Path",
        "colour": "is missing",
        "points[0].x": "is no number",
        "points[1].z": "is no field of Point",
        "points[1].x": "is missing",
        "closed": "is no boolean",
    }


def test_a_class_may_check_more_than_types_can_say() -> None:
    @dataclass
    class Share:
        percent: float = 0

        def __post_init__(self) -> None:
            if not 0 <= self.percent <= 100:
                raise ValueError("percent goes from 0 to 100")

    assert build(Share, None) == Share(0)
    assert build(Share, {"percent": 3}).percent == 3
    with pytest.raises(ParametersError, match="percent goes from 0 to 100"):
        build(Share, {"percent": 101})
    with pytest.raises(ParametersError, match="parameters is no object"):
        build(Share, [1])


def test_a_whole_number_may_be_written_as_any_json_writes_it() -> None:
    @dataclass
    class Count:
        n: int

    made = build(Count, {"n": 3.0})
    assert (made.n, type(made.n)) == (3, int)
    for odd in (3.5, True, "3"):
        with pytest.raises(ParametersError, match="n is no whole number"):
            build(Count, {"n": odd})


def test_what_has_no_schema_is_named_with_what_to_do() -> None:
    @dataclass
    class Odd:
        points: list[set[int]]

    @dataclass
    class Keys:
        by_number: dict[int, str]

    @dataclass
    class Base:
        x: int

    class Undecorated(Base):
        y: int

    for kind, said in (
        (Odd, r"Odd\.points\[…\]: set has no JSON Schema here; give the schema"),
        (Keys, r"Keys\.by_number: names in JSON are text"),
        (Undecorated, r"Undecorated has fields of its own and is no dataclass: decorate it"),
        (Tree, r"Tree\.children\[…\]: a Tree within a Tree has no end; give the schema"),
    ):
        with pytest.raises(TypeError, match=said):
            schema_of(kind)


@dataclass
class Tree:
    children: "list[Tree]"


def test_a_class_that_is_no_dataclass_has_no_schema_and_takes_what_it_takes() -> None:
    class Repeat:
        def __init__(self, n: int) -> None:
            self.n = n

    assert schema_of(Repeat) is None
    assert build(Repeat, {"n": 3}).n == 3
    with pytest.raises(ParametersError, match="unexpected keyword argument 'm'"):
        build(Repeat, {"m": 3})
    with pytest.raises(TypeError, match="no dataclass: submit the class"):
        parameters_of(Repeat(3))


def test_a_docstring_is_the_description_unless_nobody_wrote_it() -> None:
    assert description_of(Everything) == "All that a field may be."
    assert description_of(Point) == ""
    assert description_of(Tree) == ""


@pytest.mark.parametrize(
    ("name", "options", "meant"),
    [
        ("Rotate", {}, ("Rotate", False)),
        ("Rotate", {"category": "modifiers"}, ("modifiers:Rotate", False)),
        ("Rotate", {"public": True}, ("Rotate", True)),
        ("public:modifiers:Rotate", {}, ("modifiers:Rotate", True)),
        ("private:modifiers:Rotate", {}, ("modifiers:Rotate", False)),
    ],
)
def test_a_name_may_hold_its_prefix_and_category(name: str, options: dict[str, Any], meant: tuple[str, bool]) -> None:
    assert split_name(name, **options) == meant


def test_a_name_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="private by its name"):
        split_name("private:Rotate", public=True)
    with pytest.raises(ValueError, match="has a category already"):
        split_name("modifiers:Rotate", category="other")
