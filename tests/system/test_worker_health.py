"""A worker as a service would run it: probed from outside, and stopped by SIGTERM."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.processes import Processes
from tests.support.tools import BIN
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

TASKS = """
import jobhall

worker = jobhall.Worker(name="probed")


@worker.handler("noop")
def noop(task):
    return None
"""


def probe(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=5) as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode().strip()


def test_a_probe_sees_the_worker_connect_and_lose_its_server_and_sigterm_ends_it_well(tmp_path: Path) -> None:
    health = f"127.0.0.1:{free_port()}"
    (tmp_path / "tasks.py").write_text(TASKS)
    with Processes(tmp_path) as processes:
        server = processes.serve()
        command = [str(BIN / "jobhall"), "worker", "run", "tasks:worker", "--health-listen", health]
        worker = processes.start("worker", command, address=server.address)
        worker.says("connected")

        assert probe(health) == (200, "ok")
        server.kill()
        eventually(lambda: probe(health) == (503, "not connected"), within=10, what="the loss is seen")
        assert worker.stop() == 0


def test_a_place_that_cannot_be_listened_at_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(TASKS)
    with Processes(tmp_path) as processes:
        command = [str(BIN / "jobhall"), "worker", "run", "tasks:worker", "--health-listen", "8080"]
        worker = processes.start("worker", command)

        assert worker.wait() == 1
        assert "health_listen is '8080'; it is HOST:PORT" in worker.output.splitlines()[-1]
