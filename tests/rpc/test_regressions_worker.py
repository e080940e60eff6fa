"""Faults of the worker SDK that were found by hunting, over a real wire: each test opens with what went wrong."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from jobhall.aio import AsyncClient
from jobhall.task import Task
from jobhall.v1.task_pb2 import TaskAssignment
from jobhall.v1.worker_service_pb2 import (
    HELD_TASK_DISPOSITION_KEEP,
    HeldTaskDecision,
    TaskAssignments,
    Welcome,
    WorkRequest,
    WorkResponse,
    WorkSettings,
)
from jobhall.worker import Worker
from tests.support.proxy import Proxy
from tests.support.servers import running_server
from tests.support.waiting import eventually_async

Answer: TypeAlias = Callable[[WorkRequest, Any], Awaitable[None]]


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    """The address of whoever answers each Hello in that way, as no jobhall server would; then the stream stays open."""
    over = asyncio.Event()

    async def work(requests: AsyncIterator[WorkRequest], context: Any) -> None:
        await answer(await anext(requests), context)
        await over.wait()

    methods: dict[str, grpc.RpcMethodHandler[WorkRequest, bytes]] = {
        "Work": grpc.stream_stream_rpc_method_handler(work, request_deserializer=WorkRequest.FromString)
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("jobhall.v1.WorkerService", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        over.set()
        await server.stop(0)


def wire(**response: Any) -> bytes:
    return WorkResponse(**response).SerializeToString()


async def test_what_is_no_message_costs_the_stream_and_not_the_tasks() -> None:
    """gRPC gives None for bytes that it cannot read. That was an AssertionError in the connection's thread: the worker
    stopped as of a bug of its own, and gave up all that it ran.
    """
    begun, release = threading.Event(), threading.Event()
    listed: list[list[bytes]] = []

    async def answer(request: WorkRequest, context: Any) -> None:
        held = [task.lease_token for task in request.hello.held_tasks]
        listed.append(held)
        kept = [HeldTaskDecision(lease_token=token, disposition=HELD_TASK_DISPOSITION_KEEP) for token in held]
        await context.write(wire(welcome=Welcome(held_tasks=kept)))
        if len(listed) == 1:
            task = TaskAssignment(lease_token=b"one", job_id="job-1", job_type="gated", attempt=1, fence=1)
            await context.write(wire(task_assignments=TaskAssignments(assignments_seq=1, tasks=[task])))
            await asyncio.to_thread(begun.wait, 10)
            await context.write(b"\xff\xff\xff\xff")

    async with answering(answer) as address:
        worker = Worker(address, drain_seconds=0)

        @worker.handler("gated")
        def gated(task: Task) -> None:
            begun.set()
            release.wait(20)

        async with worker:
            await eventually_async(lambda: len(listed) == 2, within=10, what="it comes back")
            assert listed == [[], [b"one"]]
            assert worker.error is None
            release.set()


async def test_what_waits_is_dropped_when_the_session_is_over_though_a_hello_is_on_its_way() -> None:
    """It was looked for only between the tries. One that was not answered took ten seconds, and the reports without a
    stream another five: meanwhile jobs were begun that another worker had by then.
    """
    begun: list[str] = []
    release, given_up = threading.Event(), asyncio.Event()
    hellos = 0

    async def answer(request: WorkRequest, context: Any) -> None:
        nonlocal hellos
        hellos += 1
        if hellos > 1:
            context.add_done_callback(lambda _: given_up.set())
            return
        settings = WorkSettings(session_ttl=Duration(seconds=1), heartbeat_interval=Duration(seconds=20))
        await context.write(wire(welcome=Welcome(settings=settings)))
        tasks = [
            TaskAssignment(lease_token=name.encode(), job_id=name, job_type="gated", attempt=1, fence=1)
            for name in ("runs", "waits")
        ]
        await context.write(wire(task_assignments=TaskAssignments(assignments_seq=1, tasks=tasks)))
        await eventually_async(lambda: begun, within=10, what="the first task runs")
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    async with answering(answer) as address:
        worker = Worker(address, concurrency=1, drain_seconds=0)

        @worker.handler("gated")
        def gated(task: Task) -> None:
            begun.append(task.job_id)
            release.wait(20)

        async with worker:
            await eventually_async(lambda: hellos == 2, within=10, what="it comes back")
            assert worker._io is not None
            stream = worker._io._stream
            await eventually_async(lambda: stream.held_count == 1, within=10, what="what waits is dropped")
            assert not given_up.is_set()
            release.set()

    assert begun == ["runs"]


async def test_a_server_that_breaks_each_stream_at_once_is_not_tried_ten_times_a_second() -> None:
    """Each Welcome began the back-off anew, so that a stream that broke right after it was opened again within a fifth
    of a second, for ever: a takeover in the database each time, from every worker at once.
    """
    hellos: list[float] = []

    async def answer(request: WorkRequest, context: Any) -> None:
        hellos.append(time.monotonic())
        await context.write(wire(welcome=Welcome()))
        await context.abort(grpc.StatusCode.INTERNAL, "a bug")

    async with answering(answer) as address:
        worker = Worker(address)
        worker.handler("noop")(repr)
        async with worker:
            await asyncio.sleep(3)  # sleeps: it counts tries in a time

    assert 2 <= len(hellos) <= 12


async def test_a_token_that_does_not_come_keeps_nobody_from_leaving(tmp_path: Path) -> None:
    """The worker waited for its token for ten seconds before it looked whether it was to stop, a second signal or not,
    and then for another ten to report what it had.
    """
    release = threading.Event()
    worker = Worker("127.0.0.1:1", token=lambda: str(release.wait(30)))
    worker.handler("noop")(repr)
    worker.start()
    await eventually_async(lambda: "jobhall-token" in threads(), within=10, what="it asks for its token")

    async with asyncio.timeout(5):
        await asyncio.to_thread(worker.stop)

    release.set()
    await eventually_async(lambda: "jobhall-token" not in threads(), within=10, what="the source has ended")


async def test_a_worker_that_is_gone_leaves_nothing_for_the_loops_of_others(caplog: pytest.LogCaptureFixture) -> None:
    """gRPC hands what happens to calls to whichever loop of the process is awake. A worker that left a silent server
    had closed its own by then: "Event loop is closed", with a stack trace, in the log of a program that did no wrong.
    """

    async def answer(request: WorkRequest, context: Any) -> None:
        await context.write(wire(welcome=Welcome()))

    async with answering(answer) as address:
        workers = [Worker(address) for _ in range(6)]
        for worker in workers:
            worker.handler("noop")(repr)
            worker.start()
        await eventually_async(lambda: all(worker.connected for worker in workers), within=10, what="all are connected")
        await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in workers))

    assert "Event loop is closed" not in caplog.text


def is_back(proxy: Proxy, seen: int) -> bool:
    return proxy.accepted_count > seen


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


async def test_when_the_connections_thread_dies_nothing_more_is_begun(tmp_path: Path) -> None:
    """The runners went on with what waited for them, up to a thousand tasks, while the server gave those to others."""
    begun: list[int] = []
    release = threading.Event()

    def fail() -> None:
        raise RuntimeError("a bug")

    async with running_server(tmp_path) as server, AsyncClient(server.address) as client:
        await client.types.register("score")
        worker = Worker(server.address, concurrency=1)

        @worker.handler("score")
        def score(task: Task) -> None:
            begun.append(task.parameters)
            if task.parameters == 8:
                release.wait(20)

        async with worker:
            # So that it has learnt to take some ahead.
            jobs = [await client.jobs.submit("score", number) for number in range(8)]
            for job in jobs:
                await client.jobs.wait_for_job(job.id, timeout=10)
            for number in range(8, 12):
                await client.jobs.submit("score", number)
            assert worker._io is not None
            stream = worker._io._stream
            await eventually_async(lambda: stream.held_count == 4, within=10, what="three wait behind one that runs")
            worker._io._call(fail)
            await eventually_async(lambda: worker.error, within=10, what="the thread has died")
            release.set()
            await eventually_async(lambda: "jobhall-runner-0" not in threads(), within=10, what="the runner has ended")

    assert begun == list(range(9))


async def test_streams_leave_nothing_over(tmp_path: Path) -> None:
    """No fault was found here; it is what keeps it so: each stream has a channel and a connection of its own."""
    async with running_server(tmp_path) as server:
        with Proxy(server.address) as proxy:
            worker = Worker(proxy.address)
            worker.handler("noop")(repr)
            async with worker:
                for _ in range(20):
                    await eventually_async(lambda: worker.connected, within=10, what="it is connected")
                    seen = proxy.accepted_count
                    proxy.drop_connections()
                    await eventually_async(partial(is_back, proxy, seen), within=10, what="it comes back")
                await eventually_async(lambda: worker.connected, within=10, what="it is connected")
                assert proxy.open_count == 1
