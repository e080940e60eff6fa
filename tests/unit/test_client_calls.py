"""The blocking client under a fake channel: waiting, watching, paging, and what its requests say."""

from datetime import UTC, datetime
from itertools import islice
from typing import Any

import grpc
import pytest

from jobhall import (
    AsyncClient,
    CallRetry,
    Client,
    JobFailedError,
    JobState,
    JobTimeoutError,
    ServerUnreachableError,
    Submission,
)
from jobhall.calls import SubmitOptions
from jobhall.channel import resolve_endpoint
from jobhall.errors import CursorExpiredError, FieldInvalidError, MessageTooLargeError
from jobhall.filters import filter_text
from jobhall.states import FailureKind
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.fake_channel import fake_server

JOB_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def job(state: JobState = JobState.PENDING, job_id: str = JOB_ID, **fields: Any) -> job_pb2.Job:
    return job_pb2.Job(id=job_id, job_type="resize", state=job_pb2.JobState.ValueType(int(state)), **fields)


def waited(state: JobState, **fields: Any) -> pb.WaitJobResponse:
    return pb.WaitJobResponse(job=job(state, **fields), done=state.terminal)


# --- waiting ---


def test_a_wait_asks_again_until_the_job_has_completed() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.wait_for_job(JOB_ID))
        asked = server.answer("WaitJob", waited(JobState.RUNNING), after_seconds=30.0)
        done = waited(JobState.COMPLETED, result=job_pb2.Payload(json='{"ds_id": 456}'))
        server.answer("WaitJob", done, after_seconds=4.0)

        assert calling.result().result == {"ds_id": 456}
    assert asked.timeout.ToSeconds() == 30
    assert server.pauses == []


def test_a_wait_that_is_over_before_the_job_says_so_with_details() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.wait_for_job(JOB_ID, timeout=40, poll_interval=25))
        holds = [
            server.answer("WaitJob", waited(JobState.RUNNING), after_seconds=25.0).timeout.ToSeconds(),
            server.answer("WaitJob", waited(JobState.RUNNING), after_seconds=15.0).timeout.ToSeconds(),
        ]

        with pytest.raises(JobTimeoutError) as caught:
            calling.result()
    assert holds == [25, 15]
    assert caught.value.details == {"job_id": JOB_ID, "timeout": 40.0, "state": "RUNNING"}
    assert isinstance(caught.value, TimeoutError)


def test_a_wait_for_a_job_that_fails_raises_its_failure() -> None:
    error = job_pb2.JobError(kind=job_pb2.FAILURE_KIND_APPLICATION, code="BAD_INPUT", message="row 3", attempt=4)
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.wait_for_job(JOB_ID))
        server.answer("WaitJob", waited(JobState.FAILED, error=error))

        with pytest.raises(JobFailedError, match="row 3") as caught:
            calling.result()
    assert caught.value.details["failure_reason"] == "row 3"
    assert caught.value.details["code"] == "BAD_INPUT"
    assert caught.value.job is not None
    assert caught.value.job.error is not None
    assert caught.value.job.error.kind is FailureKind.APPLICATION


def test_a_wait_for_a_job_that_was_cancelled_raises_the_reason() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.wait_for_job(JOB_ID))
        server.answer("WaitJob", waited(JobState.CANCELLED, cancel_reason="not needed any more"))

        with pytest.raises(JobFailedError) as caught:
            calling.result()
    assert caught.value.details["failure_reason"] == "not needed any more"


def test_a_wait_outlasts_an_outage_once_it_was_answered() -> None:
    with fake_server(retry=CallRetry(attempts_max=1)) as server:
        calling = server.calling(lambda: server.client.jobs.wait_for_job(JOB_ID))
        server.answer("WaitJob", waited(JobState.RUNNING), after_seconds=30.0)
        for _ in range(20):
            server.fail("WaitJob")
        server.answer("WaitJob", waited(JobState.COMPLETED))

        assert calling.result().succeeded


def test_a_wait_that_nobody_ever_answers_is_given_up() -> None:
    with fake_server(retry=CallRetry(attempts_max=2)) as server:
        calling = server.calling(lambda: server.client.jobs.wait_for_job(JOB_ID, timeout=600))
        server.fail("WaitJob")
        server.fail("WaitJob")

        with pytest.raises(ServerUnreachableError):
            calling.result()


def test_a_server_that_always_answers_early_is_not_asked_in_a_tight_loop() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.wait_for_job(JOB_ID))
        for _ in range(5):
            server.answer("WaitJob", waited(JobState.RUNNING))
        server.answer("WaitJob", waited(JobState.COMPLETED))

        calling.result()
    assert len(server.pauses) == 5


