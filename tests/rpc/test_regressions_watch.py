"""Faults of watching that were found by hunting: each test opens with what went wrong before it was mended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from jobhall.errors import DrainingError
from jobhall.states import EventType, LogLevel
from jobhall.v1 import event_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall_server.domain.access import ANYBODY, Principal
from jobhall_server.domain.batch import BatchView
from jobhall_server.domain.moves import JobUpdate
from jobhall_server.domain.progress import Progress
from jobhall_server.hall import tokens
from jobhall_server.hall.batch_submissions import BatchSubmission
from jobhall_server.hall.feed import READERS_MAX
from jobhall_server.hall.frames import LogsBody
from jobhall_server.hall.hall import Hall
from jobhall_server.hall.retention import cut_what_is_old
from jobhall_server.hall.submits import Submission, labels_text
from jobhall_server.hall.views import LogFilter, LogLine, Retention
from jobhall_server.hall.watch import WatchRequest, watch
from jobhall_server.hall.watch_filter import WatchFilter
from jobhall_server.hall.watch_index import WatchIndex
from jobhall_server.hall.watch_queue import LIVE, LIVE_LOG_LENGTH_MAX, QUEUED_MAX, Subscription
from tests.support.calls import refusal, register, submit
from tests.support.servers import Running
from tests.support.waiting import eventually_async
from tests.support.worker_frames import assignment

SOON_SECONDS = 5.0


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


async def test_a_watch_that_lost_its_place_ends_with_jobs_that_ended_meanwhile(hall: Hall) -> None:
    # The log was cut under a slow reader, the end of its job with it. It began anew, as it had asked to, but nobody
    # looked whether the job was over: a watch with stop_when_terminal stayed open for ever.
    [job_id] = (await flood(hall, 1000))[:1]
    where = WatchFilter(job_ids=frozenset((job_id,)))
    request = WatchRequest(where, stop_when_terminal=True, reset_when_expired=True)
    updates: Any = watch(hall.feed, hall.store.reads, ANYBODY, request)
    await anext(updates)
    await _bookmark(hall, updates)

    await hall.jobs.cancel(ANYBODY, job_id, reason="")
    await flood(hall, 1000)
    [subscription] = hall.feed._watchers
    subscription.overflowed = True
    await cut_what_is_old(hall.store, Retention(events_max=1))

    assert True in [update.reset async for update in _within(updates)]
    assert hall.feed.watching == 0


async def test_a_named_job_that_does_not_match_keeps_no_watch_open(hall: Hall) -> None:
    # Only the events that match were seen, but all of the named jobs were waited for.
    [view] = [view for view, _ in await hall.jobs.submit_many(ANYBODY, [Submission("score", labels={"team": "red"})])]
    for labels in ((("team", "blue"),), (("team", "red"),)):
        where = WatchFilter(job_ids=frozenset((view.job_id,)), labels=labels)
        request = WatchRequest(where, stop_when_terminal=True)
        updates: Any = watch(hall.feed, hall.store.reads, ANYBODY, request)
        await anext(updates)
        if labels == (("team", "red"),):
            await _bookmark(hall, updates)
            await hall.jobs.update(
                ANYBODY, view.job_id, JobUpdate(frozenset({"labels"}), labels=labels_text({"team": "green"}))
            )

        kinds = [event.row.event_type async for update in _within(updates) for event in update.events]

        assert kinds == ([EventType.LEFT] if labels == (("team", "red"),) else [])


async def test_named_jobs_of_a_batch_are_waited_for(hall: Hall) -> None:
    # With job_ids and a batch_id nothing was ever noted as open, and the watch ended at its first look.
    batch, [job_id] = await hall.batches.create(ANYBODY, BatchSubmission("default", [Submission("score")]))
    where = WatchFilter(batch_id=batch.record.batch_id, job_ids=frozenset((job_id,)))
    updates: Any = watch(hall.feed, hall.store.reads, ANYBODY, WatchRequest(where, stop_when_terminal=True))
    await anext(updates)
    await _bookmark(hall, updates)

    await hall.jobs.cancel(ANYBODY, job_id, reason="")

    kinds = [event.row.event_type async for update in _within(updates) for event in update.events]
    assert kinds == [EventType.CANCELLED]


async def test_a_watch_that_finds_its_batch_as_the_server_drains_is_told(hall: Hall) -> None:
    # It had asked before whether the server drains, and was no watcher yet when all watchers were told: it stayed
    # until the server's patience was over.
    read = asyncio.Event()

    class SlowReads:
        async def batch(self, principal: Principal, batch_id: str) -> BatchView | None:
            await read.wait()
            return await hall.store.reads.batch(principal, batch_id)

    batch, _ = await hall.batches.create(ANYBODY, BatchSubmission("default"))
    slow: Any = SlowReads()
    updates: Any = watch(hall.feed, slow, ANYBODY, WatchRequest(WatchFilter(batch_id=batch.record.batch_id)))
    opening = asyncio.create_task(anext(updates))
    await asyncio.sleep(0)
    hall.drain()
    read.set()

    with pytest.raises(DrainingError):
        await asyncio.wait_for(opening, SOON_SECONDS)


async def test_those_who_wait_for_their_turn_to_read_leave_with_the_drain(hall: Hall) -> None:
    # Whether the server drains was asked before the turn and not within it: each of the thousands read once more.
    await flood(hall, 1000)
    async with AsyncExitStack() as turns:
        for _ in range(READERS_MAX):
            await turns.enter_async_context(hall.feed.turn())
        reading = asyncio.create_task(hall.feed.read(LogFilter(), after=0))
        await asyncio.sleep(0)
        hall.drain()

    with pytest.raises(DrainingError):
        await reading


@pytest.mark.parametrize("snapshot", [False, True])
async def test_who_waits_long_for_a_turn_to_read_hears_of_the_server(
    hall: Hall, monkeypatch: pytest.MonkeyPatch, *, snapshot: bool
) -> None:
    # Thousands that came back at once waited for minutes without a word, and their clients took the server for dead.
    # Snapshots had no turns at all: forty that had to look at 100,000 jobs kept every other read waiting for seconds.
    monkeypatch.setattr("jobhall_server.hall.watch.QUIET_SECONDS", 0.05)
    job_ids = await flood(hall, 1000)
    begin = hall.feed.head if snapshot else 0
    cursor = tokens.cursor(hall.feed.log_id, begin)
    request = WatchRequest(WatchFilter(), cursor=cursor, include_snapshot=snapshot)
    updates: Any = watch(hall.feed, hall.store.reads, ANYBODY, request)
    async with AsyncExitStack() as turns:
        for _ in range(READERS_MAX):
            await turns.enter_async_context(hall.feed.turn())
        assert [(await anext(updates)).after for _ in range(3)] == [begin] * 3

    seen: list[str] = []
    async with asyncio.timeout(SOON_SECONDS):
        while len(seen) < len(job_ids):
            update = await anext(updates)
            seen += [event.row.job_id for event in update.events] + [job.job_id for job in update.jobs]
    assert set(seen) == set(job_ids)
    await updates.aclose()


def test_who_still_watches_a_deleted_batch_takes_nothing_from_the_new_one() -> None:
    # When it left, the key of the batch that has the id by now was forgotten, and its watchers heard of no progress.
    old, new = (
        Subscription(ANYBODY, WatchFilter(batch_id="same", batch_key=key), since=0, wanted=LIVE) for key in (1, 2)
    )
    index = WatchIndex()
    index.add(old)
    index.add(new)

    index.remove(old)

    assert index.batch_key("same") == 2


async def test_the_end_of_a_batch_concerns_its_own_watchers_alone(hall: Hall) -> None:
    # Nobody said which batch had ended, so each watcher of any batch looked: 400 watched batches that ended took the
    # database 80,000 reads, and 14 seconds.
    asked: list[str] = []

    class CountedReads:
        log_place = hall.store.reads.log_place

        async def batch(self, principal: Principal, batch_id: str) -> BatchView | None:
            asked.append(batch_id)
            return await hall.store.reads.batch(principal, batch_id)

    async def follow(batch_id: str) -> None:
        where = WatchFilter(batch_id=batch_id)
        reads: Any = CountedReads()
        async for _ in watch(hall.feed, reads, ANYBODY, WatchRequest(where, stop_when_terminal=True)):
            pass

    submission = BatchSubmission("default", [Submission("score")], closed=True)
    made = [await hall.batches.create(ANYBODY, submission) for _ in range(3)]
    names = [batch.record.batch_id for batch, _ in made]
    following = [asyncio.create_task(follow(name)) for name in names]
    await eventually_async(
        lambda: len(hall.feed.bookmarks._told_at) == len(names), within=SOON_SECONDS, what="all wait for news"
    )
    asked.clear()

    for (_, [job_id]), watching in zip(made, following, strict=True):
        await hall.jobs.cancel(ANYBODY, job_id, reason="")
        await asyncio.wait_for(watching, SOON_SECONDS)

    assert asked == names


async def _bookmark(hall: Hall, updates: Any) -> None:
    """Have it wait for news, as it does when it has looked at all there is, and tell that there are none."""
    waiting = asyncio.create_task(anext(updates))
    [subscription] = hall.feed._watchers
    await eventually_async(
        lambda: subscription in hall.feed.bookmarks._told_at, within=SOON_SECONDS, what="it waits for news"
    )
    await asyncio.sleep(0)
    subscription.wake()
    assert not (await waiting).events


async def _within(updates: Any) -> AsyncIterator[Any]:
    async with asyncio.timeout(SOON_SECONDS):
        async for update in updates:
            yield update


async def _ends_with(call: Any) -> tuple[str, str]:
    error = await refusal(_all(call))
    return error.reason, error.violations[0].field


async def _all(call: Any) -> None:
    async for _ in call:
        pass
