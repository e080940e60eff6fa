"""Every end of the worker stream has the action that the protocol gives it."""

import pytest

from jobhall import errors
from jobhall.errors import ApiError, Code
from jobhall.worker.ends import After, after

TABLE = [
    (None, After.RECONNECT),
    (errors.ProtocolViolationError("a bug"), After.STOP),
    (errors.FieldInvalidError("hello.worker_name", "too long"), After.STOP),
    (errors.HelloTimeoutError("late"), After.RECONNECT),
    (errors.TokenInvalidError("who?"), After.REFRESH),
    (errors.TokenExpiredError("over"), After.REFRESH),
    (errors.RoleRequiredError("worker"), After.REFRESH),
    (errors.SessionExpiredError("s"), After.NEW_SESSION),
    (errors.JobTypeNotFoundError("resize"), After.STOP),
    (errors.SessionSupersededError("newer"), After.START_AFRESH),
    (errors.ProtocolUnsupportedError(1, minimum=2, maximum=3), After.STOP),
    (errors.WorkerDrainedError("by an operator"), After.STOP),
    (errors.SessionLimitError("full"), After.RECONNECT),
    (errors.MessageTooLargeError("5 MiB"), After.STOP),
    (errors.DrainingError("stopping"), After.RECONNECT),
    (errors.DatabaseBusyError("away"), After.RECONNECT),
    (errors.InternalError("r1"), After.RECONNECT),
    (errors.ServerUnreachableError("127.0.0.1:1"), After.RECONNECT),
    (ApiError("cancelled, not by us", code=Code.CANCELLED), After.RECONNECT),
    (ApiError("?", code=Code.UNKNOWN), After.RECONNECT),
    (ApiError("no such method", code=Code.UNIMPLEMENTED), After.STOP),
]


@pytest.mark.parametrize(("error", "what"), TABLE, ids=lambda value: type(value).__name__)
def test_each_end_has_its_one_action(error: ApiError | None, what: After) -> None:
    assert after(error, drained=False) is what


def test_a_drained_worker_stops_at_an_end_that_is_well() -> None:
    assert after(None, drained=True) is After.STOP
