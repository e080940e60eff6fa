"""`jobhall stats`: how many jobs are in which state, queue by queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobhall.cli.context import Injected, Namespace
from jobhall.cli.exits import Exit
from jobhall.cli.tables import QUEUES
from jobhall.model_insight import QueueStats

if TYPE_CHECKING:
    from jobhall.model_insight import JobStats


def stats(
    *,
    job_type: Annotated[tuple[str, ...], Parameter(name=["--type", "-t"], help="Only this type; repeat it.")] = (),
    owner: Annotated[str, Parameter(help="Only this subject's jobs.")] = "",
    namespace: Namespace = "",
    context: Injected,
) -> Exit:
    """Counts the jobs of each queue by state, and shows its pace.

    Per second is over about the last minute; removed are those that retention
    or a purge deleted. Piped, a line per queue: namespace, type, scheduled,
    pending, claimed, running, cancelling, completed, failed, cancelled, the age
    of the oldest pending, completed and failed per second, and removed. The
    last line is the total, with no namespace.

    For example:

      jobhall stats
      jobhall stats --type resize --namespace -
      jobhall stats --json | jq .total.failed
    """
    with context.connect() as client:
        found = client.jobs.stats(namespace=namespace, job_types=job_type, owner=owner)
    entries = [*found.queues, total_of(found)] if found.queues else []
    context.output.table(QUEUES, entries, whole=found)
    return Exit.OK


def total_of(stats: JobStats) -> QueueStats:
    """All its queues as if they were one."""
    return QueueStats(
        namespace="",
        job_type="total",
        counts=stats.total,
        oldest_pending_age=max((it.oldest_pending_age for it in stats.queues if it.oldest_pending_age), default=None),
        completed_per_second=sum(it.completed_per_second for it in stats.queues),
        failed_per_second=sum(it.failed_per_second for it in stats.queues),
        removed=stats.removed,
    )
