"""Which jobs a filter names, and where each stands in a list; which events a filter of the log names."""

from __future__ import annotations

from jobhall_server.domain.job import JobView
from jobhall_server.hall.views import EventRow, JobFilter, ListOrder, LogFilter, Place

DESCENDING = frozenset({ListOrder.CREATED_DESC, ListOrder.UPDATED_DESC})


def place_of(job: JobView, order: ListOrder) -> Place:
    """Where it stands in that order."""
    by_update = order in (ListOrder.UPDATED, ListOrder.UPDATED_DESC)
    return Place(job.updated_at if by_update else 0, job.key)


def matches(job: JobView, where: JobFilter) -> bool:
    """Whether the filter names it."""
    return all(
        (
            where.namespace in (None, job.namespace),
            not where.job_ids or job.job_id in where.job_ids,
            not where.job_types or job.job_type in where.job_types,
            not where.states or job.state in where.states,
            not where.owners or job.owner in where.owners,
            all(job.labels.get(key) == value for key, value in where.labels),
            where.path is None or job.path == where.path,
            where.batch_id is None or job.batch_id == where.batch_id,
            where.unique_key is None or job.unique_key == where.unique_key,
            not where.failure_kinds or job.failure_kind in where.failure_kinds,
            not where.failure_codes or job.failure_code in where.failure_codes,
            where.priority_min is None or job.priority >= where.priority_min,
            where.priority_max is None or job.priority <= where.priority_max,
            _within(job.created_at, where.created_after, where.created_before),
            _within(job.updated_at, where.updated_after, where.updated_before),
            _within(job.ended_at, where.ended_after, where.ended_before),
        )
    )


def is_asked_for(event: EventRow, where: LogFilter) -> bool:
    """Whether one of its conditions holds, or there is none."""
    return where == LogFilter() or (
        event.namespace in where.namespaces
        or (event.namespace, event.job_type) in where.queues
        or event.job_id in where.job_ids
        or event.job_key in where.job_keys
        or event.batch_key in where.batch_keys
    )


def _within(at: int | None, after: int | None, before: int | None) -> bool:
    if after is None and before is None:
        return True
    return at is not None and (after is None or at >= after) and (before is None or at < before)
