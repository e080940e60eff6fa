"""What the command says of a job between two attempts, and of a worker: in lines, in JSON and on a terminal."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from jobhall.cli.documents import Documents
from jobhall.cli.lines import Lines
from jobhall.cli.phrases import error_text, retry_text
from jobhall.cli.records import job_rows, worker_rows
from jobhall.cli.screen import Screen
from jobhall.cli.tables import WORKERS
from jobhall.model import Job, JobError, RetryPolicy
from jobhall.states import BackoffStrategy, FailureKind, JobState, WorkerState
from jobhall.worker_info import RuntimeInfo, WorkerInfo

WHEN = datetime(2026, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC)
WAITING = Job(
    id="01977c0e-0000-7000-8000-000000000001",
    namespace="default",
    job_type="charge",
    state=JobState.SCHEDULED,
    error=JobError(kind=FailureKind.WORKER_LOST, message="its session ended", retryable=True, attempt=2),
    scheduled_at=WHEN,
    attempt=2,
    max_attempts=4,
    worker_losses=2,
    retry_policy=RetryPolicy(strategy=BackoffStrategy.FIXED, non_retryable_codes=("DECLINED",)),
    run_timeout=timedelta(minutes=5),
    progress_timeout=timedelta(seconds=90),
)
WORKER = WorkerInfo(
    id="01977c0e-0000-7000-8000-00000000000a",
    name="[b]till",
    state=WorkerState.DETACHED,
    namespaces=("default",),
    job_types=("charge", "refund"),
    labels={"zone": "a"},
    capacity=8,
    capacity_by_type={"refund": 1},
    held_count=3,
    last_seen_at=WHEN,
    expires_at=WHEN + timedelta(seconds=15),
    runtime=RuntimeInfo(language="python", language_version="3.11.9", hostname="till-1", process_id=7),
    epoch=2,
)


def test_a_job_between_two_attempts_shows_why_when_and_by_which_rules() -> None:
    rows = dict(job_rows(WAITING))

    assert rows["last error"] == "attempt 2: WORKER_LOST: its session ended"
    assert rows["due"] == "2026-01-31T12:00:00.250Z"
    assert (rows["attempt"], rows["worker losses"]) == ("2 of 4", "2")
    assert rows["retries"] == "after 1 s, jitter 20 %, never after DECLINED"
    assert (rows["run timeout"], rows["progress timeout"]) == ("5 min", "1 min 30 s")
    assert "error" not in rows


def test_a_job_that_never_failed_says_nothing_of_failing() -> None:
    rows = dict(job_rows(Job(id="j1", namespace="default", job_type="charge", state=JobState.PENDING)))

    assert not {"error", "last error", "due", "worker losses", "retries", "run timeout"} & rows.keys()


def test_a_job_that_is_no_longer_scheduled_is_not_due() -> None:
    assert "due" not in dict(job_rows(replace(WAITING, state=JobState.RUNNING)))
    assert "error" in dict(job_rows(replace(WAITING, state=JobState.FAILED)))


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (RetryPolicy(), ""),
        (RetryPolicy(max_delay=timedelta(minutes=10)), ""),
        (RetryPolicy(multiplier=3), "exponential from 1 s to 10 min, times 3, jitter 20 %"),
        (RetryPolicy(initial_delay=timedelta(hours=1)), "exponential from 1 h to 1 h, times 2, jitter 20 %"),
        (RetryPolicy(strategy=BackoffStrategy.LINEAR, jitter=0), "linear from 1 s to 10 min, jitter 0 %"),
        (RetryPolicy(strategy=BackoffStrategy.FIXED), "after 1 s, jitter 20 %"),
    ],
)
def test_a_retry_policy_reads_as_people_say_it(policy: RetryPolicy, text: str) -> None:
    assert retry_text(policy) == text


def test_a_worker_is_a_line_per_field_and_in_a_list_a_line_with_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().record(WORKER, worker_rows(WORKER))
    Lines().table(WORKERS, [WORKER])
    Lines().said(WORKER, "draining", WORKER.id, WORKER.state)

    *fields, listed, changed = capsys.readouterr().out.splitlines()
    assert {"state: DETACHED", "tasks: 3/8", "tasks at most: refund=1", "types: charge refund"} <= set(fields)
    assert {"language: python 3.11.9", "host: till-1", "epoch: 2", "expires: 2026-01-31T12:00:15.250Z"} <= set(fields)
    assert listed.split("\t") == [
        WORKER.id,
        "[b]till",
        "DETACHED",
        "3/8",
        "charge refund",
        "2026-01-31T12:00:00.250Z",
    ]
    assert changed == f"draining {WORKER.id} DETACHED"


def test_a_worker_in_json_has_every_field_by_the_dataclass_names(capsys: pytest.CaptureFixture[str]) -> None:
    Documents().table(WORKERS, [WORKER])
    Documents().said(WORKER, "draining", WORKER.id, WORKER.state)

    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert set(first) == set(WorkerInfo.__dataclass_fields__)
    assert (first["state"], first["runtime"]["hostname"], first["capacity_by_type"]) == (
        "DETACHED",
        "till-1",
        {"refund": 1},
    )
    assert first == second


def test_a_terminal_gets_a_table_of_workers() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=160, highlight=False, color_system=None)

    Screen(console).table(WORKERS, [WORKER])
    Screen(console).table(WORKERS, [])
    Screen(console).record(WORKER, worker_rows(WORKER))
    Screen(console).said(WORKER, "draining", WORKER.id, WORKER.state)

    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "[b]till" in shown
    assert "3/8" in shown
    assert "no workers match" in shown
    assert "refund=1" in shown
    assert f"draining {WORKER.id} DETACHED" in shown


def test_a_worker_without_a_stream_says_so() -> None:
    assert "stream" not in dict(worker_rows(WORKER))
    assert dict(worker_rows(replace(WORKER, unary=True)))["stream"] == "none: it calls"


def test_a_code_that_is_the_name_of_the_kind_is_not_said_again() -> None:
    """It read "SCHEMA_MISMATCH SCHEMA_MISMATCH: …"."""
    kind = FailureKind.SCHEMA_MISMATCH

    assert error_text(JobError(kind=kind, code="SCHEMA_MISMATCH", message="no")) == "SCHEMA_MISMATCH: no"
    assert error_text(JobError(kind=kind, code="OTHER", message="no")) == "SCHEMA_MISMATCH OTHER: no"
