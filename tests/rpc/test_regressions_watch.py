"""Faults of watching that were found by hunting: each test opens with what went wrong before it was mended."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jobhall.states import LogLevel
from jobhall.v1 import event_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.clock import SystemClock
from jobhall_server.hall.frames import LogsBody
from jobhall_server.hall.hall import Hall, HallSettings
from jobhall_server.hall.job_type_units import Registration
from jobhall_server.hall.submits import Submission
from jobhall_server.hall.views import LogLine
from jobhall_server.hall.watch import WatchRequest, watch
from jobhall_server.hall.watch_filter import WatchFilter
from jobhall_server.hall.watch_queue import LIVE, LIVE_LOG_LENGTH_MAX, QUEUED_MAX
from jobhall_server.storage.store import Store
from tests.support.calls import refusal, register, submit
from tests.support.servers import Running
from tests.support.waiting import eventually_async
from tests.support.worker_frames import assignment

SOON_SECONDS = 5.0


@pytest.fixture
async def hall(tmp_path: Path) -> AsyncIterator[Hall]:
    async with (
        Store.open(f"sqlite:///{tmp_path / 'jobhall.db'}") as store,
        Hall.open(store, HallSettings(), SystemClock()) as opened,
    ):
        await opened.job_types.register(ANYBODY, Registration("default", "score"), replace=False)
        yield opened


async def flood(hall: Hall, count: int) -> list[str]:
    """Submit so many jobs, and wait until every watcher was offered their events."""
    submitted = []
    for _ in range(count // 1000):
        views = await hall.jobs.submit_many(ANYBODY, [Submission("score")] * 1000)
        submitted += [view.job_id for view, _ in views]
    last = (await hall.store.reads.log_place()).last
    await eventually_async(lambda: hall.feed.position >= last, within=SOON_SECONDS, what="the feed is at the log's end")
    return submitted


async def test_a_watcher_that_falls_behind_twice_misses_nothing(hall: Hall) -> None:
    # While a slow watcher read the log because its queue had overflowed, the queue overflowed once more; that was not
    # looked at before it went to wait, and its bookmark then stepped over everything: events lost without a word.
    updates: Any = watch(hall.feed, hall.store.reads, ANYBODY, WatchRequest(where=WatchFilter(namespace="default")))
    await anext(updates)

    submitted = await flood(hall, QUEUED_MAX + 1000)
    seen = [event.row.job_id for event in (await anext(updates)).events]
    submitted += await flood(hall, QUEUED_MAX + 1000)
    async with asyncio.timeout(SOON_SECONDS):
        while len(seen) < len(submitted):
            seen += [event.row.job_id for event in (await anext(updates)).events]

    assert sorted(seen) == sorted(submitted)
    assert seen == submitted[: len(seen)]
    await updates.aclose()


async def test_a_watch_resumed_after_the_end_still_tells_how_it_ended(server: Running) -> None:
    # A watch with stop_when_terminal that was cut off just before its job ended was told "all over" when it came back
    # with its cursor, and never saw the event of the end.
    await register(server)
    job = await submit(server)
    call: Any = server.jobs.WatchJobs(pb.WatchJobsRequest(job_ids=[job.id], stop_when_terminal=True), timeout=10)
    cursor = (await call.read()).cursor
    call.cancel()
    await server.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id))

    request = pb.WatchJobsRequest(job_ids=[job.id], stop_when_terminal=True, cursor=cursor)
    resumed: Any = server.jobs.WatchJobs(request, timeout=10)
    answers = [answer async for answer in resumed]

    kinds = [event.event_type for answer in answers for event in answer.events]
    assert kinds == [event_pb2.EVENT_TYPE_CANCELLED]


async def test_a_closed_watch_leaves_nothing_behind(hall: Hall) -> None:
    # Each type and namespace that anybody had ever watched stayed in the feed's index: a leak that callers steer.
    before = len(hall.feed._index)
    for where in (
        WatchFilter(namespace="elsewhere"),
        WatchFilter(namespace="default", job_types=frozenset({"one", "two"})),
        WatchFilter(job_ids=frozenset({"0190a0b0-0000-7000-8000-000000000000"})),
    ):
        with hall.feed.subscribe(ANYBODY, where):
            assert len(hall.feed._index) > before

    assert len(hall.feed._index) == before


async def test_a_watcher_that_does_not_read_gathers_no_progress_without_end(hall: Hall) -> None:
    # The newest progress of every job was kept for a watcher that had stopped to read, however many jobs came by.
    queue = await hall.registry.queue_for("default", "score")
    with hall.feed.subscribe(ANYBODY, WatchFilter(), wanted=LIVE) as subscription:
        for job_key in range(1, QUEUED_MAX + 500):
            hall.feed.publish_progress(assignment(job_key).claimed, queue, Progress(processed=1))
        hall.feed.publish_progress(assignment(1).claimed, queue, Progress(processed=2))
        hall.feed._throttle.flush(1, 1)

        told = subscription.take()
        assert len(told) == QUEUED_MAX
        assert (told[0].row.job_key, told[0].progress) == (1, Progress(processed=2))


async def test_a_watcher_that_does_not_read_gathers_few_megabytes_of_logs(hall: Hall) -> None:
    # Of each job a quarter of a megabyte was kept for it, of two thousand jobs: half a gigabyte, sent in one piece.
    queue = await hall.registry.queue_for("default", "score")
    lines = LogsBody(1, [LogLine(0, LogLevel.INFO, "x" * 16_384, None, None)] * 16)
    with hall.feed.subscribe(ANYBODY, WatchFilter(), wanted=LIVE) as subscription:
        hall.feed.publish_progress(assignment(1).claimed, queue, Progress(processed=1))
        for job_key in range(1, 101):
            hall.feed.publish_logs(assignment(job_key).claimed, queue, lines, at=0)

        told = subscription.take()
        assert told[0].progress is not None
        jobs = [event.row.job_key for event in told if event.lines]
        assert jobs == list(range(101 - len(jobs), 101))
        assert sum(len(line.text) for event in told for _, line in event.lines) == LIVE_LOG_LENGTH_MAX
        assert subscription.idle


async def test_labels_that_no_job_can_have_are_refused_by_name(server: Running) -> None:
    # A quote in a label's name ended up in SQLite's JSON path: INTERNAL, and a traceback, for a filter or a snapshot.
    await register(server)
    await submit(server, labels={"team": "red"})
    request = pb.WatchJobsRequest(labels={'a"b': "c"}, include_snapshot=True)

    error = await _ends_with(server.jobs.WatchJobs(request, timeout=10))

    assert error == ("FIELD_INVALID", "labels['a\"b']")


async def _ends_with(call: Any) -> tuple[str, str]:
    error = await refusal(_all(call))
    return error.reason, error.violations[0].field


async def _all(call: Any) -> None:
    async for _ in call:
        pass
