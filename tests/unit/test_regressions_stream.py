"""Faults of the worker stream and the log that were found by hunting: each test opens with what went wrong."""

import io
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from jobhall.task import Task
from jobhall.v1.task_pb2 import TaskLog, TaskUpdate
from jobhall_server.domain.job import Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.session import Disposition
from jobhall_server.hall.frames import Assignments, HeldDecision, ListedTask, Reports, StreamSettings
from jobhall_server.hall.session import SessionMachine
from jobhall_server.hall.store import Claimed
from jobhall_server.logs import configure_logs
from tests.support.stream_machine import Bench, items_of, kinds_of
from tests.support.worker_frames import assignment, hello, progress, token


def opened(settings: StreamSettings) -> SessionMachine:
    machine = SessionMachine(settings, 0.0)
    machine.receive(hello(held=(ListedTask(token(1), started=True),)), 0.0)
    machine.opened("session-1", "resume-1", 1, decisions=[HeldDecision(token(1), Disposition.KEEP)])
    machine.frames()
    return machine


def test_progress_alone_never_fills_what_may_be_unacked() -> None:
    # Progress is not acked, but its bytes counted as such until the next commit; on a task kept from an earlier stream
    # there was none, and after some hours the worker was told that it broke the protocol, and stopped.
    machine = opened(replace(StreamSettings(), unacked_bytes_max=1000))

    for _ in range(100):
        machine.receive(Reports([progress(token(1), Progress(percent=1))], size_bytes=100), 0.0)

    assert not machine.finished


def test_parameters_are_not_kept_while_the_task_runs() -> None:
    # Each task kept its parameters until its end: ten thousand of 1 MiB, and the server had 10 GiB.
    machine = opened(StreamSettings())
    large = assignment(2)
    large = large._replace(claimed=large.claimed._replace(parameters=Payload("x" * 10_000)))

    machine.deliver([large], 0.0)

    assert machine.frames() == [Assignments(1, [large])]
    facts = machine.holdings.tasks[token(2)].facts
    assert isinstance(facts, Claimed)
    assert facts.parameters is None


@pytest.fixture
def console() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs(form="console", stream=stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_a_traceback_on_the_console_shows_no_payload(console: io.StringIO) -> None:
    # With rich installed structlog prints the variables of every frame: payloads among them, and for a deep recursion
    # the whole server stood still for a minute while it was painted.
    def fail(secret: str) -> None:
        raise RuntimeError(len(secret))

    try:
        fail("".join(reversed("rebmun tnuocca ym")))
    except RuntimeError as error:
        structlog.get_logger("jobhall_server").error("bug", exc_info=error)

    assert "RuntimeError" in console.getvalue()
    assert "my account number" not in console.getvalue()


def test_what_a_task_said_goes_before_its_end_also_when_results_overtake() -> None:
    # Log lines and item errors that waited behind the results of other tasks went out after their own task's outcome,
    # and the server, which takes nothing on a task that has ended, refused them: lost under load.
    bench = Bench()
    bench.open()
    talking, quick = bench.deliver(1, 2)
    bench.begin(talking, quick)
    Task(talking, bench.handover).log("half-way")
    Task(talking, bench.handover).item_error(key="AAPL", message="no data")
    bench.end(quick)
    first: list[TaskUpdate | TaskLog] = []
    while not first:
        first = items_of([bench.say_one()])
    bench.end(talking)

    rest = bench.say_items()

    assert [(item.lease_token, kind) for item, kind in zip(first, kinds_of(first), strict=True)] == [
        (quick.token, "completed")
    ]
    assert sorted(kinds_of(rest)[:-1]) == ["item_errors", "log"]
    assert kinds_of(rest)[-1] == "completed"
