"""Progress over the real server: rates over the run and lately, also where it is told call by call; late words."""

import time
from typing import Any

from jobhall.states import EventType, JobState
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.calls import RawWorker, get, submit
from tests.support.servers import Running
from tests.support.unary_calls import SOON, claim, report
from tests.support.waiting import eventually_async

WITHIN = 15.0


async def test_a_stream_that_counts_has_a_recent_rate_and_an_estimate(brisk: Running) -> None:
    worker = RawWorker(brisk)
    await worker.hello()
    job = await submit(brisk)
    (task,) = await worker.tasks()
    processed = 0

    async def timed() -> job_pb2.Job | None:
        nonlocal processed
        processed += 10
        progress: Any = {"items_total": 100_000, "items_processed": processed, "number": processed}
        await worker.send(task_updates={"updates": [{"lease_token": task.lease_token, "progress": progress}]})
        await worker.beat(task.lease_token)
        view = await get(brisk, job.id)
        return view if view.timing.HasField("recent_items_per_second") else None

    view = await eventually_async(timed, within=WITHIN, what="a recent rate is known")

    assert view is not None
    assert view.timing.recent_items_per_second > 0
    assert view.timing.items_per_second > 0
    assert view.timing.estimated_remaining.ToMicroseconds() > 0
    assert view.progress.number == processed
    assert view.progress.percent > 0


async def test_words_told_call_by_call_have_a_recent_rate_too(brisk: Running) -> None:
    job = await submit(brisk)
    given = await claim(brisk, accept=True, timeout=SOON)
    processed = 0

    async def timed() -> bool:
        nonlocal processed
        processed += 10
        progress = {"items_processed": processed}
        await report(brisk, given.session_id, {"lease_token": given.tasks[0].lease_token, "progress": progress})
        return (await get(brisk, job.id)).timing.recent_items_per_second > 0

    await eventually_async(timed, within=WITHIN, what="a recent rate is known")


async def test_a_word_that_was_overtaken_by_a_newer_one_is_left_out(brisk: Running) -> None:
    # Two calls of one worker may pass each other on their way; the older one set the bar back.
    job = await submit(brisk)
    given = await claim(brisk, accept=True, timeout=SOON)
    token = given.tasks[0].lease_token

    for number, processed in ((2, 20), (1, 10)):
        progress = {"items_processed": processed, "number": number}
        await report(brisk, given.session_id, {"lease_token": token, "progress": progress})
    overtaken = (await get(brisk, job.id)).progress
    await report(brisk, given.session_id, {"lease_token": token, "progress": {"items_processed": 5}})
    unnumbered = (await get(brisk, job.id)).progress

    assert (overtaken.items_processed, overtaken.number) == (20, 2)
    assert (unnumbered.items_processed, unnumbered.number) == (5, 0)


async def test_the_next_attempt_counts_its_words_anew(brisk: Running) -> None:
    # A checkpoint keeps the progress with its number: every word of the next attempt was late until it had passed that.
    job = await submit(brisk)
    given = await claim(brisk, accept=True, timeout=SOON)
    token = given.tasks[0].lease_token
    progress = {"items_processed": 50, "number": 50}
    checkpoint = {"state": {"json": "{}"}, "progress": progress}
    await report(brisk, given.session_id, {"lease_token": token, "checkpoint": checkpoint})
    await report(brisk, given.session_id, {"lease_token": token, "failed": {"retry_delay": {}}})

    again = await claim(brisk, accept=True, timeout=SOON)
    word = {"items_processed": 60, "number": 1}
    await report(brisk, again.session_id, {"lease_token": again.tasks[0].lease_token, "progress": word})

    assert (await get(brisk, job.id)).progress.items_processed == 60


async def test_progress_is_told_at_most_ten_times_a_second_though_other_events_come_all_the_time(
    brisk: Running,
) -> None:
    # Every state event that a watch told took along the progress that waited: of a busy queue, hundreds a second.
    worker = RawWorker(brisk)
    await worker.hello()
    watch: Any = brisk.jobs.WatchJobs(pb.WatchJobsRequest(), timeout=30)
    await watch.read()
    await submit(brisk)
    (task,) = await worker.tasks()
    began = time.monotonic()
    for number in range(1, 101):
        progress: Any = {"items_processed": number}
        await worker.send(task_updates={"updates": [{"lease_token": task.lease_token, "progress": progress}]})
        await submit(brisk, "score", namespace="default", schedule_time={"seconds": 4_000_000_000})
    await worker.report(task.lease_token, completed={})

    told = 0
    over = False
    while not over:
        for event in (await watch.read()).events:
            told += event.event_type == EventType.PROGRESS
            over = over or event.event_type == EventType.COMPLETED
    watch.cancel()

    assert 1 <= told <= 10 * (time.monotonic() - began) + 2


async def test_timing_of_a_job_that_has_ended_has_no_estimate(brisk: Running) -> None:
    job = await submit(brisk)
    given = await claim(brisk, accept=True, timeout=SOON)
    progress = {"items_total": 10, "items_processed": 10}
    completed = {"completed": {"progress": progress}}
    await report(brisk, given.session_id, {"lease_token": given.tasks[0].lease_token, **completed})

    view = await get(brisk, job.id)

    assert JobState(view.state) is JobState.COMPLETED
    assert view.timing.items_per_second > 0
    assert not view.timing.HasField("recent_items_per_second")
    assert not view.timing.HasField("estimated_remaining")
