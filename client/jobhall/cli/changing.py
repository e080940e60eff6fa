"""`jobhall cancel`, `retry`, `rm` and `purge`: named jobs, each for itself, or all that match."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobhall.cli.bulk import Change, Matching, change_matching, check_matching
from jobhall.cli.context import Context, Etag, Injected
from jobhall.cli.exits import Exit, UsageError, exit_for
from jobhall.cli.times import read_span
from jobhall.errors import ApiError, ServerUnreachableError
from jobhall.model import CancelledJob, Job
from jobhall.model_batches import Batch
from jobhall.worker_info import WorkerInfo

if TYPE_CHECKING:
    from jobhall.client import Client

JobId = Annotated[str, Parameter(name="JOB_ID", help="The jobs' ids.")]


def cancel(
    *job_ids: JobId,
    reason: Annotated[str, Parameter(help="Why, for people.")] = "",
    grace: Annotated[
        str | None,
        Parameter(help="How long a worker may take to stop, such as 10s; 30s unless the server says otherwise."),
    ] = None,
    matching: Matching | None = None,
    context: Injected,
) -> Exit:
    """Cancels jobs; one that runs is CANCELLING until its worker has stopped.

    A worker that has not stopped when the grace is over loses the job, and it
    is CANCELLED all the same. With --filter all that match and have not ended
    are cancelled, once you have agreed to their number.

    For example:

      jobhall cancel 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b --reason 'wrong file'
      jobhall cancel --filter 'type = resize AND labels.team = red' --dry-run
      jobhall ls --state running | cut -f1 | xargs -r jobhall cancel --grace 90s
    """
    span = read_span(grace, option="--grace")
    if matching and matching.filter is not None and span is not None:
        raise UsageError("--grace is for named jobs; those of a --filter get the server's")
    return _change(
        job_ids,
        matching,
        context,
        one=lambda client: partial(client.jobs.cancel_job, reason=reason, grace=span),
        many=lambda client: partial(client.jobs.cancel_jobs, reason=reason),
        verb="cancelled",
    )


def retry(*job_ids: JobId, matching: Matching | None = None, context: Injected) -> Exit:
    """Makes jobs that failed or were cancelled PENDING again.

    All their attempts are open to them anew. One that has not ended is left as
    it is. With --filter all that match and failed or were cancelled are
    retried, once you have agreed to their number.

    For example:

      jobhall retry 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b
      jobhall retry --filter 'error_code = RATE_LIMITED' --yes
      jobhall ls --state failed --since 2h | cut -f1 | xargs -r jobhall retry
    """
    return _change(
        job_ids,
        matching,
        context,
        one=lambda client: client.jobs.retry_job,
        many=lambda client: client.jobs.retry_jobs,
        verb="retried",
    )


def rm(*job_ids: JobId, etag: Etag = "", context: Injected) -> Exit:
    """Deletes jobs and all that belongs to them.

    One that a worker holds has to be cancelled first.

    For example:

      jobhall rm 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b
    """
    if etag and len(job_ids) > 1:
        raise UsageError("--etag is that of one job")
    with context.connect() as client:
        return change_each(job_ids, partial(client.jobs.delete_job, etag=etag), context, verb="deleted")


def purge(
    *,
    older_than: Annotated[str, Parameter(help="Only those that ended at least so long ago, such as 7d.")],
    matching: Matching | None = None,
    context: Injected,
) -> Exit:
    """Deletes jobs that have ended long enough ago, once you have agreed.

    What a server's own retention is set to, it deletes by itself. A purged job
    still counts in its batch, and as removed in the stats.

    For example:

      jobhall purge --older-than 7d --dry-run
      jobhall purge --older-than 36h --filter 'state = COMPLETED' --yes
    """
    span = read_span(older_than, option="--older-than") or timedelta()
    chosen = matching or Matching()
    check_matching(chosen)
    with context.connect() as client:
        return change_matching(partial(client.jobs.purge_jobs, min_age=span), chosen, context, verb="purged")


def change_each(
    ids: Sequence[str],
    change: Callable[[str], Job | WorkerInfo | Batch],
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
            it = change(one)
        except ServerUnreachableError:
            raise
        except ApiError as error:
            context.complain(error)
            worst = worst or exit_for(error)
        else:
            told = ["its worker was told to stop"] if isinstance(it, CancelledJob) and it.worker_told else []
            context.output.said(it, verb, it.id, it.state, *told)
    return worst


def _change(
    job_ids: Sequence[str],
    matching: Matching | None,
    context: Context,
    *,
    one: Callable[[Client], Callable[[str], Job]],
    many: Callable[[Client], Change],
    verb: str,
) -> Exit:
    """The named jobs, or those of the filter."""
    chosen = matching or Matching()
    if chosen.filter is not None and job_ids:
        raise UsageError("give job ids or a --filter, not both")
    if chosen.filter is not None:
        check_matching(chosen)
        with context.connect() as client:
            return change_matching(many(client), chosen, context, verb=verb)
    if chosen != Matching():
        raise UsageError("--dry-run, --yes and --namespace go with a --filter")
    with context.connect() as client:
        return change_each(job_ids, one(client), context, verb=verb)
