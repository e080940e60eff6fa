"""Handlers in processes: all of a task works there; whatever becomes of a process, its task ends and another runs."""

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobhall import Worker
from jobhall.errors import JobhallError
from jobhall.limits import ITEM_ERRORS_KEPT_MAX, LOG_LINES_KEPT_MAX
from jobhall.task import StopCause
from jobhall.v1.task_pb2 import TaskCancelled as Cancelled
from jobhall.v1.task_pb2 import TaskCompleted as Completed
from jobhall.v1.task_pb2 import TaskFailed as Failed
from jobhall.v1.task_pb2 import TaskReleased as Released
from jobhall.wire import progress_from_wire
from jobhall.wire_values import payload_from_wire
from jobhall.worker.crew import Crew
from jobhall.worker.held import Handler, HeldTask
from jobhall.worker.outcomes import Outcome
from jobhall.worker.process_runners import ProcessRunners
from tests.support import process_handlers
from tests.support.shop import Function, Shop
from tests.support.stream_machine import assignment
from tests.support.waiting import eventually

KILL_AFTER_SECONDS = 0.2


class ProcessShop(Shop):
    """The same with processes."""

    def serve_by_processes(
        self, *functions: Function, processes: int, kill_after_seconds: float = KILL_AFTER_SECONDS
    ) -> None:
        for function in functions:
            is_async = asyncio.iscoroutinefunction(function)
            self.handlers[function.__name__] = Handler(function.__name__, function, None, is_async=is_async)
        runners = ProcessRunners(
            self.handlers, self.handover, processes=processes, kill_after_seconds=kill_after_seconds
        )
        runners.start()
        self.crew = Crew(self.handlers, self.handover, concurrency=processes, processes=runners)

    def hand_one(self, name: str, **fields: Any) -> HeldTask:
        assert self.crew is not None
        self.count += 1
        task = HeldTask(assignment(self.count, job_type=name, **fields), self.handlers[name], 0.0)
        self.handover.deliver([task])
        self.crew.hand([task])
        return task

    def does(self, name: str, **fields: Any) -> Outcome:
        """How a task of it ends."""
        self.hand_one(name, **fields)
        return self.ends()[0]


HANDLERS = [
    function
    for name, function in vars(process_handlers).items()
    if callable(function) and function.__module__ == process_handlers.__name__ and not name.startswith("_")
]


@pytest.fixture(scope="module")
def shop() -> Iterator[ProcessShop]:
    """Two processes for all tests here: each leaves them as good as new."""
    shop = ProcessShop()
    shop.serve_by_processes(*HANDLERS, processes=2)
    yield shop
    assert shop.crew is not None
    shop.crew.close()


def result_of(outcome: Outcome) -> Any:
    assert isinstance(outcome, Completed), outcome
    return payload_from_wire(outcome.result)[0]


def entered(note: Path) -> bool:
    return note.exists() and "entered" in note.read_text()


