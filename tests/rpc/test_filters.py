"""The filter language: what it says, what it refuses, and that no text whatever breaks it."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobhall.errors import ApiError, FieldInvalidError, FilterUnsupportedError
from jobhall.states import FailureKind, JobState
from jobhall_server.hall.views import JobFilter, ListOrder
from jobhall_server.rpc.filters import parse_filter, parse_order

ROOT = Path(__file__).parents[2]
EVERYTHING = JobFilter(namespace="default")
BATCH = "0190a0b0-0000-7000-8000-00000000000a"
AT = 1_769_860_800_000_000
"""2026-01-31T12:00:00Z in microseconds."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("   ", {}),
        ("state = FAILED", {"states": {JobState.FAILED}}),
        ("state=failed", {"states": {JobState.FAILED}}),
        ("state = FAILED AND type = resize", {"states": {JobState.FAILED}, "job_types": {"resize"}}),
        ("job_type = risk:score", {"job_types": {"risk:score"}}),
        ("(state = PENDING OR state = RUNNING)", {"states": {JobState.PENDING, JobState.RUNNING}}),
        ("owner = a@example.org OR owner = b", {"owners": {"a@example.org", "b"}}),
        ('path = "/files/annual report.csv"', {"path": "/files/annual report.csv"}),
        ("labels.team = red AND labels.year = 2026", {"labels": (("team", "red"), ("year", "2026"))}),
        ('labels."team/name" = "say \\"hi\\" \\\\ bye"', {"labels": (("team/name", 'say "hi" \\ bye'),)}),
        ('create_time >= "2026-01-31T12:00:00Z"', {"created_after": AT}),
        ("create_time > 2026-01-31T12:00:00Z", {"created_after": AT + 1}),
        ('create_time < "2026-01-31T13:00:00+01:00"', {"created_before": AT}),
        ('create_time <= "2026-01-31T12:00:00Z"', {"created_before": AT + 1}),
        ("(state = FAILED OR state = CANCELLED) AND state = FAILED", {"states": {JobState.FAILED}}),
        (f"batch = {BATCH.upper()}", {"batch_id": BATCH}),
        (f"batch_id = {BATCH}", {"batch_id": BATCH}),
        ('unique_key = "nightly report"', {"unique_key": "nightly report"}),
        ("error_kind = timeout", {"failure_kinds": {FailureKind.TIMEOUT}}),
        ("error_code = RATE_LIMITED", {"failure_codes": {"RATE_LIMITED"}}),
        ("priority = 5", {"priority_min": 5, "priority_max": 5}),
        ("priority >= -5", {"priority_min": -5, "priority_max": None}),
        ("priority > -5 AND priority <= 7", {"priority_min": -4, "priority_max": 7}),
        (
            "priority < 0 AND priority < 5 AND priority > -9 AND priority >= -20",
            {"priority_min": -8, "priority_max": -1},
        ),
        ("update_time > 2026-01-31T12:00:00Z", {"updated_after": AT + 1, "updated_before": None}),
        (
            "end_time >= 2026-01-31T12:00:00Z AND end_time < 2026-01-31T12:00:01Z",
            {"ended_after": AT, "ended_before": AT + 10**6},
        ),
        ("create_time > 2026-01-31T12:00:00Z AND create_time > 2025-01-31T12:00:00Z", {"created_after": AT + 1}),
        ("create_time > 1969-12-31T23:59:59Z", {"created_after": -(10**6) + 1}),
    ],
)
def test_a_filter_narrows_what_is_listed(text: str, expected: dict[str, object]) -> None:
    where = parse_filter(text, EVERYTHING)

    assert {name: getattr(where, name) for name in expected} == expected
    assert where.namespace == "default"


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("state != FAILED", 6),
        ("NOT state = FAILED", 0),
        ("state = FAILED type = resize", 15),
        ("state = FAILED OR type = resize", 0),
        ("(state = FAILED", 15),
        ("colour = red", 0),
        ("state", 5),
        ("state =", 7),
        ("= red", 0),
        ("path = a OR path = b", 12),
        ("owner > a", 0),
        ("type = a AND type = b", 13),
        ('path = "never closed', 7),
        ("state : FAILED", 6),
        ("create_time = 2026-01-31T12:00:00Z", 0),
        (" AND ".join(["state = FAILED"] * 65), 1230),
        ("priority = 1 OR priority = 2", 16),
        ("error_kind = TIMEOUT OR error_kind = EXPIRED", 24),
        ("error_code > A", 0),
        ("unique_key = a AND unique_key = b", 19),
        ("update_time = 2026-01-31T12:00:00Z", 0),
        ("created_at > 2026-01-31T12:00:00Z", 0),
    ],
)
def test_what_is_outside_the_language_is_refused_with_its_place(text: str, position: int) -> None:
    with pytest.raises(FilterUnsupportedError) as caught:
        parse_filter(text, EVERYTHING)

    assert caught.value.metadata["position"] == str(position)
    assert [violation.field for violation in caught.value.violations] == ["filter"]


