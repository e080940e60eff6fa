"""AsyncClient over the real server as a worker without a stream: it claims, reports and beats in dataclasses."""

from datetime import timedelta

import pytest

from jobhall import (
    AsyncClient,
    CancelCause,
    Claim,
    ItemError,
    JobState,
    LogEntry,
    LogLevel,
    Progress,
    ReleaseReason,
    RuntimeInfo,
    StopRequest,
    reports,
)
from jobhall.errors import FieldInvalidError, LeaseLostError, ResultConflictError, SessionExpiredError

SOON = timedelta(seconds=10)
NOBODY = "0190a0b0-0000-7000-8000-000000000000"


async def claimed(client: AsyncClient, **job: object) -> Claim:
    """A claim of the one job that waits, begun at once."""
    await client.jobs.submit("score", 1, **job)  # type: ignore[arg-type]
    claim = await client.workers.claim_tasks(["score"], timeout=SOON, accept=True)
    assert len(claim.tasks) == 1
    return claim


async def test_a_claimed_task_is_told_with_all_that_its_job_says(client: AsyncClient) -> None:
    job = await client.jobs.submit(
        "score", {"n": 1}, labels={"team": "red"}, path="/rows", priority=7, max_attempts=2, run_timeout=60
    )

    claim = await client.workers.claim_tasks(
        ["score"],
        worker_name="cron",
        labels={"zone": "a"},
        runtime=RuntimeInfo(language="python", process_id=7),
        lease=timedelta(minutes=5),
        tasks_max=10,
        timeout=SOON,
    )
    [task] = claim.tasks
    worker = await client.workers.get(claim.session_id)

    assert (task.job_id, task.job_type, task.namespace, task.parameters) == (job.id, "score", "default", {"n": 1})
    assert (task.attempt, task.max_attempts, task.labels, task.path) == (1, 2, {"team": "red"}, "/rows")
    assert (task.priority, task.run_timeout, task.progress_timeout) == (7, timedelta(minutes=1), None)
    assert (task.created_at, task.owner, task.checkpoint) == (job.created_at, job.owner, None)
    assert (worker.name, worker.labels, worker.unary) == ("cron", {"zone": "a"}, True)
    assert worker.runtime == RuntimeInfo(language="python", process_id=7)
    assert claim.expires_at
    assert worker.created_at
    assert claim.expires_at - worker.created_at > timedelta(minutes=4)


async def test_whatever_a_task_has_to_say_is_said_in_one_call_and_is_in_the_job(client: AsyncClient) -> None:
    claim = await claimed(client)
    [task] = claim.tasks
    token = task.lease_token

    answer = await client.workers.report_tasks(
        claim.session_id,
        [
            reports.Accepted(token),
            reports.Progressed(token, Progress(items_total=4, items_processed=1, step="read"), number=1),
            reports.ItemErrors(token, [ItemError(index=2, key="row 2", code="ODD")]),
            reports.Logged(token, [LogEntry(message="half way", level=LogLevel.WARNING, fields={"n": 2})]),
            reports.Checkpointed(token, {"row": 2}, progress=Progress(items_total=4, items_processed=2)),
        ],
    )
    job = await client.jobs.get_job(task.job_id, include_errors=True, include_checkpoint=True)

    assert (answer.rejections, answer.dropped_progress, answer.stops) == ((), (), ())
    assert answer.expires_at
    assert (job.state, job.progress.items_processed, job.checkpoint) == (JobState.RUNNING, 2, {"row": 2})
    assert [(error.index, error.key, error.code) for error in job.item_errors] == [(2, "row 2", "ODD")]
    [line] = [line async for line in client.jobs.logs(task.job_id)]
    assert (line.message, line.level, line.fields) == ("half way", LogLevel.WARNING, {"n": 2})

    done = reports.Completed(token, {"score": 4}, progress=Progress(items_total=4, items_processed=4))
    assert not (await client.workers.report_tasks(claim.session_id, [done])).rejections
    job = await client.jobs.wait_for_job(task.job_id, timeout=10)
    assert (job.result, job.progress.percent) == ({"score": 4}, 100)


