"""`jobhall get` and `jobhall ls`: one job, and many."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

from cyclopts import Parameter

from jobhall.cli.arguments import read_labels, read_states
from jobhall.cli.context import Injected, Labels, Namespace
from jobhall.cli.exits import Exit, UsageError
from jobhall.cli.tables import JOBS
from jobhall.cli.times import read_moment
from jobhall.limits import PAGE_SIZE_MAX

_LIMIT_DEFAULT = 50


def get(
    job_id: Annotated[str, Parameter(help="The job's id.")],
    /,
    *,
    context: Injected,
) -> Exit:
    """Shows all there is to know of a job, its first 100 item errors included.

    For example:

      jobhall get 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b
      jobhall get --json 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b | jq .result
    """
    with context.connect() as client:
        context.output.job(client.jobs.get_job(job_id, include_errors=True))
    return Exit.OK


def ls(
    *,
    namespace: Namespace = "",
    state: Annotated[
        tuple[str, ...], Parameter(name=["--state", "-s"], help="Only these, such as failed or pending,running.")
    ] = (),
    job_type: Annotated[tuple[str, ...], Parameter(name=["--type", "-t"], help="Only this type; repeat it.")] = (),
    owner: Annotated[str, Parameter(help="Only this subject's.")] = "",
    label: Labels = (),
    path: Annotated[str, Parameter(help="Only those that concern this resource.")] = "",
    since: Annotated[str | None, Parameter(help="Submitted since: 2h ago (s, m, h, d, w), or a time.")] = None,
    until: Annotated[str | None, Parameter(help="Submitted before: the same.")] = None,
    limit: Annotated[
        int | None, Parameter(name=["--limit", "-n"], help="Jobs at most, 50 if not given; 0 means all.")
    ] = None,
    context: Injected,
) -> Exit:
    """Lists jobs, the newest first.

    Piped, a line each: id, type, state, progress, attempt and time of submit,
    with tabs between them.

    For example:

      jobhall ls --state failed --since 2h
      jobhall ls --type resize --limit 0 | cut -f1 | xargs jobhall cancel
      jobhall ls --json --state running | jq .progress.percent
    """
    if limit is not None and limit < 0:
        raise UsageError(f"--limit: {limit} is negative; 0 means all")
    from jobhall.calls import PageOptions

    jobs_max = _LIMIT_DEFAULT if limit is None else limit
    now = datetime.now(UTC)
    options = PageOptions(
        namespace=namespace,
        states=read_states(state),
        job_types=job_type,
        owner=owner,
        labels=read_labels(label),
        path=path,
        page_size=min(jobs_max or PAGE_SIZE_MAX, PAGE_SIZE_MAX),
    )
    if (moment := read_moment(since, option="--since", now=now)) is not None:
        options["created_after"] = moment
    if (moment := read_moment(until, option="--until", now=now)) is not None:
        options["created_before"] = moment
    with context.connect() as client:
        jobs = client.jobs.list_jobs(**options)
        context.output.table(JOBS, islice(jobs, jobs_max or None))
        if limit is None and next(jobs, None) is not None:
            print(f"jobhall: there are more than these {jobs_max}; --limit 0 lists all", file=sys.stderr)
    return Exit.OK
