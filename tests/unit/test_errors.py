"""The error classes: each has its code and reason, survives pickling, and crosses the wire as itself."""

import pickle
import subprocess
import sys
from base64 import b64encode
from datetime import timedelta
from urllib.parse import quote

import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo, PreconditionFailure, ResourceInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from jobhall import errors
from jobhall.errors import REASONS, ApiError, Code, FieldViolation
from jobhall.wire_errors import error_from_status, status_from_error

EXAMPLES: dict[str, ApiError] = {
    "FIELD_INVALID": errors.FieldInvalidError("page_size", "is -1; it has to be 0 to 1000"),
    "FIELD_NOT_SUPPORTED": errors.FieldNotSupportedError("job.schedule_time"),
    "PAYLOAD_TOO_LARGE": errors.PayloadTooLargeError("job.parameters", size_bytes=2_000_000, limit_bytes=1_048_576),
    "CURSOR_MISMATCH": errors.CursorMismatchError(),
    "FILTER_UNSUPPORTED": errors.FilterUnsupportedError("cannot filter by 'colour'"),
    "JOB_NOT_FOUND": errors.JobNotFoundError("j1"),
    "JOB_TYPE_NOT_FOUND": errors.JobTypeNotFoundError("resise", namespace="media", nearest="resize"),
    "BATCH_NOT_FOUND": errors.BatchNotFoundError("b1"),
    "WORKER_NOT_FOUND": errors.WorkerNotFoundError("w1"),
    "API_KEY_NOT_FOUND": errors.ApiKeyNotFoundError("k1"),
    "SESSION_EXPIRED": errors.SessionExpiredError("s1"),
    "JOB_ID_REUSED": errors.JobIdReusedError("j1"),
    "BATCH_ID_REUSED": errors.BatchIdReusedError("b1"),
    "RESULT_CONFLICT": errors.ResultConflictError("j1"),
    "JOB_TERMINAL": errors.JobTerminalError("j1", "COMPLETED"),
    "JOB_RUNNING": errors.JobRunningError("j1", "CLAIMED"),
    "LEASE_LOST": errors.LeaseLostError(job_id="j1", attempt=2, state="RUNNING"),
    "PROTOCOL_UNSUPPORTED": errors.ProtocolUnsupportedError(9, minimum=1, maximum=1),
    "CURSOR_EXPIRED": errors.CursorExpiredError(),
    "INTERNAL": errors.InternalError("r1"),
}
"""Made by constructors of their own; the others take a message like ApiError itself."""

ALL = [EXAMPLES.get(reason) or kind("what was wrong") for reason, kind in sorted(REASONS.items())]


def told(error: ApiError) -> tuple[object, ...]:
    return (
        type(error),
        error.message,
        error.code,
        error.reason,
        error.metadata,
        error.violations,
        error.retry_after,
        str(error),
    )


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.reason)
def test_an_error_crosses_the_wire_unchanged(error: ApiError) -> None:
    error.retry_after = timedelta(seconds=1.5)

    crossed = error_from_status(Status.FromString(status_from_error(error).SerializeToString()))

    assert told(crossed) == told(error)


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.reason)
def test_an_error_survives_pickling(error: ApiError) -> None:
    assert told(pickle.loads(pickle.dumps(error))) == told(error)


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.reason)
def test_an_error_says_what_was_wrong(error: ApiError) -> None:
    assert error.message
    assert error.code not in {Code.OK, Code.UNKNOWN}
    assert 400 <= error.status_code < 600
    assert type(error).__doc__


@pytest.mark.parametrize(
    "error",
    [
        errors.JobTimeoutError("too late", {"job_id": "j1", "timeout": 3.0}),
        errors.JobFailedError("failed", {"job_id": "j1"}),
    ],
)
def test_the_errors_of_waiting_survive_pickling(error: errors.JobTimeoutError | errors.JobFailedError) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), copy.message, copy.details) == (type(error), error.message, error.details)


def test_an_unreachable_server_survives_pickling() -> None:
    error = errors.ServerUnreachableError("jobs.example:50051", "connection refused")

    assert told(pickle.loads(pickle.dumps(error))) == told(error)
    assert error.status_code == 503


def test_a_reason_of_a_newer_server_keeps_its_code_and_reason() -> None:
    crossed = error_from_status(status_from_error(ApiError("moon phase", code=Code.ABORTED, reason="MOON_PHASE")))

    assert type(crossed) is ApiError
    assert (crossed.code, crossed.reason, crossed.message) == (Code.ABORTED, "MOON_PHASE", "moon phase")


def test_a_reason_of_somebody_else_is_not_taken_for_ours() -> None:
    status = Status(code=5, message="no such bucket")
    status.details.add().Pack(ErrorInfo(reason="JOB_NOT_FOUND", domain="storage.example"))

    assert type(error_from_status(status)) is ApiError


def test_a_detail_of_an_unknown_kind_and_an_unknown_code_are_tolerated() -> None:
    crossed = error_from_status(Status(code=99, message="?", details=[Any(type_url="x/y", value=b"z")]))

    assert crossed.code is Code.UNKNOWN


def test_generic_clients_get_googles_own_details_too() -> None:
    resource, precondition = ResourceInfo(), PreconditionFailure()
    missing = status_from_error(errors.JobTypeNotFoundError("resize"))
    terminal = status_from_error(errors.JobTerminalError("j1", "FAILED"))

    assert any(detail.Unpack(resource) for detail in missing.details)
    assert (resource.resource_type, resource.resource_name) == ("jobhall.job_type", "resize")
    assert any(detail.Unpack(precondition) for detail in terminal.details)
    assert (precondition.violations[0].type, precondition.violations[0].subject) == ("JOB_TERMINAL", "j1")


@given(st.text(), st.lists(st.tuples(st.text(), st.text()), max_size=200), st.dictionaries(st.text(), st.text()))
def test_no_error_outgrows_the_trailers(
    message: str, violations: list[tuple[str, str]], metadata: dict[str, str]
) -> None:
    """Trailers over 8 KiB turn any status into RESOURCE_EXHAUSTED; the message travels escaped, the rest as base64."""
    error = errors.SchemaMismatchError(
        message * 100,
        violations=[FieldViolation(field * 50, text * 50) for field, text in violations],
        metadata={key: value * 50 for key, value in metadata.items()},
    )

    status = status_from_error(error)
    assert len(quote(status.message)) + len(b64encode(status.SerializeToString())) < 8000


def test_the_shared_words_need_neither_grpc_nor_protobuf() -> None:
    script = "import sys, jobhall.errors, jobhall.states, jobhall.limits, jobhall.model; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()

    assert not {"grpc", "google.protobuf", "grpc_status"} & set(loaded)
