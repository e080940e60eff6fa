"""Every error of the contract as a class with its code and reason; server and SDK raise the same ones."""

# ruff: noqa: PLC0414  # `as` marks what is exported again: whoever needs an error finds it here.
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from jobhall.api_error import DOMAIN as DOMAIN
from jobhall.api_error import ApiError as ApiError
from jobhall.api_error import Code as Code
from jobhall.api_error import FieldViolation as FieldViolation
from jobhall.api_error import JobhallError as JobhallError
from jobhall.client_errors import BatchTimeoutError as BatchTimeoutError
from jobhall.client_errors import JobFailedError as JobFailedError
from jobhall.client_errors import JobTimeoutError as JobTimeoutError
from jobhall.client_errors import PlainFormError as PlainFormError
from jobhall.client_errors import ServerUnreachableError as ServerUnreachableError

# --- malformed, or over a limit ---


class FieldInvalidError(ApiError):
    """A field's value cannot be taken: which, and why, is in `violations`."""

    code, reason = Code.INVALID_ARGUMENT, "FIELD_INVALID"

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}", violations=[FieldViolation(field, description)])


class FieldNotSupportedError(ApiError):
    """A field of the contract that this version of the server does not honour yet was set."""

    code, reason = Code.INVALID_ARGUMENT, "FIELD_NOT_SUPPORTED"

    def __init__(self, field: str, description: str = "not honoured by this server yet; leave it out") -> None:
        super().__init__(f"{field}: {description}", violations=[FieldViolation(field, description)])


class PayloadTooLargeError(ApiError):
    """Parameters, a result or a checkpoint above the inline limit."""

    code, reason = Code.INVALID_ARGUMENT, "PAYLOAD_TOO_LARGE"

    def __init__(self, field: str, *, size_bytes: int, limit_bytes: int) -> None:
        description = f"has {size_bytes} bytes; the limit is {limit_bytes}: store it elsewhere and pass a reference"
        metadata = {"size_bytes": str(size_bytes), "limit_bytes": str(limit_bytes)}
        super().__init__(f"{field}: {description}", metadata=metadata, violations=[FieldViolation(field, description)])


class SchemaMismatchError(ApiError):
    """A payload that does not match its job type's JSON Schema; one violation per place."""

    code, reason = Code.INVALID_ARGUMENT, "SCHEMA_MISMATCH"


class CursorMismatchError(ApiError):
    """A watch cursor of another database, or of a place that this one never had."""

    code, reason = Code.INVALID_ARGUMENT, "CURSOR_MISMATCH"

    def __init__(self, description: str = "not a place in this event log; begin without it, with a snapshot") -> None:
        super().__init__(f"cursor: {description}", violations=[FieldViolation("cursor", description)])


class FilterUnsupportedError(ApiError):
    """A filter or order that is outside the documented subset."""

    code, reason = Code.INVALID_ARGUMENT, "FILTER_UNSUPPORTED"

    def __init__(self, description: str, *, field: str = "filter") -> None:
        super().__init__(f"{field}: {description}", violations=[FieldViolation(field, description)])


class ProtocolViolationError(ApiError):
    """A stream's message came where the protocol does not allow it; a bug of the program that sent it."""

    code, reason = Code.INVALID_ARGUMENT, "PROTOCOL_VIOLATION"


# --- not there, or not for this caller ---


class JobNotFoundError(ApiError):
    """No such job, or none that this caller may see."""

    code, reason = Code.NOT_FOUND, "JOB_NOT_FOUND"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id!r} that you may see", metadata={"job_id": job_id})


class JobTypeNotFoundError(ApiError):
    """No such job type in that namespace; `metadata["nearest"]` names the most similar one, if there is any."""

    code, reason = Code.NOT_FOUND, "JOB_TYPE_NOT_FOUND"

    def __init__(self, job_type: str, *, namespace: str = "default", nearest: str = "") -> None:
        hint = f"did you mean {nearest!r}?" if nearest else "start a worker that serves it, or register it"
        metadata = {"job_type": job_type, "namespace": namespace} | ({"nearest": nearest} if nearest else {})
        super().__init__(f"there is no job type {job_type!r} in namespace {namespace!r}; {hint}", metadata=metadata)


