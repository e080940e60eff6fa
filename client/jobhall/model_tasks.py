"""Tasks in the hands of a worker without a stream: what it claims, and what it is answered when it reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from jobhall.errors import ApiError
from jobhall.model import FileInfo, Progress, TraceContext
from jobhall.plain import Plain
from jobhall.reports import TaskReport
from jobhall.states import CancelCause


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedTask(Plain):
    """A job in a worker's hands; `lease_token` names it in every report."""

    lease_token: bytes
    job_id: str
    job_type: str
    namespace: str
    attempt: int
    """Number that this attempt has once it is accepted, from 1."""
    max_attempts: int
    fence: int
    """Grows with each claim of the job: send it along with writes elsewhere, and let those refuse a smaller one."""
    parameters: Any = None
    parameters_content_type: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    file_info: FileInfo | None = None
    priority: int = 0
    checkpoint: Any = None
    """What the attempt before saved last."""
    progress: Progress = field(default_factory=Progress)
    """As the checkpoint fixed it: count on from there."""
    run_timeout: timedelta | None = None
    progress_timeout: timedelta | None = None
    trace_context: TraceContext | None = None
    created_at: datetime | None = None
    """When the job was submitted."""
    batch_id: str = ""
    owner: str = ""
    organization_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(Plain):
    """What a worker claimed, and the session that holds it."""

    session_id: str
    """To be given at each further call."""
    tasks: tuple[ClaimedTask, ...] = ()
    """None if none came in time."""
    expires_at: datetime | None = None
    """When session and tasks are lost unless the session is heard of before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequest(Plain):
    """A task is to be stopped: report it as Cancelled, or finish it in time."""

    lease_token: bytes
    cause: CancelCause
    reason: str = ""
    """In the words of who cancelled."""
    grace: timedelta | None = None
    """How long it may take, from then on; after that the job ends without it."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A report that was not taken, and why: LeaseLostError where the job went on without it."""

    report: TaskReport
    error: ApiError


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportAnswer:
    """What became of the reports: all that is not named here is on disk."""

    rejections: tuple[Rejection, ...] = ()
    dropped_progress: tuple[bytes, ...] = ()
    """Lease tokens of tasks whose progress was malformed, or came too late."""
    stops: tuple[StopRequest, ...] = ()
    expires_at: datetime | None = None
    """When session and tasks are lost unless the session is heard of before; None of a worker with a stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatAnswer(Plain):
    """What of a session's tasks is not as it thinks."""

    lost: tuple[bytes, ...] = ()
    """Lease tokens of tasks that are no longer the session's."""
    stops: tuple[StopRequest, ...] = ()
    expires_at: datetime | None = None
    """When session and tasks are lost unless the session is heard of before."""
