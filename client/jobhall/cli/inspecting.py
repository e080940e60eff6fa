"""`jobhall attempts`, `errors`, `logs` and `explain`: what happened to one job, and what keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from jobhall.cli.context import Injected
from jobhall.cli.exits import Exit
from jobhall.cli.phrases import amount
from jobhall.cli.records import explanation_rows
from jobhall.cli.remarks import remark
from jobhall.cli.tables import ATTEMPTS, ITEM_ERRORS
from jobhall.states import LogLevel

if TYPE_CHECKING:
    from jobhall.client import Client

JobId = Annotated[str, Parameter(name="JOB_ID", help="The job's id.")]
Attempt = Annotated[int, Parameter(help="Of this one; the latest if not given.")]


def attempts(job_id: JobId, /, *, context: Injected) -> Exit:
    """Lists the attempts at a job, the first first, those before a retry too.

    Piped, a line each: number, worker, outcome, start, duration, item errors
    and error, with tabs between them.

    For example:

      jobhall attempts 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b
    """
    with context.connect() as client:
        context.output.table(ATTEMPTS, client.jobs.attempts(job_id))
    return Exit.OK


def errors(job_id: JobId, /, *, attempt: Attempt = 0, context: Injected) -> Exit:
    """Lists the items of a job that went badly while the job went on.

    The server keeps the first 1000 of an attempt and counts them all; see the
    item errors of `jobhall get`.

    For example:

      jobhall errors 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b --attempt 1
    """
    with context.connect() as client:
        context.output.table(ITEM_ERRORS, client.jobs.item_errors(job_id, attempt=attempt))
    return Exit.OK


def logs(
    job_id: JobId,
    /,
    *,
    attempt: Attempt = 0,
    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"] | None,
        Parameter(help="Only lines of this level, and of those that matter more."),
    ] = None,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], help="Go on until the job has ended.")] = False,
    context: Injected,
) -> Exit:
    """Shows what a job logged: a line each, with time and level.

    For example:

      jobhall logs 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b --level warning
      jobhall logs --follow "$(jobhall submit import)"
    """
    min_level = LogLevel[level.upper()] if level else LogLevel.UNSPECIFIED
    shown = attempt
    with context.connect() as client:
        for entry in client.jobs.logs(job_id, attempt=attempt, min_level=min_level, follow=follow):
            if shown not in (0, entry.attempt):
                _tell_dropped(client, job_id, shown)
                remark(f"attempt {entry.attempt}")
            shown = entry.attempt
            context.output.log(entry)
        _tell_dropped(client, job_id, shown)
    return Exit.OK


def explain(job_id: JobId, /, *, context: Injected) -> Exit:
    """Says why a job is not running, and what would help.

    For example:

      jobhall explain 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b
    """
    with context.connect() as client:
        explanation = client.jobs.explain(job_id)
    context.output.record(explanation, explanation_rows(explanation))
    return Exit.OK


def _tell_dropped(client: Client, job_id: str, attempt: int) -> None:
    if dropped := client.jobs.log_page(job_id, attempt=attempt, page_size=1).dropped_count:
        lines = amount(dropped, "line") + (f" of attempt {attempt}" if attempt else "")
        remark(f"{lines} not kept: they were more than the server keeps")
