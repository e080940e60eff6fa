"""Schedules, keys, batches, types and all that is told about a job, by the command: real processes, a real server."""

import json
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.command_line import COMMAND, Hall
from tests.support.processes import START_SECONDS, Processes, Program
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

UNKNOWN = "01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b"
SHOP = """
import time
from pathlib import Path

import jobhall

worker = jobhall.Worker(name="shop", concurrency=4)

@worker.handler("sell")
def sell(task):
    task.log("opening", till=1)
    if task.attempt == 1:
        task.item_error(index=7, key="ACME", code="DARK", message="no price")
        raise jobhall.TaskFailed("no change", code="NO_CHANGE")
    task.log("sold", level="warning")
    return "sold"

@worker.handler("refuse")
def refuse(task):
    raise jobhall.TaskFailed("never", code="NEVER", retryable=False)

@worker.handler("hold")
def hold(task):
    task.log("holding")
    while not Path(task.parameters["gate"]).exists() and not task.cancelled:
        time.sleep(0.02)
    task.log("let go")

@worker.handler("count")
def count(task):
    return task.parameters

@worker.handler("idle")
def idle(task):
    return None
"""


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    with Processes(tmp_path_factory.mktemp("hall")) as processes:
        hall = Hall(processes, processes.serve().address)
        hall.run("type", "register", "parked")
        yield hall


@pytest.fixture(scope="module")
def shop(hall: Hall) -> Program:
    (hall.folder / "shop.py").write_text(SHOP)
    return hall.work("shop")


def said(hall: Hall, *line: str, code: int = 0, stdin: str = "") -> str:
    """What the command prints, having ended as it should and said nothing else."""
    ran = hall.run(*line, stdin=stdin)
    assert (ran.returncode, ran.stderr if code == 0 else "") == (code, ""), ran.stderr
    return ran.stdout.strip()


def refusal(hall: Hall, *line: str, code: int = 1) -> str:
    """What the command says on standard error when it is refused."""
    ran = hall.run(*line)
    assert (ran.returncode, ran.stdout) == (code, ""), ran.stdout
    return ran.stderr


