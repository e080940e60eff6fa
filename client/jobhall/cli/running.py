"""`jobhall worker run`: runs a worker that a module of the current directory defines."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobhall.channel import ADDRESS_VARIABLE, TOKEN_VARIABLE
from jobhall.cli.context import Injected
from jobhall.cli.exits import Exit, UsageError, WorkerBrokenError
from jobhall.limits import CAPACITY_MAX

if TYPE_CHECKING:
    from jobhall.worker import Worker


def run(
    target: Annotated[str, Parameter(name="MODULE:WORKER", help="Where the worker is, such as tasks:worker.")],
    /,
    *,
    health_listen: Annotated[
        str | None,
        Parameter(help="HOST:PORT: there GET /healthz answers 200 while tasks can come, else 503."),
    ] = None,
    processes: Annotated[
        int | None,
        Parameter(help="Run its handlers in so many processes, one task at a time in each."),
    ] = None,
    context: Injected,
) -> Exit:
    """Runs a worker: WORKER of MODULE, looked for in the current directory first.

    Ctrl-C or SIGTERM stops it once it has finished, or given back, what it
    holds; a second Ctrl-C stops it at once.

    For example:

      jobhall worker run tasks:worker
      jobhall --address hall.example:50051 worker run app.jobs:worker
      jobhall worker run tasks:worker --processes 4
      jobhall worker run tasks:worker --health-listen 127.0.0.1:8080
    """
    if processes is not None and not 1 <= processes <= CAPACITY_MAX:
        raise UsageError(f"--processes: {processes} is not from 1 to {CAPACITY_MAX}")
    # Before the module is imported: a worker may look at them when it is made.
    if context.address is not None:
        os.environ[ADDRESS_VARIABLE] = context.address
    if context.token is not None:
        os.environ[TOKEN_VARIABLE] = context.token
    loaded = load_worker(target)
    # Who runs a worker wants to see it connect; a module that set up logging of its own keeps it.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    loaded.health_listen = health_listen or loaded.health_listen
    loaded.processes = processes or loaded.processes
    print(f"worker {loaded.name} serves {', '.join(loaded.job_types)}; Ctrl-C stops it", file=sys.stderr, flush=True)
    loaded.run()
    return Exit.OK


def load_worker(target: str) -> Worker:
    """The worker at `module:attribute`; UsageError where there is none, WorkerBrokenError if the module raises."""
    from jobhall.worker import Worker

    module_name, _, attribute = target.partition(":")
    if not (module_name and attribute):
        raise UsageError(f"{target!r} is not of the form MODULE:WORKER, such as tasks:worker")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    found: object = _import(module_name, folder)
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise UsageError(f"the module {module_name!r} has no {attribute!r}")
        found = getattr(found, name)
    if not isinstance(found, Worker):
        raise UsageError(f"{target} is no Worker but {type(found).__name__}")
    if not found.job_types:
        raise UsageError(f'{target} has no handler: decorate a function with @worker.handler("type")')
    return found


def _import(module_name: str, folder: str) -> object:
    try:
        return import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise UsageError(f"there is no module {error.name!r} in {folder} or installed") from error
        raise WorkerBrokenError(_blame(module_name, error)) from error
    except Exception as error:
        raise WorkerBrokenError(_blame(module_name, error)) from error


def _blame(module_name: str, error: Exception) -> str:
    """The error and the last line of code on its way, which the traceback would have ended with."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})" if trace is not None else ""
    return f"importing {module_name!r} failed: {type(error).__name__}: {error}{where}"
