"""What waits for one watcher: bounded, in order, the latest of what is live, and a wait that misses no word."""

import asyncio

from jobhall.states import EventType
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.live import LIVE_EVERY_SECONDS, Throttle
from jobhall_server.hall.watch_filter import WatchFilter
from jobhall_server.hall.watch_queue import LIVE, QUEUED_MAX, STORED, Subscription, WatchEvent
from tests.support.events import event_row as row
from tests.support.waiting import eventually_async


def subscription(*, since: int = 0) -> Subscription:
    return Subscription(ANYBODY, WatchFilter(), since=since, wanted=STORED | LIVE)


def progress(processed: int, *, job_key: int = 1) -> WatchEvent:
    return WatchEvent(row(0, job_key=job_key, event_type=EventType.PROGRESS), Progress(processed=processed))


async def test_what_came_before_it_began_is_not_queued_and_nothing_twice() -> None:
    waiting = subscription(since=3)

    for number in (2, 3, 4, 4, 5):
        waiting.offer(WatchEvent(row(number)))

    assert [event.row.number for event in waiting.take()] == [4, 5]
    assert waiting.idle


async def test_a_full_queue_is_given_up_as_a_whole() -> None:
    waiting = subscription()

    for number in range(1, QUEUED_MAX + 3):
        waiting.offer(WatchEvent(row(number)))

    assert waiting.overflowed
    assert waiting.take() == []


async def test_a_wait_ends_with_the_first_word_and_does_not_begin_after_it() -> None:
    waiting = subscription()
    changed = asyncio.create_task(waiting.changed())
    await asyncio.sleep(0)  # sleeps: a turn of the loop, for the task to begin its wait
    assert not changed.done()

    waiting.offer(WatchEvent(row(1)))
    await asyncio.wait_for(changed, 5)
    await asyncio.wait_for(waiting.changed(), 5)


async def test_of_progress_the_latest_waits_and_is_told_before_the_end() -> None:
    waiting = subscription()

    waiting.offer_live(progress(1))
    waiting.offer(WatchEvent(row(1, event_type=EventType.COMPLETED)))
    waiting.offer_live(progress(2))

    first, second = waiting.take()
    assert first.progress == Progress(processed=2)
    assert second.row.event_type is EventType.COMPLETED


async def test_the_same_event_is_one_object_for_all_who_see_it_alike() -> None:
    event = WatchEvent(row(1, event_type=EventType.UPDATED))

    assert event.seen_as(EventType.UPDATED) is event
    assert event.seen_as(EventType.ENTERED) is event.seen_as(EventType.ENTERED)
    assert event.seen_as(EventType.LEFT).row == event.row._replace(event_type=EventType.LEFT)


async def test_progress_that_comes_too_soon_is_merged_and_the_last_is_told() -> None:
    told: list[WatchEvent] = []
    throttle = Throttle(told.append)
    loop = asyncio.get_running_loop()
    began = loop.time()

    for processed in range(100):
        throttle.publish(progress(processed))
    throttle.publish(progress(7, job_key=2))
    await eventually_async(lambda: len(told) == 3, within=5, what="the last one is told")

    assert [(event.row.job_key, event.progress) for event in told] == [
        (1, Progress(processed=0)),
        (2, Progress(processed=7)),
        (1, Progress(processed=99)),
    ]
    assert loop.time() - began >= LIVE_EVERY_SECONDS


async def test_what_waits_of_a_job_is_told_when_it_ends() -> None:
    told: list[WatchEvent] = []
    throttle = Throttle(told.append)

    throttle.publish(progress(1))
    throttle.publish(progress(2))
    throttle.flush(1, 1)

    assert [event.progress for event in told] == [Progress(processed=1), Progress(processed=2)]
