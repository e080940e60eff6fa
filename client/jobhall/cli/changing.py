"""`jobhall cancel` and `jobhall rm`: several jobs at once, each for itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from cyclopts import Parameter

from jobhall.cli.context import Context, Injected
from jobhall.cli.exits import Exit, UsageError, exit_for
from jobhall.errors import ApiError, ServerUnreachableError
from jobhall.model import Job

JobId = Annotated[str, Parameter(name="JOB_ID", help="The jobs' ids.")]


def cancel(
    *job_ids: JobId,
    reason: Annotated[str, Parameter(help="Why, for people.")] = "",
    context: Injected,
) -> Exit:
    """Cancels jobs; one that runs is CANCELLING until its worker has stopped.

    For example:

      jobhall cancel 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b --reason 'wrong file'
    """
    with context.connect() as client:
        return _each(job_ids, lambda job_id: client.jobs.cancel_job(job_id, reason=reason), context, verb="cancelled")


def rm(*job_ids: JobId, context: Injected) -> Exit:
    """Deletes jobs and all that belongs to them.

    One that a worker holds has to be cancelled first.

    For example:

      jobhall rm 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b
    """
    with context.connect() as client:
        return _each(job_ids, client.jobs.delete_job, context, verb="deleted")


def _each(job_ids: Sequence[str], change: Callable[[str], Job], context: Context, *, verb: str) -> Exit:
    """Changes them one by one; one that is refused does not keep the others, and the first refusal is the exit code."""
    if not job_ids:
        raise UsageError("name at least one job")
    worst = Exit.OK
    for job_id in job_ids:
        try:
            context.output.changed(change(job_id), verb=verb)
        except ServerUnreachableError:
            raise
        except ApiError as error:
            context.complain(error)
            worst = worst or exit_for(error)
    return worst
