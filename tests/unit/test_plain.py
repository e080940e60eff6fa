"""Models as plain dicts: what is written is read again exactly, and what is wrong is said, all at once."""

import inspect
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import jobhall
from jobhall import ItemError, Job, JobState, LogEntry, Progress, Submission
from jobhall.archive import ArchivedJob
from jobhall.errors import JobhallError, PlainFormError
from jobhall.plain import Plain
from jobhall.queue import QueueJob, StatusCounts

NOT_PLAIN = {"CallRetry", "Rejection", "ReportAnswer"}
"""How a client behaves, and answers that hold an error to be raised."""
OFFERED = {name: it for name in jobhall.__all__ if inspect.isclass(it := getattr(jobhall, name)) and is_dataclass(it)}
MODELS = [*(it for name, it in OFFERED.items() if name not in NOT_PLAIN), ArchivedJob, QueueJob, StatusCounts]
MINIMAL: dict[str, Any] = {"id": "j1", "namespace": "default", "job_type": "resize", "state": "PENDING"}

keys = st.sampled_from(["base64", "json"]) | st.text(max_size=4)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
by_type: dict[Any, st.SearchStrategy[Any]] = {
    Any: json_values | st.binary() | st.dictionaries(st.sampled_from(["base64", "json"]), json_values),
    str: st.text(),
    int: st.integers(),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    bytes: st.binary(),
    NoneType: st.none(),
    datetime: st.datetimes(timezones=st.just(UTC)),
    timedelta: st.timedeltas(timedelta(days=-36_500), timedelta(days=36_500)),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Whatever a field of that type may hold; of a span the form that the server tells."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint in by_type:
        return by_type[hint]
    if origin in (Union, UnionType):
        kinds = [it for it in inner if not (it is float and timedelta in inner)]
        return st.one_of([values_of(it) for it in kinds])
    if origin is tuple:
        return st.lists(values_of(inner[0]), max_size=2).map(tuple)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(keys, json_values if inner[1] is Any else values_of(inner[1]), max_size=2)
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    return models(hint)


def models(kind: type) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    return st.deferred(lambda: st.builds(kind, **{it.name: values_of(hints[it.name]) for it in fields(kind)}))


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    # A whole job takes minutes to shrink; the test of payloads below does it for what is likely to be wrong.
    phases=[Phase.reuse, Phase.generate],
)
def test_every_model_comes_back_from_its_json_as_it_was(kind: type[Plain], data: st.DataObject) -> None:
    model = data.draw(models(kind))

    assert kind.from_dict(json.loads(json.dumps(model.to_dict()))) == model


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_every_model_is_plain_and_keeps_its_slots(kind: type) -> None:
    assert issubclass(kind, Plain)
    assert not hasattr(kind, "__dict__") or "__dict__" not in dir(kind)


@given(json_values | st.binary())
def test_a_payload_comes_back_whatever_json_it_is_and_bytes_as_bytes(content: Any) -> None:
    submission = Submission("resize", content)

    assert Submission.from_dict(json.loads(json.dumps(submission.to_dict()))).parameters == content


@pytest.mark.parametrize(
    ("content", "plain"),
    [
        (b"\x00\x01", {"base64": "AAE="}),
        ({"base64": "AAE="}, {"json": {"base64": "AAE="}}),
        ({"json": {"a": 1}}, {"json": {"json": {"a": 1}}}),
        ({"base64": "AAE=", "a": 1}, {"base64": "AAE=", "a": 1}),
        (None, None),
        ([], []),
    ],
)
def test_a_payload_that_looks_like_bytes_is_told_from_them(content: Any, plain: Any) -> None:
    assert Submission("resize", content).to_dict()["parameters"] == plain


def test_times_are_in_utc_spans_in_seconds_enums_by_name() -> None:
    cest = timezone(timedelta(hours=2))
    job = Job(
        **{**MINIMAL, "state": JobState.RUNNING},
        created_at=datetime(2026, 5, 1, 14, 0, 0, 7, cest),
        run_timeout=timedelta(minutes=1, microseconds=1),
    )

    said = job.to_dict()

    assert (said["created_at"], said["run_timeout"]) == ("2026-05-01T12:00:00.000007Z", 60.000001)
    assert said["state"] == "RUNNING"
    assert Job.from_dict(said).created_at == job.created_at


def test_what_is_left_out_has_its_default() -> None:
    assert Job.from_dict(MINIMAL) == Job(**{**MINIMAL, "state": JobState.PENDING})


def test_all_that_is_wrong_is_said_at_once_with_its_path() -> None:
    said = {
        "namespace": "default",
        "job_type": 7,
        "state": "pending",
        "colour": "red",
        "labels": {"team": 1},
        "progress": {"step": "count", "percentage": 4, "items_total": 1.5, "details": []},
        "item_errors": [{"index": 1}, {"index": True}, {"key": "k"}],
        "created_at": "2026-05-01T12:00:00",
        "run_timeout": "60",
        "retention": 1e300,
        "result": {"base64": "not base64"},
        "access_control": None,
    }

    with pytest.raises(PlainFormError) as caught:
        Job.from_dict(said)

    assert {it.field for it in caught.value.violations} == {
        "id",
        "job_type",
        "state",
        "colour",
        "labels.team",
        "progress.percentage",
        "progress.items_total",
        "progress.details",
        "item_errors[1].index",
        "item_errors[2].index",
        "created_at",
        "run_timeout",
        "retention",
        "result.base64",
        "access_control",
    }
    text = str(caught.value)
    assert "colour: is no field of Job" in text
    assert "item_errors[2].index: is missing" in text
    assert "'pending' is none of UNSPECIFIED, SCHEDULED, PENDING" in text
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, JobhallError)


@pytest.mark.parametrize("said", [None, [], "text", 3])
def test_what_is_no_object_is_no_model(said: Any) -> None:
    with pytest.raises(PlainFormError, match="is no object"):
        Progress.from_dict(said)


def test_who_changes_the_dict_changes_no_model() -> None:
    entry = LogEntry(message="m", fields={"rows": [1]})

    said = entry.to_dict()
    said["fields"]["rows"].append(2)
    read = LogEntry.from_dict(said)
    said["fields"]["rows"].append(3)

    assert (entry.fields, read.fields) == ({"rows": [1]}, {"rows": [1, 2]})


def test_a_field_that_has_no_plain_form_is_a_mistake_of_the_model() -> None:
    @dataclass(frozen=True, slots=True)
    class Odd(Plain):
        it: complex = 1j

    with pytest.raises(TypeError, match="complex"):
        Odd().to_dict()


def test_its_error_survives_a_pickle() -> None:
    with pytest.raises(PlainFormError) as caught:
        ItemError.from_dict({})

    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.violations) == (str(caught.value), caught.value.violations)
