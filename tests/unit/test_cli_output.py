"""The same job and events as JSON, as plain lines, and on a terminal."""

import io
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from jobhall.cli.bars import Bars
from jobhall.cli.documents import Documents
from jobhall.cli.lines import EventLines, Lines
from jobhall.cli.output import choose_output
from jobhall.cli.phrases import duration_text
from jobhall.cli.screen import Screen
from jobhall.cli.tables import JOBS
from jobhall.model import FileInfo, ItemError, Job, JobError, LogEntry, Progress, Timing
from jobhall.model_events import JobEvent
from jobhall.states import EventType, FailureKind, JobState, LogLevel

WHEN = datetime(2026, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC)
JOB = Job(
    id="01977c0e-0000-7000-8000-000000000001",
    namespace="default",
    job_type="resize",
    state=JobState.COMPLETED,
    parameters={"width": 200, "name": "[red]käse"},
    result=b"\x00\x01",
    progress=Progress(items_total=1000, items_processed=450, items_failed=3, percent=45.0, unit="rows"),
    timing=Timing(run_duration=timedelta(seconds=4.2)),
    labels={"team": "red"},
    file_info=FileInfo("annual.csv", 5),
    created_at=WHEN,
    attempt=2,
    max_attempts=4,
    item_error_count=1,
    item_errors=(ItemError(7, "ACME", "NOT_A_NUMBER", "sales is no number"),),
)
ERROR = JobError(kind=FailureKind.APPLICATION, code="ValueError", message="no\nsuch file", stack="Traceback: …")
FAILED = replace(JOB, state=JobState.FAILED, result=None, error=ERROR)
EVENT = JobEvent(
    event_type=EventType.RUNNING,
    job_id=JOB.id,
    revision=3,
    namespace="default",
    job_type="resize",
    state=JobState.RUNNING,
    attempt=2,
    worker_name="w1",
    happened_at=WHEN,
)


def test_json_has_every_field_by_the_dataclass_names(capsys: pytest.CaptureFixture[str]) -> None:
    Documents().job(JOB)

    document = json.loads(capsys.readouterr().out)
    assert set(Job.__dataclass_fields__) == set(document)
    assert document["state"] == "COMPLETED"
    assert document["created_at"] == "2026-01-31T12:00:00.250000Z"
    assert document["timing"]["run_duration"] == 4.2
    assert document["result"] == {"base64": "AAE="}
    assert document["item_errors"][0]["key"] == "ACME"


def test_a_watch_in_json_tells_jobs_from_events(capsys: pytest.CaptureFixture[str]) -> None:
    with Documents().follow(named=True) as follower:
        follower.show(JOB)
        follower.tell(EVENT, cursor="c1")
        follower.mark("c2")
        follower.begin_anew()

    output = capsys.readouterr()
    job, event, *others = map(json.loads, output.out.splitlines())
    assert (job["job"]["id"], job["cursor"]) == (JOB.id, "")
    assert (event["event"]["event_type"], event["cursor"]) == ("RUNNING", "c1")
    assert others == [{"cursor": "c2"}, {"reset": True, "cursor": ""}]
    assert "EVENTS MAY BE MISSING" in output.err


def test_piped_a_submitted_job_is_its_id_and_a_list_is_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().made(JOB, JOB.job_type, JOB.state)
    Lines().table(JOBS, [JOB])

    first, second = capsys.readouterr().out.splitlines()
    assert first == JOB.id
    assert second.split("\t") == [
        JOB.id,
        "resize",
        "COMPLETED",
        "450/1000 rows, 3 failed, 45 %",
        "2",
        "2026-01-31T12:00:00.250Z",
    ]


