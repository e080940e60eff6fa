"""What the log of events and a watch tell of jobs: entries, pages and messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from jobhall.model import AccessControl, Job, LogEntry, Progress
from jobhall.plain import Plain
from jobhall.states import EventType, FailureKind, JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAttributes(Plain):
    """What filters and access rules name of a job, as it was before a change."""

    owner: str = ""
    organization_id: str = ""
    batch_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    access_control: AccessControl | None = None
    """None where the event says nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent(Plain):
    """One entry of the ordered log of state changes, or for this watcher alone its PROGRESS, LOG, ENTERED and LEFT."""

    event_type: EventType
    job_id: str
    revision: int
    """The job's own count of its logged events, this one included; 0 of PROGRESS and LOG, which are not logged."""
    namespace: str
    job_type: str
    state: JobState
    """After the event; of a deleted job the last one."""
    attempt: int = 0
    fence: int = 0
    """Of the task concerned; 0 where no task is."""
    worker_name: str = ""
    failure_kind: FailureKind = FailureKind.UNSPECIFIED
    failure_code: str = ""
    happened_at: datetime | None = None
    owner: str = ""
    organization_id: str = ""
    batch_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    """These, as the rest of what filters and access rules name, as they are after the event."""
    path: str = ""
    access_control: AccessControl | None = None
    """None where the event says nothing of it."""
    previous: JobAttributes | None = None
    """The same before the event, only where it changed something in them."""
    progress: Progress | None = None
    log_entries: tuple[LogEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class EventPage(Plain):
    """One page of the log of events; `cursor` is the place after it, for the next page or for a watch.

    It may be short, or empty, and yet not be the last: only `end_reached` says that.
    """

    events: tuple[JobEvent, ...]
    cursor: str
    end_reached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchUpdate(Plain):
    """One message of a watch: keep its cursor and a later watch goes on after it. May be empty but for that."""

    cursor: str
    events: tuple[JobEvent, ...] = ()
    jobs: tuple[Job, ...] = ()
    """A page of the snapshot, brief."""
    snapshot_complete: bool = False
    """The snapshot is whole with this message; what follows happened after it."""
    reset: bool = False
    """The log does not lead on from the cursor, events may be missing: forget what is not in the snapshot that follows.
    """
