"""A worker with processes as one runs it: what they survive, what ends them, and that nothing outlives the worker."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import jobhall
from jobhall import JobState
from tests.support.processes import Processes, Program, Server
from tests.support.tools import BIN
from tests.support.waiting import eventually

SCRIPT = """
import jobhall
from tests.support import process_handlers

worker = jobhall.Worker(name="processes", processes=2, kill_after_seconds=0.3)
for handler in (process_handlers.where, process_handlers.resist, process_handlers.go_on,
                process_handlers.hold_the_interpreter):
    worker.handler(handler.__name__)(handler)

if __name__ == "__main__":
    worker.run()
"""
UNGUARDED = """
import jobhall

worker = jobhall.Worker("127.0.0.1:1", processes=2)


@worker.handler("where")
def where(task):
    pass


worker.run()
"""
TYPES = ("where", "resist", "go_on", "hold_the_interpreter")
SESSION_SECONDS = 2


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """One server for all; each test ends its worker."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "tasks.py").write_text(SCRIPT)
    with Processes(folder) as processes:
        yield processes


@pytest.fixture(scope="module")
def server(processes: Processes) -> Server:
    return processes.serve(session_ttl_seconds=SESSION_SECONDS, heartbeat_seconds=0.5)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[jobhall.Client]:
    with jobhall.Client(server.address) as client:
        for job_type in TYPES:
            client.types.register(job_type)
        yield client


def test_a_held_interpreter_costs_no_lease_and_a_stubborn_handler_no_place(
    processes: Processes, server: Server, client: jobhall.Client
) -> None:
    """The stream is in another process: its beats go on while an extension holds the interpreter for longer than the
    session would last without them. A handler that nothing stops is killed when its run_timeout is over.
    """
    holds = client.jobs.submit("hold_the_interpreter", {"seconds": SESSION_SECONDS + 0.7}, max_attempts=1)
    resists = client.jobs.submit("resist", run_timeout=0.3, max_attempts=1)
    worker = processes.start("worker", [sys.executable, "tasks.py"], address=server.address)

    held = client.jobs.wait_for_job(holds.id, timeout=20)
    again = [client.jobs.wait_for_job(client.jobs.submit("where").id, timeout=20).state for _ in range(2)]

    assert (held.result, held.attempt) == ("done", 1)
    assert again == [JobState.COMPLETED] * 2
    error = client.jobs.get_job(resists.id).error
    assert error is not None
    assert error.code == "RUN_TIMEOUT"
    assert worker.stop() == 0


def test_a_signal_to_all_of_them_is_the_workers_to_obey(
    processes: Processes, server: Server, client: jobhall.Client, tmp_path: Path
) -> None:
    """A terminal and a service manager send it to each process: the handlers' end when the worker has drained."""
    note = tmp_path / "note"
    command = [str(BIN / "jobhall"), "worker", "run", "tasks:worker", "--processes", "1"]
    worker = processes.start("worker", command, address=server.address)
    job = client.jobs.submit("go_on", path=str(note))
    eventually(note.exists, within=20, what="the handler runs")
    (child,) = children(worker)

    for number in (signal.SIGINT, signal.SIGTERM):
        child.send_signal(number)
    psutil.Process(worker.pid).send_signal(signal.SIGTERM)
    worker.says("1 tasks may end")
    Path(f"{note}.go").touch()

    assert worker.wait() == 0
    assert client.jobs.get_job(job.id).result == "done"
    assert not child.is_running()


@pytest.mark.parametrize("job_type", ["resist", "hold_the_interpreter"])
def test_none_outlives_a_worker_that_is_killed(
    processes: Processes, server: Server, client: jobhall.Client, tmp_path: Path, job_type: str
) -> None:
    """A process whose interpreter was held went on for as long as that took, while its job ran elsewhere: no thread of
    it could look whether the worker was there. The kernel looks now.
    """
    note = tmp_path / "note"
    worker = processes.start("worker", [sys.executable, "tasks.py"], address=server.address)
    client.jobs.submit(job_type, {"seconds": 60}, path=str(note), max_attempts=1)
    eventually(note.exists, within=20, what="the handler runs")
    idle_and_busy = children(worker)
    assert len(idle_and_busy) == 2

    worker.kill()

    eventually(lambda: not any(map(runs, idle_and_busy)), within=10, what="its processes are gone")


def test_a_script_that_does_not_guard_its_run_is_told_to(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(UNGUARDED)

    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=30, check=False)

    assert run.returncode == 1
    assert "RuntimeError: each process for handlers imports the module that runs the worker" in run.stderr
    assert run.stderr.rstrip().endswith("needs `if __name__ == '__main__':` around that, since each process imports it")


def children(worker: Program) -> list[psutil.Process]:
    """Its processes for handlers."""
    return [child for child in psutil.Process(worker.pid).children() if "spawn_main" in " ".join(child.cmdline())]


def runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
