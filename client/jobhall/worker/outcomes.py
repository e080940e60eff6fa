"""How a handler's end becomes its report: a result, an exception or a cancellation, in the contract's messages."""

from __future__ import annotations

import asyncio
import logging
import traceback
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never

from jobhall.clipping import clip, clip_start
from jobhall.errors import ApiError, FieldInvalidError
from jobhall.limits import (
    CODE_BYTES_MAX,
    ERROR_DETAILS_BYTES_MAX,
    ERROR_STACK_BYTES_MAX,
    REASON_BYTES_MAX,
    TEXT_BYTES_MAX,
)
from jobhall.task import TaskCancelled, TaskFailed, TaskReleased
from jobhall.v1 import task_pb2
from jobhall.wire_values import duration_to_wire, payload_to_wire, struct_to_wire
from jobhall.worker.held import HeldTask

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Struct

_log = logging.getLogger("jobhall.worker")
Outcome: TypeAlias = task_pb2.TaskCompleted | task_pb2.TaskFailed | task_pb2.TaskReleased | task_pb2.TaskCancelled

_NO_RESULT: Final = task_pb2.TaskCompleted()
_UPDATE_BYTES: Final = 48
"""About what an update weighs beside its outcome: number, token, tags."""


def outcome_of_result(result: object, task: HeldTask | None = None) -> Outcome:
    """COMPLETED with what the handler returned; a failure that names it where it cannot be sent."""
    if result is None:
        return _NO_RESULT
    try:
        return task_pb2.TaskCompleted(result=payload_to_wire(result, field="result"))
    except ApiError as error:
        code, why = error.reason, error.message
    except Exception as error:  # noqa: BLE001 - a user's object may raise anything, and its runner must live on
        code, why = type(error).__name__, _text(error)
    message = f"the handler returned a {type(result).__name__} that cannot be sent: {why}"
    if task is not None:
        _log.warning("%s failed: %s: %s", task, code, message)
    return _failed(code=code, message=message, retryable=False)


def outcome_of_error(task: HeldTask, error: BaseException) -> Outcome:
    """What left the handler as an exception: a cancellation that was asked for, else a failure."""
    try:
        return _told(task, error)
    except Exception as odd:  # noqa: BLE001 - as above: what the exception says of itself is no message
        note = f"{_text(error)} ({type(error).__name__} that cannot be reported: {_text(odd)})"
        return _failed(code=type(error).__name__, message=note, stack=_stack(error))


def _told(task: HeldTask, error: BaseException) -> Outcome:
    if isinstance(error, (TaskCancelled, asyncio.CancelledError)) and task.cancel_reason is not None:
        return stopped(task)
    if isinstance(error, TaskFailed):
        _log.info("%s failed: %s", task, error.message or error.code)
        cause = error.__cause__
        return _failed(
            code=error.code,
            message=error.message,
            retryable=error.retryable,
            stack="" if cause is None else _stack(cause),
            details=error.details,
            retry_delay=error.retry_delay,
        )
    if isinstance(error, TaskReleased):
        reason = task_pb2.RELEASE_REASON_NOT_MINE if error.not_mine else task_pb2.RELEASE_REASON_UNSPECIFIED
        return released(reason, error.message, delay=error.delay)
    # The stack trace is in the job.
    code, message = type(error).__name__, _text(error)
    _log.warning("%s failed: %s: %s", task, code, message)
    return _failed(code=code, message=message, stack=_stack(error))


def stopped(task: HeldTask) -> Outcome:
    """The task ended, or never began, because it was asked to stop."""
    if task.stopping:
        return released(task_pb2.RELEASE_REASON_STOPPING, "the worker stops")
    return task_pb2.TaskCancelled(message=clip(task.cancel_reason or "", REASON_BYTES_MAX))


def released(reason: task_pb2.ReleaseReason.ValueType, message: str = "", *, delay: timedelta | None = None) -> Outcome:
    """The task is given back, its attempt not counted."""
    return task_pb2.TaskReleased(
        reason=reason,
        message=clip(message, REASON_BYTES_MAX),
        delay=None if delay is None else duration_to_wire(delay),
    )


