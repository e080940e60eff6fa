"""Classes as job types: faults that were found by use, each with its story."""

from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime
from enum import Enum, Flag
from typing import Any, ClassVar, Literal, Optional, TypedDict

import pytest

from jobhall import JobManager
from jobhall.registry import ParametersError, schema_of
from jobhall.registry.class_schema import build, parameters_of


@dataclass
class Tree:
    value: int
    marks: set[str] = field(default_factory=set)
    left: Optional["Tree"] = None


def test_a_class_whose_schema_was_given_takes_what_the_schema_lets_in() -> None:
    """The schema of a class that has none of its own was to be given; then each of its tasks failed with the advice to
    give it, and none could be submitted by an instance.
    """
    with pytest.raises(TypeError, match="give the schema"):
        schema_of(Tree)

    assert build(Tree, {"value": 1, "left": {"value": 2}}) == Tree(1, left={"value": 2})  # type: ignore[arg-type]
    assert parameters_of(Tree(1, {"x"}, Tree(2))) == {
        "value": 1,
        "marks": {"x"},
        "left": {"value": 2, "marks": set(), "left": None},
    }
    with pytest.raises(ParametersError, match="colour"):
        build(Tree, {"colour": 1})


class Named(TypedDict):
    name: str


class Sides(Flag):
    LEFT = 1
    RIGHT = 2


class Corners(Enum):
    FIRST = (0, 0)


@dataclass
class OfNames:
    of: Named


@dataclass
class OfSides:
    sides: Sides


@dataclass
class OfCorners:
    corner: Corners


@dataclass
class Careless:
    end: date = None  # type: ignore[assignment]


@dataclass
class Sum:
    one: int
    other: InitVar[int]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (OfNames, "OfNames.of: Named has no"),
        (OfSides, "OfSides.sides: Sides has no"),
        (OfCorners, r"OfCorners.corner: \(0, 0\) is no choice"),
        (Careless, "Careless.end: its default None is no date"),
        (Sum, "Sum.other: of an InitVar"),
    ],
)
def test_what_a_schema_cannot_say_is_named_when_the_class_is_registered(kind: type, told: str) -> None:
    """They were told by an AttributeError of the inside, or not before a task of theirs had failed: a set of flags has
    values that its members have not, a tuple comes back as a list, a default may be of another kind than its field.
    """
    with pytest.raises(TypeError, match=told):
        schema_of(kind)


@dataclass
class Base:
    size: float = 1.0


class Plainer(Base):
    KIND: ClassVar[str] = "plainer"


def test_a_constant_of_the_class_is_no_field_of_its_own() -> None:
    """A subclass with a ClassVar was taken for a dataclass whose decorator had been forgotten."""
    assert schema_of(Plainer) == schema_of(Base)


@dataclass
class Span:
    begin: date
    end: datetime | date


def test_a_value_of_another_kind_goes_as_it_is() -> None:
    """A moment in a field for a day lost its time, or none at all raised an AttributeError: now the server, or JSON,
    says at which path what is wrong.
    """
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)

    assert parameters_of(Span(noon, noon)) == {"begin": noon, "end": noon.isoformat()}
    assert parameters_of(Span(None, noon.date())) == {"begin": None, "end": "2026-11-22"}  # type: ignore[arg-type]


def test_a_number_beyond_all_floats_is_a_fault_of_the_parameters() -> None:
    """It was an OverflowError, which is tried again."""
    with pytest.raises(ParametersError, match="size is too large"):
        build(Base, {"size": 10**400})


@dataclass
class Switch:
    way: Literal[0, 1, True, "off"]


def test_a_choice_between_one_and_true_is_kept_apart_as_json_does() -> None:
    """1 was read as True, which equals it in Python; 1.0, which is 1 in JSON and passes the schema, was no choice."""
    ways = [build(Switch, {"way": way}).way for way in (0, 1, True, "off", 1.0)]

    assert [(way, type(way)) for way in ways] == [(0, int), (1, int), (True, bool), ("off", str), (1, int)]
    with pytest.raises(ParametersError, match="no choice"):
        build(Switch, {"way": False})


def test_what_is_no_name_is_not_in_the_dict() -> None:
    """`3 in jobs` raised an AttributeError."""
    odd: Any = 3
    with JobManager("127.0.0.1:1") as jobs:
        assert odd not in jobs
        assert jobs.get(odd) is None
