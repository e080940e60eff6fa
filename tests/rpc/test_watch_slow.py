"""Watchers that read slowly or not at all: the newest progress and no more, and the plain truth when the log is cut."""

import asyncio
import io
import json
from typing import Any

import grpc
import pytest

from jobhall.errors import CursorExpiredError
from jobhall.states import EventType
from jobhall.v1 import job_service_pb2 as pb
from jobhall.v1.job_service_pb2_grpc import JobServiceStub
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.hall import Hall
from jobhall_server.hall.live import LIVE_EVERY_SECONDS
from jobhall_server.hall.retention import cut_what_is_old
from jobhall_server.hall.submits import Submission
from jobhall_server.hall.views import QueueView, Retention
from jobhall_server.hall.watch import WatchRequest, watch
from jobhall_server.hall.watch_filter import WatchFilter
from jobhall_server.hall.watch_queue import QUEUED_MAX
from jobhall_server.rpc.admin import About
from jobhall_server.rpc.caller import NoAuthentication
from jobhall_server.rpc.server import RpcServer
from tests.support.calls import RawWorker, register, submit
from tests.support.servers import Running
from tests.support.waiting import eventually_async
from tests.support.worker_frames import assignment

SOON_SECONDS = 10.0
LARGE = {f"label-{number}": "x" * 63 for number in range(16)}
"""Each event is so large that a few hundred are more than is buffered on the way to a reader that stopped."""


async def told(updates: Any, count: int) -> list[tuple[int, int]]:
    """Of the next progress events the job's key and the items."""
    found: list[tuple[int, int]] = []
    async with asyncio.timeout(SOON_SECONDS):
        while len(found) < count:
            events = (await anext(updates)).events
            found += [(event.row.job_key, event.progress.processed) for event in events if event.progress]
    return found


def publish(hall: Hall, queue: QueueView, *values: int, job_key: int = 1) -> None:
    for value in values:
        hall.feed.publish_progress(assignment(job_key).claimed, queue, Progress(processed=value))


async def test_of_a_burst_of_progress_the_first_and_the_last_are_told(hall: Hall) -> None:
    queue = await hall.registry.queue_for("default", "score")
    updates: Any = watch(hall.feed, hall.store.reads, ANYBODY, WatchRequest(WatchFilter(namespace="default")))
    await anext(updates)
    following = asyncio.create_task(told(updates, 2))
    await asyncio.sleep(0)

    publish(hall, queue, *range(1, 100))
    first = following
    await asyncio.sleep(0)

    assert (await first)[-1] == (1, 99)
    await updates.aclose()


async def test_a_watcher_that_slept_is_told_the_newest_progress_of_each_job_once(hall: Hall) -> None:
    queue = await hall.registry.queue_for("default", "score")
    updates: Any = watch(hall.feed, hall.store.reads, ANYBODY, WatchRequest(WatchFilter(namespace="default")))
    await anext(updates)
    following = asyncio.create_task(told(updates, 1))
    await asyncio.sleep(0)
    publish(hall, queue, 1)
    await following

    for value in range(2, 6):
        await asyncio.sleep(1.2 * LIVE_EVERY_SECONDS)  # sleeps: so that each of them is told to whoever listens
        publish(hall, queue, value)
        publish(hall, queue, value, job_key=2)

    assert await told(updates, 2) == [(1, 5), (2, 5)]
    await updates.aclose()


async def test_progress_comes_at_most_ten_times_a_second_and_the_end_comes_after_the_last_of_it(
    server: Running,
) -> None:
    worker = RawWorker(server)
    await worker.hello()
    call: Any = server.jobs.WatchJobs(pb.WatchJobsRequest(), timeout=20)
    await call.read()
    await submit(server)
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, accepted={})
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    for count in range(1, 201):
        await worker.send(
            task_updates={"updates": [{"lease_token": task.lease_token, "progress": {"items_processed": count}}]}
        )
        await asyncio.sleep(0.002)  # sleeps: the worker's own pace, five hundred a second
    await worker.report(task.lease_token, completed={})
    seconds = loop.time() - began_at

    seen: list[Any] = []
    while not seen or seen[-1].event_type != EventType.COMPLETED:
        seen += (await call.read()).events

    progress = [event.progress.items_processed for event in seen if event.event_type == EventType.PROGRESS]
    assert progress == sorted(progress)
    assert progress[-1] == 200
    assert len(progress) <= 2 + seconds / LIVE_EVERY_SECONDS
    assert all(event.revision == 0 for event in seen if event.event_type == EventType.PROGRESS)
    call.cancel()
    await worker.end()


