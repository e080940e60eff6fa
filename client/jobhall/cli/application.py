"""Puts the commands together, and turns whatever ends one into an exit code and at most one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

import jobhall
from jobhall.cli.batches import batch
from jobhall.cli.changing import cancel, purge, retry, rm
from jobhall.cli.context import Context
from jobhall.cli.counting import stats
from jobhall.cli.exits import Exit, UsageError, exit_for
from jobhall.cli.exits import explain as explain_error
from jobhall.cli.exporting import export
from jobhall.cli.importing import import_
from jobhall.cli.inspecting import attempts, errors, explain, logs
from jobhall.cli.job_types import job_type
from jobhall.cli.output import choose_output
from jobhall.cli.reading import get, ls
from jobhall.cli.remarks import remark
from jobhall.cli.submitting import spell_out_stdin, submit
from jobhall.cli.top import top
from jobhall.cli.updating import update
from jobhall.cli.watching import events, watch
from jobhall.cli.workers import worker
from jobhall.errors import JobhallError

_HELP = """Submits, shows, watches, changes and deletes jobs, and runs workers.

The server is at --address, else JOBHALL_ADDRESS, else 127.0.0.1:50051. On a
terminal there are tables and live bars, piped plain lines; NO_COLOR is
respected. Help on a command: jobhall COMMAND --help."""

_EXIT_CODES = """Exit codes:
  0    all is well
  1    a job failed or was cancelled, the server refused, or you did not agree
  2    the command line is wrong
  3    no server answers
  4    there is no such job, job type, batch or worker
  130  Ctrl-C"""

_USAGES = {
    "watch": "Usage: jobhall watch [OPTIONS] [JOB_ID...]",
    "events": "Usage: jobhall events [OPTIONS] [JOB_ID...]",
    "cancel": "Usage: jobhall cancel [OPTIONS] JOB_ID...",
    "retry": "Usage: jobhall retry [OPTIONS] JOB_ID...",
    "rm": "Usage: jobhall rm [OPTIONS] JOB_ID...",
}
"""Of the commands that take any number of ids: the parser would call them ARGS."""

_COMMANDS: dict[str, Any] = {
    "submit": submit,
    "get": get,
    "ls": ls,
    "attempts": attempts,
    "errors": errors,
    "logs": logs,
    "explain": explain,
    "stats": stats,
    "watch": watch,
    "events": events,
    "top": top,
    "update": update,
    "cancel": cancel,
    "retry": retry,
    "rm": rm,
    "purge": purge,
    "export": export,
    "import": import_,
    "type": job_type,
    "batch": batch,
    "worker": worker,
}


def run(arguments: list[str]) -> int:
    """Runs one command line and returns its exit code; nothing but a bug of ours leaves a traceback."""
    if isinstance(sys.stdout, TextIOWrapper):
        # What jobs say may hold what a terminal, or a pipe by its locale, has no form for.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        _check_text(arguments)
        outcome = _make_app().meta(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        return _refuse(error, arguments)
    except JobhallError as error:
        remark(explain_error(error))
        return exit_for(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # What is still buffered has nowhere to go; without this the interpreter would complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    return outcome if isinstance(outcome, Exit) else Exit.OK


def _check_text(arguments: Sequence[str]) -> None:
    """UsageError where a word is not UTF-8: the contract has texts, and Python passes other bytes on as half of one."""
    for word in arguments:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{os.fsencode(word)!r} is not UTF-8") from None


def _make_app() -> App:
    app = App(
        name="jobhall",
        version=f"jobhall {jobhall.__version__}",
        help=_HELP,
        help_epilogue=_EXIT_CODES,
        help_format="plaintext",
        default_parameter=Parameter(negative=(), show_default=False),
        suppress_keyboard_interrupt=False,
    )
    for name, command in _COMMANDS.items():
        if isinstance(command, App):
            app.command(command)
        else:
            app.command(command, name=name, usage=_USAGES.get(name))
    app.meta.group_parameters = "Global options"
    app.meta.default(_launcher(app))
    return app


def _launcher(app: App) -> Any:
    def launch(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        address: Annotated[str | None, Parameter(help="host:port of the server (JOBHALL_ADDRESS).")] = None,
        token: Annotated[str | None, Parameter(help="Bearer token to show it (JOBHALL_TOKEN).")] = None,
        json: Annotated[bool, Parameter(help="One JSON document, or one a line.")] = False,
    ) -> Any:
        command, bound, ignored = app.parse_args(_spelled_out(tokens), exit_on_error=False, print_error=False)
        context = Context(address=address, token=token, as_json=json, output=choose_output(as_json=json))
        injected = {"context": context} if "context" in ignored else {}
        return command(*bound.args, **bound.kwargs, **injected)

    return launch


def _spelled_out(tokens: Sequence[str]) -> list[str]:
    return spell_out_stdin(tokens) if tokens[:1] == ("submit",) else list(tokens)


def _refuse(error: CycloptsError, arguments: Sequence[str]) -> Exit:
    named = [word for word in arguments if word in _COMMANDS][:1]
    see = " ".join(["jobhall", *(error.command_chain or named), "--help"])
    what = str(error)
    if isinstance(error, UnusedCliTokensError):
        what = f"too many arguments: {' '.join(error.unused_tokens or ())}."
    remark(f"{' '.join(what.split())} See: {see}")
    return Exit.USAGE
