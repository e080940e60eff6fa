"""The filter language: what it says, what it refuses, and that no text whatever breaks it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobhall.errors import ApiError, FieldInvalidError, FilterUnsupportedError
from jobhall.states import JobState
from jobhall_server.hall.views import JobFilter
from jobhall_server.rpc.filters import parse_filter

EVERYTHING = JobFilter(namespace="default")
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
    ],
)
def test_what_is_outside_the_language_is_refused_with_its_place(text: str, position: int) -> None:
    with pytest.raises(FilterUnsupportedError) as caught:
        parse_filter(text, EVERYTHING)

    assert caught.value.metadata["position"] == str(position)
    assert [violation.field for violation in caught.value.violations] == ["filter"]


@pytest.mark.parametrize(
    "text", ["state = LOST", "create_time > yesterday", "create_time > 2026-01-31", "create_time > 2026-01-31T12:00:00"]
)
def test_a_value_that_is_none_is_an_invalid_field(text: str) -> None:
    with pytest.raises(FieldInvalidError) as caught:
        parse_filter(text, EVERYTHING)

    assert caught.value.violations[0].field == "filter"


words = ["state", "=", "FAILED", "AND", "OR", "(", ")", '"', "labels.a", "create_time", ">", "x", "\\", "'", "!="]


@given(st.text() | st.lists(st.sampled_from(words)).map(" ".join))
def test_no_text_whatever_breaks_the_parser(text: str) -> None:
    refused: ApiError | None = None

    try:
        parse_filter(text, EVERYTHING)
    except ApiError as error:
        refused = error

    assert refused is None or refused.reason in {"FILTER_UNSUPPORTED", "FIELD_INVALID"}
