"""The smallest example as its reader runs it, and how a worker takes the signals that stop it."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Processes, Program, Server

HELLO = ROOT / "examples" / "hello"

pytestmark = [pytest.mark.slow]


def worker_of(processes: Processes, server: Server, script: Path) -> Program:
    worker = processes.start("worker", [sys.executable, str(script)], address=server.address)
    worker.says("connected")
    return worker


def test_the_smallest_worker_greets_and_leaves_when_asked_to(processes: Processes) -> None:
    server = processes.serve()
    worker = worker_of(processes, server, HELLO / "worker.py")

    submit = processes.start("submit", [sys.executable, str(HELLO / "submit.py")], address=server.address)

    assert submit.wait() == 0, submit.output
    assert submit.output.strip() == "{'greeting': 'Hello, Ada!'}"
    assert worker.stop(signal.SIGTERM) == 0
    assert "stopped" in worker.output


WAITING = """
import logging, threading, jobhall
logging.basicConfig(level=logging.INFO)
worker = jobhall.Worker()

@worker.handler("greet")
def greet(task):
    print("entered", flush=True)
    threading.Event().wait()

worker.run()
print("returned", flush=True)
"""


def test_a_second_signal_does_not_wait_for_a_handler_that_never_ends(processes: Processes, tmp_path: Path) -> None:
    server = processes.serve()
    script = tmp_path / "waiting.py"
    script.write_text(WAITING)
    worker = worker_of(processes, server, script)
    submit = processes.start("submit", [sys.executable, str(HELLO / "submit.py")], address=server.address)
    worker.says("entered")

    os.kill(worker.pid, signal.SIGINT)
    worker.says("may end within")
    assert worker.stop(signal.SIGINT) == 0

    assert "given back" in worker.output
    assert "returned" in worker.output
    submit.kill()
