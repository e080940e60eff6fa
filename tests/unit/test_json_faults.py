"""What JSON cannot say is refused with its place, what stands there, and what to write instead."""

import asyncio
import uuid
from collections import deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobhall.errors import FieldInvalidError
from jobhall.json_faults import fault_in
from jobhall.wire_values import json_text, payload_to_wire, struct_to_wire


@dataclass
class Row:
    name: str


class Colour(Enum):
    RED = "red"


class Frame:
    """As those of pandas: columns, and a to_dict that can make a list of rows."""

    columns = ("a", "b")

    def to_dict(self, how: str) -> list[dict[str, Any]]:
        return [{"how": how}]


@pytest.mark.parametrize(
    ("value", "what", "instead"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "a datetime", ".isoformat()"),
        (date(2026, 1, 1), "a date", ".isoformat()"),
        (time(12), "a time", ".isoformat()"),
        (timedelta(hours=1), "a timedelta", ".total_seconds()"),
        (Decimal("1.5"), "a Decimal", "float(…)"),
        ({1}, "a set", "sorted(…)"),
        (b"raw", "a bytes", "base64"),
        (uuid.uuid4(), "a UUID", "str(…)"),
        (PurePosixPath("x"), "a pathlib.PurePosixPath", "str(…)"),
        (Colour.RED, "Colour", ".value"),
        (Row("a"), "Row", "dataclasses.asdict(…)"),
        (MappingProxyType({}), "a mappingproxy", "dict(…)"),
        (deque([1]), "a collections.deque", "list(…)"),
        ({}.values(), "a dict_values", "list(…)"),
        (1j, "a complex", "str(…)"),
        (Frame(), "Frame", ".to_dict('records')"),
        (Row, "a type", "an object of it"),
        (float("nan"), "NaN", "None"),
        (float("-inf"), "infinity", "None"),
        ("\udc80", "surrogates", "errors='replace'"),
        (np.float32(1.5), "a numpy.float32", ".item()"),
        (np.int64(1), "a numpy.int64", ".item()"),
        (np.bool_(1), "a numpy.bool", ".item()"),
        (np.array([1, 2]), "a numpy.ndarray", ".tolist()"),
        (np.float64("nan"), "NaN", "None"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_says_where_and_what_and_what_to_do(value: Any, what: str, instead: str) -> None:
    with pytest.raises(FieldInvalidError) as caught:
        payload_to_wire({"rows": [1, {"fine": None}, {"when": value}]}, field="result")

    (violation,) = caught.value.violations
    assert violation.field == "result.rows[2].when"
    assert what in violation.description
    assert instead in violation.description
    assert caught.value.message == f"{violation.field}: {violation.description}"


@pytest.mark.parametrize("key", [(1, 2), np.int64(7), b"x", date(2026, 1, 1), float("nan")])
def test_a_key_that_is_no_text_is_named_with_the_place_of_its_dict(key: Any) -> None:
    with pytest.raises(FieldInvalidError) as caught:
        json_text({"by day": [{"a": 1, key: 2}]}, field="result")

    (violation,) = caught.value.violations
    assert violation.field == "result['by day'][0]"
    assert "key" in violation.description
    assert "text" in violation.description


def test_a_coroutine_that_nobody_awaited_is_called_one() -> None:
    waiting = asyncio.sleep(0)

    with pytest.raises(FieldInvalidError, match="await it first"):
        json_text([waiting], field="result")

    waiting.close()


def test_details_and_log_fields_are_told_of_likewise() -> None:
    with pytest.raises(FieldInvalidError, match=r"details\.share: is NaN"):
        struct_to_wire({"share": float("nan")}, field="details")


def test_what_holds_itself_is_named_where_it_begins_anew() -> None:
    content: dict[str, Any] = {"rows": []}
    content["rows"].append(content)

    with pytest.raises(FieldInvalidError, match=r"result\.rows\[0\]: .*Circular"):
        json_text(content, field="result")


def test_what_is_nested_without_end_in_sight_is_refused() -> None:
    content: list[Any] = []
    for _ in range(100_000):
        content = [content]

    with pytest.raises(FieldInvalidError, match="levels deep"):
        json_text(content, field="result")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)


@settings(max_examples=30)
@given(_json)
def test_nothing_is_found_in_what_json_can_say(content: Any) -> None:
    json_text(content, field="result")

    assert fault_in(content, field="result") is None


@settings(max_examples=30)
@given(_json, st.sampled_from([float("nan"), object(), b"", {1}, np.float32(1), "\ud800"]), st.data())
def test_whatever_the_encoder_refuses_is_found(content: Any, odd: Any, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(["list", "dict", "deep"]))
    holder = {"list": [content, odd], "dict": {"a": content, "b": odd}, "deep": [{"a": [content, (odd,)]}]}[place]

    fault = fault_in(holder, field="result")

    assert fault is not None
    assert fault.place == {"list": "result[1]", "dict": "result.b", "deep": "result[0].a[1][0]"}[place]
