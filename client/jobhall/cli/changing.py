"""`jobhall cancel`, `retry` and `rm`: several jobs at once, each for itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

from cyclopts import Parameter

from jobhall.cli.arguments import read_span
from jobhall.cli.context import Context, Injected
from jobhall.cli.exits import Exit, UsageError, exit_for
from jobhall.errors import ApiError, ServerUnreachableError
from jobhall.model import Job
from jobhall.worker_info import WorkerInfo

JobId = Annotated[str, Parameter(name="JOB_ID", help="The jobs' ids.")]


def cancel(
    *job_ids: JobId,
    reason: Annotated[str, Parameter(help="Why, for people.")] = "",
    grace: Annotated[
        str | None,
        Parameter(help="How long a worker may take to stop, such as 10s; 30s unless the server says otherwise."),
    ] = None,
    context: Injected,
) -> Exit:
    """Cancels jobs; one that runs is CANCELLING until its worker has stopped.

    A worker that has not stopped when the grace is over loses the job, and it
    is CANCELLED all the same.

    For example:

      jobhall cancel 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b --reason 'wrong file'
      jobhall ls --state running | cut -f1 | xargs jobhall cancel --grace 90s
    """
    span = read_span(grace, option="--grace")
    with context.connect() as client:
        cancelling = partial(client.jobs.cancel_job, reason=reason, grace=span)
        return change_each(job_ids, cancelling, context, verb="cancelled")


def retry(*job_ids: JobId, context: Injected) -> Exit:
    """Makes jobs that failed or were cancelled PENDING again.

    All their attempts are open to them anew. One that has not ended is left as
    it is.

    For example:

      jobhall retry 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b
      jobhall ls --state failed --since 2h | cut -f1 | xargs jobhall retry
    """
    with context.connect() as client:
        return change_each(job_ids, client.jobs.retry_job, context, verb="retried")


def rm(*job_ids: JobId, context: Injected) -> Exit:
    """Deletes jobs and all that belongs to them.

    One that a worker holds has to be cancelled first.

    For example:

      jobhall rm 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b
    """
    with context.connect() as client:
        return change_each(job_ids, client.jobs.delete_job, context, verb="deleted")


def change_each(
    ids: Sequence[str],
    change: Callable[[str], Job | WorkerInfo],
    context: Context,
    *,
    verb: str,
    noun: str = "job",
) -> Exit:
    """Changes them one by one; one that is refused does not keep the others, and the first refusal is the exit code."""
    if not ids:
        raise UsageError(f"name at least one {noun}")
    worst = Exit.OK
    for one in ids:
        try:
            context.output.changed(change(one), verb=verb)
        except ServerUnreachableError:
            raise
        except ApiError as error:
            context.complain(error)
            worst = worst or exit_for(error)
    return worst
