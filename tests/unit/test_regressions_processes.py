"""Faults of handlers in processes that were found by hunting: each test opens with what went wrong."""

import functools
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any

import pytest

from jobhall import Task, Worker
from jobhall.errors import JobhallError
from jobhall.v1.task_pb2 import TaskCancelled as Cancelled
from jobhall.worker.process_messages import hear, word_of
from tests.support import process_handlers
from tests.support.waiting import eventually
from tests.unit.test_task import task_of
from tests.unit.test_worker_processes import ProcessShop, result_of

DEFINED_UNDER_THE_GUARD = """
import jobhall

if __name__ == "__main__":
    worker = jobhall.Worker("127.0.0.1:1", processes=1)

    @worker.handler("resize")
    def resize(task):
        pass

    worker.run()
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[ProcessShop]:
    shop = ProcessShop()
    handlers = (process_handlers.where, process_handlers.fork_and_return, process_handlers.log_an_object)
    shop.serve_by_processes(*handlers, processes=1)
    yield shop
    assert shop.crew is not None
    shop.crew.close()


def test_a_fork_that_comes_out_of_its_handler_ends_no_task(shop: ProcessShop) -> None:
    """A handler forked and both returned. The fork's result was taken for the task's, the handler's own for that of the
    next task, and so on: each job had the result of the one before, for as long as the process lived.
    """
    assert result_of(shop.does("fork_and_return")) == "the handler's"
    assert isinstance(result_of(shop.does("where")), int)


def test_what_extra_leaves_in_a_log_line_costs_no_process(shop: ProcessShop, caplog: pytest.LogCaptureFixture) -> None:
    """A line with an object of a module that only the handler had imported could not be read by the worker, which took
    the process for lost; one with a lock was not sent at all.
    """
    with caplog.at_level(logging.WARNING):
        assert result_of(shop.does("log_an_object")) is None

    (record,) = [record for record in caplog.records if record.name == "shop"]
    assert (vars(record)["model"], vars(record)["rows"]) == ("a model", 3)


def test_progress_that_says_nothing_new_is_a_sign_of_life() -> None:
    """`task.progress()` has no bytes; it was taken for no report, and progress_timeout ended a job that said it every
    tenth of a second.
    """
    task, here = task_of(), task_of()

    task.progress()

    assert hear(here._held, word_of(task._held))
    assert not hear(here._held, word_of(task._held))


def test_a_handler_under_the_guard_is_told_where_to_stand(tmp_path: Path) -> None:
    """All that was said: Can't get attribute 'resize' on <module '__mp_main__'>."""
    script = tmp_path / "script.py"
    script.write_text(DEFINED_UNDER_THE_GUARD)

    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=30, check=False)

    assert "Handlers stand at the top level of their module, outside of `if __name__ == '__main__':`" in run.stderr


def twice(function: Callable[[Task], Any]) -> Callable[[Task], Any]:
    @functools.wraps(function)
    def doing(task: Task) -> Any:
        function(task)
        return function(task)

    return doing


worker = Worker("127.0.0.1:1", processes=1)


@twice
@worker.handler("resize")
def resize(_task: Task) -> None:
    pass


def test_another_decorator_above_the_handlers_is_named_as_what_hides_it() -> None:
    """It was told to define with `def` at the top level what was."""
    with pytest.raises(JobhallError, match="above its other decorators"):
        worker.start()


def test_never_to_kill_is_a_time_as_well(tmp_path: Path) -> None:
    """The thread that was to tell a handler that it is to stop fell over `inf`, and nobody told it."""
    shop = ProcessShop()
    shop.serve_by_processes(process_handlers.obey, processes=1, kill_after_seconds=inf)
    note = tmp_path / "note"
    task = shop.hand_one("obey", path=str(note))
    eventually(note.exists, within=5, what="the handler runs")

    shop.cancel(task, "enough")

    assert isinstance(shop.ends()[0], Cancelled)
    assert shop.crew is not None
    shop.crew.close()
    with pytest.raises(ValueError, match="kill_after_seconds is -1"):
        Worker(processes=1, kill_after_seconds=-1)
