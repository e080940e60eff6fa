"""The `jobhall` command as a user has it: real processes, a real server, pipes and terminals."""

import json
import signal
import subprocess
from collections.abc import Iterator
from functools import partial

import pytest

import jobhall
from tests.support.command_line import COMMAND, Hall
from tests.support.ports import free_port
from tests.support.processes import START_SECONDS, Processes, Program
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

UNKNOWN = "01977c0e-0000-7000-8000-000000000000"
TASKS = """
import time
import jobhall

worker = jobhall.Worker(name="cli-worker")

@worker.handler("double")
def double(task):
    return {"doubled": task.parameters["n"] * 2}

@worker.handler("fail")
def fail(task):
    raise ValueError("no such file")

@worker.handler("count")
def count(task):
    rows = task.parameters["rows"]
    for row in range(rows):
        time.sleep(0.02)
        task.progress(total=rows, processed=row + 1, succeeded=row + 1, unit="rows")
    return {"rows": rows}
"""


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    with Processes(tmp_path_factory.mktemp("hall")) as processes:
        server = processes.serve()
        with jobhall.Client(server.address) as client:
            client.types.register("parked")
        yield Hall(processes, server.address)


@pytest.fixture(scope="module")
def worker(hall: Hall) -> Program:
    (hall.folder / "tasks.py").write_text(TASKS)
    return hall.work("tasks")


def test_piped_a_submit_prints_the_id_that_get_takes(hall: Hall) -> None:
    submitted = hall.run(
        "submit", "parked", "-p", "n=1", "-p", "name=cat", "--label", "team=red", "--path", "/cats", "--priority", "-3"
    )
    job_id = submitted.stdout.strip()
    shown = hall.run("get", job_id)

    assert (submitted.returncode, submitted.stderr) == (0, "")
    assert {f"id: {job_id}", "state: PENDING", "labels: team=red", "path: /cats", "priority: -3"} <= set(
        shown.stdout.splitlines()
    )
    assert 'parameters: {"n": 1, "name": "cat"}' in shown.stdout


def test_json_is_a_document_with_the_jobs_fields(hall: Hall) -> None:
    (hall.folder / "annual.csv").write_text("12345")
    line = ("--json", "submit", "parked", "--file", "annual.csv", "--max-attempts", "1", "-")
    submitted = json.loads(hall.run(*line, stdin='{"deep": [1, {"x": null}]}').stdout)

    shown = json.loads(hall.run("get", submitted["id"], "--json").stdout)

    assert shown["state"] == "PENDING"
    assert shown["parameters"] == {"deep": [1, {"x": None}]}
    assert shown["file_info"] == {"name": "annual.csv", "size_bytes": 5}
    assert shown["max_attempts"] == 1


def test_a_submit_under_its_own_id_can_be_repeated(hall: Hall) -> None:
    job_id = "01977c0e-1111-7000-8000-000000000001"

    first = hall.run("submit", "parked", "--job-id", job_id, "--param", "n=1")
    again = hall.run("submit", "parked", "--job-id", job_id, "--param", "n=1")
    other = hall.run("submit", "parked", "--job-id", job_id, "--param", "n=2")

    assert first.stdout.strip() == again.stdout.strip() == job_id
    assert other.returncode == 1
    assert "[JOB_ID_REUSED]" in other.stderr


def test_a_list_is_filtered_limited_and_parseable(hall: Hall) -> None:
    ids = [hall.run("submit", "parked", "--label", "list=mine").stdout.strip() for _ in range(3)]

    piped = hall.run("ls", "--label", "list=mine", "--state", "pending", "--type", "parked", "--since", "1h")
    limited = hall.run("ls", "--label", "list=mine", "--limit", "2", "--json")
    none = hall.run("ls", "--label", "list=nobodys")

    assert [line.split("\t")[0] for line in piped.stdout.splitlines()] == ids[::-1]
    assert [json.loads(line)["id"] for line in limited.stdout.splitlines()] == ids[:0:-1]
    assert (none.returncode, none.stdout) == (0, "")


