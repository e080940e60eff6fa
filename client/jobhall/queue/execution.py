"""What both job workers are made of, without the I/O: whose job is at work, what is said of it, how it ends."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import ClassVar, Final

from jobhall.errors import FieldInvalidError
from jobhall.filters import check_names
from jobhall.limits import CLAIM_TIMEOUT_MAX
from jobhall.queue.failures import failure_of
from jobhall.queue.leases import Lease
from jobhall.queue.views import ProgressFields, QueueJob, task_progress, view_of_task
from jobhall.spans import seconds
from jobhall.task import TaskFailed, TaskReleased
from jobhall.v1 import task_pb2
from jobhall.worker.held import HeldTask
from jobhall.worker.outcomes import Outcome, outcome_of_error, outcome_of_result, released

POLL_INTERVAL: Final = 1.0
ERROR_BACKOFF: Final = 5.0
TYPES_SECONDS: Final = 2.0
"""How long the list of registered types is taken to hold."""
_log = logging.getLogger("jobhall.queue")


class Execution:
    """One job at work."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.job: QueueJob = view_of_task(lease.task)
        self._failure: BaseException | None = None

    @property
    def held(self) -> HeldTask:
        return self.lease.held

    def progress(self, fields: ProgressFields) -> None:
        """Keeps it for the next report; raises TaskCancelled when the job is to stop."""
        check_names(fields, ProgressFields)
        self.lease.task.progress(**task_progress(fields))

    def fail(self, job_id: str, error: BaseException | str) -> None:
        """The job is to end with this error, whatever else comes."""
        if job_id != self.job.id:
            raise ValueError(f"job {job_id} is not the one at work, which is {self.job.id}")
        if self._failure is None:
            self._failure = failure_of(error, retryable=False)

    def returned(self, result: object) -> Outcome:
        """How the job ends, after the code that executes it has returned."""
        if self._failure is None:
            return outcome_of_result(result, self.held)
        return outcome_of_error(self.held, self._failure)

    def raised(self, error: BaseException, is_retryable: Callable[[Exception], bool]) -> Outcome:
        """How it ends after an error."""
        if self._failure is not None:
            error = self._failure
        elif isinstance(error, Exception) and not isinstance(error, (TaskFailed, TaskReleased)):
            error = failure_of(error, retryable=None if _answer(is_retryable, error) else False)
        return outcome_of_error(self.held, error)


class JobHandling(ABC):
    """What a job worker is told by its subclass, and the settings of both kinds."""

    job_types: ClassVar[Sequence[str]] = ()
    """The types to ask for; none means all that are registered, of which `can_process_job` takes its own. To name them
    is better where others serve other types: what is refused has been taken from them for a moment.
    """

    def __init__(self, *, poll_interval: float | timedelta, error_backoff: float | timedelta) -> None:
        self.poll_interval = seconds(poll_interval, field="poll_interval")
        self.error_backoff = seconds(error_backoff, field="error_backoff")
        if not 0 < self.poll_interval <= CLAIM_TIMEOUT_MAX.total_seconds():
            longest = CLAIM_TIMEOUT_MAX.total_seconds()
            raise FieldInvalidError("poll_interval", f"is {self.poll_interval} s; it is more than 0, at most {longest}")
        self.error: Exception | None = None
        """Why the worker stopped by itself, if it did: an operator drained it, or a bug."""
        self._execution: Execution | None = None

    @abstractmethod
    def get_worker_name(self) -> str:
        """The worker's name, for people: what lists of workers and the job's attempts show."""

    @abstractmethod
    def can_process_job(self, job: QueueJob) -> bool:
        """Whether the job is this worker's; one that is not goes to others, its attempt not counted."""

    def is_retryable(self, error: Exception) -> bool:  # noqa: ARG002 - a subclass looks at it
        """Whether another attempt may succeed after this error, `max_retries` allowing; by default any may."""
        return True

    @property
    def current_job(self) -> QueueJob | None:
        """The job at work."""
        return None if self._execution is None else self._execution.job

    def _current(self) -> Execution:
        if self._execution is None:
            raise RuntimeError("no job is at work; this is for execute_job")
        return self._execution

    def _refusal(self, execution: Execution) -> Outcome | None:
        """What to say of a job that is not this worker's, None of one that is."""
        try:
            if self.can_process_job(execution.job):
                return None
            why = f"{self.get_worker_name()} does not process it"
        except Exception as error:  # noqa: BLE001 - the subclass's own, and the worker goes on
            _log.exception("can_process_job of %s", execution.held)
            why = f"can_process_job raised {type(error).__name__}"
        return released(task_pb2.RELEASE_REASON_NOT_MINE, why)


def is_failure(outcome: Outcome) -> bool:
    """Whether the worker backs off after it: the job failed, and could be tried again."""
    if not isinstance(outcome, task_pb2.TaskFailed):
        return False
    return not outcome.HasField("retryable") or outcome.retryable


def _answer(is_retryable: Callable[[Exception], bool], error: Exception) -> bool:
    try:
        return is_retryable(error)
    except Exception:  # noqa: BLE001 - as above
        _log.exception("is_retryable of %r", error)
        return True
