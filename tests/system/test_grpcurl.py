"""The tools that everybody has, and nothing else: grpcurl and buf curl list, describe, submit, watch and cancel."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jobhall
from tests.support.processes import ROOT, Processes, Server
from tests.support.tools import needed_tool

CALL_SECONDS = 20
SERVICES = ("AdminService", "BatchService", "JobService", "JobTypeService", "WorkerService")
BUF_NOT_FOUND = 5 * 8
GRPCURL_NOT_FOUND = 64 + 5
GRPCURL_DEADLINE_EXCEEDED = 64 + 4

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("grpcurl")) as programs:
        yield programs


@pytest.fixture(scope="module")
def server(programs: Processes) -> Server:
    """One for all tests here: each has a job of its own."""
    server = programs.serve()
    with jobhall.Client(server.address) as client:
        client.types.register("greet")
    return server


def grpcurl(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    *options, method = arguments
    return ran(needed_tool("grpcurl"), "-plaintext", *options, server.address, *method.split())


def buf_curl(server: Server, method: str, *options: str) -> subprocess.CompletedProcess[str]:
    url = f"http://{server.address}/jobhall.v1.{method}"
    return ran(needed_tool("buf"), "curl", "--protocol", "grpc", "--http2-prior-knowledge", *options, url)


def ran(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=CALL_SECONDS, check=False
    )


def call(server: Server, method: str, **request: Any) -> Any:
    """What grpcurl prints for a call that goes well."""
    done = grpcurl(server, "-d", json.dumps(request), f"jobhall.v1.{method}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def submit(server: Server) -> str:
    job = {"job_type": "greet", "parameters": {"object": {"name": "Lin", "times": 2}}}
    job_id: str = call(server, "JobService/SubmitJob", job=job)["job"]["id"]
    return job_id


def test_grpcurl_lists_the_services_and_both_reflections(server: Server) -> None:
    done = grpcurl(server, "list")

    assert done.returncode == 0, done.stderr
    assert {f"jobhall.v1.{name}" for name in SERVICES} <= set(done.stdout.split())
    assert "grpc.health.v1.Health" in done.stdout
    assert "grpc.reflection.v1.ServerReflection" in done.stdout
    assert "grpc.reflection.v1alpha.ServerReflection" in done.stdout


def test_grpcurl_describes_a_method_and_its_request(server: Server) -> None:
    method = grpcurl(server, "describe jobhall.v1.JobService.SubmitJob")
    request = grpcurl(server, "describe jobhall.v1.SubmitJobRequest")

    assert "rpc SubmitJob ( .jobhall.v1.SubmitJobRequest ) returns ( .jobhall.v1.SubmitJobResponse );" in method.stdout
    assert ".jobhall.v1.JobSubmission job = 1;" in request.stdout


def test_grpcurl_asks_for_the_health_of_a_service(server: Server) -> None:
    done = grpcurl(server, "-d", '{"service": "jobhall.v1.JobService"}', "grpc.health.v1.Health/Check")

    assert json.loads(done.stdout) == {"status": "SERVING"}


def test_grpcurl_submits_reads_and_cancels_a_job(server: Server) -> None:
    job_id = submit(server)

    read = call(server, "JobService/GetJob", job_id=job_id, object_payloads=True)["job"]
    cancelled = call(server, "JobService/CancelJob", job_id=job_id, reason="not needed any more")["job"]

    assert read["state"] == "JOB_STATE_PENDING"
    assert read["parameters"]["object"] == {"name": "Lin", "times": 2}
    assert cancelled["state"] == "JOB_STATE_CANCELLED"
    assert cancelled["cancel_reason"] == "not needed any more"


def test_grpcurl_watches_a_job_to_its_end(server: Server, programs: Processes) -> None:
    job_id = submit(server)
    request = json.dumps({"job_ids": [job_id], "include_snapshot": True, "stop_when_terminal": True})
    command = [str(needed_tool("grpcurl")), "-plaintext", "-d", request, server.address]

    watch = programs.start("watch", [*command, "jobhall.v1.JobService/WatchJobs"])
    watch.says('"snapshot_complete": true')
    snapshot = watch.output
    call(server, "JobService/CancelJob", job_id=job_id)

    assert watch.wait() == 0
    assert job_id in snapshot
    assert '"cursor"' in snapshot
    assert '"event_type": "EVENT_TYPE_CANCELLED"' in watch.output.removeprefix(snapshot)


def test_a_watch_without_an_end_stays_open_until_the_caller_has_enough(server: Server) -> None:
    done = grpcurl(server, "-max-time", "1", "-d", "{}", "jobhall.v1.JobService/WatchJobs")

    assert done.returncode == GRPCURL_DEADLINE_EXCEEDED
    assert json.loads(done.stdout)["cursor"]


def test_grpcurl_shows_an_error_with_its_reason_and_what_it_is_about(server: Server) -> None:
    unknown = "00000000-0000-7000-8000-000000000000"

    done = grpcurl(server, "-d", json.dumps({"job_id": unknown}), "jobhall.v1.JobService/GetJob")

    assert done.returncode == GRPCURL_NOT_FOUND
    assert "Code: NotFound" in done.stderr
    assert '"reason": "JOB_NOT_FOUND"' in done.stderr
    assert '"domain": "jobhall"' in done.stderr
    assert unknown in done.stderr


def test_grpcurl_shows_which_field_is_wrong(server: Server) -> None:
    job = {"job_type": "greet", "priority": 1000}

    done = grpcurl(server, "-d", json.dumps({"job": job}), "jobhall.v1.JobService/SubmitJob")

    assert "Code: InvalidArgument" in done.stderr
    assert '"reason": "FIELD_INVALID"' in done.stderr
    assert '"field": "job.priority"' in done.stderr


@pytest.mark.parametrize(
    "schema",
    [("--reflect-protocol", "grpc-v1"), ("--reflect-protocol", "grpc-v1alpha"), ("--schema", "protos")],
    ids=lambda schema: schema[1],
)
def test_buf_curl_needs_either_reflection_or_the_protos(server: Server, schema: tuple[str, str]) -> None:
    job = {"job_type": "greet", "parameters": {"json": '{"name": "Lin"}'}}

    submitted = buf_curl(server, "JobService/SubmitJob", *schema, "-d", json.dumps({"job": job}))

    assert submitted.returncode == 0, submitted.stderr
    assert json.loads(submitted.stdout)["job"]["parameters"]["json"] == '{"name": "Lin"}'


def test_buf_curl_watches_cancels_and_shows_an_error(server: Server) -> None:
    job_id = submit(server)
    of_job = json.dumps({"job_id": job_id})
    watch = json.dumps({"job_ids": [job_id], "include_snapshot": True, "stop_when_terminal": True})

    cancelled = buf_curl(server, "JobService/CancelJob", "-d", of_job)
    watched = buf_curl(server, "JobService/WatchJobs", "-d", watch)
    deleted = buf_curl(server, "JobService/DeleteJob", "-d", of_job)
    gone = buf_curl(server, "JobService/GetJob", "-d", of_job)

    assert json.loads(cancelled.stdout)["job"]["state"] == "JOB_STATE_CANCELLED"
    assert watched.returncode == 0
    assert job_id in watched.stdout
    assert deleted.returncode == 0
    assert gone.returncode == BUF_NOT_FOUND
    error = json.loads(gone.stderr)
    assert error["code"] == "not_found"
    assert "google.rpc.ErrorInfo" in [detail["type"] for detail in error["details"]]