class _NamedNotFoundError(ApiError):
    """Shared by the kinds of resources that are looked up by one name."""

    code = Code.NOT_FOUND
    noun: ClassVar[str]

    def __init__(self, name: str) -> None:
        key = f"{self.noun.replace(' ', '_')}_id"
        super().__init__(f"there is no {self.noun} {name!r} that you may see", metadata={key: name})


class BatchNotFoundError(_NamedNotFoundError):
    """No such batch, or none that this caller may see."""

    reason, noun = "BATCH_NOT_FOUND", "batch"


class WorkerNotFoundError(_NamedNotFoundError):
    """No worker session of that id."""

    reason, noun = "WORKER_NOT_FOUND", "worker"


class ApiKeyNotFoundError(_NamedNotFoundError):
    """No API key of that id."""

    reason, noun = "API_KEY_NOT_FOUND", "api key"


class SessionExpiredError(ApiError):
    """The worker's session ended while it was away; it opens a new one with the tokens that it holds."""

    code, reason = Code.NOT_FOUND, "SESSION_EXPIRED"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"session {session_id!r} is over; open a new one", metadata={"session_id": session_id})


# --- the same key with other content ---


class JobIdReusedError(ApiError):
    """The chosen job_id is taken by another submit; says nothing about whose."""

    code, reason = Code.ALREADY_EXISTS, "JOB_ID_REUSED"

    def __init__(self, job_id: str) -> None:
        message = f"job_id {job_id!r} is taken by another job; choose a fresh UUID for each"
        super().__init__(message, metadata={"job_id": job_id})


class BatchIdReusedError(ApiError):
    """The chosen batch_id is taken by another batch; says nothing about whose."""

    code, reason = Code.ALREADY_EXISTS, "BATCH_ID_REUSED"

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"batch_id {batch_id!r} is taken by another batch", metadata={"batch_id": batch_id})


class UniqueKeyTakenError(ApiError):
    """Another live job holds the unique_key; `metadata["job_id"]` names it where the caller may see it."""

    code, reason = Code.ALREADY_EXISTS, "UNIQUE_KEY_TAKEN"


class JobTypeSchemaConflictError(ApiError):
    """The job type is registered with other schemas."""

    code, reason = Code.ALREADY_EXISTS, "JOB_TYPE_SCHEMA_CONFLICT"


class ResultConflictError(ApiError):
    """This task already reported an end, and another one than this."""

    code, reason = Code.ALREADY_EXISTS, "RESULT_CONFLICT"

    def __init__(self, job_id: str = "") -> None:
        message = "another outcome is already recorded for this task; the first one stands"
        super().__init__(message, metadata={"job_id": job_id} if job_id else None)


# --- the state forbids it ---


class JobTerminalError(ApiError):
    """The job has ended; `metadata["state"]` says how."""

    code, reason = Code.FAILED_PRECONDITION, "JOB_TERMINAL"

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"job {job_id} is already {state}", metadata={"job_id": job_id, "state": state})


class JobRunningError(ApiError):
    """A worker holds the job, so it cannot be deleted yet."""

    code, reason = Code.FAILED_PRECONDITION, "JOB_RUNNING"

    def __init__(self, job_id: str, state: str) -> None:
        message = f"job {job_id} is {state}: cancel it first, or wait for its end"
        super().__init__(message, metadata={"job_id": job_id, "state": state})


class LeaseLostError(ApiError):
    """The token no longer gives a right to the job; metadata tells the present attempt and state, if there is a job."""

    code, reason = Code.FAILED_PRECONDITION, "LEASE_LOST"

    def __init__(self, *, job_id: str = "", attempt: int | None = None, state: str = "") -> None:
        known = {"job_id": job_id, "attempt": "" if attempt is None else str(attempt), "state": state}
        now = f"; the job is {state} at attempt {attempt}" if state else ""
        super().__init__(f"the lease is lost{now}: stop this task", metadata={k: v for k, v in known.items() if v})


class ProtocolUnsupportedError(ApiError):
    """The server does not speak this version of the worker protocol."""

    code, reason = Code.FAILED_PRECONDITION, "PROTOCOL_UNSUPPORTED"

    def __init__(self, version: int, *, minimum: int, maximum: int) -> None:
        message = f"worker protocol {version} is not spoken here; versions {minimum} to {maximum} are"
        metadata = {"version": str(version), "minimum": str(minimum), "maximum": str(maximum)}
        super().__init__(message, metadata=metadata)


class WorkerDrainedError(ApiError):
    """An operator drained this worker's session; it stops."""

    code, reason = Code.FAILED_PRECONDITION, "WORKER_DRAINED"


