"""ApiError → google.rpc.Status for trailers and for items of a stream, never so large that it cannot be sent."""

from __future__ import annotations

from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from jobhall.errors import ApiError
from jobhall.wire_errors import status_from_error

_STATUS_BYTES_MAX = 3 * 1024
"""Base64 makes 4 KiB of it; with the message once more as `grpc-message` the trailers stay below 8 KiB."""
_MESSAGE_BYTES_MAX = 800
"""Percent-encoding makes up to 2.4 KiB of it."""


def status_of(error: ApiError) -> Status:
    """The status that carries the error. Where it would be too large, only its reason, the first violation and
    the heads of eight metadata values go along.
    """
    status = status_from_error(error)
    status.message = _cut(status.message, _MESSAGE_BYTES_MAX)
    if status.ByteSize() <= _STATUS_BYTES_MAX:
        return status
    info, bad_request = ErrorInfo(), BadRequest()
    for detail in status.details:
        if not detail.Unpack(info):
            detail.Unpack(bad_request)
    del bad_request.field_violations[1:]
    for violation in bad_request.field_violations:
        violation.field = _cut(violation.field, 400)
        violation.description = _cut(violation.description, 400)
    for key in sorted(info.metadata)[8:]:
        del info.metadata[key]
    for key, value in list(info.metadata.items()):
        info.metadata[key] = _cut(value, 100)
    small = Status(code=status.code, message=status.message)
    small.details.add().Pack(info)
    if bad_request.field_violations:
        small.details.add().Pack(bad_request)
    return small


def _cut(text: str, limit: int) -> str:
    if 4 * len(text) <= limit:
        return text
    return text.encode()[:limit].decode(errors="ignore")
