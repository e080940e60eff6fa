"""jobhall: submit, run and watch jobs between services written in different languages."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# A handler may fork, as multiprocessing does, and gRPC's own handlers of fork() then kill every tenth child. Half of
# them are on unless this is said before gRPC is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from jobhall.errors import (
    ApiError,
    BatchTimeoutError,
    JobFailedError,
    JobhallError,
    JobTimeoutError,
    ServerUnreachableError,
)
from jobhall.model import (
    AccessControl,
    CancelledJob,
    FileInfo,
    ItemError,
    Job,
    JobError,
    JobPage,
    Jobs,
    LogEntry,
    LogPage,
    Progress,
    RetryPolicy,
    TaskInfo,
    Timing,
    TraceContext,
)
from jobhall.model_admin import ApiKey, AuditEntry, CreatedApiKey, ImportedJob
from jobhall.model_batches import Batch, BatchPage
from jobhall.model_events import EventPage, JobAttributes, JobEvent, WatchUpdate
from jobhall.model_insight import (
    BulkOutcome,
    JobAttempt,
    JobCounts,
    JobExplanation,
    JobStats,
    QueueStats,
    WaitReason,
)
from jobhall.model_tasks import Claim, ClaimedTask, HeartbeatAnswer, Rejection, ReportAnswer, StopRequest
from jobhall.model_types import JobDefaults, JobType
from jobhall.retry import CallRetry
from jobhall.server_info import ServerInfo
from jobhall.states import (
    AttemptOutcome,
    BackoffStrategy,
    BatchState,
    CancelCause,
    CompletionPolicy,
    EventType,
    FailureKind,
    JobState,
    LogLevel,
    ReleaseReason,
    UniquePolicy,
    Visibility,
    WaitReasonKind,
    WorkerState,
)
from jobhall.statuses import OperationStatus, ProcessingStatus, QueueStatus, StatusView, TaskStatus, UploadStatus
from jobhall.submission import Submission, SubmitAnswer, Submitted
from jobhall.unchanged import UNCHANGED, Unchanged
from jobhall.worker_info import RuntimeInfo, WorkerInfo

if TYPE_CHECKING:
    from jobhall.aio import AsyncClient
    from jobhall.aio_submit_stream import AsyncSubmitStream
    from jobhall.client import Client
    from jobhall.queue import AsyncJobQueue, AsyncJobWorker, JobQueue, JobWorker
    from jobhall.registry import JobManager, StreamTask, TaskStream
    from jobhall.submit_stream import SubmitStream
    from jobhall.task import StopCause, Task, TaskCancelled, TaskFailed, TaskReleased
    from jobhall.worker import Worker

__version__ = "0.1.0.dev0"

__all__ = [
    "UNCHANGED",
    "AccessControl",
    "ApiError",
    "ApiKey",
    "AsyncClient",
    "AsyncJobQueue",
    "AsyncJobWorker",
    "AsyncSubmitStream",
    "AttemptOutcome",
    "AuditEntry",
    "BackoffStrategy",
    "Batch",
    "BatchPage",
    "BatchState",
    "BatchTimeoutError",
    "BulkOutcome",
    "CallRetry",
    "CancelCause",
    "CancelledJob",
    "Claim",
    "ClaimedTask",
    "Client",
    "CompletionPolicy",
    "CreatedApiKey",
    "EventPage",
    "EventType",
    "FailureKind",
    "FileInfo",
    "HeartbeatAnswer",
    "ImportedJob",
    "ItemError",
    "Job",
    "JobAttempt",
    "JobAttributes",
    "JobCounts",
    "JobDefaults",
    "JobError",
    "JobEvent",
    "JobExplanation",
    "JobFailedError",
    "JobManager",
    "JobPage",
    "JobQueue",
    "JobState",
    "JobStats",
    "JobTimeoutError",
    "JobType",
    "JobWorker",
    "JobhallError",
    "Jobs",
    "LogEntry",
    "LogLevel",
    "LogPage",
    "OperationStatus",
    "ProcessingStatus",
    "Progress",
    "QueueStats",
    "QueueStatus",
    "Rejection",
    "ReleaseReason",
    "ReportAnswer",
    "RetryPolicy",
    "RuntimeInfo",
    "ServerInfo",
    "ServerUnreachableError",
    "StatusView",
    "StopCause",
    "StopRequest",
    "StreamTask",
    "Submission",
    "SubmitAnswer",
    "SubmitStream",
    "Submitted",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TaskInfo",
    "TaskReleased",
    "TaskStatus",
    "TaskStream",
    "Timing",
    "TraceContext",
    "Unchanged",
    "UniquePolicy",
    "UploadStatus",
    "Visibility",
    "WaitReason",
    "WaitReasonKind",
    "WatchUpdate",
    "Worker",
    "WorkerInfo",
    "WorkerState",
]

# What needs gRPC comes when it is first asked for, so that `jobhall.errors`, `states` and `limits` need nothing.
_LAZY = {
    "AsyncClient": "jobhall.aio",
    "AsyncJobQueue": "jobhall.queue",
    "AsyncJobWorker": "jobhall.queue",
    "AsyncSubmitStream": "jobhall.aio_submit_stream",
    "Client": "jobhall.client",
    "JobManager": "jobhall.registry",
    "JobQueue": "jobhall.queue",
    "JobWorker": "jobhall.queue",
    "StopCause": "jobhall.task",
    "StreamTask": "jobhall.registry",
    "SubmitStream": "jobhall.submit_stream",
    "Task": "jobhall.task",
    "TaskCancelled": "jobhall.task",
    "TaskFailed": "jobhall.task",
    "TaskReleased": "jobhall.task",
    "TaskStream": "jobhall.registry",
    "Worker": "jobhall.worker",
}


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # Else every misspelt name would be there for a type checker.

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_LAZY[name]), name)
