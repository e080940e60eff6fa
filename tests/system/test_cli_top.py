"""`jobhall top` as a user has it: a real server, real workers, and a terminal that is looked at."""

import json
import signal
from collections.abc import Iterator

import pytest

import jobhall
from jobhall.states import JobState
from tests.support.command_line import Hall
from tests.support.ports import free_port
from tests.support.processes import Processes
from tests.support.terminal import Terminal
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

TASKS = """
import time
import jobhall

worker = jobhall.Worker(name="topper", concurrency=4)

@worker.handler("count")
def count(task):
    for row in range(task.parameters["rows"]):
        time.sleep(0.02)
        task.progress(total=task.parameters["rows"], processed=row + 1, succeeded=row + 1, unit="rows")

@worker.handler("fail")
def fail(task):
    raise jobhall.TaskFailed("no such file", code="NO_FILE", retryable=False)
"""


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    with Processes(tmp_path_factory.mktemp("top")) as processes:
        hall = Hall(processes, processes.serve().address)
        (hall.folder / "tasks.py").write_text(TASKS)
        hall.work("tasks")
        with jobhall.Client(hall.address) as client:
            client.types.register("parked")
            yield hall
            # So that the worker can stop.
            client.jobs.cancel_jobs(states=[JobState.RUNNING])


def top(hall: Hall, *arguments: str, columns: int = 80, rows: int = 24, address: str = "") -> Terminal:
    environment = hall.environment() | ({"JOBHALL_ADDRESS": address} if address else {})
    return Terminal(
        hall.command("top", *arguments), folder=hall.folder, environment=environment, columns=columns, rows=rows
    )


def test_the_table_follows_what_happens_and_ctrl_c_leaves_the_terminal_as_it_was(hall: Hall) -> None:
    with jobhall.Client(hall.address) as client, top(hall, "--label", "test=live") as terminal:
        terminal.shows("whatever the label")
        client.jobs.submit("parked", labels={"test": "another"})
        parked = client.jobs.submit("parked", labels={"test": "live"})
        terminal.shows(f"…{parked.id[-8:]} parked    PENDING")
        counting = client.jobs.submit("count", {"rows": 5000}, labels={"test": "live"})
        lines = terminal.shows(f"…{counting.id[-8:]} count     RUNNING")
        assert [line.split()[2] for line in lines[4:6]] == ["RUNNING", "PENDING"]
        lines = terminal.shows("/s ")
        assert "topper" in lines[4]
        client.jobs.submit("fail", labels={"test": "live"})
        terminal.shows("FAILED     NO_FILE")
        client.jobs.cancel_job(counting.id)
        terminal.shows("CANCELLED")

        terminal.type("\x03")

        assert terminal.status() == 130
        assert terminal.left_as_it_was
        assert "Traceback" not in terminal.written


def test_a_job_that_ran_before_has_its_worker_and_items_too(hall: Hall) -> None:
    """The snapshot is brief: it has neither."""
    with jobhall.Client(hall.address) as client:
        job = client.jobs.submit("count", {"rows": 5000}, labels={"test": "before"})
        eventually(lambda: client.jobs.get_job(job.id).progress.items_processed, within=20, what="the job has progress")
        with top(hall, "--label", "test=before", columns=120) as terminal:
            terminal.shows("/5,000 rows")
            eventually(lambda: "topper" in "".join(terminal.screen[4:5]), within=20, what="the row names the worker")
            terminal.type("q")
            assert terminal.status() == 0
            assert terminal.left_as_it_was
        client.jobs.cancel_job(job.id)


