"""`jobhall watch` and `jobhall events` as a user has them: what a script keeps, loses and finds again."""

import json
import signal
import subprocess
from collections.abc import Iterator

import pytest

import jobhall
from tests.support.command_line import COMMAND, Hall
from tests.support.processes import START_SECONDS, Processes, Program
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

TASKS = """
import jobhall

worker = jobhall.Worker(name="cli-worker")

@worker.handler("double")
def double(task):
    task.log("doubling")
    return {"doubled": task.parameters["n"] * 2}

@worker.handler("fail")
def fail(task):
    raise jobhall.TaskFailed("no such file", code="NO_FILE", retryable=False)
"""
LIFE = ["SUBMITTED", "CLAIMED", "RUNNING", "COMPLETED"]


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    with Processes(tmp_path_factory.mktemp("watch")) as processes:
        hall = Hall(processes, processes.serve().address)
        (hall.folder / "tasks.py").write_text(TASKS)
        hall.work("tasks")
        with jobhall.Client(hall.address) as client:
            client.types.register("parked")
        yield hall


def documents(text: str) -> list[dict[str, object]]:
    """The documents of the whole lines that were written; what goes to people begins otherwise."""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.startswith("{") and line[-1:] == "\n"]


def events_in(text: str) -> list[str]:
    return [it["event"]["event_type"] for it in documents(text) if "event" in it]  # type: ignore[index]


def watching(hall: Hall, name: str, *arguments: str) -> Program:
    """A watch, once it has said its first cursor."""
    watch = hall.start(name, "watch", "--json", *arguments)
    eventually(lambda: documents(watch.output), within=START_SECONDS, what="the watch has a place")
    return watch


def test_a_script_that_keeps_the_last_cursor_misses_nothing_between_two_watches(hall: Hall) -> None:
    label = ("--label", "test=resume")
    watch = watching(hall, "first", *label)
    hall.run("submit", "double", "-p", "n=1", *label)
    eventually(lambda: "COMPLETED" in watch.output, within=START_SECONDS, what="the job is told of")
    assert watch.stop(signal.SIGINT) == 130
    seen = events_in(watch.output)
    cursor = str(documents(watch.output)[-1]["cursor"])
    assert watch.output.splitlines()[-1] == f"jobhall: to go on from here: --since {cursor}"

    hall.run("submit", "double", "-p", "n=2", "--wait", *label)
    again = hall.start("second", "watch", "--json", "--since", cursor, *label)
    eventually(lambda: "COMPLETED" in again.output, within=START_SECONDS, what="what was missed is told of")
    again.stop(signal.SIGINT)

    assert [it for it in seen if it != "PROGRESS"] == LIFE
    assert [it for it in events_in(again.output) if it != "PROGRESS"] == LIFE
    assert "job" not in documents(again.output)[0]


def test_only_the_events_that_were_asked_for_are_shown(hall: Hall) -> None:
    watch = watching(hall, "events", "--label", "test=kinds", "--event", "completed,failed", "--event", "log")
    for job_type in ("double", "fail"):
        hall.run("submit", job_type, "-p", "n=1", "--label", "test=kinds", "--wait")
    eventually(lambda: "FAILED" in events_in(watch.output), within=START_SECONDS, what="the failure is told of")
    watch.stop(signal.SIGINT)

    assert set(events_in(watch.output)) - {"LOG"} == {"COMPLETED", "FAILED"}
    assert all("job" not in it for it in documents(watch.output))


def test_named_jobs_can_be_gone_on_with_from_a_cursor(hall: Hall) -> None:
    job_id = json.loads(hall.run("submit", "double", "-p", "n=1", "--wait", "--json").stdout)["id"]
    submitted = documents(hall.run("events", "--json", "--limit", "1", job_id).stdout)[0]

    ran = hall.run("watch", job_id, "--json", "--since", str(submitted["cursor"]))

    assert ran.returncode == 0
    assert events_in(ran.stdout) == LIFE[1:]
    assert [it["job"]["state"] for it in documents(ran.stdout) if "job" in it] == ["COMPLETED"]  # type: ignore[index]


def test_a_batch_is_followed_until_it_is_done(hall: Hall) -> None:
    (hall.folder / "two.jsonl").write_text('{"type": "double", "parameters": {"n": 1}}\n' * 2)
    batch = hall.run("batch", "create", "--jobs", "two.jsonl", "--inactive").stdout.strip()
    watch = hall.start("batch", "watch", "--batch", batch, "--until-done")
    hall.run("batch", "close", batch)
    hall.run("batch", "update", batch, "--active")

    assert watch.wait(within=START_SECONDS) == 0
    assert "state: COMPLETED" in watch.output

    failing = hall.run("batch", "create").stdout.strip()
    hall.run("submit", "fail", "--batch", failing)
    hall.run("batch", "close", failing)
    ended = hall.run("watch", "--batch", failing, "--until-done")

    assert ended.returncode == 1
    assert hall.run("watch", "--batch", "01977c0e-0000-7000-8000-000000000001").returncode == 4


