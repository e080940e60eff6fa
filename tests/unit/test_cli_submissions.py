"""When, how long and how uniquely a job is submitted, and jobs from lines of JSON: each wrong line is named."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobhall.cli.arguments import read_document
from jobhall.cli.batch_creating import in_calls, read_completion_policy
from jobhall.cli.exits import UsageError
from jobhall.cli.job_lines import read_job, read_jobs
from jobhall.cli.schedules import Schedule
from jobhall.cli.submitting import Subject
from jobhall.limits import BATCH_SUBMIT_MAX
from jobhall.model import FileInfo
from jobhall.states import CompletionPolicy, UniquePolicy
from jobhall.submission import Submission


def test_a_schedule_says_nothing_of_what_is_not_given() -> None:
    assert Schedule().options() == {
        "schedule_time": None,
        "start_deadline": None,
        "retention": None,
        "unique_key": "",
        "unique_policy": UniquePolicy.UNSPECIFIED,
        "unique_window": None,
    }


def test_a_schedule_says_all_that_the_sdk_takes() -> None:
    before = datetime.now(UTC)

    options = Schedule(
        at="10m",
        start_deadline="2026-02-01T06:00:00Z",
        retention="7d",
        unique_key="2026-02",
        unique_policy="replace-pending",
        unique_window="1h30m",
    ).options()

    schedule_time = options["schedule_time"]
    assert isinstance(schedule_time, datetime)
    assert before + timedelta(minutes=10) <= schedule_time <= datetime.now(UTC) + timedelta(minutes=10)
    assert options["start_deadline"] == datetime(2026, 2, 1, 6, tzinfo=UTC)
    assert (options["retention"], options["unique_window"]) == (timedelta(days=7), timedelta(minutes=90))
    assert (options["unique_key"], options["unique_policy"]) == ("2026-02", UniquePolicy.REPLACE_PENDING)


def test_how_unique_is_nothing_to_say_without_a_key() -> None:
    with pytest.raises(UsageError, match="go with a --unique-key"):
        Schedule(unique_window="1h").options()


def test_a_file_that_is_elsewhere_goes_along_by_what_is_said_of_it() -> None:
    assert Subject(file_name="annual.csv").options() == {"path": "", "file_info": FileInfo("annual.csv", None)}
    assert Subject(path="/a", file_name="annual.csv", file_size=0).options()["file_info"] == FileInfo("annual.csv", 0)
    assert Subject().options()["file_info"] is None


def test_a_line_is_a_job_with_the_words_of_the_sdk() -> None:
    line = """{"type": "charge", "parameters": {"amount": 5}, "labels": {"team": "red"}, "priority": -3,
        "max_attempts": 1, "run_timeout": "1h30m", "progress_timeout": 90, "schedule_time": "2026-02-01T06:00:00Z",
        "unique_key": "k", "unique_policy": "reject", "path": null}"""

    assert read_job(line, where="jobs:1") == Submission(
        "charge",
        {"amount": 5},
        labels={"team": "red"},
        priority=-3,
        max_attempts=1,
        run_timeout=timedelta(minutes=90),
        progress_timeout=timedelta(seconds=90),
        schedule_time=datetime(2026, 2, 1, 6, tzinfo=UTC),
        unique_key="k",
        unique_policy=UniquePolicy.REJECT,
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", "jobs:3 is not JSON"),
        ('{"type": "x", "parameters": NaN}', "jobs:3 is not JSON"),
        ("[]", 'needs a "type"'),
        ('{"parameters": {}}', 'needs a "type"'),
        ('{"type": 5}', 'needs a "type"'),
        ('{"type": "x", "prio": 5}', "'prio' is no field of a job; they are type, parameters"),
        ('{"type": "x", "priority": "high"}', "jobs:3: priority is no whole number"),
        ('{"type": "x", "priority": true}', "jobs:3: priority is no whole number"),
        ('{"type": "x", "labels": {"build": 7}}', "jobs:3: labels is no object of texts"),
        ('{"type": "x", "run_timeout": "long"}', "jobs:3: run_timeout: 'long' is no span"),
        ('{"type": "x", "schedule_time": "soon"}', "jobs:3: schedule_time: 'soon' is neither"),
        ('{"type": "x", "unique_policy": "first"}', "'first' is none of return-existing, reject"),
        ('{"type": "x", "unique_policy": []}', "[] is none of return-existing"),
        ('{"type": "x", "unique_policy": "unspecified"}', "'unspecified' is none of return-existing, reject"),
    ],
)
def test_a_line_that_is_no_job_is_named(line: str, says: str) -> None:
    with pytest.raises(UsageError) as refusal:
        read_job(line, where="jobs:3")

    assert says in str(refusal.value)


def test_jobs_come_from_a_file_or_standard_input_and_empty_lines_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A line separator within a text, U+2028, ends no line.
    lines = '{"type": "a"}\n\n{"type": "b", "path": "\u2028"}\n'
    file = tmp_path / "jobs.jsonl"
    file.write_text(lines)
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))

    assert read_jobs(None) == []
    assert [job.job_type for job, _ in read_jobs(str(file))] == ["a", "b"]
    assert [job.path for job, _ in read_jobs("-")] == ["", "\u2028"]


def test_the_line_of_a_wrong_job_is_counted_from_1(tmp_path: Path) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_text('{"type": "a"}\n\n{"type": 5}\n')

    with pytest.raises(UsageError, match=r"jobs.jsonl:3 is no job"):
        read_jobs(str(file))


def test_jobs_are_cut_into_what_one_call_can_take() -> None:
    job = Submission("x")

    assert list(in_calls([])) == []
    assert [len(part) for part in in_calls([(job, 20)] * (2 * BATCH_SUBMIT_MAX + 1))] == [1000, 1000, 1]
    assert [len(part) for part in in_calls([(job, 1024 * 1024)] * 4)] == [3, 1]
    assert [len(part) for part in in_calls([(job, 9 * 1024 * 1024)] * 2)] == [1, 1]


def test_a_completion_policy_is_read_by_its_name() -> None:
    assert read_completion_policy("all-terminal") is CompletionPolicy.ALL_TERMINAL
    assert read_completion_policy(None) is None


def test_a_document_comes_from_a_file_or_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "schema.json"
    file.write_text("{}")
    monkeypatch.setattr("sys.stdin", io.StringIO('{"type": "object"}'))

    assert read_document(None, option="--result-schema") is None
    assert read_document(str(file), option="--result-schema") == {}
    assert read_document("-", option="--result-schema") == {"type": "object"}
    file.write_text("{")
    with pytest.raises(UsageError, match=r"schema.json is not JSON"):
        read_document(str(file), option="--result-schema")