def process_lost(task: HeldTask, *, how: str, exit_code: int | None) -> Outcome:
    """The process of its handler ended under it: as it was asked to, else a failure that tells how."""
    if task.cancel_reason is not None:
        return stopped(task)
    _log.warning("%s failed: PROCESS_LOST: %s", task, how)
    return _failed(code="PROCESS_LOST", message=how, details={"exit_code": exit_code})


def refused(error: ApiError) -> Outcome:
    """The failure that stands for an outcome that the server would not take."""
    return _failed(code=error.reason, message=f"the server refused the outcome: {error.message}", retryable=False)


def size_of(outcome: Outcome) -> int:
    """About how many bytes it keeps."""
    return _UPDATE_BYTES if outcome is _NO_RESULT else _UPDATE_BYTES + outcome.ByteSize()


def write_outcome(update: task_pb2.TaskUpdate, task: HeldTask, outcome: Outcome) -> int:
    """Fills the update with the outcome and the task's last progress; about how many bytes it has now."""
    # What drains fastest stands first: no result, no progress.
    if outcome is _NO_RESULT and task.progress is None:
        update.completed.SetInParent()
        return _UPDATE_BYTES
    written: task_pb2.TaskCompleted | task_pb2.TaskFailed | task_pb2.TaskCancelled
    match outcome:
        case task_pb2.TaskCompleted():
            update.completed.CopyFrom(outcome)
            written = update.completed
        case task_pb2.TaskFailed():
            update.failed.CopyFrom(outcome)
            written = update.failed
        case task_pb2.TaskCancelled():
            update.cancelled.CopyFrom(outcome)
            written = update.cancelled
        case task_pb2.TaskReleased():
            update.released.CopyFrom(outcome)
            return task.outcome_bytes
        case _:
            assert_never(outcome)
    if task.progress is None:
        # To ask again would be to encode it again.
        return task.outcome_bytes
    task.progress_number += 1
    written.progress.CopyFrom(task.progress)
    written.progress.number = task.progress_number
    return _UPDATE_BYTES + written.ByteSize()


def _failed(
    *,
    code: str,
    message: str,
    retryable: bool | None = None,
    stack: str = "",
    details: Any = None,
    retry_delay: timedelta | None = None,
) -> task_pb2.TaskFailed:
    struct, note = _details(details)
    return task_pb2.TaskFailed(
        code=clip(code, CODE_BYTES_MAX),
        message=clip(f"{message}{note}", TEXT_BYTES_MAX),
        details=struct,
        stack=stack,
        retryable=retryable,
        retry_delay=None if retry_delay is None else duration_to_wire(retry_delay),
    )


def _details(details: Any) -> tuple[Struct | None, str]:
    """The details for the wire, and what is to be said where they cannot go there."""
    if not details:
        return None, ""
    try:
        struct = struct_to_wire(details, field="details")
    except FieldInvalidError as error:
        return None, f" (its {error.message})"
    except AttributeError:
        return None, f" (its details are a {type(details).__name__}, no mapping, and were left out)"
    if (size := struct.ByteSize()) > ERROR_DETAILS_BYTES_MAX:
        return None, f" (its details had {size} bytes and were left out)"
    return struct, ""


def _text(error: BaseException) -> str:
    """What the exception says; its form where it says nothing, its type alone where it cannot even be printed."""
    try:
        return str(error) or repr(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"{type(error).__name__}, which cannot be printed"


def _stack(error: BaseException) -> str:
    # Without its first frame, which is the SDK's own.
    trace = error.__traceback__
    try:
        lines = traceback.format_exception(type(error), error, trace.tb_next if trace else None)
    except Exception:  # noqa: BLE001 - as in _text
        lines = traceback.format_tb(trace)
    return clip_start("".join(lines), ERROR_STACK_BYTES_MAX)
