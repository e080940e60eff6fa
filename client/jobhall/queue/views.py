"""Jobs as a JobQueue tells them: five statuses, whose job it is, how far it has come, how often it was tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypedDict

from jobhall.limits import NAMESPACE_DEFAULT
from jobhall.model import Job, Progress
from jobhall.model_insight import JobCounts
from jobhall.plain import Plain
from jobhall.states import WAITING_STATES, JobState
from jobhall.statuses import QueueStatus
from jobhall.task import Task

USER_LABEL = "user_id"
"""The label that holds a job's user."""


_STATUS = {state: status for status in QueueStatus for state in status.states}


class ProgressFields(TypedDict, total=False):
    """How far a job has come; what is left out stays as it was."""

    percentage: float
    """0 to 100."""
    message: str
    step: str
    """Name of the step at work, for people."""
    current_step: int
    """From 1."""
    total_steps: int
    current_item: int
    """How many items are done."""
    total_items: int
    stage: str
    """Name of the stage that the step belongs to, for programs."""
    details: Mapping[str, Any]
    """Whatever else the job's own clients understand."""


_TASK_NAMES = {
    "percentage": "percent",
    "current_step": "step_index",
    "total_steps": "step_count",
    "current_item": "processed",
    "total_items": "total",
}


def task_progress(fields: ProgressFields) -> dict[str, Any]:
    """The same in the words of `Task.progress`."""
    return {_TASK_NAMES.get(name, name): value for name, value in fields.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueProgress(Plain):
    """How far a job has come, in the words of `update_job_progress`."""

    percentage: float | None = None
    """0 to 100; the server computes it from the items where a worker leaves it out."""
    message: str = ""
    step: str = ""
    current_step: int | None = None
    total_steps: int | None = None
    current_item: int = 0
    total_items: int | None = None
    stage: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueJob(Plain):
    """A job as it was when it was read; `jobhall.Client.jobs.get_job` tells more of it."""

    id: str
    type: str
    state: JobState
    namespace: str = NAMESPACE_DEFAULT
    user_id: str = ""
    resource_id: str = ""
    """The resource that it concerns; the server's word for it is `path`."""
    parameters: Any = None
    """What it was created with, decoded."""
    progress: QueueProgress = field(default_factory=QueueProgress)
    result: Any = None
    error: str | None = None
    """Why it failed; of a job that is tried again, why the attempt before did."""
    created: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    """When it ended, however it did."""
    retry_count: int = 0
    """How often it was tried again, a try that is still to come among them."""
    max_retries: int = 0
    fence: int = 0
    """Of a job in somebody's hands: grows each time it is given out. Send it along with writes to other systems, and
    let those refuse a smaller one.
    """

    def __hash__(self) -> int:
        # By its id alone: what it was created with and what came of it may be dicts, which have no hash.
        return hash(self.id)

    @property
    def status(self) -> QueueStatus:
        """Its state in five words."""
        return _STATUS.get(self.state, QueueStatus.PENDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusCounts(Plain):
    """How many jobs there are of each status."""

    pending: int = 0
    running: int = 0
    complete: int = 0
    failed: int = 0
    cancelled: int = 0


def counts_by_status(counts: JobCounts) -> StatusCounts:
    """The counts of the states, added up."""
    sums = {status.value: sum(counts.of(state) for state in status.states) for status in QueueStatus}
    return StatusCounts(**sums)


def view_of_job(job: Job) -> QueueJob:
    """The job as the server told it, whole."""
    return QueueJob(
        id=job.id,
        type=job.job_type,
        state=job.state,
        namespace=job.namespace,
        user_id=job.labels.get(USER_LABEL, ""),
        resource_id=job.path,
        parameters=job.parameters,
        progress=_progress(job.progress),
        result=job.result,
        error=None if job.error is None else job.error.message,
        created=job.created_at,
        started_at=job.started_at,
        completed_at=job.ended_at,
        retry_count=_retries(job.state, job.attempt),
        max_retries=max(0, job.max_attempts - 1),
        fence=0 if job.current_task is None else job.current_task.fence,
    )


def view_of_task(task: Task) -> QueueJob:
    """The job of a task that was just given out."""
    return QueueJob(
        id=task.job_id,
        type=task.job_type,
        state=JobState.CLAIMED,
        namespace=task.namespace,
        user_id=task.labels.get(USER_LABEL, ""),
        resource_id=task.path,
        parameters=task.parameters,
        created=task.created_at,
        # A task names the attempt that it would be; a job the last that was begun.
        retry_count=task.attempt - 1,
        max_retries=task.max_attempts - 1,
        fence=task.fence,
    )


def _progress(progress: Progress) -> QueueProgress:
    return QueueProgress(
        percentage=progress.percent,
        message=progress.message,
        step=progress.step,
        current_step=progress.step_index or None,
        total_steps=progress.step_count or None,
        current_item=progress.items_processed,
        total_items=progress.items_total,
        stage=progress.stage,
        details=progress.details or {},
    )


def _retries(state: JobState, attempt: int) -> int:
    # Of one that waits the last attempt is over, and the one to come is a retry; CLAIMED counts none yet either.
    waits = state in WAITING_STATES or state is JobState.CLAIMED
    return max(0, attempt if waits else attempt - 1)
