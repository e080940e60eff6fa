"""Starting and stopping: health, reflection, the drain, a taken port, a locked file, and embedding in a host's loop."""

import asyncio
import io
import socket
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from jobhall.errors import Code
from jobhall.v1 import job_service_pb2 as pb
from jobhall.v1 import job_service_pb2_grpc, worker_service_pb2, worker_service_pb2_grpc
from jobhall_server import app
from jobhall_server.rpc.server import ListenError
from jobhall_server.storage.errors import DatabaseLockedError
from tests.support.calls import RawWorker, refusal, register, submit
from tests.support.servers import Running, nothing_left_over, running_server, settings_in

SERVICES = {
    "jobhall.v1.JobService",
    "jobhall.v1.JobTypeService",
    "jobhall.v1.WorkerService",
    "jobhall.v1.BatchService",
    "jobhall.v1.AdminService",
}


@pytest.mark.parametrize("service", ["", *sorted(SERVICES)])
async def test_health_says_serving_for_each_service(server: Running, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(server.channel)

    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_health_does_not_know_other_services(server: Running) -> None:
    stub = health_pb2_grpc.HealthStub(server.channel)

    error = await refusal(stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service")))

    assert error.code is Code.NOT_FOUND


async def listed(server: Running, version: str) -> Any:
    method = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    call = server.channel.stream_stream(
        method,
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )(timeout=5)
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer: Any = await call.read()
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    return {service.name for service in answer.list_services_response.service}


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_every_service_in_both_versions(server: Running, version: str) -> None:
    assert await listed(server, version) >= SERVICES | {"grpc.health.v1.Health"}


async def test_reflection_can_be_switched_off(tmp_path: Path, server_log: io.StringIO) -> None:
    async with running_server(tmp_path, reflection=False) as server:
        error = await refusal(listed(server, "v1"))

    assert error.code is Code.UNIMPLEMENTED


async def test_a_stop_tells_every_open_stream_and_does_not_wait_for_them(
    tmp_path: Path, server_log: io.StringIO
) -> None:
    """`server.stop(grace)` alone waits its whole grace while any stream is open."""
    async with app.build(settings_in(tmp_path, drain_seconds=20.0)) as serving:
        channel = grpc.aio.insecure_channel(serving.address)
        server = Running(serving, serving.address, channel)
        await register(server)
        job = await submit(server)
        jobs = job_service_pb2_grpc.JobServiceStub(channel)
        watching = jobs.WatchJobs(pb.WatchJobsRequest())
        submitting = jobs.SubmitJobStream()
        waiting = asyncio.ensure_future(jobs.WaitJob(pb.WaitJobRequest(job_id=job.id)))
        working = worker_service_pb2_grpc.WorkerServiceStub(channel).Work()
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        hello = worker_service_pb2.Hello(worker_name="w", job_types=["other"], protocol_version=1)
        await working.write(worker_service_pb2.WorkRequest(hello=hello))
        await submitting.write(pb.SubmitJobStreamRequest(first_seq=1, jobs=[{"job_type": "score"}]))  # type: ignore[list-item]
        first = (await watching.read(), await working.read(), await submitting.read(), await health.read())
        stopped_at = time.monotonic()

    assert first[3].status == health_pb2.HealthCheckResponse.SERVING
    assert time.monotonic() - stopped_at < 10
    assert (await health.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    told: Any = await working.read()
    assert told.drain.reason == worker_service_pb2.DRAIN_REASON_SERVER_STOPPING
    for call in (watching, submitting):
        error = await refusal(_to_the_end(call))
        assert (error.code, error.reason) == (Code.UNAVAILABLE, "DRAINING")
    assert not (await waiting).done
    await channel.close()


async def _to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_a_worker_that_stays_is_cut_off_when_the_grace_is_over(tmp_path: Path, server_log: io.StringIO) -> None:
    """Its session must be detached while the store still stands: a late unit would fail in the log."""
    async with nothing_left_over(tmp_path):
        async with app.build(settings_in(tmp_path, drain_seconds=0.2)) as serving:
            channel = grpc.aio.insecure_channel(serving.address)
            server = Running(serving, serving.address, channel)
            worker = RawWorker(server)
            await worker.hello()
            await submit(server)
            await worker.tasks()

        error = await worker.ended()
        await channel.close()

    assert error is not None
    assert error.code in (Code.UNAVAILABLE, Code.CANCELLED)
    assert '"worker_left"' in server_log.getvalue()
    assert "Traceback" not in server_log.getvalue()


async def test_a_taken_port_is_a_clear_error(tmp_path: Path, server_log: io.StringIO) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        async with nothing_left_over(tmp_path):
            with pytest.raises(ListenError, match=f"cannot listen on {address}"):
                async with app.build(settings_in(tmp_path, listen=address)):
                    pass


async def test_the_port_of_another_server_is_taken_too(tmp_path: Path, server: Running) -> None:
    other = tmp_path / "other"
    other.mkdir()

    with pytest.raises(ListenError):
        async with app.build(settings_in(other, listen=server.address)):
            pass


async def test_a_file_that_is_served_already_is_a_clear_error(tmp_path: Path, server: Running) -> None:
    with pytest.raises(DatabaseLockedError, match="is being served"):
        async with app.build(settings_in(tmp_path)):
            pass


async def test_a_server_can_be_started_again_on_its_file(tmp_path: Path, server_log: io.StringIO) -> None:
    async with running_server(tmp_path) as server:
        await register(server)
        job = await submit(server, json='{"a": 1}')

    async with running_server(tmp_path) as server:
        again = (await server.jobs.GetJob(pb.GetJobRequest(job_id=job.id))).job

    assert (again.id, again.parameters.json) == (job.id, '{"a": 1}')


async def test_tables_may_have_another_prefix(tmp_path: Path, server_log: io.StringIO) -> None:
    async with running_server(tmp_path, table_prefix="hall_") as server:
        await register(server)
        assert (await submit(server)).id