def test_a_list_in_json_has_all_of_each_job(hall: Hall) -> None:
    """It had null for the parameters of every job, since a list is brief unless it is asked for more."""
    hall.run("submit", "parked", "--param", "rows=3", "--label", "list=whole")

    (listed,) = hall.run("ls", "--label", "list=whole", "--json").stdout.splitlines()

    assert json.loads(listed)["parameters"] == {"rows": 3}
    assert json.loads(listed)["labels"] == {"list": "whole"}


def test_a_list_says_when_it_leaves_jobs_out_unless_that_was_asked_for(hall: Hall) -> None:
    with jobhall.Client(hall.address) as client:
        client.jobs.submit_many(jobhall.Submission("parked", labels={"list": "long"}) for _ in range(51))

    cut = hall.run("ls", "--label", "list=long")
    asked = hall.run("ls", "--label", "list=long", "--limit", "50")
    whole = hall.run("ls", "--label", "list=long", "--limit", "0")

    assert len(cut.stdout.splitlines()) == len(asked.stdout.splitlines()) == 50
    assert "--limit 0 lists all" in cut.stderr
    assert (asked.stderr, whole.stderr, len(whole.stdout.splitlines())) == ("", "", 51)


def test_jobs_are_cancelled_and_deleted_each_for_itself(hall: Hall) -> None:
    job_id = hall.run("submit", "parked").stdout.strip()

    cancelled = hall.run("cancel", UNKNOWN, job_id, "--reason", "wrong file")
    deleted = hall.run("rm", job_id, "--json")
    gone = hall.run("get", job_id)

    assert (cancelled.returncode, cancelled.stdout) == (4, f"cancelled {job_id} CANCELLED\n")
    assert "[JOB_NOT_FOUND]" in cancelled.stderr
    assert json.loads(deleted.stdout)["cancel_reason"] == "wrong file"
    assert (gone.returncode, gone.stdout) == (4, "")


def test_refusals_are_one_line_with_reason_and_field(hall: Hall) -> None:
    unknown_type = hall.run("submit", "parkd")
    bad_priority = hall.run("submit", "parked", "--priority", "1000")

    assert unknown_type.returncode == 4
    assert "[JOB_TYPE_NOT_FOUND]" in unknown_type.stderr
    assert "parked" in unknown_type.stderr
    assert bad_priority.returncode == 1
    assert "[FIELD_INVALID]" in bad_priority.stderr
    assert "priority" in bad_priority.stderr
    assert {unknown_type.stderr.count("\n"), bad_priority.stderr.count("\n")} == {1}


def test_nobody_at_the_address_is_exit_code_3(hall: Hall) -> None:
    ran = hall.run("get", UNKNOWN, "--address", f"127.0.0.1:{free_port()}")

    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (3, "", 1)
    assert "JOBHALL_ADDRESS" in ran.stderr


@pytest.mark.usefixtures("worker")
def test_submit_and_wait_tells_how_it_ended_by_words_and_exit_code(hall: Hall) -> None:
    good = hall.run("submit", "double", "-p", "n=21", "--wait")
    good_json = hall.run("submit", "double", "-p", "n=21", "--wait", "--json")
    bad = hall.run("submit", "fail", "--max-attempts", "1", "--wait")
    bad_json = hall.run("submit", "fail", "--max-attempts", "1", "--wait", "--json")

    assert (good.returncode, bad.returncode, good_json.returncode, bad_json.returncode) == (0, 1, 0, 1)
    assert good.stdout.splitlines()[-1].startswith("COMPLETED ")
    assert good.stdout.splitlines()[-1].endswith('{"doubled": 42}')
    assert "no such file" in bad.stdout.splitlines()[-1]
    assert json.loads(good_json.stdout)["result"] == {"doubled": 42}
    assert json.loads(bad_json.stdout)["error"]["message"] == "no such file"
    assert "Traceback" not in bad.stderr