def document(hall: Hall, *line: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(said(hall, *line, "--json"))
    return found


def in_state(hall: Hall, job_id: str, state: str) -> None:
    eventually(
        lambda: document(hall, "get", job_id)["state"] == state, within=START_SECONDS, what=f"the job is {state}"
    )


def test_a_job_waits_for_its_time_until_that_is_changed(hall: Hall) -> None:
    job_id = said(hall, "submit", "parked", "--at", "1h", "--label", "team=red", "--label", "old=1")
    waiting = document(hall, "get", job_id)

    sooner = said(hall, "update", job_id, "--at", "now", "--priority", "7", "-l", "new=2", "--remove-label", "old")
    changed = document(hall, "get", job_id)
    stale = refusal(hall, "update", job_id, "--priority", "8", "--etag", str(waiting["etag"]))

    assert waiting["state"] == "SCHEDULED"
    assert sooner == f"updated {job_id} PENDING"
    assert (changed["priority"], changed["labels"]) == (7, {"team": "red", "new": "2"})
    assert "[ETAG_MISMATCH]" in stale
    assert "[ETAG_MISMATCH]" in refusal(hall, "rm", job_id, "--etag", str(waiting["etag"]))
    assert said(hall, "rm", job_id, "--etag", str(changed["etag"])) == f"deleted {job_id} PENDING"


def test_a_job_that_nobody_starts_in_time_fails(hall: Hall) -> None:
    job_id = said(hall, "submit", "parked", "--start-deadline", "3s")

    in_state(hall, job_id, "FAILED")

    assert "error: EXPIRED START_DEADLINE" in said(hall, "get", job_id)


def test_a_unique_key_is_held_by_one_job(hall: Hall) -> None:
    first = said(hall, "submit", "parked", "--unique-key", "july")
    again = said(hall, "submit", "parked", "--unique-key", "july")
    refused = refusal(hall, "submit", "parked", "--unique-key", "july", "--unique-policy", "reject")
    instead = said(hall, "submit", "parked", "--unique-key", "july", "--unique-policy", "replace-pending")

    assert again == first
    assert "[UNIQUE_KEY_TAKEN]" in refused
    assert instead != first
    assert "[JOB_NOT_FOUND]" in refusal(hall, "get", first, code=4)
    assert "unique key: july" in said(hall, "get", instead)


def test_a_submit_that_is_only_checked_stores_nothing(hall: Hall) -> None:
    assert said(hall, "submit", "parked", "--label", "only=checked", "--validate-only") == "valid: parked PENDING"
    assert "[FIELD_INVALID]" in refusal(hall, "submit", "parked", "--priority", "1000", "--validate-only")
    assert said(hall, "ls", "--label", "only=checked") == ""


@pytest.mark.usefixtures("shop")
def test_attempts_errors_and_logs_tell_what_happened(hall: Hall) -> None:
    job_id = said(hall, "submit", "sell", "--retry-delay", "10ms", "--wait").split()[-3]

    first, second = (line.split("\t") for line in said(hall, "attempts", job_id).splitlines())
    levels = [line.split()[1] for line in said(hall, "logs", job_id).splitlines()]
    [warning] = said(hall, "logs", job_id, "--level", "warning").splitlines()
    [opening] = said(hall, "logs", job_id, "--attempt", "1").splitlines()

    assert first[:3] == ["1", "shop", "FAILED"]
    assert first[5:] == ["1", "APPLICATION NO_CHANGE: no change"]
    assert second[:3] == ["2", "shop", "COMPLETED"]
    assert said(hall, "errors", job_id, "--attempt", "1") == "7\tACME\tDARK\tno price"
    assert said(hall, "errors", job_id) == ""
    assert levels == ["INFO", "WARNING"]
    assert warning.endswith("WARNING  sold")
    assert '"till": 1' in opening


@pytest.mark.usefixtures("shop")
def test_logs_are_followed_until_the_job_has_ended(hall: Hall) -> None:
    gate = hall.folder / "followed.gate"
    job_id = said(hall, "submit", "hold", "-p", f"gate={gate}")
    logs = hall.start("logs", "logs", job_id, "--follow")
    logs.says("holding")

    gate.touch()

    assert logs.wait() == 0
    assert [line.split()[1:] for line in logs.output.splitlines()] == [["INFO", "holding"], ["INFO", "let", "go"]]


@pytest.mark.usefixtures("shop")
def test_ctrl_c_leaves_logs_and_a_batch_cleanly(hall: Hall) -> None:
    gate = hall.folder / "never.gate"
    batch_id = said(hall, "batch", "create", "--name", "left")
    job_id = said(hall, "submit", "hold", "-p", f"gate={gate}", "--batch", batch_id)
    logs = hall.start("logs", "logs", job_id, "--follow")
    waiting = hall.start("wait", "batch", "wait", batch_id)
    logs.says("holding")
    waiting.says("PROCESSING")

    assert [program.stop(signal.SIGINT) for program in (logs, waiting)] == [130, 130]
    said(hall, "batch", "cancel", batch_id)


def test_a_job_that_waits_is_explained(hall: Hall) -> None:
    job_id = said(hall, "submit", "parked")

    explained = said(hall, "explain", job_id)
    reasons = document(hall, "explain", job_id)["reasons"]

    assert f"id: {job_id}" in explained
    assert "reason: NO_WORKER: " in explained
    assert "would help: " in explained
    assert isinstance(reasons, list)
    assert reasons[0]["kind"] == "NO_WORKER"


def test_stats_count_the_jobs_of_a_queue(hall: Hall) -> None:
    said(hall, "type", "register", "counted")
    for _ in range(3):
        said(hall, "submit", "counted")

    queue, total = (line.split("\t") for line in said(hall, "stats", "--type", "counted").splitlines())
    found = document(hall, "stats", "-n", "-", "--type", "counted")
    _, table = hall.on_terminal("stats", "--type", "counted")

    assert queue[:4] == ["default", "counted", "0", "3"]
    assert total[:4] == ["", "total", "0", "3"]
    assert isinstance(found["total"], dict)
    assert found["total"]["pending"] == 3
    assert "oldest" in table


def test_all_that_match_are_cancelled_retried_and_purged(hall: Hall) -> None:
    ids = [said(hall, "submit", "parked", "--label", "bulk=1") for _ in range(3)]
    mine = ("--filter", "labels.bulk = 1")

    assert said(hall, "cancel", *mine, "--dry-run") == "3 jobs would be cancelled"
    assert "--yes" in refusal(hall, "cancel", *mine, code=2)
    assert said(hall, "cancel", *mine, "--reason", "enough", "--yes") == "cancelled 3 jobs"
    assert said(hall, "retry", *mine, "--yes") == "retried 3 jobs"
    assert document(hall, "cancel", *mine, "--yes") == {"count": 3, "skipped": 0, "more": False}
    assert said(hall, "purge", "--older-than", "1h", *mine, "--yes") == "purged 0 jobs"
    assert said(hall, "purge", "--older-than", "0", *mine, "--yes") == "purged 3 jobs"
    assert "[JOB_NOT_FOUND]" in refusal(hall, "get", ids[0], code=4)
    assert "[FILTER_UNSUPPORTED]" in refusal(hall, "cancel", "--filter", "colour = red", "--yes")


def test_on_a_terminal_a_change_of_many_is_agreed_to(hall: Hall) -> None:
    job_id = said(hall, "submit", "parked", "--label", "asked=1")
    line = ("cancel", "--filter", "labels.asked = 1")

    declined, question = hall.on_terminal(*line, typed="\n")
    kept = document(hall, "get", job_id)["state"]
    agreed, answer = hall.on_terminal(*line, typed="y\n")

    assert (declined, kept) == (1, "PENDING")
    assert "1 job would be cancelled. Go on? [y/N]" in question
    assert "nothing was changed" in question
    assert agreed == 0
    assert "cancelled 1 job" in answer
    assert document(hall, "get", job_id)["state"] == "CANCELLED"


def test_a_type_has_schemas_defaults_and_a_pause(hall: Hall) -> None:
    schema = hall.folder / "schema.json"
    schema.write_text('{"type": "object", "properties": {"month": {"maximum": 12}}}')
    line = ("type", "register", "report")

    made = said(hall, *line, "--parameters-schema", str(schema), "--max-attempts", "6", "--retention", "7d")
    wrong = refusal(hall, "submit", "report", "-p", "month=13")
    job_id = said(hall, "submit", "report", "-p", "month=12")
    stdin = '{"type": "object", "properties": {"month": {"maximum": 11}}}'
    other = hall.run(*line, "--parameters-schema", "-", stdin=stdin)
    replaced = said(hall, *line, "--parameters-schema", "-", "--replace", stdin=stdin)

    assert made == "registered report version 1"
    assert "[SCHEMA_MISMATCH]" in wrong
    assert document(hall, "get", job_id)["max_attempts"] == 6
    assert (other.returncode, other.stdout) == (1, "")
    first, *places = other.stderr.splitlines()
    assert "[JOB_TYPE_SCHEMA_CONFLICT]" in first
    assert any("maximum" in place and place.startswith("  ") for place in places)
    assert replaced == "registered report version 2"
    assert said(hall, "type", "pause", "report") == "paused report version 2"
    assert "report\tdefault\t2\t0\t1\t0\t0\tpaused" in said(hall, "type", "ls").splitlines()
    assert "TYPE_PAUSED" in said(hall, "explain", job_id)
    assert said(hall, "type", "resume", "report") == "resumed report version 2"
    assert "paused" not in said(hall, "type", "get", "report")
    assert "[JOB_TYPE_IN_USE]" in refusal(hall, "type", "rm", "report")
    said(hall, "cancel", job_id)
    assert said(hall, "type", "rm", "report") == "deleted report version 2"
    assert "[JOB_TYPE_NOT_FOUND]" in refusal(hall, "type", "get", "report", code=4)


@pytest.mark.usefixtures("shop")
def test_who_deletes_a_type_that_workers_serve_is_told_what_that_means(hall: Hall) -> None:
    """Submits were told to start a worker that serves it, and it ran."""
    deleted = hall.run("type", "rm", "idle")

    assert deleted.returncode == 0
    assert "nobody can submit it until one of its workers connects anew: shop" in deleted.stderr


@pytest.mark.usefixtures("shop")
def test_a_batch_holds_its_jobs_back_runs_them_and_ends(hall: Hall) -> None:
    lines = '{"type": "count", "parameters": 1}\n{"type": "count", "parameters": 2, "labels": {"nr": "2"}}\n'
    line = ("batch", "create", "--name", "nightly", "--jobs", "-", "--inactive")
    batch_id = said(hall, *line, "--completion", "count", "--completion-parameters", '"all"', stdin=lines)
    joined = said(hall, "submit", "count", "--batch", batch_id)

    held = said(hall, "batch", "get", batch_id)
    said(hall, "batch", "update", batch_id, "--active", "--name", "weekly")
    closed = said(hall, "batch", "close", batch_id)
    late = refusal(hall, "submit", "count", "--batch", batch_id)
    waited = said(hall, "batch", "wait", batch_id, "--timeout", "20s")

    assert {"state: PENDING", "active: no: its jobs are held back", "jobs: 3 pending"} <= set(held.splitlines())
    assert closed.startswith(f"closed {batch_id} ")
    assert "[BATCH_CLOSED]" in late
    assert {"state: COMPLETED", "jobs: 3 completed", "name: weekly"} <= set(waited.splitlines())
    assert len(said(hall, "ls", "--batch", batch_id).splitlines()) == 3
    assert f"batch: {batch_id}" in said(hall, "get", joined)
    last = eventually(
        lambda: document(hall, "batch", "get", batch_id)["completion_job_id"],
        within=START_SECONDS,
        what="the completion job is submitted",
    )
    in_state(hall, str(last), "COMPLETED")
    assert batch_id in said(hall, "batch", "ls", "--state", "completed")
    _, shown = hall.on_terminal("batch", "get", batch_id)
    assert "100 %" in shown
    assert said(hall, "batch", "rm", batch_id) == f"deleted {batch_id} COMPLETED"
    assert "[BATCH_NOT_FOUND]" in refusal(hall, "batch", "get", batch_id, code=4)


@pytest.mark.usefixtures("shop")
def test_waiting_for_a_batch_tells_how_it_ended_by_its_exit_code(hall: Hall) -> None:
    lines = '{"type": "refuse"}\n{"type": "count"}\n'
    failed = said(hall, "batch", "create", "--jobs", "-", "--closed", stdin=lines)
    parked = said(hall, "batch", "create", "--jobs", "-", "--closed", stdin='{"type": "parked"}')

    assert "state: FAILED" in said(hall, "batch", "wait", failed, code=1)
    assert hall.run("batch", "wait", parked, "--timeout", "200ms").returncode == 1
    assert said(hall, "batch", "cancel", UNKNOWN, parked, code=4).startswith(f"cancelled {parked} ")
    assert "state: FAILED" in said(hall, "batch", "wait", parked, code=1)
    status, shown = hall.on_terminal("batch", "wait", failed)
    assert (status, "100 %" in shown) == (1, True)


def test_whoever_waits_for_an_open_batch_is_told_that_somebody_has_to_close_it(hall: Hall) -> None:
    """All its jobs had ended, it was still PROCESSING, and nothing said why."""
    batch_id = said(hall, "batch", "create")

    waited = hall.run("batch", "wait", batch_id, "--timeout", "200ms")
    said(hall, "batch", "close", batch_id)
    over = hall.run("batch", "wait", batch_id)

    assert (waited.returncode, over.returncode) == (1, 0)
    assert f"the batch is open; it ends after: jobhall batch close {batch_id}" in waited.stderr
    assert over.stderr == ""


def test_a_batch_of_more_jobs_than_one_call_takes_is_made_in_parts(hall: Hall) -> None:
    (hall.folder / "many.jsonl").write_text('{"type": "parked"}\n' * 2001)

    batch = document(hall, "batch", "create", "--jobs", "many.jsonl", "--closed", "--inactive")

    counts = document(hall, "batch", "get", str(batch["id"]))["counts"]
    assert batch["closed"] is True
    assert isinstance(counts, dict)
    assert counts["pending"] == 2001
    assert len(said(hall, "ls", "--batch", str(batch["id"]), "--limit", "0").splitlines()) == 2001


def test_where_a_later_part_is_refused_it_says_how_many_jobs_are_in_the_batch(hall: Hall) -> None:
    """The refusal names jobs[1] where the file has line 1002: each part is counted from its own beginning."""
    (hall.folder / "late.jsonl").write_text('{"type": "parked"}\n' * 1001 + '{"type": "parked", "priority": 101}\n')

    error = refusal(hall, "batch", "create", "--name", "late", "--jobs", "late.jsonl", "--closed", "--inactive")

    (line,) = said(hall, "batch", "ls", "--name", "late").splitlines()
    batch_id, _, _, jobs, *_ = line.split("\t")
    assert jobs == "1000"
    assert f"1000 jobs are in the batch {batch_id}; jobs[0] is the one after them" in error
    assert "jobs[1].priority" in error


def test_a_wrong_line_of_jobs_makes_no_batch(hall: Hall) -> None:
    (hall.folder / "wrong.jsonl").write_text('{"type": "parked"}\n{"type": 5}\n')

    assert "wrong.jsonl:2 is no job" in refusal(
        hall, "batch", "create", "--name", "wrong", "--jobs", "wrong.jsonl", code=2
    )
    assert said(hall, "batch", "ls", "--name", "wrong") == ""


def test_a_reader_of_logs_or_stats_that_leaves_early_costs_no_traceback(hall: Hall) -> None:
    for line in ("stats", "type ls --json", "batch ls"):
        ran = subprocess.run(
            ["sh", "-c", f"'{COMMAND}' {line} | true"],
            env=hall.environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert (ran.stdout, ran.stderr) == ("", "")
