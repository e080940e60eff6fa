"""What every error of the service has in common: code, reason, metadata, violations; no gRPC needed to raise one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any

DOMAIN = "jobhall"
"""The `domain` of the ErrorInfo that carries a reason."""


class Code(IntEnum):
    """gRPC's canonical status codes, by their numbers."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request and what is wrong with it; `field` is a path such as `submissions[3].labels`."""

    field: str
    description: str


class JobhallError(Exception):
    """The root of everything that jobhall raises on purpose."""


class ApiError(JobhallError):
    """What the service answered instead of OK.

    Subclasses fix `code` and `reason`; an instance of this class itself carries a reason that this version of the
    SDK does not know (or none, when something between client and service answered). Errors compare by identity.
    """

    code: Code = Code.UNKNOWN
    reason: str = ""

    def __init__(
        self,
        message: str = "",
        *,
        code: Code | None = None,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[FieldViolation] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after
        if code is not None:
            self.code = code
        if reason is not None:
            self.reason = reason

    @property
    def status_code(self) -> int:
        """The code as an HTTP status, for callers that pass the error on over HTTP."""
        return _HTTP_STATUS.get(self.code, 500)

    def __str__(self) -> str:
        return f"{self.message} [{self.reason or self.code.name}]"

    def __reduce__(self) -> tuple[object, ...]:
        # Subclasses have constructors of their own; a copy must not go through them.
        return (_revive, (type(self), self.__dict__))


_HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.OUT_OF_RANGE: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.FAILED_PRECONDITION: 409,
    Code.PERMISSION_DENIED: 403,
    Code.UNAUTHENTICATED: 401,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
}


def _revive(kind: type[ApiError], attributes: dict[str, Any]) -> ApiError:
    error = kind.__new__(kind, attributes["message"])
    error.__dict__.update(attributes)
    return error
