"""The errors that only a client raises: waiting was in vain, nobody answered, or a dict is no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jobhall.api_error import ApiError, Code, FieldViolation, JobhallError

if TYPE_CHECKING:
    from jobhall.model import Job


class _WaitError(JobhallError):
    """Carries `message` and `details`, a dict of plain values for logs and answers."""

    def __init__(self, message: str, details: dict[str, Any]) -> None:
        super().__init__(message, details)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return self.message


class JobTimeoutError(_WaitError, TimeoutError):
    """The wait was over before the job, which goes on; `details` has job_id, timeout (in seconds) and state.

    Of a wait for many these are of the first that had not ended; pending_ids names all that had not, and finished_jobs
    holds the others.
    """


class BatchTimeoutError(_WaitError, TimeoutError):
    """The wait was over before the batch, which goes on; `details` has batch_id, timeout (in seconds) and state."""


class JobFailedError(_WaitError):
    """The job that was waited for ended as FAILED or CANCELLED; `job` is all of it.

    `details` has job_id, state, failure_reason, and of a failed job kind, code, attempt and error_details.
    """

    def __init__(self, message: str, details: dict[str, Any], job: Job | None = None) -> None:
        super().__init__(message, details)
        self.job = job

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.message, self.details, self.job))


class ServerUnreachableError(ApiError):
    """Nobody answered at the address; names it and what to do."""

    code = Code.UNAVAILABLE

    def __init__(self, address: str, cause: str = "") -> None:
        why = f" ({cause})" if cause else ""
        super().__init__(
            f"no jobhall server answers at {address}{why}: start one with `jobhall-server serve`, "
            "or name the right one with JOBHALL_ADDRESS",
            metadata={"address": address},
        )


class PlainFormError(JobhallError, ValueError):
    """A dict is not the plain form of the model that it was to be; `violations` has all that is wrong with it."""

    def __init__(self, model: str, violations: Sequence[FieldViolation]) -> None:
        self.model = model
        self.violations = tuple(violations)
        super().__init__(model, self.violations)

    def __str__(self) -> str:
        return f"no {self.model}: " + "; ".join(f"{it.field}: {it.description}" for it in self.violations)