class BatchClosedError(ApiError):
    """The batch takes no more jobs."""

    code, reason = Code.FAILED_PRECONDITION, "BATCH_CLOSED"


class BatchRunningError(ApiError):
    """Workers hold jobs of the batch, so it cannot be deleted yet."""

    code, reason = Code.FAILED_PRECONDITION, "BATCH_RUNNING"


class JobTypeInUseError(ApiError):
    """The job type still has jobs that are not terminal."""

    code, reason = Code.FAILED_PRECONDITION, "JOB_TYPE_IN_USE"


# --- a race was lost ---


class EtagMismatchError(ApiError):
    """The resource changed since the etag was read: read it again and decide anew."""

    code, reason = Code.ABORTED, "ETAG_MISMATCH"


class SessionSupersededError(ApiError):
    """A newer stream took the worker's session over."""

    code, reason = Code.ABORTED, "SESSION_SUPERSEDED"


class CursorExpiredError(ApiError):
    """The watch cursor is older than the event log reaches back."""

    code, reason = Code.OUT_OF_RANGE, "CURSOR_EXPIRED"

    def __init__(self, message: str = "the cursor is older than the event log; start again with a snapshot") -> None:
        super().__init__(message)


# --- a bound is full, or a time is over ---


class RateLimitedError(ApiError):
    """Too many calls of this caller: wait `retry_after`."""

    code, reason = Code.RESOURCE_EXHAUSTED, "RATE_LIMITED"


class WatcherLimitError(ApiError):
    """The server has as many open watches as it allows."""

    code, reason = Code.RESOURCE_EXHAUSTED, "WATCHER_LIMIT"


class SessionLimitError(ApiError):
    """The server has as many worker sessions as it allows."""

    code, reason = Code.RESOURCE_EXHAUSTED, "SESSION_LIMIT"


class QueueFullError(ApiError):
    """The writer's queue is full: the server is overloaded for the moment."""

    code, reason = Code.RESOURCE_EXHAUSTED, "QUEUE_FULL"


class MessageTooLargeError(ApiError):
    """A message above what either side takes."""

    code, reason = Code.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE"


class HelloTimeoutError(ApiError):
    """The worker stream's first message, Hello, did not come in time."""

    code, reason = Code.DEADLINE_EXCEEDED, "HELLO_TIMEOUT"


# --- who calls ---


class TokenInvalidError(ApiError):
    """No bearer token, or one that does not hold."""

    code, reason = Code.UNAUTHENTICATED, "TOKEN_INVALID"


class TokenExpiredError(ApiError):
    """The bearer token was good and is over."""

    code, reason = Code.UNAUTHENTICATED, "TOKEN_EXPIRED"


class RoleRequiredError(ApiError):
    """The call needs a role that the caller lacks."""

    code, reason = Code.PERMISSION_DENIED, "ROLE_REQUIRED"


class AccessRequiredError(ApiError):
    """The caller may see the resource, but not do this to it."""

    code, reason = Code.PERMISSION_DENIED, "ACCESS_REQUIRED"


# --- the server cannot, for now ---


class DrainingError(ApiError):
    """The server is stopping: try again, another replica or the next process answers."""

    code, reason = Code.UNAVAILABLE, "DRAINING"


class DatabaseBusyError(ApiError):
    """The database is away or locked for the moment."""

    code, reason = Code.UNAVAILABLE, "DATABASE_BUSY"


class DatabaseFullError(ApiError):
    """The database cannot be written: its disk is full or read-only."""

    code, reason = Code.UNAVAILABLE, "DATABASE_FULL"


class InternalError(ApiError):
    """A bug of the server; `metadata["request_id"]` finds it in the server's log."""

    code, reason = Code.INTERNAL, "INTERNAL"

    def __init__(self, request_id: str = "") -> None:
        where = f"; request {request_id} in its log tells more" if request_id else ""
        super().__init__(f"the server failed{where}", metadata={"request_id": request_id} if request_id else None)


def _leaves(kind: type[ApiError]) -> Iterator[type[ApiError]]:
    if kind.reason:
        yield kind
    for child in kind.__subclasses__():
        yield from _leaves(child)


REASONS: Mapping[str, type[ApiError]] = {kind.reason: kind for kind in _leaves(ApiError)}
"""The class of every reason of the contract."""
