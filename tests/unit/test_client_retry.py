"""The blocking client under a fake channel and a fake clock: retry, back-off, deadlines, waiting and watching."""

import random
from datetime import timedelta

import grpc
import pytest

from jobhall import CallRetry, JobState, ServerUnreachableError, calls
from jobhall.errors import (
    ApiError,
    Code,
    DatabaseBusyError,
    InternalError,
    JobNotFoundError,
    QueueFullError,
    WatcherLimitError,
)
from jobhall.procedures import Procedures, Send
from jobhall.retry import may_try_again
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.fake_channel import fake_server

JOB_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
ENDLESS = CallRetry(attempts_max=1_000_000)


def job(state: JobState = JobState.PENDING, **fields: object) -> job_pb2.Job:
    return job_pb2.Job(id=JOB_ID, job_type="resize", state=job_pb2.JobState.ValueType(int(state)), **fields)  # type: ignore[arg-type]


# --- retry and back-off ---


def test_a_submit_that_found_nobody_is_sent_again_under_the_same_id() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.submit("resize", {"width": 10}))
        first = server.fail("SubmitJob")
        second = server.fail("SubmitJob")
        third = server.answer("SubmitJob", pb.SubmitJobResponse(job=job()))

        assert calling.result().id == JOB_ID
    assert first == second == third
    assert first.job.job_id


def test_the_ceiling_of_the_delay_doubles_up_to_its_bound() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.get_job(JOB_ID))
        for _ in range(10):
            server.fail("GetJob")

        with pytest.raises(ServerUnreachableError):
            calling.result()
    ceilings = [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 2.0]
    assert len(server.pauses) == len(ceilings)
    assert all(0 <= pause < ceiling for pause, ceiling in zip(server.pauses, ceilings, strict=True))


def test_the_delay_is_drawn_from_the_whole_span() -> None:
    policy = CallRetry(attempts_max=9)
    draw = random.Random(7).random

    delays = [policy.backoff_seconds(3, draw=draw) for _ in range(1000)]

    assert 0 <= min(delays) < 0.01
    assert 0.39 < max(delays) < 0.4


def test_an_internal_error_is_tried_again_where_it_is_not_the_servers_own_word() -> None:
    """A server was killed under a stream in use: gRPC called that INTERNAL, and not UNAVAILABLE, now and then."""
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.get_job(JOB_ID))
        server.fail("GetJob", grpc.StatusCode.INTERNAL)
        server.refuse("GetJob", InternalError())

        with pytest.raises(InternalError):
            calling.result()
    assert len(server.pauses) == 1


def test_an_error_that_nobody_can_change_by_waiting_is_the_answer_at_once() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.get_job(JOB_ID))
        server.refuse("GetJob", JobNotFoundError(JOB_ID))

        with pytest.raises(JobNotFoundError) as caught:
            calling.result()
    assert caught.value.metadata == {"job_id": JOB_ID}
    assert server.pauses == []


def test_a_call_that_the_server_cancelled_is_sent_again() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.get_job(JOB_ID))
        server.fail("GetJob", grpc.StatusCode.CANCELLED)
        server.answer("GetJob", pb.GetJobResponse(job=job()))

        assert calling.result().state is JobState.PENDING


@pytest.mark.parametrize("kind", [DatabaseBusyError, QueueFullError])
def test_a_server_that_says_when_to_come_back_is_taken_at_its_word(kind: type[ApiError]) -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.get_job(JOB_ID))
        server.refuse("GetJob", kind("not now", retry_after=timedelta(seconds=3)))
        server.answer("GetJob", pb.GetJobResponse(job=job()))

        calling.result()
    assert 3.0 <= server.pauses[0] < 3.1


def test_a_bound_that_does_not_pass_by_itself_is_not_tried_again() -> None:
    assert not may_try_again(WatcherLimitError("1000 watches are open"))


def test_a_policy_of_one_attempt_never_tries_again() -> None:
    with fake_server(retry=CallRetry(attempts_max=1)) as server:
        calling = server.calling(lambda: server.client.jobs.get_job(JOB_ID))
        server.fail("GetJob")

        with pytest.raises(ServerUnreachableError):
            calling.result()
    assert server.pauses == []


# --- deadlines ---


def test_the_deadline_bounds_a_call_with_all_its_retries() -> None:
    busy = DatabaseBusyError("not now", retry_after=timedelta(seconds=2))
    with fake_server(timeout=5.0, retry=ENDLESS) as server:
        calling = server.calling(lambda: server.client.jobs.get_job(JOB_ID))
        for _ in range(3):  # At 0, 2 and 4 seconds and a little; a fourth try would be too late.
            server.refuse("GetJob", busy)

        with pytest.raises(DatabaseBusyError):
            calling.result()
    assert len(server.pauses) == 2
    assert 4.0 <= server.time.time() < 5.0


def test_each_try_gets_what_is_left_of_the_time() -> None:
    now = 0.0
    call = Procedures(ENDLESS, 30.0, lambda: now).call(calls.get_job(JOB_ID, include_errors=False))

    first = next(call)
    now = 12.0
    call.send(ServerUnreachableError("jobs.example:50051"))
    second = call.send(None)

    assert isinstance(first, Send)
    assert first.timeout_seconds == 30.0
    assert isinstance(second, Send)
    assert second.timeout_seconds == 18.0


def test_a_long_poll_gets_the_time_that_the_server_holds_it_on_top() -> None:
    call = Procedures(ENDLESS, 30.0, lambda: 0.0).call(calls.wait_job(JOB_ID, hold_seconds=20.0))

    step = next(call)

    assert isinstance(step, Send)
    assert step.timeout_seconds == 50.0


def test_a_server_that_is_not_there_is_named_with_what_to_do() -> None:
    with fake_server(retry=CallRetry(attempts_max=1)) as server:
        calling = server.calling(server.client.server_info)
        server.fail("GetServerInfo")

        with pytest.raises(ServerUnreachableError, match=r"jobs\.example:50051.*jobhall-server serve.*JOBHALL_ADDRESS"):
            calling.result()


def test_a_call_without_an_answer_says_whom_it_asked() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.get_job(JOB_ID))
        server.fail("GetJob", grpc.StatusCode.DEADLINE_EXCEEDED)

        with pytest.raises(ApiError, match=r"jobs\.example:50051") as caught:
            calling.result()
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert caught.value.status_code == 504


def test_every_call_shows_the_token() -> None:
    with fake_server(token="t0k3n") as server:
        calling = server.calling(lambda: server.client.jobs.get_job(JOB_ID))
        server.answer("GetJob", pb.GetJobResponse(job=job()))

        calling.result()
    assert ("authorization", "Bearer t0k3n") in server.metadata
