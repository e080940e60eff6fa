"""What a JobQueue raises besides the server's own errors: the job is not this queue's to change."""

from __future__ import annotations

from jobhall.errors import JobhallError
from jobhall.states import JobState


class _JobStateError(JobhallError):
    """Carries `job_id` and the `state` in which the job was."""

    def __init__(self, message: str, job_id: str, state: JobState) -> None:
        super().__init__(message, job_id, state)
        self.message = message
        self.job_id = job_id
        self.state = state

    def __str__(self) -> str:
        return self.message


class JobUnavailableError(_JobStateError):
    """The job cannot be started here and now: another worker has it, it is not due, or its type is paused."""


class JobNotHeldError(_JobStateError):
    """Only who started a job may report on it, and this queue did not, or gave it back."""


class JobCancelRequestedError(_JobStateError):
    """Somebody cancelled the job that this queue holds: stop, and confirm it with `cancel_job`."""