def test_a_cursor_that_leads_nowhere_is_told_loudly(hall: Hall) -> None:
    parked = hall.run("submit", "parked", "--label", "test=reset").stdout.strip()
    with Processes(hall.folder / "other") as processes:
        other = Hall(processes, processes.serve().address)
        watch = watching(other, "other", "--no-snapshot")
        watch.stop(signal.SIGINT)
        cursor = str(documents(watch.output)[-1]["cursor"])

    watch = watching(hall, "reset", "--since", cursor, "--label", "test=reset")
    eventually(lambda: parked in watch.output, within=START_SECONDS, what="the snapshot is told")
    watch.stop(signal.SIGINT)

    assert "EVENTS MAY BE MISSING" in watch.output
    assert documents(watch.output)[0] == {"reset": True, "cursor": ""}


def test_who_watches_is_told_that_the_server_went_and_came_back(hall: Hall) -> None:
    with Processes(hall.folder / "restarted") as processes:
        server = processes.serve()
        watch = watching(Hall(processes, server.address), "restarted")
        server.kill()
        watch.says("jobhall: the watch lost its stream (")
        processes.serve(listen=server.address)
        watch.says("jobhall: the watch goes on")
        assert watch.stop(signal.SIGINT) == 130


def test_events_lists_what_happened_the_oldest_first(hall: Hall) -> None:
    ids = [
        json.loads(hall.run("submit", "double", "-p", f"n={n}", "--label", "test=log", "--wait", "--json").stdout)["id"]
        for n in range(2)
    ]

    one = hall.run("events", ids[0])
    both = hall.run("events", "--label", "test=log", "--event", "completed")
    limited = hall.run("events", "--label", "test=log", "--limit", "5", "--json")
    rest = hall.run("events", "--label", "test=log", "--json", "--since", str(documents(limited.stdout)[-1]["cursor"]))
    code, table = hall.on_terminal("events", ids[1], NO_COLOR="1", COLUMNS="80")

    rows = [line.split("\t") for line in one.stdout.splitlines()]
    assert [row[1] for row in rows] == LIFE
    assert {row[2] for row in rows} == {ids[0]}
    assert rows[2][5] == "attempt=1 worker=cli-worker"
    assert [line.split("\t")[2] for line in both.stdout.splitlines()] == ids
    assert events_in(limited.stdout) + events_in(rest.stdout) == LIFE * 2
    assert code == 0
    assert all(word in table for word in ["time", "event", "id", "what", *LIFE])


def test_events_says_when_there_are_more(hall: Hall) -> None:
    with jobhall.Client(hall.address) as client:
        client.jobs.submit_many(jobhall.Submission("parked", labels={"test": "many"}) for _ in range(51))

    cut = hall.run("events", "--label", "test=many")
    whole = hall.run("events", "--label", "test=many", "--limit", "0")

    assert (len(cut.stdout.splitlines()), len(whole.stdout.splitlines())) == (50, 51)
    assert "--limit 0 shows all" in cut.stderr
    assert whole.stderr == ""


def test_a_watch_that_nobody_reads_ends_though_nothing_happens(hall: Hall) -> None:
    """It had nothing to write, so that it never noticed; now it looks at each message, one in ten seconds at least."""
    ran = subprocess.run(
        ["sh", "-c", f"'{COMMAND}' watch --label test=nobody | true; echo the watch has ended"],
        env=hall.environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert (ran.stdout, ran.stderr) == ("the watch has ended\n", "")


def test_a_reader_that_leaves_a_watch_early_costs_no_traceback(hall: Hall) -> None:
    watch = subprocess.Popen(
        ["sh", "-c", f"'{COMMAND}' watch --json --label test=pipe | head -n 2; echo the watch has ended"],
        env=hall.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def ended() -> bool:
        hall.run("submit", "parked", "--label", "test=pipe")  # Again and again: it notices when it next writes.
        return watch.poll() is not None

    eventually(ended, within=START_SECONDS, what="the watch ends with its reader")
    out, err = watch.communicate()

    assert out.splitlines()[-1] == "the watch has ended"
    assert err == ""