def test_it_fits_when_the_terminal_changes_its_size_and_keys_sort(hall: Hall) -> None:
    with top(hall) as terminal:
        assert len(terminal.shows("sorted by state")) == 24
        terminal.resize(columns=40, rows=10)
        narrow = eventually(
            lambda: terminal.screen if len(terminal.screen) == 10 else [], within=20, what="it is drawn smaller"
        )
        assert max(map(len, narrow)) <= 40
        terminal.resize(columns=120, rows=30)
        wide = eventually(
            lambda: terminal.screen if len(terminal.screen) == 30 else [], within=20, what="it is drawn larger"
        )
        assert max(map(len, wide)) > 80
        terminal.type("s")
        terminal.shows("sorted by age")
        terminal.resize(columns=1, rows=1)
        terminal.type("ssq")
        assert terminal.status() == 0


def test_a_terminal_is_restored_by_sigterm_too(hall: Hall) -> None:
    with top(hall) as terminal:
        terminal.shows("q: quit")
        terminal.send(signal.SIGTERM)

        assert terminal.status() == 128 + signal.SIGTERM
        assert terminal.left_as_it_was


def test_ctrl_z_gives_the_terminal_back_and_going_on_takes_it_again(hall: Hall) -> None:
    """Nobody can put it into the foreground here, so that it goes on at once."""
    with top(hall) as terminal:
        terminal.shows("q: quit")
        terminal.type("\x1a")
        eventually(lambda: terminal.written.count("\x1b[?1049h") == 2, within=20, what="it is drawn again")
        terminal.shows("q: quit")

        assert terminal.written.count("\x1b[?1049l") == 1
        terminal.type("q")
        assert terminal.status() == 0
        assert terminal.left_as_it_was


def test_it_says_when_the_server_is_away_and_goes_on_when_it_is_back(hall: Hall) -> None:
    address = f"127.0.0.1:{free_port()}"
    server = hall.processes.serve("away.db", listen=address)
    with jobhall.Client(address) as client, top(hall, address=address) as terminal:
        client.types.register("parked")
        first = client.jobs.submit("parked")
        terminal.shows(f"…{first.id[-8:]}")

        server.stop()
        lines = terminal.shows("no jobhall server answers")
        assert any(line.startswith(f"…{first.id[-8:]}") for line in lines)
        server = hall.processes.serve("away.db", listen=address)
        second = client.jobs.submit("parked")
        lines = terminal.shows(f"…{second.id[-8:]}")
        eventually(lambda: "no jobhall server" not in str(terminal.screen), within=20, what="the word is taken back")

        terminal.type("\x03")
        assert terminal.status() == 130
        assert terminal.left_as_it_was
    server.stop()


def test_piped_it_is_one_table_and_with_json_one_document(hall: Hall) -> None:
    ids = [hall.run("submit", "parked", "--label", "test=piped").stdout.strip() for _ in range(3)]

    table = hall.run("top", "--label", "test=piped")
    document = hall.run("top", "--label", "test=piped", "--json", "--limit", "2")
    code, once = hall.on_terminal("top", "--once", "--label", "test=piped", NO_COLOR="1")

    assert (table.returncode, table.stderr) == (0, "")
    assert [line.split()[0] for line in table.stdout.splitlines()[4:7]] == ids  # In 160 columns ids are whole.
    assert "\x1b" not in table.stdout
    assert (code, ids[2] in once, "\x1b[?1049h" in once) == (0, True, False)
    shown = json.loads(document.stdout)
    assert [row["id"] for row in shown["jobs"]] == ids[:2]
    assert shown["figures"]["counts"]["pending"] >= 3
    assert [worker["name"] for worker in shown["workers"]] == ["topper"]
    assert hall.run("top", "--batch", "01977c0e-0000-7000-8000-000000000001").returncode == 4


def test_who_cannot_be_shown_anything_is_told_so_in_a_line(hall: Hall) -> None:
    environment = hall.environment() | {"JOBHALL_ADDRESS": f"127.0.0.1:{free_port()}"}
    with Terminal(hall.command("top"), folder=hall.folder, environment=environment, columns=80, rows=24) as terminal:
        assert terminal.status() == 3
        assert "no jobhall server answers" in terminal.written
        assert "\x1b[?1049h" not in terminal.written
