"""`jobhall watch`: named jobs to their end, or all that match until Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobhall.cli.arguments import read_labels
from jobhall.cli.context import Context, Injected, Labels, Namespace
from jobhall.cli.exits import Exit, UsageError
from jobhall.cli.following import exit_of, follow_jobs

if TYPE_CHECKING:
    from jobhall.watching import WatchOptions


def watch(
    *job_ids: Annotated[str, Parameter(name="JOB_ID", help="These jobs, until all have ended.")],
    job_type: Annotated[tuple[str, ...], Parameter(name=["--type", "-t"], help="Jobs of this type; repeat it.")] = (),
    owner: Annotated[str, Parameter(help="Jobs of this subject.")] = "",
    label: Labels = (),
    namespace: Namespace = "",
    context: Injected,
) -> Exit:
    """Shows what happens to jobs as it happens.

    Named jobs are followed to their end (exit 0 if all completed, else 1),
    others until Ctrl-C; after a disconnect it goes on where it was. Piped, a
    line per event; with --json an object per line, {"job": ...} as a job is and
    {"event": ...} as it changes.

    For example:

      jobhall watch 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b
      jobhall watch --type resize --label team=red
      jobhall watch | grep FAILED
    """
    labels = read_labels(label)
    if not job_ids:
        return _watch_matching(
            {"namespace": namespace, "job_types": job_type, "owner": owner, "labels": labels, "include_snapshot": True},
            context,
        )
    if job_type or owner or labels:
        raise UsageError("give job ids or conditions, not both")
    with context.connect() as client:
        jobs = follow_jobs(client, list(dict.fromkeys(job_ids)), context.output.follow(named=True))
    for job in jobs:
        context.output.ended(job)
    return exit_of(jobs)


def _watch_matching(options: WatchOptions, context: Context) -> Exit:
    with context.connect() as client, context.output.follow(named=False) as follower:
        for update in client.jobs.watch(**options):
            for job in update.jobs:
                follower.show(job)
            for event in update.events:
                follower.tell(event)
    return Exit.OK