@pytest.mark.parametrize(
    "text",
    [
        "state = LOST",
        "create_time > yesterday",
        "create_time > 2026-01-31",
        "create_time > 2026-01-31T12:00:00",
        "update_time > 10000-01-31T12:00:00Z",
        "end_time > 2026-13-31T12:00:00Z",
        "batch = nightly",
        "error_kind = UNSPECIFIED",
        "error_kind = BORED",
        "priority = high",
        "priority = 1.5",
        "priority = 9999999999",
        "priority = \u0663",
    ],
)
def test_a_value_that_is_none_is_an_invalid_field_at_its_place(text: str) -> None:
    with pytest.raises(FieldInvalidError) as caught:
        parse_filter(f"type = a AND {text}", EVERYTHING)

    assert caught.value.violations[0].field == "filter"
    assert caught.value.metadata["position"] == "13"


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("", ListOrder.CREATED_DESC),
        ("create_time desc", ListOrder.CREATED_DESC),
        (" create_time   desc ", ListOrder.CREATED_DESC),
        ("create_time", ListOrder.CREATED),
        ("update_time desc", ListOrder.UPDATED_DESC),
        ("update_time", ListOrder.UPDATED),
    ],
)
def test_a_list_comes_in_one_of_four_orders(text: str, order: ListOrder) -> None:
    assert parse_order(text) is order


@pytest.mark.parametrize("text", ["priority", "create_time DESC", "create_time asc", "create_time, update_time", "-"])
def test_another_order_is_refused_and_those_that_there_are_are_named(text: str) -> None:
    with pytest.raises(FilterUnsupportedError) as caught:
        parse_order(text)

    assert [violation.field for violation in caught.value.violations] == ["order_by"]
    assert all(order.value in str(caught.value) for order in ListOrder)


def test_every_filter_of_the_documents_is_one() -> None:
    rows = re.findall(r"^\| [^|`]+ \| `(.+)` \|$", (ROOT / "docs" / "listing.md").read_text(), re.MULTILINE)
    in_proto = (ROOT / "protos" / "jobhall" / "v1" / "job_service.proto").read_text().partition("Examples:")[2]
    examples = [line.strip(" /") for line in in_proto.splitlines()[2:5]]

    for text in (*examples, *rows):
        assert parse_filter(text, EVERYTHING) != EVERYTHING

    assert len(rows) >= 11
    assert examples[0] == "state = FAILED AND type = resize"


words = [
    "priority",
    "-1",
    "error_kind",
    "batch",
    "end_time",
    "state",
    "=",
    "FAILED",
    "AND",
    "OR",
    "(",
    ")",
    '"',
    "labels.a",
    "create_time",
    ">",
    "x",
    "\\",
    "'",
    "!=",
]


@given(st.text() | st.lists(st.sampled_from(words)).map(" ".join))
def test_no_text_whatever_breaks_the_parser(text: str) -> None:
    refused: ApiError | None = None

    try:
        parse_filter(text, EVERYTHING)
    except ApiError as error:
        refused = error

    assert refused is None or refused.reason in {"FILTER_UNSUPPORTED", "FIELD_INVALID"}
