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
from jobhall.model_types import JobDefaults, JobType
from jobhall.retry import CallRetry
from jobhall.server_info import ServerInfo
from jobhall.states import (
    AttemptOutcome,
    BackoffStrategy,
    BatchState,
    CompletionPolicy,
    EventType,
    FailureKind,
    JobState,
    LogLevel,
    UniquePolicy,
    Visibility,
    WaitReasonKind,
    WorkerState,
)
from jobhall.submission import Submission, Submitted
from jobhall.unchanged import UNCHANGED, Unchanged
from jobhall.worker_info import RuntimeInfo, WorkerInfo

if TYPE_CHECKING:
    from jobhall.aio import AsyncClient
    from jobhall.client import Client
    from jobhall.queue import AsyncJobQueue, AsyncJobWorker, JobQueue, JobWorker
    from jobhall.submit_stream import SubmitStream
    from jobhall.task import StopCause, Task, TaskCancelled, TaskFailed, TaskReleased
    from jobhall.worker import Worker

__version__ = "0.1.0.dev0"

__all__ = [
    "UNCHANGED",
    "AccessControl",
    "ApiError",
    "AsyncClient",
    "AsyncJobQueue",
    "AsyncJobWorker",
    "AttemptOutcome",
    "BackoffStrategy",
    "Batch",
    "BatchPage",
    "BatchState",
    "BatchTimeoutError",
    "BulkOutcome",
    "CallRetry",
    "Client",
    "CompletionPolicy",
    "EventPage",
    "EventType",
    "FailureKind",
    "FileInfo",
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
    "Progress",
    "QueueStats",
    "RetryPolicy",
    "RuntimeInfo",
    "ServerInfo",
    "ServerUnreachableError",
    "StopCause",
    "Submission",
    "SubmitStream",
    "Submitted",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TaskInfo",
    "TaskReleased",
    "Timing",
    "TraceContext",
    "Unchanged",
    "UniquePolicy",
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
    "Client": "jobhall.client",
    "JobQueue": "jobhall.queue",
    "JobWorker": "jobhall.queue",
    "StopCause": "jobhall.task",
    "SubmitStream": "jobhall.submit_stream",
    "Task": "jobhall.task",
    "TaskCancelled": "jobhall.task",
    "TaskFailed": "jobhall.task",
    "TaskReleased": "jobhall.task",
    "Worker": "jobhall.worker",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