def test_piped_a_job_is_a_line_per_field(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().job(FAILED)

    lines = capsys.readouterr().out.splitlines()
    assert "state: FAILED" in lines
    assert "error: APPLICATION ValueError: no such file" in lines
    assert 'parameters: {"width": 200, "name": "[red]käse"}' in lines
    assert "item error: 7 ACME NOT_A_NUMBER sales is no number" in lines
    assert lines[-1] == ERROR.stack


def test_an_event_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    failure = replace(EVENT, event_type=EventType.FAILED, failure_kind=FailureKind.APPLICATION, failure_code="Oops")

    with EventLines() as lines:
        lines.tell(EVENT)
        lines.tell(failure)

    first, second = capsys.readouterr().out.splitlines()
    assert first == f"2026-01-31T12:00:00.250Z RUNNING {JOB.id} resize attempt=2 worker=w1"
    assert second.endswith("failure=APPLICATION/Oops")


def test_piped_progress_is_at_most_a_line_a_second_and_job(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter((0.0, 0.5, 0.9, 1.0, 1.9, 2.0, 2.0))
    lines = EventLines(clock=lambda: next(times))
    event = replace(EVENT, event_type=EventType.PROGRESS, progress=JOB.progress)

    for _ in range(6):
        lines.tell(event)
    lines.tell(replace(event, job_id="another"))

    assert len(capsys.readouterr().out.splitlines()) == 4


def test_a_terminal_gets_tables_in_which_brackets_are_only_brackets() -> None:
    console = terminal()

    Screen(console).table(JOBS, [JOB])
    Screen(console).job(FAILED)

    shown = written(console)
    assert JOB.id in shown
    assert "[red]käse" in shown
    assert "item errors (1 of 1)" in shown
    assert "Traceback" in shown


def test_an_empty_list_says_so_on_a_terminal_and_nothing_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    console = terminal()

    Screen(console).table(JOBS, [])
    Lines().table(JOBS, [])

    assert "no jobs match" in written(console)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("year", [1, 9999])
def test_a_log_line_of_a_worker_whose_clock_is_mad_is_shown_in_every_time_zone(
    year: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = terminal()
    edge = datetime(year, 1, 1, tzinfo=UTC) if year == 1 else datetime(year, 12, 31, 23, 59, tzinfo=UTC)
    for zone in ("UTC+12", "UTC-12"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        Screen(console).log(LogEntry(level=LogLevel.INFO, message="still here", written_at=edge))
    monkeypatch.undo()
    time.tzset()

    assert written(console).count("still here") == 2


def test_bars_show_counts_state_and_a_further_attempt() -> None:
    console = terminal()

    with Bars(console, named=True) as bars:
        bars.show(replace(JOB, state=JobState.RUNNING))
        back = Progress(items_total=1000, items_processed=10, unit="rows", percent=1.0)
        bars.tell(replace(EVENT, event_type=EventType.PROGRESS, attempt=3, progress=back))

    shown = written(console)
    assert "10/1000 rows" in shown
    assert "RUNNING, attempt 3" in shown


def test_bars_of_a_stream_of_jobs_go_with_their_jobs() -> None:
    console = terminal()

    with Bars(console, named=False) as bars:
        bars.tell(EVENT)
        bars.tell(replace(EVENT, event_type=EventType.COMPLETED, state=JobState.COMPLETED))

    last_screen = written(console)
    assert "COMPLETED" in last_screen


def test_bars_go_with_jobs_that_are_deleted_or_fall_out_of_the_filter_and_at_a_reset() -> None:
    console = terminal()

    with Bars(console, named=False) as bars:
        for job_id in ("gone", "left", "stays"):
            bars.tell(replace(EVENT, job_id=f"the-one-that-{job_id}"))
        bars.tell(replace(EVENT, job_id="the-one-that-gone", event_type=EventType.DELETED))
        bars.tell(replace(EVENT, job_id="the-one-that-left", event_type=EventType.LEFT))
        assert bars.shown == ["the-one-that-stays"]
        bars.begin_anew()
        assert bars.shown == []


def test_more_running_jobs_than_rows_cost_no_more_bars() -> None:
    console = terminal()

    with Bars(console, named=False) as bars:
        for number in range(100):
            bars.tell(replace(EVENT, job_id=f"job-{number}"))

    assert "job-99" in written(console)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.85, "850 ms"),
        (4.2, "4.2 s"),
        (10, "10 s"),
        (0.9996, "1 s"),
        (59.97, "1 min"),
        (119.7, "2 min"),
        (3599.7, "1 h"),
        (200, "3 min 20 s"),
        (600, "10 min"),
        (7500, "2 h 5 min"),
        (7200, "2 h"),
        (47 * 3600, "47 h"),
        (76 * 3600, "3 d 4 h"),
        (7 * 86400, "7 d"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration_text(timedelta(seconds=seconds)) == text


def test_without_a_terminal_the_output_is_lines_and_json_goes_before_all() -> None:
    assert isinstance(choose_output(as_json=False), Lines)
    assert isinstance(choose_output(as_json=True), Documents)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=160, highlight=False, color_system=None)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
