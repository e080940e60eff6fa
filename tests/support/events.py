"""Events as the hall hands them to a watcher."""

from typing import Any

from jobhall.states import EventType, FailureKind, JobState
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.views import EventRow
from jobhall_server.hall.watch_queue import WatchEvent


def event_row(number: int = 1, **fields: Any) -> EventRow:
    """A row of the log, of a job that runs, with these fields."""
    row = EventRow(
        number=number,
        job_key=1,
        job_id="0190a0b0-0000-7000-8000-000000000000",
        namespace="default",
        job_type="score",
        event_type=EventType.RUNNING,
        state=JobState.RUNNING,
        revision=3,
        attempt=1,
        worker="w",
        failure_kind=FailureKind.UNSPECIFIED,
        failure_code="",
        owner="me",
        organization_id="",
        labels=None,
        at=0,
    )
    return row._replace(**fields)


def progress_event(message: str, *, number: int = 0) -> WatchEvent:
    """PROGRESS with that message."""
    return WatchEvent(event_row(number, event_type=EventType.PROGRESS), Progress(message=message))
