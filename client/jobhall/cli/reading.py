"""`jobhall get` and `jobhall ls`: one job, and many."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from jobhall.cli.context import Injected
from jobhall.cli.exits import Exit
from jobhall.cli.job_choice import JobChoice
from jobhall.cli.lists import Limit, page_size_of, show_list
from jobhall.cli.tables import JOBS


def get(
    job_id: Annotated[str, Parameter(help="The job's id.")],
    /,
    *,
    checkpoint: Annotated[bool, Parameter(help="Its last checkpoint as well.")] = False,
    context: Injected,
) -> Exit:
    """Shows all there is to know of a job, its first 100 item errors included.

    For example:

      jobhall get 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b --checkpoint
      jobhall get --json 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b | jq .result
    """
    with context.connect() as client:
        context.output.job(client.jobs.get_job(job_id, include_errors=True, include_checkpoint=checkpoint))
    return Exit.OK


def ls(
    *,
    choice: JobChoice | None = None,
    order_by: Annotated[
        Literal["create-time", "update-time", "create-time-desc", "update-time-desc"] | None,
        Parameter(help="create-time-desc, the newest first, if not given."),
    ] = None,
    limit: Limit = None,
    context: Injected,
) -> Exit:
    """Lists jobs, the newest first.

    Piped, a line each: id, type, state, progress, attempt and time of submit,
    with tabs between them.

    For example:

      jobhall ls --state failed --since 2h
      jobhall ls --type resize --limit 0 | cut -f1 | xargs -r jobhall cancel
      jobhall ls --filter 'error_code = RATE_LIMITED AND priority > 0'
      jobhall ls --json --state failed | jq .parameters
    """
    options = (choice or JobChoice()).options()
    options |= {"order_by": _order(order_by), "page_size": page_size_of(limit), "full": context.as_json}
    with context.connect() as client:
        show_list(JOBS, client.jobs.list_jobs(**options), context, limit=limit)
    return Exit.OK


def _order(name: str | None) -> str:
    """`update-time-desc` as the contract says it."""
    if name is None:
        return ""
    field, _, descending = name.partition("-time")
    return f"{field}_time{' desc' if descending else ''}"
