"""`jobhall retry`, `worker ls|get|drain`, and what `get` shows between two attempts: real processes, a real server."""

import json
import signal
from collections.abc import Iterator

import pytest

from tests.support.command_line import Hall
from tests.support.processes import START_SECONDS, Processes, Program
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

UNKNOWN = "01977c0e-0000-7000-8000-000000000000"
TILL = """
import time
from pathlib import Path

import jobhall

worker = jobhall.Worker(name="till", concurrency=2, drain_seconds=10)

@worker.handler("till")
def till(task):
    pass

@worker.handler("charge")
def charge(task):
    raise jobhall.TaskFailed("no change", code="NO_CHANGE")

@worker.handler("hold")
def hold(task):
    gate = Path(task.parameters["gate"])
    while not gate.exists() and not task.cancelled:
        time.sleep(0.02)
    return "held"

@worker.handler("deaf")
def deaf(task):
    gate = Path(task.parameters["gate"])
    while not gate.exists():
        time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    with Processes(tmp_path_factory.mktemp("hall")) as processes:
        # No deadline fires before the server has served for a session's time to live.
        yield Hall(processes, processes.serve(session_ttl_seconds=3, heartbeat_seconds=1).address)


@pytest.fixture
def till(hall: Hall) -> Iterator[Program]:
    """A worker process; a test may send it away."""
    (hall.folder / "till.py").write_text(TILL)
    worker = hall.work("till")
    yield worker
    if worker.status is None:
        worker.stop(signal.SIGTERM)


def fields(hall: Hall, *line: str) -> dict[str, str]:
    """What a `get` shows, by name."""
    return dict(row.split(": ", 1) for row in hall.run(*line).stdout.splitlines() if ": " in row)


def in_state(hall: Hall, job_id: str, state: str) -> dict[str, str]:
    eventually(lambda: fields(hall, "get", job_id)["state"] == state, within=START_SECONDS, what=f"the job is {state}")
    return fields(hall, "get", job_id)


@pytest.mark.usefixtures("till")
def test_get_shows_why_the_last_attempt_failed_and_when_the_next_is_due(hall: Hall) -> None:
    line = ("--max-attempts", "6", "--retry-delay", "1h", "--retry-strategy", "fixed", "--no-retry-code", "GONE")
    job_id = hall.run("submit", "charge", *line, "--run-timeout", "5m", "--progress-timeout", "90s").stdout.strip()

    shown = in_state(hall, job_id, "SCHEDULED")
    document = json.loads(hall.run("get", job_id, "--json").stdout)

    assert shown["last error"] == "attempt 1: APPLICATION NO_CHANGE: no change"
    assert shown["due"][:-1] == document["scheduled_at"][:-4]
    assert shown["attempt"] == "1 of 6"
    assert shown["retries"] == "after 1 h, jitter 20 %, never after GONE"
    assert (shown["run timeout"], shown["progress timeout"]) == ("5 min", "1 min 30 s")
    assert document["retry_policy"]["strategy"] == "FIXED"
    assert document["retry_policy"]["initial_delay"] == 3600


def test_get_shows_that_a_worker_was_lost(hall: Hall, till: Program) -> None:
    job_id = hall.run("submit", "hold", "-p", "gate=never").stdout.strip()
    in_state(hall, job_id, "RUNNING")

    till.kill()

    shown = in_state(hall, job_id, "PENDING")
    hall.run("rm", job_id)
    assert (shown["worker losses"], shown["attempt"]) == ("1", "1 of 4")
    assert "worker was lost" in shown["last error"]


@pytest.mark.usefixtures("till")
def test_jobs_are_retried_each_for_itself(hall: Hall) -> None:
    failed = hall.run("submit", "charge", "--max-attempts", "1", "--wait", "--json")
    job_id = json.loads(failed.stdout)["id"]

    retried = hall.run("retry", UNKNOWN, job_id)
    again = hall.run("watch", job_id)
    completed = json.loads(hall.run("submit", "till", "--wait", "--json").stdout)["id"]
    refused = hall.run("retry", completed)

    assert (retried.returncode, retried.stdout) == (4, f"retried {job_id} PENDING\n")
    assert "[JOB_NOT_FOUND]" in retried.stderr
    assert again.returncode == 1
    assert fields(hall, "get", job_id)["attempt"] == "1 of 1"
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "[JOB_TERMINAL]" in refused.stderr


@pytest.mark.usefixtures("till")
def test_a_cancel_is_forced_when_its_grace_is_over(hall: Hall) -> None:
    gate = hall.folder / "deaf.gate"
    job_id = hall.run("submit", "deaf", "-p", f"gate={gate}").stdout.strip()
    in_state(hall, job_id, "RUNNING")

    stopping = hall.run("cancel", job_id, "--reason", "enough", "--grace", "300ms")

    assert stopping.stdout == f"cancelled {job_id} CANCELLING its worker was told to stop\n"
    assert in_state(hall, job_id, "CANCELLED")["cancelled"].startswith("enough")
    again = hall.run("cancel", job_id, "--json")
    assert json.loads(again.stdout)["worker_told"] is False
    gate.touch()


def test_workers_are_listed_shown_and_sent_away(hall: Hall, till: Program) -> None:
    gate = hall.folder / "hold.gate"
    job_id = hall.run("submit", "hold", "-p", f"gate={gate}").stdout.strip()
    in_state(hall, job_id, "RUNNING")

    worker_id, name, state, tasks, types, seen = hall.run("worker", "ls").stdout.rstrip("\n").split("\t")
    shown = fields(hall, "worker", "get", worker_id)
    document = json.loads(hall.run("worker", "ls", "--json", "--state", "attached", "--type", "hold").stdout)
    leaving = hall.run("worker", "drain", UNKNOWN, worker_id, "--timeout", "1m", "--reason", "deploy")
    draining = hall.run("worker", "ls", "--state", "draining").stdout
    gate.touch()

    assert (name, state, tasks.partition("/")[0]) == ("till", "ATTACHED", "1")
    assert set(types.split()) == {"till", "charge", "hold", "deaf"}
    assert seen.endswith("Z")
    assert (shown["name"], shown["process"]) == ("till", str(till.pid))
    assert (document["id"], document["held_count"]) == (worker_id, 1)
    assert (leaving.returncode, leaving.stdout) == (4, f"draining {worker_id} DRAINING\n")
    assert "[WORKER_NOT_FOUND]" in leaving.stderr
    assert draining.startswith(worker_id)
    assert till.wait() == 0
    assert in_state(hall, job_id, "COMPLETED")["result"] == '"held"'
    assert hall.run("worker", "ls").stdout == ""
    assert hall.run("worker", "get", worker_id).returncode == 4