@pytest.mark.usefixtures("worker")
def test_a_watch_of_named_jobs_ends_with_them(hall: Hall) -> None:
    ids = [hall.run("submit", "count", "-p", "rows=40").stdout.strip() for _ in range(2)]

    piped = hall.run("watch", *ids)
    over = hall.run("watch", "--json", *ids)
    unknown = hall.run("watch", UNKNOWN)

    assert piped.returncode == over.returncode == 0
    assert {line.split()[1] for line in piped.stdout.splitlines() if line.startswith("COMPLETED")} == set(ids)
    last = [json.loads(line).get("job") for line in over.stdout.splitlines()][-2:]
    assert [job["result"] for job in last] == [{"rows": 40}] * 2
    assert unknown.returncode == 4
    too_late = hall.run("cancel", ids[0])
    assert (too_late.returncode, too_late.stderr.count("\n")) == (1, 1)
    assert "[JOB_TERMINAL]" in too_late.stderr


@pytest.mark.usefixtures("worker")
def test_on_a_terminal_there_are_bars_and_colours_unless_unwanted(hall: Hall) -> None:
    _, coloured = hall.on_terminal("submit", "count", "-p", "rows=40", "--wait")
    _, table = hall.on_terminal("ls", "--limit", "3", NO_COLOR="1")

    assert "40/40 rows" in coloured
    assert "rows/s" in coloured
    assert "\x1b[32mCOMPLETED" in coloured
    assert "state" in table
    assert "\x1b[3" not in table


def test_ctrl_c_leaves_a_watch_cleanly(hall: Hall) -> None:
    watch = hall.start("watch", "watch", "--type", "parked")

    def told() -> bool:
        hall.run("submit", "parked")  # Again and again: the watch may not have begun yet.
        return "SUBMITTED" in watch.output

    eventually(told, within=START_SECONDS, what="the watch tells of a submit")
    status = watch.stop(signal.SIGINT)

    *told_of, word = watch.output.splitlines()
    assert status == 130
    assert all(line.split()[1] == "SUBMITTED" for line in told_of)
    assert word.startswith("jobhall: to go on from here: --since ")


def test_ctrl_c_while_waiting_says_that_the_job_goes_on(hall: Hall) -> None:
    waiting = hall.start("submit", "submit", "parked", "--wait", "--label", "ctrl=c")

    def submitted() -> str:
        return hall.run("ls", "--label", "ctrl=c").stdout

    job_id = eventually(submitted, within=START_SECONDS, what="the job is there").split()[0]
    status = waiting.stop(signal.SIGINT)

    assert status == 130
    # It may have been stopped before it waited, or after it had told why nothing happens.
    assert waiting.output.splitlines()[-1:] in ([], [f"jobhall: the job goes on; see it with: jobhall watch {job_id}"])
    assert "state: PENDING" in hall.run("get", job_id).stdout


def test_who_waits_where_no_worker_comes_is_told_so_beside_the_answer(hall: Hall) -> None:
    """It said nothing for ever, as if somebody were at work."""
    job_id = hall.run("submit", "parked").stdout.strip()
    lines = {"piped": ("submit", "parked", "--wait"), "json": ("submit", "parked", "--wait", "--json")}
    lines["watch"] = ("watch", job_id)

    for waiting in [hall.start(name, *line) for name, line in lines.items()]:
        eventually(partial(_told_of, waiting), within=START_SECONDS, what="the reason is told")
        assert waiting.stop(signal.SIGINT) == 130
        [told] = _told_of(waiting)
        assert told.startswith("jobhall: still PENDING: No worker serves parked in the namespace default. Start a")


def _told_of(waiting: Program) -> list[str]:
    return [line for line in waiting.output.splitlines() if "still" in line]


def test_a_reader_that_leaves_early_costs_no_traceback(hall: Hall) -> None:
    for _ in range(3):
        hall.run("submit", "parked")

    ran = subprocess.run(
        ["sh", "-c", f"'{COMMAND}' ls --json | head -n 1"],
        env=hall.environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert json.loads(ran.stdout)["job_type"]
    assert ran.stderr == ""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_stops_when_asked(hall: Hall, how: signal.Signals) -> None:
    module = f"tasks_{how.name.lower()}"
    (hall.folder / f"{module}.py").write_text(TASKS)
    worker = hall.work(module)

    assert worker.stop(how) == 0
    assert "serves" in worker.output
