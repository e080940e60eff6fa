"""What a watcher is to be told, by the events table alone: read and matched here, with nothing of the server's."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple
from uuid import UUID

from jobhall.states import EventType, FailureKind, JobState
from jobhall.v1 import event_pb2
from tests.support.stored import Stored

NOT_LOGGED = frozenset({EventType.PROGRESS, EventType.LOG, EventType.ENTERED, EventType.LEFT})
EVERYTHING = "-"

Labels = tuple[tuple[str, str], ...]
"""In the order of their names."""


class Told(NamedTuple):
    """All that an event says."""

    event_type: EventType
    job_id: str
    revision: int
    namespace: str
    job_type: str
    state: JobState
    attempt: int
    fence: int
    worker: str
    failure_kind: FailureKind
    failure_code: str
    at: int
    owner: str
    organization_id: str
    batch_id: str
    path: str
    labels: Labels
    labels_before: Labels | None


class Entry(NamedTuple):
    """An entry of the log."""

    number: int
    told: Told


@dataclass(frozen=True, slots=True)
class Sight:
    """Whose jobs a caller sees; without a subject, everybody's."""

    subject: str = ""
    organization_id: str = ""

    def sees(self, told: Told) -> bool:
        if not self.subject or self.subject == told.owner:
            return True
        return bool(self.organization_id) and self.organization_id == told.organization_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one watcher asks for; all that is given must hold."""

    namespace: str = ""
    job_ids: tuple[str, ...] = ()
    batch_id: str = ""
    job_types: tuple[str, ...] = ()
    owner: str = ""
    labels: Labels = ()
    event_types: tuple[EventType, ...] = ()

    def fields(self) -> dict[str, Any]:
        """For WatchJobs or ListJobEvents."""
        return {
            "namespace": self.namespace,
            "job_ids": self.job_ids,
            "batch_id": self.batch_id,
            "job_types": self.job_types,
            "owner": self.owner,
            "labels": dict(self.labels),
            "event_types": [int(kind) for kind in self.event_types],
        }


def expected(log: Iterable[Entry], asked: Asked, sight: Sight = Sight(), *, after: int = 0) -> list[Entry]:
    """Those of the log's entries that this watcher is to be told, as it is to see them."""
    found = []
    for number, told in log:
        seen = _seen_as(asked, told) if number > after and sight.sees(told) else None
        if seen is not None and (not asked.event_types or seen in asked.event_types):
            found.append(Entry(number, told._replace(event_type=seen)))
    return found


def same(told: Sequence[Told], wanted: Sequence[Entry], *, of: object) -> None:
    """AssertionError saying where what was told is not what was to be told."""
    for place, (one, other) in enumerate(zip_longest(told, wanted)):
        should = None if other is None else other.told
        if one != should:
            before = [f"{each.job_id[-4:]} {each.event_type.name} {each.revision}" for each in told[:place]]
            number = None if other is None else other.number
            raise AssertionError(f"told:   {one}\nlogged: {should} ({number})\nafter {before}\nto {of}")


def named(asked: Asked, told: Told) -> bool:
    """Whether that is asked for which never changes of a job."""
    return (
        (not asked.job_ids or told.job_id in asked.job_ids)
        and (asked.namespace == EVERYTHING or bool(asked.job_ids) or told.namespace == (asked.namespace or "default"))
        and (not asked.batch_id or told.batch_id == asked.batch_id)
        and (not asked.job_types or told.job_type in asked.job_types)
        and (not asked.owner or told.owner == asked.owner)
    )


def _seen_as(asked: Asked, told: Told) -> EventType | None:
    if not named(asked, told):
        return None
    has = set(asked.labels) <= set(told.labels)
    had = has if told.labels_before is None else set(asked.labels) <= set(told.labels_before)
    return {
        (True, True): told.event_type,
        (False, True): EventType.ENTERED,
        (True, False): EventType.LEFT,
    }.get((had, has))


def told_of(message: event_pb2.JobEvent) -> Told:
    """An event as it came."""
    attributes = message.attributes
    before = message.previous_attributes if message.HasField("previous_attributes") else None
    return Told(
        event_type=EventType(message.event_type),
        job_id=message.job_id,
        revision=message.revision,
        namespace=message.namespace,
        job_type=message.job_type,
        state=JobState(message.state),
        attempt=message.attempt,
        fence=message.fence,
        worker=message.worker_name,
        failure_kind=FailureKind(message.failure_kind),
        failure_code=message.failure_code,
        at=message.time.ToMicroseconds(),
        owner=attributes.owner,
        organization_id=attributes.organization_id,
        batch_id=attributes.batch_id,
        path=attributes.path,
        labels=in_order(attributes.labels),
        labels_before=None if before is None else in_order(before.labels),
    )


def in_order(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


_LOG = """
SELECT e.number, e.event_type, e.job_id, e.revision, n.name, t.name, e.state, e.attempt, e.fence, e.worker,
       e.failure_kind, e.failure_code, e.at, e.owner, e.organization_id, b.batch_id, e.path, e.labels, e.previous
FROM jobhall_events e
JOIN jobhall_namespaces n ON n.key = e.namespace_key
JOIN jobhall_queues q ON q.key = e.queue_key
JOIN jobhall_job_types t ON t.key = q.job_type_key
LEFT JOIN jobhall_batches b ON b.key = e.batch_key
WHERE e.number > ? ORDER BY e.number
"""


def read_log(stored: Stored, *, after: int = 0) -> list[Entry]:
    """The log in its order."""
    rows: Sequence[Any] = stored.rows(_LOG, [after])
    return [_entry(*row) for row in rows]


def _entry(
    number: int,
    kind: int,
    job_id: bytes,
    revision: int,
    namespace: str,
    job_type: str,
    state: int,
    attempt: int,
    fence: int | None,
    worker: str,
    failure_kind: int,
    failure_code: str,
    at: int,
    owner: str,
    organization_id: str,
    batch_id: bytes | None,
    path: str | None,
    labels_text: str | None,
    previous: str | None,
) -> Entry:
    labels, before = _labels(labels_text), None
    if previous is not None:
        changed = json.loads(previous)
        before = _labels(changed["labels"]) if "labels" in changed else labels
    told = Told(
        event_type=EventType(kind),
        job_id=str(UUID(bytes=job_id)),
        revision=revision,
        namespace=namespace,
        job_type=job_type,
        state=JobState(state),
        attempt=attempt,
        fence=fence or 0,
        worker=worker,
        failure_kind=FailureKind(failure_kind),
        failure_code=failure_code,
        at=at,
        owner=owner,
        organization_id=organization_id,
        batch_id="" if batch_id is None else str(UUID(bytes=batch_id)),
        path=path or "",
        labels=labels,
        labels_before=before,
    )
    return Entry(number, told)


def _labels(text: str | None) -> Labels:
    return in_order(json.loads(text)) if text else ()


def number_of(cursor: str) -> int:
    """The event that a cursor stands after: the one thing here that knows what it looks like."""
    text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    found = re.match(r"c(\d+)\.", text)
    assert found is not None, text
    return int(found[1])