async def test_a_failure_says_how_and_when_to_try_again_and_the_next_attempt_has_the_checkpoint(
    client: AsyncClient,
) -> None:
    claim = await claimed(client)
    token = claim.tasks[0].lease_token

    await client.workers.report_tasks(
        claim.session_id,
        [
            reports.Checkpointed(token, b"\x00row 2"),
            reports.Failed(token, "no disk", code="IO", details={"left": 0}, stack="at row 2", retry_delay=0),
        ],
    )
    again = await client.workers.claim_tasks(["score"], session_id=claim.session_id, timeout=SOON, accept=True)
    [task] = again.tasks
    error = (await client.jobs.get_job(task.job_id)).error

    assert (task.attempt, task.checkpoint, again.session_id) == (2, b"\x00row 2", claim.session_id)
    assert task.fence > claim.tasks[0].fence
    assert error is not None
    assert (error.code, error.message, error.details, error.stack) == ("IO", "no disk", {"left": 0}, "at row 2")

    final = reports.Failed(task.lease_token, "no disk at all", retryable=False)
    await client.workers.report_tasks(again.session_id, [final])
    assert (await client.jobs.get_job(task.job_id)).state is JobState.FAILED


async def test_a_task_that_is_given_back_waits_and_does_not_count(client: AsyncClient) -> None:
    claim = await claimed(client)

    released = reports.Released(claim.tasks[0].lease_token, "not now", reason=ReleaseReason.NO_CAPACITY, delay=3600)
    await client.workers.report_tasks(claim.session_id, [released])

    job = await client.jobs.get_job(claim.tasks[0].job_id)
    assert (job.state, job.attempt) == (JobState.SCHEDULED, 0)


async def test_a_heartbeat_names_what_is_to_stop_and_what_is_lost(client: AsyncClient) -> None:
    claim = await claimed(client)
    [task] = claim.tasks
    await client.jobs.cancel_job(task.job_id, reason="too late", grace=30)

    beat = await client.workers.heartbeat(claim.session_id, [task.lease_token, b"nonsense"])

    [stop] = beat.stops
    assert stop.grace is not None
    assert timedelta(seconds=20) < stop.grace <= timedelta(seconds=30)
    assert stop == StopRequest(
        lease_token=task.lease_token, cause=CancelCause.REQUESTED, reason="too late", grace=stop.grace
    )
    assert beat.lost == (b"nonsense",)
    assert beat.expires_at

    answer = await client.workers.report_tasks(claim.session_id, [reports.Cancelled(task.lease_token, "stopped")])
    assert not answer.rejections
    assert (await client.jobs.get_job(task.job_id)).state is JobState.CANCELLED


async def test_a_report_that_is_not_taken_is_named_with_its_error_and_the_others_are(client: AsyncClient) -> None:
    claim = await claimed(client)
    token = claim.tasks[0].lease_token
    done, other, lost = reports.Completed(token, 1), reports.Completed(token, 2), reports.Accepted(b"nonsense")

    answer = await client.workers.report_tasks(claim.session_id, [done, lost, other])

    assert [it.report for it in answer.rejections] == [lost, other]
    assert [type(it.error) for it in answer.rejections] == [LeaseLostError, ResultConflictError]
    assert (await client.jobs.get_job(claim.tasks[0].job_id)).result == 1


async def test_a_session_that_is_over_says_so_and_what_was_done_may_still_be_taken(client: AsyncClient) -> None:
    with pytest.raises(SessionExpiredError):
        await client.workers.heartbeat(NOBODY)
    with pytest.raises(SessionExpiredError):
        await client.workers.claim_tasks(["score"], session_id=NOBODY)

    claim = await claimed(client)
    done = reports.Completed(claim.tasks[0].lease_token)
    with pytest.raises(SessionExpiredError):
        await client.workers.report_tasks(NOBODY, [done])
    assert not (await client.workers.report_tasks("", [done])).rejections


async def test_jobs_are_claimed_by_id_and_a_claim_of_nothing_is_refused_by_name(client: AsyncClient) -> None:
    first, second = [(await client.jobs.submit("score")).id for _ in range(2)]

    claim = await client.workers.claim_tasks(job_ids=[second])
    nothing = await client.workers.claim_tasks(job_ids=[second], session_id=claim.session_id)

    assert [task.job_id for task in claim.tasks] == [second]
    assert nothing.tasks == ()
    assert (await client.jobs.get_job(first)).state is JobState.PENDING
    with pytest.raises(FieldInvalidError, match="job_types"):
        await client.workers.claim_tasks()
    with pytest.raises(FieldInvalidError, match="job_types: is the text"):
        await client.workers.claim_tasks("score")
