"""What callers may name: each bound at its last good value, one beyond it, and the field that the error names."""

import uuid
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobhall.errors import FieldInvalidError
from jobhall.limits import LABEL_VALUE_BYTES_MAX, LABELS_MAX
from jobhall_server.hall import checks


def refused(check: Callable[[], object]) -> str:
    """The field that the error names."""
    with pytest.raises(FieldInvalidError) as caught:
        check()
    (violation,) = caught.value.violations
    return violation.field


@pytest.mark.parametrize("name", ["a", "0", "default", "team-1.eu_west", "a" * 63])
def test_a_namespace_may_be_called(name: str) -> None:
    assert checks.one_namespace(name, "namespace") == name


@pytest.mark.parametrize("name", ["A", "-", "-a", ".a", "a b", "a/b", "ä", "a\n", "a" * 64, "@global", "@a"])
def test_a_namespace_may_not_be_called(name: str) -> None:
    assert refused(lambda: checks.one_namespace(name, "namespace")) == "namespace"


def test_an_empty_namespace_is_the_default_one() -> None:
    assert checks.one_namespace("", "namespace") == "default"


def test_the_global_namespace_is_named_only_where_types_are_registered() -> None:
    assert checks.one_namespace("@global", "namespace", or_global=True) == "@global"


@pytest.mark.parametrize(("name", "meant"), [("-", None), ("", "default"), ("team", "team")])
def test_a_list_may_ask_for_every_namespace(name: str, meant: str | None) -> None:
    assert checks.listed_namespace(name, "namespace") == meant


@pytest.mark.parametrize(
    "spec", ["resize", "Resize.v2", "images:resize", "public:resize", "private:images:resize", "a" * 128]
)
def test_a_job_type_may_be_called(spec: str) -> None:
    assert checks.check_job_type(spec, "job_type") == spec


@pytest.mark.parametrize("spec", ["", "public:", ":resize", "images:", "a:b:c", "-resize", "re size", "ä", "a" * 129])
def test_a_job_type_may_not_be_called(spec: str) -> None:
    assert refused(lambda: checks.check_job_type(spec, "job_type")) == "job_type"


def test_labels_have_bounds() -> None:
    most = {f"key{number}": "x" * LABEL_VALUE_BYTES_MAX for number in range(LABELS_MAX)}

    checks.check_labels(most, "labels")

    assert refused(lambda: checks.check_labels(most | {"one-more": ""}, "labels")) == "labels"
    assert refused(lambda: checks.check_labels({"a b": ""}, "labels")) == "labels['a b']"
    assert refused(lambda: checks.check_labels({"a": "x" * (LABEL_VALUE_BYTES_MAX + 1)}, "labels")) == "labels['a']"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12))
def test_a_text_is_measured_in_bytes(text: str) -> None:
    size = len(text.encode())

    checks.check_text(text, size, "path")

    if size:
        assert refused(lambda: checks.check_text(text, size - 1, "path")) == "path"


def test_counts_and_numbers_have_both_their_ends() -> None:
    checks.check_count(3, 3, "jobs")
    for value in (-100, 0, 100):
        checks.check_range(value, -100, 100, "priority")

    assert refused(lambda: checks.check_count(4, 3, "jobs")) == "jobs"
    assert refused(lambda: checks.check_range(101, -100, 100, "priority")) == "priority"
    assert refused(lambda: checks.check_range(-101, -100, 100, "priority")) == "priority"


@given(st.uuids())
def test_a_job_id_in_any_spelling_is_the_same_job(chosen: uuid.UUID) -> None:
    for text in (str(chosen), str(chosen).upper(), chosen.hex, f"{{{chosen}}}", chosen.urn):
        assert checks.job_id(text) == str(chosen)


def test_an_id_that_was_left_out_is_asked_for() -> None:
    with pytest.raises(FieldInvalidError, match="job_id: is required"):
        checks.job_id("")


@pytest.mark.parametrize("text", ["", "1", "job-1", "0" * 31, "0" * 33, "g" * 32, "\0" * 36, "é" * 32])
def test_what_is_no_uuid_is_no_job_id(text: str) -> None:
    assert refused(lambda: checks.job_id(text, "job_ids[3]")) == "job_ids[3]"