# --- watching ---


def test_a_watch_goes_on_from_its_cursor_after_a_disconnect() -> None:
    with fake_server() as server:
        watch = server.client.jobs.watch(job_ids=[JOB_ID], include_snapshot=True)
        calling = server.calling(lambda: [update.cursor for update in islice(watch, 3)])
        first = server.stream(
            "WatchJobs",
            pb.WatchJobsResponse(cursor="a", snapshot_jobs=[job()]),
            pb.WatchJobsResponse(cursor="b", snapshot_complete=True),
            code=grpc.StatusCode.UNAVAILABLE,
        )
        second = server.stream("WatchJobs", pb.WatchJobsResponse(cursor="c"))

        assert calling.result() == ["a", "b", "c"]
    assert (first.cursor, first.include_snapshot) == ("", True)
    assert (second.cursor, second.include_snapshot) == ("b", False)
    assert list(second.job_ids) == [JOB_ID]


def test_a_snapshot_that_broke_off_is_asked_for_again() -> None:
    with fake_server() as server:
        watch = server.client.jobs.watch(include_snapshot=True, stop_when_terminal=True)
        calling = server.calling(lambda: list(watch))
        page = pb.WatchJobsResponse(cursor="a", snapshot_jobs=[job()])
        server.stream("WatchJobs", page, code=grpc.StatusCode.UNAVAILABLE)
        second = server.stream("WatchJobs", page, pb.WatchJobsResponse(cursor="b", snapshot_complete=True))

        assert [update.jobs[0].id for update in calling.result() if update.jobs] == [JOB_ID, JOB_ID]
    assert second.include_snapshot


def test_a_watch_until_the_end_ends_with_its_stream() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: list(server.client.jobs.watch(job_ids=[JOB_ID], stop_when_terminal=True)))
        server.stream("WatchJobs", pb.WatchJobsResponse(cursor="a"))

        assert [update.cursor for update in calling.result()] == ["a"]


def test_a_watch_that_nobody_ever_answers_is_given_up() -> None:
    with fake_server(retry=CallRetry(attempts_max=2)) as server:
        calling = server.calling(lambda: list(server.client.jobs.watch()))
        server.stream("WatchJobs", code=grpc.StatusCode.UNAVAILABLE)
        server.stream("WatchJobs", code=grpc.StatusCode.UNAVAILABLE)

        with pytest.raises(ServerUnreachableError):
            calling.result()


# --- reading ---


def test_jobs_that_did_not_fit_into_an_answer_are_asked_for_again() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.get_jobs(["a", "b", "c"]))
        server.answer("BatchGetJobs", pb.BatchGetJobsResponse(jobs=[job(job_id="a")], remaining_job_ids=["b", "c"]))
        again = server.answer("BatchGetJobs", pb.BatchGetJobsResponse(jobs=[job(job_id="b")], missing_job_ids=["c"]))

        found = calling.result()
    assert list(again.job_ids) == ["b", "c"]
    assert [it.id for it in found] == ["a", "b"]
    assert found.missing_ids == ("c",)


def test_a_list_goes_through_all_its_pages() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: list(server.client.jobs.list_jobs(states=[JobState.FAILED], skip=5)))
        first = server.answer("ListJobs", pb.ListJobsResponse(jobs=[job(job_id="a")], next_page_token="more"))
        second = server.answer("ListJobs", pb.ListJobsResponse(jobs=[job(job_id="b")]))

        assert [it.id for it in calling.result()] == ["a", "b"]
    assert (first.filter, first.skip, first.page_token) == ("state = FAILED", 5, "")
    assert (second.filter, second.skip, second.page_token) == ("state = FAILED", 0, "more")


def test_a_selection_becomes_the_filter_of_the_contract() -> None:
    text = filter_text(
        {
            "states": [JobState.PENDING, JobState.RUNNING],
            "job_types": ["media:resize"],
            "owner": 'o"brien',
            "labels": {"team": "a", "app.kind": "b"},
            "path": "/files/1",
            "created_after": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            "created_before": datetime(2026, 2, 1, tzinfo=UTC),
            "filter": "priority > 3",
        }
    )

    assert text == (
        'priority > 3 AND (state = PENDING OR state = RUNNING) AND job_type = "media:resize" AND labels.team = "a"'
        ' AND labels."app.kind" = "b" AND owner = "o\\"brien" AND path = "/files/1"'
        ' AND create_time >= "2026-01-02T03:04:05Z" AND create_time < "2026-02-01T00:00:00Z"'
    )


# --- what is refused before it is sent ---


