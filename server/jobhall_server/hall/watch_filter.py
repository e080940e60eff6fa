"""What a watcher follows: whether an event is of it, and as what it comes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from jobhall.states import EventType, JobState
from jobhall_server.domain.access import Principal, may_touch
from jobhall_server.domain.job import JobView
from jobhall_server.hall.views import EventRow, JobFilter, LogFilter

Labels = Mapping[str, str]

_NO_LABELS: Labels = MappingProxyType({})
_UNFINISHED = frozenset(state for state in JobState if state and not state.terminal)


@dataclass(frozen=True, slots=True)
class WatchFilter:
    """Which jobs are watched; every condition given must hold. `namespace` None means every namespace."""

    namespace: str | None = None
    job_ids: frozenset[str] = frozenset()
    batch_id: str = ""
    batch_key: int | None = None
    """Of that batch; events have only the key, which also one that is deleted keeps."""
    job_types: frozenset[str] = frozenset()
    owner: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    def seen_as(self, principal: Principal, row: EventRow) -> EventType | None:
        """As what this watcher hears of it: ENTERED or LEFT where it changed whether the job matches; None: not."""
        if not self._matches_what_stays(row) or not visible(principal, row):
            return None
        if not self.labels:
            return row.event_type
        matches = self._has_labels(labels_of(row.labels))
        before = labels_before(row)
        if before is None or self._has_labels(before) == matches:
            return row.event_type if matches else None
        return EventType.ENTERED if matches else EventType.LEFT

    def matches_job(self, job: JobView) -> bool:
        """The same of a job as it is."""
        return (
            (self.namespace is None or job.namespace == self.namespace)
            and (not self.batch_id or job.batch_id == self.batch_id)
            and (not self.job_types or job.job_type in self.job_types)
            and (not self.owner or job.owner == self.owner)
            and self._has_labels(job.labels)
        )

    @property
    def unfinished(self) -> JobFilter:
        """The matching jobs that have not ended."""
        return JobFilter(
            namespace=self.namespace,
            batch_id=self.batch_id or None,
            job_types=self.job_types,
            owners=frozenset((self.owner,)) if self.owner else frozenset(),
            labels=self.labels,
            states=_UNFINISHED,
        )

    @property
    def read(self) -> LogFilter:
        """What to read of the log: no less than what matches, and not much more where that is easily told."""
        if self.job_ids:
            return LogFilter(job_ids=self.job_ids)
        if self.batch_key is not None:
            return LogFilter(batch_keys=frozenset((self.batch_key,)))
        if self.namespace is None:
            return LogFilter()
        if self.job_types:
            return LogFilter(queues=frozenset((self.namespace, name) for name in self.job_types))
        return LogFilter(namespaces=frozenset((self.namespace,)))

    def _matches_what_stays(self, row: EventRow) -> bool:
        return (
            (not self.job_ids or row.job_id in self.job_ids)
            and (self.namespace is None or row.namespace == self.namespace)
            and (self.batch_key is None or row.batch_key == self.batch_key)
            and (not self.job_types or row.job_type in self.job_types)
            and (not self.owner or row.owner == self.owner)
        )

    def _has_labels(self, labels: Labels) -> bool:
        return all(labels.get(key) == value for key, value in self.labels)


def visible(principal: Principal, row: EventRow) -> bool:
    """Whether the job exists for this caller."""
    return may_touch(principal, owner=row.owner, organization_id=row.organization_id)


@lru_cache(maxsize=4096)
def labels_of(text: str | None) -> Labels:
    """Stored labels."""
    return json.loads(text) if text else _NO_LABELS


def labels_before(row: EventRow) -> Labels | None:
    """The labels before an event that changed them, else None."""
    previous = previous_of(row.previous)
    return labels_of(previous["labels"]) if "labels" in previous else None


@lru_cache(maxsize=256)
def previous_of(text: str | None) -> dict[str, str | None]:
    """What was before an UPDATED, by column, where it changed."""
    return json.loads(text) if text else {}
