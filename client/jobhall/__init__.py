"""jobhall: submit, run and watch jobs between services written in different languages."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
    ServerInfo,
    Submission,
    Submitted,
    TaskInfo,
    Timing,
    Visibility,
    WatchUpdate,
)
from jobhall.retry import RetryPolicy
from jobhall.states import EventType, FailureKind, JobState, LogLevel

if TYPE_CHECKING:
    from jobhall.aio import AsyncClient
    from jobhall.client import Client
    from jobhall.submit_stream import SubmitStream
    from jobhall.task import Task, TaskCancelled, TaskFailed
    from jobhall.worker import Worker

__version__ = "0.1.0.dev0"

__all__ = [
    "AccessControl",
    "ApiError",
    "AsyncClient",
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
    "ServerInfo",
    "ServerUnreachableError",
    "Submission",
    "SubmitStream",
    "Submitted",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TaskInfo",
    "Timing",
    "Visibility",
    "WatchUpdate",
    "Worker",
]

# What needs gRPC comes when it is first asked for, so that `jobhall.errors`, `states` and `limits` need nothing.
_LAZY = {
    "AsyncClient": "jobhall.aio",
    "Client": "jobhall.client",
    "SubmitStream": "jobhall.submit_stream",
    "Task": "jobhall.task",
    "TaskCancelled": "jobhall.task",
    "TaskFailed": "jobhall.task",
    "Worker": "jobhall.worker",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
