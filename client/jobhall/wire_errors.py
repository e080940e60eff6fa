"""Errors on the wire: google.rpc.Status to error classes and back, so that an error crosses it unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    PreconditionFailure,
    QuotaFailure,
    ResourceInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status

from jobhall.errors import DOMAIN, REASONS, ApiError, Code, FieldViolation, ServerUnreachableError

_CODES = {int(code): code for code in Code}
_DETAILS_KEY = "grpc-status-details-bin"

# Trailers over 8 KiB turn any status into RESOURCE_EXHAUSTED on the way. The message travels twice, once with every
# odd byte as three, and the details as base64: with these bounds all of it stays below that.
_MESSAGE_BYTES_MAX = 600
_METADATA_ENTRIES_MAX = 6
_METADATA_KEY_BYTES_MAX = 32
_METADATA_BYTES_MAX = 200
_VIOLATIONS_BYTES_MAX = 1500
_VIOLATION_BYTES_MAX = 300


class FailedCall(Protocol):
    """What a failed call tells, blocking (a grpc.RpcError that is a grpc.Call) and async (AioRpcError) alike."""

    def code(self) -> Any: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Any: ...


def error_from_call(call: FailedCall, *, address: str) -> ApiError:
    """The error of a failed call: the server's own where it sent one, else what the transport says."""
    # Not grpc_status.rpc_status.from_call: that raises when a proxy changed the message underway.
    for key, value in call.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            # Where it is no Status, the code still says what to do.
            with suppress(DecodeError):
                return error_from_status(Status.FromString(value))
    code = _code(call.code().value[0])
    message = call.details() or ""
    if code is Code.UNAVAILABLE:
        return ServerUnreachableError(address, message)
    if code is Code.DEADLINE_EXCEEDED:
        message = f"no answer from {address} in time ({message})"
    return ApiError(message, code=code)


def error_from_status(status: Status) -> ApiError:
    """The error that the status stands for: the class of its reason, or ApiError for a reason unknown here."""
    info, bad_request, retry = ErrorInfo(), BadRequest(), RetryInfo()
    retry_after: timedelta | None = None
    for detail in status.details:
        if detail.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta()
        elif not detail.Unpack(info):
            detail.Unpack(bad_request)
    code = _code(status.code)
    kind = REASONS.get(info.reason, ApiError) if info.domain == DOMAIN else ApiError
    error = kind.__new__(kind)
    # The constructors of the classes make messages; this one has its message already.
    ApiError.__init__(
        error,
        status.message,
        code=code if code is not kind.code else None,
        reason=info.reason if info.reason != kind.reason else None,
        metadata=info.metadata,
        violations=[FieldViolation(v.field, v.description) for v in bad_request.field_violations],
        retry_after=retry_after,
    )
    return error


def status_from_error(error: ApiError) -> Status:
    """The status that carries the error; long texts are cut so that the trailers pass everywhere."""
    status = Status(code=int(error.code), message=_cut(error.message, _MESSAGE_BYTES_MAX))
    metadata = {
        _cut(key, _METADATA_KEY_BYTES_MAX): _cut(value, _METADATA_BYTES_MAX)
        for key, value in list(error.metadata.items())[:_METADATA_ENTRIES_MAX]
    }
    status.details.add().Pack(ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    if error.violations:
        status.details.add().Pack(_bad_request(error.violations))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromTimedelta(error.retry_after)
        status.details.add().Pack(RetryInfo(retry_delay=delay))
    if (standard := _standard_detail(error)) is not None:
        status.details.add().Pack(standard)
    return status


def _bad_request(violations: Sequence[FieldViolation]) -> BadRequest:
    bad_request = BadRequest()
    for violation in violations:
        entry = BadRequest.FieldViolation(
            field=_cut(violation.field, _VIOLATION_BYTES_MAX),
            description=_cut(violation.description, _VIOLATION_BYTES_MAX),
        )
        if bad_request.ByteSize() + entry.ByteSize() > _VIOLATIONS_BYTES_MAX:
            break
        bad_request.field_violations.append(entry)
    return bad_request


def _standard_detail(error: ApiError) -> ResourceInfo | PreconditionFailure | QuotaFailure | None:
    """The same once more in Google's own words, for generic clients that know those and not our reasons."""
    subject = _cut(error.metadata.get("job_id", ""), _METADATA_BYTES_MAX)
    text = _cut(error.message, _METADATA_BYTES_MAX)
    if error.code is Code.NOT_FOUND and error.reason.endswith("_NOT_FOUND"):
        kind = error.reason.removesuffix("_NOT_FOUND").lower()
        return ResourceInfo(resource_type=f"jobhall.{kind}", resource_name=_name_of(error, kind), description=text)
    if error.code is Code.FAILED_PRECONDITION:
        violation = PreconditionFailure.Violation(type=error.reason, subject=subject, description=text)
        return PreconditionFailure(violations=[violation])
    if error.code is Code.RESOURCE_EXHAUSTED:
        return QuotaFailure(violations=[QuotaFailure.Violation(subject=error.reason.lower(), description=text)])
    return None


def _name_of(error: ApiError, kind: str) -> str:
    name = error.metadata.get(f"{kind}_id") or error.metadata.get(kind, "")
    return _cut(name, _METADATA_BYTES_MAX)


def _cut(text: str, bytes_max: int) -> str:
    return text.encode(errors="replace")[:bytes_max].decode(errors="ignore")


def _code(number: int) -> Code:
    return _CODES.get(number, Code.UNKNOWN)
