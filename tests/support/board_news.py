"""What a watch tells the board of `jobhall top`, and the board's own time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from jobhall.cli.board import Board
from jobhall.model import Job, Progress
from jobhall.model_events import JobEvent
from jobhall.states import EventType, JobState

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
IN_STATE = {
    EventType.SUBMITTED: JobState.PENDING,
    EventType.READY: JobState.PENDING,
    EventType.SCHEDULED: JobState.SCHEDULED,
    EventType.CLAIMED: JobState.CLAIMED,
    EventType.RUNNING: JobState.RUNNING,
    EventType.CANCELLING: JobState.CANCELLING,
    EventType.COMPLETED: JobState.COMPLETED,
    EventType.FAILED: JobState.FAILED,
    EventType.DELETED: JobState.PENDING,
    EventType.LEFT: JobState.RUNNING,
    EventType.PROGRESS: JobState.RUNNING,
}


def job(job_id: str, state: JobState = JobState.PENDING, *, age: float = 60, **fields: Any) -> Job:
    made = Job(id=job_id, namespace="default", job_type="resize", state=state, revision=1)
    return replace(made, created_at=NOW - timedelta(seconds=age), **fields)


def event(job_id: str, kind: EventType, *, revision: int = 0, **fields: Any) -> JobEvent:
    made = JobEvent(
        event_type=kind,
        job_id=job_id,
        revision=revision,
        namespace="default",
        job_type="resize",
        state=IN_STATE[kind],
        happened_at=NOW,
    )
    return replace(made, **fields)


def progress(job_id: str, processed: int, *, second: float, attempt: int = 1) -> JobEvent:
    told = Progress(
        items_total=1000, items_processed=processed, percent=processed / 10, updated_at=NOW + timedelta(seconds=second)
    )
    return event(job_id, EventType.PROGRESS, attempt=attempt, progress=told)


def tell(board: Board, *news: Job | JobEvent) -> None:
    """Jobs as they are and events as they come, in that order."""
    for it in news:
        if isinstance(it, Job):
            board.add([it], now=NOW)
        else:
            board.take([it], now=NOW)
