"""An error as a program has it, and as the failure of a job that it becomes."""

from __future__ import annotations

from jobhall.task import TaskFailed


def failure_of(error: BaseException | str, *, retryable: bool | None = None) -> BaseException:
    """What to report of the error; `retryable` goes before what the error itself says of that, None does not."""
    if isinstance(error, str):
        return TaskFailed(error, retryable=retryable)
    if retryable is None:
        return error
    if isinstance(error, TaskFailed):
        return TaskFailed(
            error.message,
            code=error.code,
            retryable=retryable,
            retry_delay=error.retry_delay,
            details=error.details,
        )
    failure = TaskFailed(str(error) or repr(error), code=type(error).__name__, retryable=retryable)
    failure.__cause__ = error
    return failure
