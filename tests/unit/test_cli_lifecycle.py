"""What the command says of attempts, logs, counts, explanations, types and batches: lines, JSON and a terminal."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from jobhall.cli.counting import total_of
from jobhall.cli.documents import Documents
from jobhall.cli.lines import Lines
from jobhall.cli.phrases import counts_text, file_text
from jobhall.cli.records import batch_rows, explanation_rows, job_rows, job_type_rows
from jobhall.cli.screen import Screen
from jobhall.cli.tables import ATTEMPTS, BATCHES, JOB_TYPES, QUEUES
from jobhall.model import FileInfo, Job, JobError, LogEntry, Progress, RetryPolicy
from jobhall.model_batches import Batch
from jobhall.model_insight import JobAttempt, JobCounts, JobExplanation, JobStats, QueueStats, WaitReason
from jobhall.model_types import JobDefaults, JobType
from jobhall.states import (
    AttemptOutcome,
    BatchState,
    CompletionPolicy,
    FailureKind,
    JobState,
    LogLevel,
    WaitReasonKind,
)
from jobhall.submission import Submission

WHEN = datetime(2026, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC)
JOB_ID = "01977c0e-0000-7000-8000-000000000001"
ATTEMPT = JobAttempt(
    attempt=1,
    fence=1,
    worker_name="till\t1",
    claimed_at=WHEN,
    started_at=WHEN,
    ended_at=WHEN + timedelta(seconds=4),
    outcome=AttemptOutcome.FAILED,
    error=JobError(kind=FailureKind.APPLICATION, code="DECLINED", message="no\nmoney"),
    item_error_count=2,
)
QUEUE = QueueStats(
    namespace="default",
    job_type="resize",
    counts=JobCounts(pending=12, running=3, completed=400, failed=1),
    oldest_pending_age=timedelta(minutes=5),
    completed_per_second=2.25,
    failed_per_second=0.5,
    removed=JobCounts(completed=7),
)
STATS = JobStats(total=QUEUE.counts, queues=(QUEUE,), removed=QUEUE.removed)
TYPE = JobType(
    name="images:resize",
    namespace="@global",
    parameters_schema={"type": "object"},
    defaults=JobDefaults(max_attempts=6, run_timeout=timedelta(minutes=5), retry_policy=RetryPolicy(multiplier=3)),
    version=2,
    paused=True,
    worker_count=2,
    worker_names=("a", "b"),
    counts=JobCounts(pending=2, scheduled=1, running=1, failed=5),
)
BATCH = Batch(
    id=JOB_ID,
    name="[b]nightly",
    namespace="default",
    state=BatchState.PROCESSING,
    active=False,
    counts=JobCounts(pending=1, completed=3),
    progress=Progress(percent=75.0, items_total=40, items_processed=30, unit="rows"),
    completion_job=Submission("report"),
    completion_policy=CompletionPolicy.ALL_TERMINAL,
    created_at=WHEN,
    etag="4",
)
EXPLANATION = JobExplanation(
    job_id=JOB_ID,
    state=JobState.PENDING,
    summary="No worker serves it.",
    reasons=(WaitReason(kind=WaitReasonKind.NO_WORKER, message="none is there", suggestion="start one", until=WHEN),),
    jobs_ahead=7,
)
LINE = LogEntry(message="rows are in", level=LogLevel.WARNING, written_at=WHEN, fields={"rows": 100.0}, attempt=1)


def test_piped_an_attempt_is_a_line_with_tabs_and_no_tab_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().table(ATTEMPTS, [ATTEMPT, JobAttempt(attempt=2, fence=2, worker_name="till-2", started_at=WHEN)])

    first, second = capsys.readouterr().out.splitlines()
    assert first.split("\t") == [
        "1",
        "till 1",
        "FAILED",
        "2026-01-31T12:00:00.250Z",
        "4 s",
        "2",
        "APPLICATION DECLINED: no money",
    ]
    assert second.split("\t")[2:5] == ["", "2026-01-31T12:00:00.250Z", ""]


def test_piped_stats_are_a_line_per_queue_and_one_of_the_total(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().table(QUEUES, [QUEUE, total_of(STATS)], whole=STATS)

    queue, total = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert queue == ["default", "resize", *["0", "12", "0", "3", "0", "400", "1", "0"], "5 min", "2.2", "0.5", "7"]
    assert total == ["", "total", *queue[2:]]


def test_stats_in_json_are_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    Documents().table(QUEUES, [QUEUE, total_of(STATS)], whole=STATS)

    document = json.loads(capsys.readouterr().out)
    assert document["total"]["pending"] == 12
    assert document["queues"][0]["oldest_pending_age"] == 300
    assert document["removed"]["completed"] == 7


def test_on_a_terminal_of_80_columns_stats_fit_and_leave_out_what_is_nowhere() -> None:
    console = terminal(80)

    Screen(console).table(QUEUES, [QUEUE, total_of(STATS)], whole=STATS)

    text = written(console)
    _, header, *_, total = text.splitlines()
    assert max(map(len, text.splitlines())) <= 80
    assert not [word for word in ("…", "cancelling", "namespace", "removed") if word in text]
    assert {"type", "pending", "running", "completed", "failed", "oldest"} <= set(header.split())
    assert total.split() == ["total", "12", "3", "400", "1", "5", "min", "2.2"]


def test_on_a_terminal_of_80_columns_names_give_way_and_numbers_never() -> None:
    console = terminal(80)
    long = replace(BATCH, name="a name that is much too long for one line of a terminal", created_at=datetime.now(UTC))

    Screen(console).table(BATCHES, [long])

    header, row = written(console).splitlines()
    assert len(row) <= 80
    assert row.startswith(f"{JOB_ID}  a ")
    assert row.split()[-6:-2] == ["PROCESSING", "4", "75", "%"]
    assert header.split() == ["id", "name", "state", "jobs", "done", "age"]


def test_a_type_and_a_batch_say_what_is_set() -> None:
    of_type, of_batch = dict(job_type_rows(TYPE)), dict(batch_rows(BATCH))

    assert (of_type["version"], of_type["paused"], of_type["workers"]) == ("2", "yes", "2 a b")
    assert (of_type["attempts"], of_type["run timeout"]) == ("6", "5 min")
    assert of_type["parameters schema"] == '{"type": "object"}'
    assert "result schema" not in of_type
    assert of_batch["jobs"] == "1 pending, 3 completed"
    assert of_batch["progress"] == "30/40 rows, 75 %"
    assert of_batch["completion job"] == "report, ALL_TERMINAL"
    assert of_batch["active"] == "no: its jobs are held back"


def test_piped_types_and_batches_are_lines_with_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().table(JOB_TYPES, [TYPE])
    Lines().table(BATCHES, [BATCH])
    Lines().made(BATCH, BATCH.name, BATCH.state)

    of_type, of_batch, made = capsys.readouterr().out.splitlines()
    assert of_type.split("\t") == ["images:resize", "@global", "2", "2", "3", "1", "5", "paused"]
    assert of_batch.split("\t") == [JOB_ID, "[b]nightly", "PROCESSING", "4", "75 %", "0", "2026-01-31T12:00:00.250Z"]
    assert made == JOB_ID


def test_a_batch_that_is_waited_for_is_a_line_per_change(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines().follow_batch() as show:
        show(BATCH)
        show(BATCH)
    with Documents().follow_batch() as show:
        show(BATCH)

    assert capsys.readouterr().out == f"PROCESSING {JOB_ID} 1 pending, 3 completed\n"


def test_a_terminal_gets_a_bar_of_a_batch_and_lists_of_both() -> None:
    console = terminal(120)

    Screen(console).batch(BATCH)
    with Screen(console).follow_batch() as show:
        show(BATCH)
    Screen(console).table(BATCHES, [BATCH])
    Screen(console).table(JOB_TYPES, [])

    text = written(console)
    assert "75 %" in text
    assert "━" in text
    assert "[b]nightly" in text
    assert "no job types match" in text


def test_an_explanation_says_what_would_help(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().record(EXPLANATION, explanation_rows(EXPLANATION))
    Documents().record(EXPLANATION, explanation_rows(EXPLANATION))

    *lines, document = capsys.readouterr().out.splitlines()
    assert "summary: No worker serves it." in lines
    assert lines[-3:] == [
        "reason: NO_WORKER: none is there",
        "would help: start one",
        "until: 2026-01-31T12:00:00.250Z",
    ]
    assert json.loads(document)["reasons"][0]["kind"] == "NO_WORKER"


def test_an_explanation_says_nothing_twice() -> None:
    """The server's summary is the message of its first reason."""
    rows = explanation_rows(replace(EXPLANATION, summary="none is there"))

    assert [value for _, value in rows if "none is there" in value] == ["NO_WORKER: none is there"]


