"""What the command line says becomes what the SDK takes, or a usage error that names the option."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobhall.cli.arguments import (
    read_cursor,
    read_file_info,
    read_labels,
    read_logged_event_types,
    read_parameters,
    read_states,
    read_worker_states,
)
from jobhall.cli.attempts import Attempts
from jobhall.cli.exits import UsageError
from jobhall.cli.submitting import spell_out_stdin
from jobhall.cli.times import read_due, read_moment, read_span
from jobhall.model import RetryPolicy
from jobhall.states import BackoffStrategy, EventType, JobState, WorkerState

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_a_value_is_json_where_it_is_json_and_text_where_it_is_not() -> None:
    texts = ["width=200", "name=cat.png", "tags=[1,2]", 'zip="00123"', "empty=", "equation=a=b", "deep=true", "x=NaN"]

    parameters = read_parameters(params=texts, json_params=None, params_file=None)

    assert parameters == {
        "width": 200,
        "name": "cat.png",
        "tags": [1, 2],
        "zip": "00123",
        "empty": "",
        "equation": "a=b",
        "deep": True,
        "x": "NaN",
    }


def test_no_source_means_no_parameters() -> None:
    assert read_parameters(params=[], json_params=None, params_file=None) is None


def test_parameters_come_from_a_file_from_standard_input_or_from_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "parameters.json"
    file.write_text('{"from": "file"}')
    monkeypatch.setattr("sys.stdin", io.StringIO('{"from": "stdin"}'))

    assert read_parameters(params=[], json_params='{"from": "line"}', params_file=None) == {"from": "line"}
    assert read_parameters(params=[], json_params=None, params_file=str(file)) == {"from": "file"}
    assert read_parameters(params=[], json_params=None, params_file="-") == {"from": "stdin"}


def test_parameters_from_two_sources_are_refused() -> None:
    with pytest.raises(UsageError, match="give the parameters once"):
        read_parameters(params=["a=1"], json_params="{}", params_file=None)


@pytest.mark.parametrize("params", [["nonsense"], ["=1"], ["a=1", "a=2"]])
def test_a_parameter_that_is_no_pair_or_comes_twice_is_refused_by_its_option(params: list[str]) -> None:
    with pytest.raises(UsageError, match="--param: '"):
        read_parameters(params=params, json_params=None, params_file=None)


@pytest.mark.parametrize("text", ["{", "", "NaN", '{"a": Infinity}', "{'a': 1}"])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--json-params is not JSON"):
        read_parameters(params=[], json_params=text, params_file=None)


def test_a_parameter_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")

    with pytest.raises(UsageError, match="missing: No such file"):
        read_parameters(params=[], json_params=None, params_file=str(tmp_path / "missing"))
    with pytest.raises(UsageError, match="is not UTF-8"):
        read_parameters(params=[], json_params=None, params_file=str(binary))


def test_a_lone_hyphen_is_standard_input_unless_it_is_an_options_value() -> None:
    assert spell_out_stdin(["submit", "x", "-", "--wait"]) == ["submit", "x", "--params-file=-", "--wait"]
    assert spell_out_stdin(["submit", "x", "--params-file", "-"]) == ["submit", "x", "--params-file", "-"]


def test_labels_stay_text() -> None:
    assert read_labels(["team=red", "build=7"]) == {"team": "red", "build": "7"}


def test_states_are_read_in_any_case_and_several_at_once() -> None:
    assert read_states(["failed", "Pending,RUNNING"]) == [JobState.FAILED, JobState.PENDING, JobState.RUNNING]


def test_states_of_workers_have_words_of_their_own() -> None:
    assert read_worker_states(["attached,DRAINING"]) == [WorkerState.ATTACHED, WorkerState.DRAINING]
    with pytest.raises(UsageError, match="they are ATTACHED, DETACHED, DRAINING"):
        read_worker_states(["running"])


@pytest.mark.parametrize("name", ["faild", "unspecified", ""])
def test_an_unknown_state_is_refused_with_the_ones_there_are(name: str) -> None:
    with pytest.raises(UsageError, match="they are SCHEDULED, PENDING"):
        read_states([name])


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("2h", NOW - timedelta(hours=2)),
        ("1w", NOW - timedelta(days=7)),
        ("2026-01-31T10:00:00Z", NOW - timedelta(hours=2)),
        ("2026-01-31T11:00+01:00", NOW - timedelta(hours=2)),
    ],
)
def test_a_moment_is_a_span_before_now_or_a_time(text: str, moment: datetime) -> None:
    assert read_moment(text, option="--since", now=NOW) == moment


def test_a_time_without_a_zone_is_local() -> None:
    assert read_moment("2026-01-31", option="--since", now=NOW) == datetime(2026, 1, 31).astimezone(UTC)


def test_a_moment_to_come_is_a_span_from_now_or_a_time() -> None:
    assert read_due("1h30m", option="--at", now=NOW) == NOW + timedelta(minutes=90)
    assert read_due("2026-01-31T10:00:00Z", option="--at", now=NOW) == NOW - timedelta(hours=2)
    assert read_due("20260201", option="--at", now=NOW) == datetime(2026, 2, 1).astimezone(UTC)
    assert read_due(None, option="--at", now=NOW) is None
    with pytest.raises(UsageError, match="--at: 'tomorrow' is neither a span such as 2h nor a time"):
        read_due("tomorrow", option="--at", now=NOW)


@pytest.mark.parametrize("text", ["yesterday", "2x", "-2h", "", "99999999999999999999w"])
def test_what_is_no_moment_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(UsageError, match="--until: '"):
        read_moment(text, option="--until", now=NOW)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("1.5h", timedelta(minutes=90)),
        ("1h30m", timedelta(minutes=90)),
        ("90", timedelta(seconds=90)),
        ("0.5", timedelta(milliseconds=500)),
        ("7d", timedelta(days=7)),
        ("250ms", timedelta(milliseconds=250)),
        ("0s", timedelta()),
    ],
)
def test_a_span_is_numbers_and_units_or_a_number_of_seconds(text: str, span: timedelta) -> None:
    assert read_span(text, option="--grace") == span
    assert read_span(None, option="--grace") is None


@pytest.mark.parametrize("text", ["", "soon", "-5m", "-5", "5 m", "1h30", "٣s", "٣", "99999999999999999999w"])
def test_what_is_no_span_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(UsageError, match="--grace: '"):
        read_span(text, option="--grace")


def test_attempts_say_nothing_of_what_is_not_given() -> None:
    assert Attempts().options() == {
        "max_attempts": 0,
        "retry_policy": None,
        "run_timeout": None,
        "progress_timeout": None,
    }
    assert Attempts(retry_jitter=0.0).options()["retry_policy"] == RetryPolicy(jitter=0.0)


def test_no_attempt_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="--max-attempts: 0 would never run it"):
        Attempts(max_attempts=0).options()


def test_attempts_say_all_that_the_sdk_takes() -> None:
    attempts = Attempts(
        max_attempts=6,
        retry_delay="10s",
        retry_max_delay="5m",
        retry_strategy="linear",
        retry_multiplier=3.0,
        retry_jitter=0.5,
        no_retry_code=("DECLINED", "GONE"),
        run_timeout="1h",
        progress_timeout="90s",
    )

    assert attempts.options() == {
        "max_attempts": 6,
        "retry_policy": RetryPolicy(
            strategy=BackoffStrategy.LINEAR,
            initial_delay=timedelta(seconds=10),
            max_delay=timedelta(minutes=5),
            multiplier=3.0,
            jitter=0.5,
            non_retryable_codes=("DECLINED", "GONE"),
        ),
        "run_timeout": timedelta(hours=1),
        "progress_timeout": timedelta(seconds=90),
    }


@pytest.mark.parametrize("text", ["10m", "1h30m", "2026-01-31", "2026-01-31T12:00:00Z"])
def test_a_time_is_no_cursor(text: str) -> None:
    """`--since` is a time elsewhere: the server said that it was no place in its log, and a watch began anew."""
    with pytest.raises(UsageError, match=r"--since: .* is a time; here it is a cursor"):
        read_cursor(text)


@pytest.mark.parametrize("text", ["", "YzI1OTA2LjAxYTIwMzcxLTVlNjctN2M1YS04YmVmLWQzZDA4OTI4N2IyMQ", "odd"])
def test_what_a_cursor_is_the_server_knows(text: str) -> None:
    assert read_cursor(text) == text


@pytest.mark.parametrize("name", ["progress", "completed,LOG"])
def test_events_that_no_log_keeps_are_refused_where_it_is_read(name: str) -> None:
    """There were none of them, which was taken for an answer."""
    with pytest.raises(UsageError, match=r"--event: (PROGRESS|LOG) is told by `jobhall watch` and not kept"):
        read_logged_event_types([name])
    assert read_logged_event_types(["failed"]) == [EventType.FAILED]


def test_a_file_goes_along_by_its_name_and_size(tmp_path: Path) -> None:
    file = tmp_path / "annual.csv"
    file.write_bytes(b"12345")

    info = read_file_info(str(file))

    assert info is not None
    assert (info.name, info.size_bytes) == ("annual.csv", 5)
    assert read_file_info(None) is None
    with pytest.raises(UsageError, match=r"--file: .*No such file"):
        read_file_info(str(tmp_path / "missing"))
