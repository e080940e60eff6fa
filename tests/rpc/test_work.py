"""The Work stream by hand: hello, tasks, reports, acks, beats, cancels, and how each kind of bad input ends."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from jobhall.errors import Code
from jobhall.limits import PAYLOAD_BYTES_MAX
from jobhall.v1 import job_pb2, job_service_pb2, worker_service_pb2
from tests.support.calls import RawWorker, get, register, submit
from tests.support.servers import Running, running_server
from tests.support.waiting import eventually_async


async def test_a_job_goes_to_a_worker_and_its_result_comes_back(server: Running) -> None:
    worker = RawWorker(server)
    welcome = await worker.hello()
    job = await submit(server, json='{"row": 1}', labels={"a": "b"}, path="/p", priority=3)

    (task,) = await worker.tasks()
    await worker.report(task.lease_token, accepted={})
    running = await get(server, job.id)
    ack = await worker.report(task.lease_token, completed={"result": {"json": '{"score": 2.5}'}})
    done = await get(server, job.id)

    assert (task.job_id, task.job_type, task.parameters.json) == (job.id, "score", '{"row": 1}')
    assert (task.attempt, task.max_attempts, task.fence, task.priority, task.path) == (1, 4, 1, 3, "/p")
    assert dict(task.labels) == {"a": "b"}
    assert running.state == job_pb2.JOB_STATE_RUNNING
    assert running.current_task.session_id == welcome.session_id
    assert running.current_task.worker_name == "by-hand"
    assert not ack.rejections
    assert done.state == job_pb2.JOB_STATE_COMPLETED
    assert done.result.json == '{"score": 2.5}'
    assert (done.attempt, done.revision) == (1, 4)
    assert await worker.end() is None


async def test_welcome_tells_every_interval_and_limit(server: Running) -> None:
    worker = RawWorker(server)

    welcome = await worker.hello(session_id="", resume_token="")

    assert welcome.session_id
    assert len(welcome.resume_token) >= 16
    assert welcome.protocol_version == 1
    assert not [field.name for field in welcome.settings.DESCRIPTOR.fields if not getattr(welcome.settings, field.name)]
    assert await worker.end() is None


async def test_every_beat_has_its_reply(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()

    assert [(await worker.beat()).number for _ in range(3)] == [1, 2, 3]
    assert await worker.end() is None


async def test_a_failure_reaches_the_job_with_its_stack(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()
    job = await submit(server)
    (task,) = await worker.tasks()

    failed = {
        "code": "BAD_ROW",
        "message": "row 7",
        "stack": "line 1",
        "details": {"row": 7},
        "retryable": False,
    }
    await worker.report(task.lease_token, failed=failed)

    error = (await get(server, job.id)).error
    assert (error.kind, error.code, error.message) == (job_pb2.FAILURE_KIND_APPLICATION, "BAD_ROW", "row 7")
    assert (error.stack, error.attempt, error.retryable) == ("line 1", 1, False)
    assert dict(error.details) == {"row": 7}
    await worker.end()


async def test_progress_is_shown_at_once_and_kept_with_the_end(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()
    job = await submit(server)
    (task,) = await worker.tasks()

    progress = {"step": "rows", "items_total": 10, "items_processed": 4, "items_succeeded": 3, "items_failed": 1}
    await worker.send(task_updates={"updates": [{"lease_token": task.lease_token, "progress": progress}]})
    await worker.beat(task.lease_token)
    live = (await get(server, job.id)).progress
    last = {"items_total": 10, "items_processed": 10, "items_succeeded": 9, "items_failed": 1, "details": {"best": 1}}
    await worker.report(task.lease_token, completed={"progress": last})
    kept = (await get(server, job.id)).progress

    assert (live.step, live.items_processed, live.percent) == ("rows", 4, 40.0)
    assert (kept.items_processed, kept.percent, dict(kept.details)) == (10, 100.0, {"best": 1})
    await worker.end()


async def test_bad_progress_is_named_in_the_next_ack_and_changes_nothing(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()
    job = await submit(server)
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, accepted={})
    bad: list[dict[str, Any]] = [
        {"percent": 101.0},
        {"percent": float("nan")},
        {"items_processed": 3, "items_total": 2},
        {"details": {"x": float("inf")}},
        {"details": {"x": "y" * 20_000}},
    ]

    for progress in bad:
        await worker.send(task_updates={"updates": [{"lease_token": task.lease_token, "progress": progress}]})
        ack = (await worker.next("ack")).ack
        assert list(ack.dropped_progress_lease_tokens) == [task.lease_token], progress

    assert not (await get(server, job.id)).HasField("progress")
    await worker.end()


BAD_ITEMS: dict[str, tuple[dict[str, Any], str]] = {
    "malformed result": ({"completed": {"result": {"json": "{"}}}, "FIELD_INVALID"),
    "oversized result": ({"completed": {"result": {"data": bytes(PAYLOAD_BYTES_MAX + 1)}}}, "PAYLOAD_TOO_LARGE"),
    "NaN in a result": ({"completed": {"result": {"object": {"x": float("nan")}}}}, "FIELD_INVALID"),
    "item errors from 0": ({"item_errors": {"first_number": 0, "item_errors": [{}]}}, "FIELD_INVALID"),
    "long key": ({"item_errors": {"first_number": 1, "item_errors": [{"key": "x" * 256}]}}, "FIELD_INVALID"),
    "a delay into the past": ({"released": {"delay": {"seconds": -1}}}, "FIELD_INVALID"),
    "a retry in the past": ({"failed": {"retry_delay": {"seconds": -1}}}, "FIELD_INVALID"),
    "empty checkpoint": ({"checkpoint": {}}, "FIELD_INVALID"),
    "nothing": ({}, "FIELD_INVALID"),
}


async def test_a_malformed_item_is_rejected_alone_and_the_task_goes_on(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()
    job = await submit(server)
    (task,) = await worker.tasks()
    wrong: dict[str, str] = {}

    for name, (update, reason) in BAD_ITEMS.items():
        ack = await worker.report(task.lease_token, **update)
        found = [rejection.status.message for rejection in ack.rejections]
        tokens = [rejection.lease_token for rejection in ack.rejections]
        if tokens != [task.lease_token] or reason.encode() not in ack.rejections[0].SerializeToString():
            wrong[name] = f"{found}"
    await worker.report(task.lease_token, completed={})

    assert not wrong
    assert (await get(server, job.id)).state == job_pb2.JOB_STATE_COMPLETED
    await worker.end()


async def test_tokens_that_nobody_gave_out_are_rejected_one_by_one(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()

    for token in (b"", b"x", bytes(20), bytes(range(20))):
        ack = await worker.report(token, completed={})
        assert b"LEASE_LOST" in ack.rejections[0].SerializeToString()

    assert await worker.end() is None


async def test_a_cancel_reaches_the_worker_and_its_word_ends_the_job(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()
    job = await submit(server)
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, accepted={})

    answer = await server.jobs.CancelJob(job_service_pb2.CancelJobRequest(job_id=job.id, reason="no longer needed"))
    (cancel,) = (await worker.next("cancel_tasks")).cancel_tasks.cancels
    await worker.report(task.lease_token, cancelled={"message": "stopped"})

    assert answer.worker_told
    assert answer.job.state == job_pb2.JOB_STATE_CANCELLING
    assert (cancel.lease_token, cancel.reason, cancel.grace.seconds) == (task.lease_token, "no longer needed", 30)
    assert (await get(server, job.id)).state == job_pb2.JOB_STATE_CANCELLED
    await worker.end()


async def test_capacity_is_absolute_and_zero_pauses(server: Running) -> None:
    worker = RawWorker(server, tasks_max=0)
    await worker.hello()
    for _ in range(3):
        await submit(server)

    await worker.beat()
    await worker.send(capacity={"tasks_max": 2})
    first = await worker.tasks()

    assert len(first) == 2
    await worker.report(first[0].lease_token, completed={})
    assert len(await worker.tasks()) == 1
    await worker.end()


async def test_a_thousand_large_tasks_come_in_messages_of_64_kib(server: Running) -> None:
    await register(server)
    request = job_service_pb2.BatchSubmitJobsRequest()
    for number in range(200):
        job = request.jobs.add(job_type="score")
        job.parameters.json = '"' + f"{number}".ljust(2000) + '"'
    await server.jobs.BatchSubmitJobs(request)
    worker = RawWorker(server, tasks_max=200)
    await worker.hello()

    sizes: list[int] = []
    tasks: list[Any] = []
    while len(tasks) < 200:
        message = await worker.next("task_assignments")
        worker.assignments_seen = message.task_assignments.assignments_seq
        sizes.append(message.ByteSize())
        tasks.extend(message.task_assignments.tasks)
    reply = await worker.beat(*[task.lease_token for task in tasks])

    assert max(sizes) < 72 * 1024
    assert [int(task.parameters.json.strip('"')) for task in tasks] == list(range(200))
    assert not reply.lost_lease_tokens
    await worker.end()


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ({"capacity": {"tasks_max": 1}}, "PROTOCOL_VIOLATION"),
        ({"heartbeat": {}}, "PROTOCOL_VIOLATION"),
        ({}, "PROTOCOL_VIOLATION"),
        ({"hello": {"worker_name": "w", "job_types": ["a"], "protocol_version": 9}}, "PROTOCOL_UNSUPPORTED"),
        ({"hello": {"worker_name": "w", "protocol_version": 1}}, "FIELD_INVALID"),
        ({"hello": {"worker_name": "w", "job_types": ["a b"], "protocol_version": 1}}, "FIELD_INVALID"),
        ({"hello": {"worker_name": "", "job_types": ["a"], "protocol_version": 1}}, "FIELD_INVALID"),
    ],
)
async def test_a_stream_that_begins_wrongly_ends_with_its_reason(
    server: Running, first: dict[str, Any], reason: str
) -> None:
    worker = RawWorker(server)

    await worker.send(**first)

    error = await worker.ended()
    assert error is not None
    assert error.reason == reason


@pytest.mark.parametrize(
    "message",
    [
        {"hello": {"worker_name": "w", "job_types": ["a"], "protocol_version": 1}},
        {"capacity": {"tasks_max": -1}},
        {"task_updates": {"updates": [{"seq": 7}]}},
        {},
    ],
)
async def test_a_worker_that_breaks_the_protocol_is_told_so_and_the_others_go_on(
    server: Running, message: dict[str, Any]
) -> None:
    broken, other = RawWorker(server), RawWorker(server)
    await broken.hello()
    await other.hello()

    await broken.send(**message)
    error = await broken.ended()

    assert error is not None
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "PROTOCOL_VIOLATION")
    assert (await other.beat()).number == 1
    await other.end()


async def test_a_stream_without_a_hello_is_ended_in_time(tmp_path: Any, server_log: Any) -> None:
    async with running_server(tmp_path, hello_seconds=0.2) as server:
        error = await RawWorker(server).ended()

    assert error is not None
    assert (error.code, error.reason) == (Code.DEADLINE_EXCEEDED, "HELLO_TIMEOUT")


async def test_bytes_that_are_no_message_end_the_stream_with_invalid_argument(server: Running) -> None:
    call: Any = server.channel.stream_stream("/jobhall.v1.WorkerService/Work")(timeout=10)

    await call.write(b"\xff\xff\xff\xff")

    assert (await call.code()).name == "INVALID_ARGUMENT"


async def test_a_worker_that_vanishes_leaves_nothing_running_on_the_server(server: Running) -> None:
    for _ in range(5):
        stream = server.workers.Work()
        hello = worker_service_pb2.Hello(worker_name="w", job_types=["score"], protocol_version=1)
        await stream.write(worker_service_pb2.WorkRequest(hello=hello))
        await stream.read()
        stream.cancel()

    await eventually_async(
        lambda: not [task for task in asyncio.all_tasks() if task.get_name().startswith(("stream-", "worker-stream"))],
        within=5,
        what="the tasks of the streams have ended",
    )


async def test_a_server_with_as_many_streams_as_it_may_have_says_so_and_goes_on(tmp_path: Path) -> None:
    async with running_server(tmp_path, worker_streams_max=1) as server:
        first = RawWorker(server)
        await first.hello()

        refused = await RawWorker(server).ended()
        assert await first.end() is None
        second = RawWorker(server)

        assert refused is not None
        assert (refused.code, refused.reason) == (Code.RESOURCE_EXHAUSTED, "SESSION_LIMIT")
        assert (await second.hello()).session_id
        assert await second.end() is None
