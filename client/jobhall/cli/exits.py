"""How a command ends: its exit codes, and the one line that says why."""

from __future__ import annotations

from enum import IntEnum

from jobhall.errors import ApiError, Code, JobhallError, ServerUnreachableError


class Exit(IntEnum):
    """The exit codes of every command; documented in `jobhall --help`."""

    OK = 0
    FAILED = 1
    """The job failed or was cancelled, or the server refused."""
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    INTERRUPTED = 130
    """Ctrl-C: 128 and the signal's number, as a shell would say."""
    BROKEN_PIPE = 141
    """The reader of our output has gone, as in `jobhall ls | head`."""


class UsageError(JobhallError):
    """The command line cannot be meant as it stands."""


class WorkerBrokenError(JobhallError):
    """The module that `worker run` was to import raised."""


def exit_for(error: JobhallError) -> Exit:
    """The exit code that this error ends a command with."""
    if isinstance(error, UsageError):
        return Exit.USAGE
    if isinstance(error, ServerUnreachableError):
        return Exit.UNREACHABLE
    if isinstance(error, ApiError) and error.code is Code.NOT_FOUND:
        return Exit.NOT_FOUND
    return Exit.FAILED


def explain(error: JobhallError, *, with_fields: bool = True) -> str:
    """One line: what happened, the reason, and each field that the message does not name already."""
    text = str(error)
    if with_fields and isinstance(error, ApiError):
        fields = [
            f"{violation.field}: {violation.description}"
            for violation in error.violations
            if violation.field not in error.message
        ]
        text = "; ".join([text, *fields])
    return " ".join(text.split())
