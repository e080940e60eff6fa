"""jobhall: submit, run and watch jobs between services written in different languages."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# A handler may fork, as multiprocessing does, and gRPC's own handlers of fork() then kill every tenth child. Half of
# them are on unless this is said before gRPC is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from jobhall.errors import ApiError, JobFailedError, JobhallError, JobTimeoutError, ServerUnreachableError
from jobhall.model import (
    AccessControl,
    FileInfo,
    ItemError,
    Job,
    JobError,
    JobEvent,
    JobPage,
    Jobs,
    JobType,
    LogEntry,
    Progress,
    RetryPolicy,
    ServerInfo,
    Submission,
    Submitted,
    TaskInfo,
    Timing,
    Visibility,
    WatchUpdate,
)
from jobhall.retry import CallRetry
from jobhall.states import BackoffStrategy, EventType, FailureKind, JobState, LogLevel, WorkerState
from jobhall.worker_info import RuntimeInfo, WorkerInfo

if TYPE_CHECKING:
    from jobhall.aio import AsyncClient
    from jobhall.client import Client
    from jobhall.submit_stream import SubmitStream
    from jobhall.task import StopCause, Task, TaskCancelled, TaskFailed, TaskReleased
    from jobhall.worker import Worker

__version__ = "0.1.0.dev0"

__all__ = [
    "AccessControl",
    "ApiError",
    "AsyncClient",
    "BackoffStrategy",
    "CallRetry",
    "Client",
    "EventType",
    "FailureKind",
    "FileInfo",
    "ItemError",
    "Job",
    "JobError",
    "JobEvent",
    "JobFailedError",
    "JobPage",
    "JobState",
    "JobTimeoutError",
    "JobType",
    "JobhallError",
    "Jobs",
    "LogEntry",
    "LogLevel",
    "Progress",
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
    "Visibility",
    "WatchUpdate",
    "Worker",
    "WorkerInfo",
    "WorkerState",
]

# What needs gRPC comes when it is first asked for, so that `jobhall.errors`, `states` and `limits` need nothing.
_LAZY = {
    "AsyncClient": "jobhall.aio",
    "Client": "jobhall.client",
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