def test_parameters_that_json_cannot_say_are_refused_by_name() -> None:
    with fake_server() as server, pytest.raises(FieldInvalidError, match="NaN") as caught:
        server.client.jobs.submit("resize", {"width": float("nan")})

    assert caught.value.violations[0].field == "job.parameters.width"


@pytest.mark.parametrize("options", [{"priority": 2**31}, {"max_attempts": -(2**31) - 1}])
def test_a_number_that_no_message_can_hold_is_refused_by_name(options: SubmitOptions) -> None:
    with fake_server() as server, pytest.raises(FieldInvalidError, match="beyond 32 bits") as caught:
        server.client.jobs.submit("greet", **options)

    assert [violation.field for violation in caught.value.violations] == [f"job.{name}" for name in options]


def test_a_list_of_jobs_above_the_message_limit_is_refused_with_its_size() -> None:
    jobs = [Submission("resize", "x" * 1_000_000)] * 5

    with fake_server() as server, pytest.raises(MessageTooLargeError, match="5000"):
        server.client.jobs.submit_many(jobs)


def test_a_negative_timeout_is_refused() -> None:
    with fake_server() as server, pytest.raises(FieldInvalidError, match="timeout"):
        server.client.jobs.wait_for_job(JOB_ID, timeout=-1)


# --- where the server is ---


def test_an_address_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBHALL_ADDRESS", "https://jobs.example:443/")
    monkeypatch.setenv("JOBHALL_TOKEN", "t0k3n")

    endpoint = resolve_endpoint()

    assert (endpoint.address, endpoint.secure, endpoint.token) == ("jobs.example:443", True, "t0k3n")
    assert resolve_endpoint("grpc://other:1").address == "other:1"
    assert not resolve_endpoint("other:1").secure
    assert resolve_endpoint("other").address == resolve_endpoint("http://other/").address == "other:50051"
    assert "t0k3n" not in repr(endpoint)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:65536",
        "127.0.0.1:0",
        ":50051",
        "https://jobs.example:70000",
        "https://jobs.example/jobs",
        "https://ada@jobs.example:443",
        "ftp://jobs.example",
        "jobs.example:http",
        "jobs example:50051",
        "::1",
    ],
)
def test_an_address_that_no_server_can_have_is_refused_before_any_call(address: str) -> None:
    with pytest.raises(FieldInvalidError, match=r"^address: .* is none; write host:port, such as 127\.0\.0\.1:50051"):
        resolve_endpoint(address)


def test_what_is_wrong_in_the_environment_is_named_as_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBHALL_ADDRESS", "jobs.example:http")
    with pytest.raises(FieldInvalidError, match=r"^JOBHALL_ADDRESS: 'jobs\.example:http' is none"):
        resolve_endpoint()

    monkeypatch.setenv("JOBHALL_TOKEN", "se\ncret")
    with pytest.raises(FieldInvalidError, match=r"^JOBHALL_TOKEN: "):
        resolve_endpoint("jobs.example:1")


@pytest.mark.parametrize("address", ["[::1]:50051", "unix:/run/jobhall.sock", "dns:///jobs.example:443", "h:65535"])
def test_an_address_that_grpc_understands_is_taken(address: str) -> None:
    assert resolve_endpoint(address).address == address


def test_a_host_alone_may_be_a_number_in_brackets() -> None:
    assert resolve_endpoint("http://[::1]").address == "[::1]:50051"
    assert resolve_endpoint("https://[::1]").address == "[::1]"


@pytest.mark.parametrize("name", ["token", "api_key"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(FieldInvalidError, match=rf"^{name}: ") as caught:
        resolve_endpoint(**{name: "se\ncret"})

    assert "cret" not in str(caught.value)


def test_an_api_key_is_sent_as_a_token_is_and_goes_before_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBHALL_TOKEN", "t0k3n")

    endpoint = resolve_endpoint("jobs.example:1", api_key="k3y")

    assert endpoint.metadata == (("authorization", "Bearer k3y"),)
    assert "k3y" not in repr(endpoint)


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_a_token_and_an_api_key_at_once_are_one_too_many(client: type[Client | AsyncClient]) -> None:
    with pytest.raises(FieldInvalidError, match=r"^api_key: .*give one of the two"):
        client("jobs.example:1", token="t0k3n", api_key="k3y")


def test_without_any_address_the_server_is_the_local_one() -> None:
    assert resolve_endpoint().address == "127.0.0.1:50051"


def test_an_expired_cursor_reaches_the_caller() -> None:
    with fake_server() as server:
        calling = server.calling(lambda: list(server.client.jobs.watch(cursor="old")))
        server.refuse_stream("WatchJobs", CursorExpiredError())

        with pytest.raises(CursorExpiredError):
            calling.result()