def test_all_that_a_task_can_say_is_said_from_its_process(shop: ProcessShop, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        task = shop.hand_one("say", parameters={"json": '{"width": 10}'})
        result = result_of(shop.ends()[0])

    assert result["parameters"] == {"width": 10}
    assert result["process"] != os.getpid()
    assert task.progress is not None
    progress = progress_from_wire(task.progress)
    assert (progress.items_processed, progress.items_total, progress.unit, progress.step) == (3, 3, "rows", "count")
    assert [line.message for line in task.lines or ()] == ["row 1", "row 2", "row 3"]
    assert [(error.index, error.key, error.code) for error in task.item_errors or ()] == [(2, "row 2", "BAD")]
    assert task.item_errors_count == 1
    assert task.checkpoints is not None
    (update,) = task.checkpoints
    assert (update.lease_token, update.checkpoint.state.json) == (task.token, '{"row":3}')
    assert "said by say" in caplog.text


def test_a_handler_fails_releases_and_stumbles_in_its_own_words(shop: ProcessShop) -> None:
    refused, given_back, stumbled = shop.does("refuse"), shop.does("give_back"), shop.does("stumble")

    assert isinstance(refused, Failed)
    assert (refused.code, refused.details["card"], refused.stack) == ("DECLINED", "1234", "")
    assert isinstance(given_back, Released)
    assert given_back.message == "the disk is full"
    assert isinstance(stumbled, Failed)
    assert (stumbled.code, stumbled.message) == ("ValueError", "no")
    assert "in stumble" in stumbled.stack
    assert "jobhall/worker" not in stumbled.stack


def test_an_async_handler_has_the_loop_of_its_process_which_lasts(shop: ProcessShop, tmp_path: Path) -> None:
    brief = {"json": '{"seconds": 0}'}
    assert result_of(shop.does("wait", parameters=brief)) != os.getpid()

    note = tmp_path / "note"
    task = shop.hand_one("wait", parameters={"json": '{"seconds": 600}'}, path=str(note))
    eventually(lambda: entered(note), within=5, what="the handler waits")
    shop.cancel(task, "enough")

    assert isinstance(shop.ends()[0], Cancelled)
    assert isinstance(shop.does("wait", parameters=brief), Completed)


@pytest.mark.parametrize(
    ("name", "how", "exit_code"),
    [
        ("leave", "ended with exit code 3", 3),
        ("crash", "crashed (SIGSEGV)", -11),
        ("run_out_of_memory", "was killed (SIGKILL), as the kernel does when memory runs out", -9),
    ],
)
def test_a_process_that_is_lost_fails_its_task_and_is_replaced(
    shop: ProcessShop, name: str, how: str, exit_code: int
) -> None:
    shop.hand_one(name)
    shop.hand_one("where")
    outcomes = shop.ends(2)

    (lost,) = (outcome for outcome in outcomes if isinstance(outcome, Failed))
    assert (lost.code, lost.message) == ("PROCESS_LOST", f"its process {how}")
    assert lost.details["exit_code"] == exit_code
    assert not lost.HasField("retryable")
    assert any(isinstance(outcome, Completed) for outcome in outcomes)
    assert [isinstance(shop.does("where"), Completed) for _ in range(2)] == [True, True]


def test_what_a_handler_forks_ends_by_sigterm(shop: ProcessShop) -> None:
    """A pool's processes inherited that SIGTERM is the worker's to interpret, and the pool waited for their end for
    ever.
    """
    assert result_of(shop.does("fork_and_terminate")) == -15


def test_a_process_is_lost_though_its_own_child_keeps_its_connection_open(shop: ProcessShop, tmp_path: Path) -> None:
    """The child that a handler forked inherits all files: no end of the connection is ever heard. It would also stay
    for ever, as the workers of a pool do whose parent is gone.
    """
    note = tmp_path / "note"

    lost = shop.does("leave_a_child_behind", path=str(note))

    assert isinstance(lost, Failed)
    assert lost.code == "PROCESS_LOST"
    child = int(note.read_text())
    eventually(lambda: not running(child), within=5, what="the child of the lost process is gone")


@pytest.mark.parametrize(
    ("name", "last_words"), [("obey", "entered\n"), ("doze", "entered\ncleaned up\n"), ("resist", "entered\n")]
)
def test_a_handler_stops_when_it_is_told_to_or_is_interrupted_or_killed(
    shop: ProcessShop, tmp_path: Path, name: str, last_words: str
) -> None:
    note = tmp_path / "note"
    task = shop.hand_one(name, path=str(note))
    eventually(lambda: entered(note), within=5, what="the handler runs")

    shop.cancel(task, "enough")

    (outcome,) = shop.ends()
    assert isinstance(outcome, Cancelled)
    assert outcome.message == "enough"
    assert note.read_text() == last_words
    assert isinstance(shop.does("where"), Completed)


def test_a_task_that_is_lost_while_it_was_given_time_to_stop_has_none_left(tmp_path: Path) -> None:
    """Its grace is over by the server's clock: whatever this worker would still allow is of no use."""
    shop = ProcessShop()
    shop.serve_by_processes(process_handlers.doze, processes=1, kill_after_seconds=600)
    assert shop.crew is not None
    note = tmp_path / "note"
    task = shop.hand_one("doze", path=str(note))
    eventually(lambda: entered(note), within=5, what="the handler runs")

    shop.cancel(task, "enough")
    task.lost = True
    task.ask_to_stop(StopCause.LEASE_LOST)
    shop.crew.stop([task])

    assert isinstance(shop.ends()[0], Cancelled)
    shop.crew.close()


def test_a_task_that_says_much_is_bounded_here_as_in_a_thread(shop: ProcessShop) -> None:
    task = shop.hand_one("chatter")

    assert isinstance(shop.ends()[0], Completed)
    assert task.lines is not None
    assert len(task.lines) <= LOG_LINES_KEPT_MAX
    assert len(task.lines) + task.lines_dropped == 30_000
    assert task.item_errors_count == ITEM_ERRORS_KEPT_MAX + 10
    assert len(task.item_errors or ()) == ITEM_ERRORS_KEPT_MAX
    assert task.progress is not None
    assert task.progress.items_processed == 30_000


def test_nothing_is_left_of_them(shop: ProcessShop) -> None:
    assert isinstance(shop.does("where"), Completed)
    children, files = processes_of_handlers(), psutil.Process().num_fds()
    other = ProcessShop()
    other.serve_by_processes(process_handlers.where, process_handlers.leave, process_handlers.resist, processes=2)
    other.does("leave")
    other.hand_one("resist")
    assert result_of(other.does("where")) in processes_of_handlers() - children

    assert other.crew is not None
    other.crew.close()

    assert processes_of_handlers() == children
    assert psutil.Process().num_fds() == files


def test_what_another_process_could_not_find_is_refused_with_what_to_do() -> None:
    worker = Worker("127.0.0.1:1", processes=2)
    worker.handler("nameless")(lambda task: None)

    with pytest.raises(JobhallError, match=r"'nameless' cannot be found by another process.*at the top level"):
        worker.start()


def test_each_process_runs_one_task_so_another_concurrency_is_refused() -> None:
    with pytest.raises(ValueError, match="concurrency is 8, processes is 2"):
        Worker(processes=2, concurrency=8)
    with pytest.raises(ValueError, match="processes is 0"):
        Worker(processes=0)

    assert Worker(processes=2).concurrency == Worker(processes=2, concurrency=2).concurrency == 2


def processes_of_handlers() -> set[int]:
    children = psutil.Process().children()
    return {child.pid for child in children if "spawn_main" in " ".join(child.cmdline())}


def running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