def test_a_log_line_has_time_level_and_fields_and_its_level_a_colour(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system="standard", highlight=False)

    Lines().log(LINE)
    Documents().log(LINE)
    Screen(console).log(LINE)

    line, document = capsys.readouterr().out.splitlines()
    assert line == '2026-01-31T12:00:00.250Z WARNING  rows are in {"rows": 100.0}'
    assert json.loads(document)["level"] == "WARNING"
    assert "\x1b[33mWARNING" in written(console)


def test_what_a_job_says_does_not_command_the_terminal() -> None:
    console = terminal(120)
    evil = "\x1b]0;title\x07\x1b[2Jgone"

    Screen(console).log(replace(LINE, message=evil))
    Screen(console).table(BATCHES, [replace(BATCH, name=evil)])
    Screen(console).record(BATCH, batch_rows(replace(BATCH, name=evil)))
    Screen(console).said(BATCH, evil)

    shown = written(console)
    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown
    assert shown.count("\\x1b]0;title\\x07\\x1b[2Jgone") == 4


def test_what_is_said_of_one_thing_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    console = terminal(120)

    Lines().said(BATCH, "closed", BATCH.id, BATCH.state)
    Documents().said(BATCH, "closed", BATCH.id, BATCH.state)
    Screen(console).said(BATCH, "closed", BATCH.id, BATCH.state)

    line, document = capsys.readouterr().out.splitlines()
    assert line == f"closed {JOB_ID} PROCESSING"
    assert set(json.loads(document)) == set(Batch.__dataclass_fields__)
    assert written(console) == f"{line}\n"


def test_counts_name_only_states_that_jobs_are_in() -> None:
    assert counts_text(JobCounts()) == ""
    assert counts_text(JobCounts(cancelled=1, scheduled=2)) == "2 scheduled, 1 cancelled"


def test_a_file_of_unknown_size_is_its_name() -> None:
    assert file_text(FileInfo("annual.csv")) == "annual.csv"
    assert file_text(FileInfo("annual.csv", 0)) == "annual.csv (0 bytes)"


def test_a_job_shows_its_batch_key_deadline_and_checkpoint() -> None:
    job = Job(
        id=JOB_ID,
        namespace="default",
        job_type="x",
        state=JobState.PENDING,
        batch_id="b1",
        unique_key="2026-02",
        start_deadline=WHEN,
        checkpoint={"row": 50},
        etag="3",
    )

    rows = dict(job_rows(job))

    assert (rows["batch"], rows["unique key"], rows["etag"]) == ("b1", "2026-02", "3")
    assert rows["start deadline"] == "2026-01-31T12:00:00.250Z"
    assert rows["checkpoint"] == '{"row": 50}'


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, highlight=False, color_system=None)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