async def flood(hall: Hall, count: int) -> list[str]:
    """Submit so many jobs, and wait until every watcher was offered their events."""
    submitted: list[str] = []
    for _ in range(count // 1000):
        views = await hall.jobs.submit_many(ANYBODY, [Submission("score")] * 1000)
        submitted += [view.job_id for view, _ in views]
    await eventually_async(lambda: hall.feed.position >= hall.feed.head, within=SOON_SECONDS, what="all is offered")
    return submitted


async def test_a_reader_under_whom_the_log_is_cut_is_told_so_and_nothing_is_left_out_before(hall: Hall) -> None:
    updates: Any = watch(hall.feed, hall.store.reads, ANYBODY, WatchRequest(WatchFilter(namespace="default")))
    await anext(updates)
    submitted = await flood(hall, QUEUED_MAX + 2000)
    seen = [event.row.job_id for event in (await anext(updates)).events]

    await cut_what_is_old(hall.store, Retention(events_max=1000))

    with pytest.raises(CursorExpiredError):
        while True:
            seen += [event.row.job_id for event in (await anext(updates)).events]
    assert seen == submitted[: len(seen)]
    assert 0 < len(seen) < len(submitted)


async def test_a_reader_that_asked_for_it_goes_on_from_now_with_a_snapshot(hall: Hall) -> None:
    request = WatchRequest(WatchFilter(namespace="default"), reset_when_expired=True)
    updates: Any = watch(hall.feed, hall.store.reads, ANYBODY, request)
    await anext(updates)
    submitted = await flood(hall, QUEUED_MAX + 2000)
    await anext(updates)
    await cut_what_is_old(hall.store, Retention(events_max=1000))

    jobs: list[str] = []
    resets = 0
    async for update in updates:
        assert not (update.reset and (update.events or jobs))
        resets += update.reset
        jobs += [job.job_id for job in update.jobs] if resets else []
        if update.snapshot_complete:
            break
    later = await flood(hall, 1000)
    seen: list[str] = []
    while len(seen) < len(later):
        seen += [event.row.job_id for event in (await anext(updates)).events]

    assert resets == 1
    assert sorted(jobs) == sorted(submitted)
    assert seen == later
    await updates.aclose()


async def test_a_watcher_that_goes_away_without_reading_is_no_bug(server: Running, server_log: io.StringIO) -> None:
    """The server's write to it waited, and failed as the call ended under it: that was logged as a bug of the server,
    with a traceback.
    """
    await register(server)
    async with grpc.aio.insecure_channel(server.address) as channel:
        call: Any = JobServiceStub(channel).WatchJobs(pb.WatchJobsRequest())
        await call.read()
        await fill(server)

    def over() -> bool:
        lines = map(json.loads, server_log.getvalue().splitlines())
        return any(line.get("method") == "JobService/WatchJobs" for line in lines)

    await eventually_async(over, within=SOON_SECONDS, what="the server has noticed that it went")
    assert '"bug"' not in server_log.getvalue()


async def test_a_server_that_stops_does_not_wait_for_readers_that_have_stopped(hall: Hall) -> None:
    """A `jobhall watch | less` that somebody had left open made every stop of the server last the whole drain: its
    write waits, so the stream could not even be told to end.
    """
    loop = asyncio.get_running_loop()
    about = About(0, "sqlite", "", "")
    server = RpcServer(hall, about, authenticator=NoAuthentication(), with_reflection=False)
    async with grpc.aio.insecure_channel(await server.start("127.0.0.1:0")) as channel:
        call: Any = JobServiceStub(channel).WatchJobs(pb.WatchJobsRequest())
        await call.read()
        [stream] = server._edge._streams

        async def stuck() -> bool:
            await hall.jobs.submit_many(ANYBODY, [Submission("score", labels=LARGE)] * 100)
            return stream.stuck(seconds=0.5)

        await eventually_async(stuck, within=SOON_SECONDS, what="the write waits")
        began = loop.time()
        hall.drain()
        await server.stop(60.0)
        assert loop.time() - began < 15.0


async def fill(server: Running) -> None:
    """Submit more than is buffered on the way to a watcher that does not read."""
    for _ in range(8):
        jobs = [{"job_type": "score", "labels": LARGE} for _ in range(500)]
        await server.jobs.BatchSubmitJobs(pb.BatchSubmitJobsRequest(jobs=jobs))  # type: ignore[arg-type]
