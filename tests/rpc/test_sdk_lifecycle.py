"""AsyncClient over the real server: a job's whole life and its management, as the SDK says it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobhall import (
    AccessControl,
    AsyncClient,
    AttemptOutcome,
    BulkOutcome,
    FailureKind,
    FileInfo,
    JobState,
    LogLevel,
    RetryPolicy,
    Submission,
    Task,
    TaskFailed,
    TraceContext,
    UniquePolicy,
    Visibility,
    WaitReasonKind,
    Worker,
)
from jobhall.errors import EtagMismatchError, JobNotFoundError, JobTerminalError, UniqueKeyTakenError
from jobhall.limits import LOG_LINES_KEPT_MAX
from tests.support.servers import Running
from tests.support.waiting import eventually_async

WAIT_SECONDS = 10.0
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
AT_ONCE = RetryPolicy(initial_delay=timedelta(0))


@pytest.fixture
async def chatty(server: Running) -> AsyncIterator[Worker]:
    """A worker that logs, complains and saves where it is, and whose first attempts fail."""
    worker = Worker(server.address, name="chatty", drain_seconds=0)

    @worker.handler("report")
    async def report(task: Task) -> list[Any]:
        task.log("begun", level="debug")
        task.log("odd row", level="warning", row=task.attempt)
        task.item_error(index=task.attempt, code="ODD")
        task.checkpoint({"row": task.attempt}, processed=task.attempt, total=2, succeeded=task.attempt - 1)
        if task.attempt < 2:
            raise TaskFailed("not yet", code="EARLY")
        trace = task.trace_context
        return [task.owner, task.batch_id, trace and trace.traceparent]

    async with worker:
        await eventually_async(lambda: worker.connected, within=10, what="the worker is connected")
        yield worker


# --- submitting ---


async def test_all_that_a_submit_says_can_be_read_again(client: AsyncClient) -> None:
    batch = await client.batches.create("nightly")
    due = datetime.now(UTC).replace(microsecond=5) + HOUR
    said = Submission(
        "score",
        {"x": 1},
        labels={"team": "red"},
        path="/files/1",
        file_info=FileInfo("rows.csv", 2_048_576),
        priority=-3,
        max_attempts=2,
        schedule_time=due,
        start_deadline=due + HOUR,
        retry_policy=AT_ONCE,
        run_timeout=60,
        progress_timeout=30,
        batch_id=batch.id,
        unique_key="rows.csv",
        unique_window=DAY,
        retention=7 * DAY,
        access_control=AccessControl(visibility=Visibility.PUBLIC, write_access=("ann",)),
        trace_context=TraceContext("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b"),
    )

    (brief,) = await client.jobs.submit_many([said])
    job = await client.jobs.get_job(brief.id)

    assert (job.state, job.parameters, job.labels) == (JobState.SCHEDULED, {"x": 1}, {"team": "red"})
    assert (job.scheduled_at, job.start_deadline, job.purge_at) == (due, due + HOUR, None)
    assert (job.batch_id, job.unique_key, job.retention) == (batch.id, "rows.csv", 7 * DAY)
    assert (job.access_control, job.trace_context) == (said.access_control, said.trace_context)
    assert (job.run_timeout, job.progress_timeout) == (timedelta(minutes=1), timedelta(seconds=30))
    assert (job.file_info, job.job_type_namespace, job.priority) == (said.file_info, "default", -3)


async def test_a_check_tells_the_job_as_it_would_be_and_stores_nothing(client: AsyncClient) -> None:
    job = await client.jobs.validate("score", {"x": 1}, priority=5, schedule_time=HOUR)
    many = await client.jobs.validate_many([Submission("score"), Submission("score")])

    assert (job.id, job.state, job.priority) == ("", JobState.SCHEDULED, 5)
    assert [it.id for it in many] == ["", ""]
    assert [it async for it in client.jobs.list_jobs()] == []


async def test_a_unique_key_is_one_job_s_by_the_policy_that_each_submit_names(client: AsyncClient) -> None:
    first = await client.jobs.submit("score", 1, unique_key="a")
    same = await client.jobs.submit("score", 2, unique_key="a")
    with pytest.raises(UniqueKeyTakenError) as caught:
        await client.jobs.submit("score", 3, unique_key="a", unique_policy=UniquePolicy.REJECT)
    other = await client.jobs.submit("score", 4, unique_key="a", unique_policy=UniquePolicy.REPLACE_PENDING)

    assert (same.id, same.parameters) == (first.id, 1)
    assert caught.value.metadata["job_id"] == first.id
    assert other.id != first.id
    with pytest.raises(JobNotFoundError):
        await client.jobs.get_job(first.id)


# --- changing ---


async def test_an_update_moves_a_job_between_its_waiting_states(client: AsyncClient) -> None:
    job = await client.jobs.submit("score", priority=1, labels={"team": "red", "zone": "a"})

    later = await client.jobs.update_job(job.id, schedule_time=HOUR, labels={"team": "blue"}, etag=job.etag)
    at_once = await client.jobs.update_job(job.id, schedule_time=None, priority=9)

    assert (later.state, later.priority, later.labels) == (JobState.SCHEDULED, 1, {"team": "blue"})
    assert (at_once.state, at_once.priority, at_once.labels) == (JobState.PENDING, 9, {"team": "blue"})
    with pytest.raises(EtagMismatchError):
        await client.jobs.update_job(job.id, priority=2, etag=job.etag)
    assert (await client.jobs.get_job(job.id)).priority == 9


async def test_a_change_of_what_ended_is_refused(client: AsyncClient) -> None:
    job = await client.jobs.cancel_job((await client.jobs.submit("score")).id)

    with pytest.raises(JobTerminalError):
        await client.jobs.update_job(job.id, priority=2)
    assert (await client.jobs.update_job(job.id, labels={"seen": "yes"})).labels == {"seen": "yes"}


async def test_many_are_cancelled_retried_and_purged_by_a_filter(client: AsyncClient) -> None:
    await client.jobs.submit_many([Submission("score", labels={"team": team}) for team in ("red", "red", "blue")])

    tried = await client.jobs.cancel_jobs(labels={"team": "red"}, dry_run=True)
    cancelled = await client.jobs.cancel_jobs(labels={"team": "red"}, reason="not needed any more")
    reasons = {job.cancel_reason async for job in client.jobs.list_jobs(states=[JobState.CANCELLED], full=True)}
    retried = await client.jobs.retry_jobs(filter="state = CANCELLED", jobs_max=1)
    too_young = await client.jobs.purge_jobs(min_age=HOUR)
    purged = await client.jobs.purge_jobs(min_age=0, states=[JobState.CANCELLED])

    assert (tried, cancelled) == (BulkOutcome(count=2), BulkOutcome(count=2))
    assert reasons == {"not needed any more"}
    assert (retried.count, retried.more) == (1, True)
    assert (too_young.count, purged.count) == (0, 1)
    stats = await client.jobs.stats(job_types=["score"])
    assert (stats.total.pending, stats.total.cancelled, stats.removed.cancelled) == (2, 0, 1)


async def test_more_jobs_than_one_call_takes_are_changed_in_steps(client: AsyncClient, worker: Worker) -> None:
    held = await client.jobs.submit("hold")
    await eventually_async(lambda: state_is(client, held.id, JobState.RUNNING), within=WAIT_SECONDS, what="it runs")
    for count in (1000, 200):
        await client.jobs.submit_many([Submission("score")] * count)

    tried = await client.jobs.cancel_jobs(filter="priority = 0", dry_run=True)
    cancelled = await client.jobs.cancel_jobs(filter="priority = 0", reason="not needed any more")

    assert (tried.count, tried.more) == (1000, True)
    assert (cancelled.count, cancelled.more) == (1201, False)
    await eventually_async(lambda: ended(client, held.id), within=WAIT_SECONDS, what="its worker stopped")
    assert (await client.jobs.purge_jobs(min_age=0, jobs_max=1100)) == BulkOutcome(count=1100, more=True)


async def test_a_retry_that_another_job_s_key_forbids_is_skipped(client: AsyncClient) -> None:
    first = await client.jobs.submit("score", unique_key="a")
    await client.jobs.cancel_job(first.id)
    second = await client.jobs.submit("score", unique_key="a")

    with pytest.raises(UniqueKeyTakenError) as caught:
        await client.jobs.retry_job(first.id)
    outcome = await client.jobs.retry_jobs(states=[JobState.CANCELLED])

    assert caught.value.metadata["job_id"] == second.id
    assert (outcome.count, outcome.skipped) == (0, 1)


# --- what is told ---


async def test_lists_are_narrowed_by_every_condition_and_ordered(client: AsyncClient, worker: Worker) -> None:
    batch = await client.batches.create(jobs=[Submission("score", priority=7, unique_key="k")])
    failed = await client.jobs.submit("decline")
    await eventually_async(lambda: ended(client, failed.id), within=WAIT_SECONDS, what="it has failed")
    old = await client.jobs.submit("score", priority=-7)
    now = datetime.now(UTC)

    async def found(**options: Any) -> list[str]:
        return [job.id async for job in client.jobs.list_jobs(**options)]

    (member,) = batch.job_ids
    assert await found(batch_id=batch.id) == await found(unique_key="k") == await found(priority_min=7) == [member]
    assert await found(error_kind=FailureKind.APPLICATION) == await found(error_code="DECLINED") == [failed.id]
    assert await found(priority_max=-7) == [old.id]
    assert await found(ended_before=now + HOUR) == [failed.id]
    assert await found(ended_after=now + HOUR) == await found(updated_after=now + HOUR) == []
    assert await found(order_by="create_time") == [member, failed.id, old.id]


async def test_attempts_keep_what_each_of_them_reported(client: AsyncClient, chatty: Worker) -> None:
    batch = await client.batches.create(closed=True, jobs=[])
    trace = TraceContext("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    job = await client.jobs.submit("report", retry_policy=AT_ONCE, trace_context=trace)
    done = await client.jobs.wait_for_job(job.id, timeout=WAIT_SECONDS)

    first, second = [it async for it in client.jobs.attempts(job.id)]
    errors = [[error.index async for error in client.jobs.item_errors(job.id, attempt=number)] for number in (1, 2, 0)]

    assert done.result == ["anonymous", "", trace.traceparent]
    assert batch.done
    assert (first.outcome, second.outcome) == (AttemptOutcome.FAILED, AttemptOutcome.COMPLETED)
    assert first.error is not None
    assert (first.error.code, first.worker_name, first.item_error_count) == ("EARLY", "chatty", 1)
    assert (first.fence < second.fence, second.error) == (True, None)
    assert (first.progress.items_processed, second.progress.items_processed) == (1, 2)
    assert errors == [[1], [2], [2]]
    assert done.purge_at is not None


async def test_a_checkpoint_is_read_where_it_is_asked_for(client: AsyncClient, chatty: Worker) -> None:
    later = RetryPolicy(initial_delay=HOUR)
    job = await client.jobs.submit("report", retry_policy=later)
    await eventually_async(
        lambda: state_is(client, job.id, JobState.SCHEDULED), within=WAIT_SECONDS, what="it backs off"
    )

    assert (await client.jobs.get_job(job.id, include_checkpoint=True)).checkpoint == {"row": 1}
    assert (await client.jobs.get_job(job.id)).checkpoint is None
    explanation = await client.jobs.explain(job.id)
    assert explanation.reasons[0].kind is WaitReasonKind.BACKING_OFF
    assert explanation.reasons[0].until is not None


async def test_a_log_is_read_by_level_and_number_and_page(client: AsyncClient, chatty: Worker) -> None:
    job = await client.jobs.submit("report", retry_policy=AT_ONCE)
    await client.jobs.wait_for_job(job.id, timeout=WAIT_SECONDS)

    latest = [(line.attempt, line.message) async for line in client.jobs.logs(job.id)]
    first = [line.fields async for line in client.jobs.logs(job.id, attempt=1, min_level=LogLevel.WARNING)]
    rest = [line.number async for line in client.jobs.logs(job.id, after_number=1)]
    page = await client.jobs.log_page(job.id, page_size=1)

    assert latest == [(2, "begun"), (2, "odd row")]
    assert first == [{"row": 1}]
    assert rest == [2]
    assert ([line.message for line in page.entries], page.dropped_count) == (["begun"], 0)
    assert page.next_page_token


async def test_a_log_is_followed_over_attempts_until_the_job_has_ended(client: AsyncClient, server: Running) -> None:
    go_on = threading.Event()
    worker = Worker(server.address, name="slow", drain_seconds=0)

    @worker.handler("slow")
    def slow(task: Task) -> None:
        task.log(f"attempt {task.attempt}")
        go_on.wait(WAIT_SECONDS)
        task.log(f"end of {task.attempt}")
        if task.attempt == 1:
            raise TaskFailed("not yet")

    seen: list[str] = []

    async def follow(job_id: str) -> None:
        async for line in client.jobs.logs(job_id, follow=True):
            seen.append(line.message)  # noqa: PERF401 - each as it comes

    async with worker:
        await eventually_async(lambda: worker.connected, within=10, what="the worker is connected")
        job = await client.jobs.submit("slow", retry_policy=AT_ONCE)
        following = asyncio.create_task(follow(job.id))
        await eventually_async(lambda: bool(seen), within=WAIT_SECONDS, what="the first line is there while it runs")
        go_on.set()
        await asyncio.wait_for(following, WAIT_SECONDS)

    assert seen == ["attempt 1", "end of 1", "attempt 2", "end of 2"]


async def test_every_line_beyond_those_that_are_kept_is_counted(client: AsyncClient, server: Running) -> None:
    """Whether the server refused it, or the worker had no room for it while it could not send."""
    worker = Worker(server.address, name="loud", drain_seconds=0)

    @worker.handler("loud")
    def loud(task: Task) -> None:
        for number in range(LOG_LINES_KEPT_MAX + 50):
            task.log(str(number))

    async with worker:
        await eventually_async(lambda: worker.connected, within=10, what="the worker is connected")
        job = await client.jobs.submit("loud")
        await client.jobs.wait_for_job(job.id, timeout=3 * WAIT_SECONDS)

    last = [line async for line in client.jobs.logs(job.id, after_number=LOG_LINES_KEPT_MAX - 2)]
    page = await client.jobs.log_page(job.id, page_size=1)
    assert [line.message for line in last] == [str(LOG_LINES_KEPT_MAX - 2), str(LOG_LINES_KEPT_MAX - 1)]
    assert page.dropped_count == 50


async def test_to_follow_a_job_that_is_not_there_says_so(client: AsyncClient) -> None:
    with pytest.raises(JobNotFoundError):
        _ = [line async for line in client.jobs.logs("0190a0b0-0000-7000-8000-000000000000", follow=True)]


async def test_an_explanation_says_that_nobody_serves_the_type(client: AsyncClient) -> None:
    await client.jobs.submit("score")
    job = await client.jobs.submit("score")

    explanation = await client.jobs.explain(job.id)

    assert (explanation.job_id, explanation.state, explanation.jobs_ahead) == (job.id, JobState.PENDING, 1)
    assert explanation.summary
    assert explanation.reasons[0].kind is WaitReasonKind.NO_WORKER
    assert explanation.reasons[0].suggestion


async def ended(client: AsyncClient, job_id: str) -> bool:
    return (await client.jobs.get_job(job_id)).done


async def state_is(client: AsyncClient, job_id: str, state: JobState) -> bool:
    return (await client.jobs.get_job(job_id)).state is state
