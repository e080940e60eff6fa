"""ListAttempts: each accepted start with its worker, times, outcome and error; those before a retry stay."""

from typing import Any

import pytest

from jobhall.errors import Code
from jobhall.states import AttemptOutcome, FailureKind, JobState
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.calls import RawWorker, get, refusal, submit
from tests.support.servers import Running
from tests.support.unary_calls import SOON, claim, fail, report

NOBODY = "0190a0b0-0000-7000-8000-000000000000"


async def attempts(server: Running, job_id: str, **fields: Any) -> list[job_pb2.Attempt]:
    return list((await server.jobs.ListAttempts(pb.ListAttemptsRequest(job_id=job_id, **fields))).attempts)


async def failing(server: Running, times: int, **fields: Any) -> job_pb2.Job:
    """A job that failed so many times and waits for its next attempt."""
    job = await submit(server, max_attempts=1000, **fields)
    for _ in range(times):
        await fail(server, retry_delay={})
    return await get(server, job.id)


async def test_a_job_that_was_not_started_has_no_attempt(brisk: Running) -> None:
    job = await submit(brisk)
    before = await attempts(brisk, job.id)
    await claim(brisk, timeout=SOON)

    assert before == []
    assert await attempts(brisk, job.id) == []


async def test_an_attempt_under_way_has_its_worker_and_no_end(brisk: Running) -> None:
    worker = RawWorker(brisk)
    welcome = await worker.hello()
    job = await submit(brisk)
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, accepted={})
    progress: Any = {"items_total": 10, "items_processed": 4}
    await worker.send(task_updates={"updates": [{"lease_token": task.lease_token, "progress": progress}]})
    await worker.beat(task.lease_token)

    (attempt,) = await attempts(brisk, job.id)

    assert (attempt.attempt, attempt.fence) == (1, task.fence)
    assert (attempt.worker_name, attempt.session_id) == ("by-hand", welcome.session_id)
    assert int(attempt.outcome) == AttemptOutcome.UNSPECIFIED
    assert attempt.claim_time.ToMicroseconds() <= attempt.start_time.ToMicroseconds()
    assert not attempt.HasField("end_time")
    assert not attempt.HasField("error")
    assert (attempt.progress.items_processed, attempt.progress.percent) == (4, 40)


async def test_every_failed_attempt_keeps_its_own_error_and_the_last_one_its_result(brisk: Running) -> None:
    job = await submit(brisk)
    for number in range(3):
        await fail(brisk, code=f"CODE_{number}", message=f"number {number}", retry_delay={})
    given = await claim(brisk, accept=True, timeout=SOON)
    await report(brisk, given.session_id, {"lease_token": given.tasks[0].lease_token, "completed": {}})

    found = await attempts(brisk, job.id)

    assert [attempt.attempt for attempt in found] == [1, 2, 3, 4]
    assert [attempt.fence for attempt in found] == [1, 2, 3, 4]
    assert [int(attempt.outcome) for attempt in found] == [AttemptOutcome.FAILED] * 3 + [AttemptOutcome.COMPLETED]
    assert [(attempt.error.code, attempt.error.message) for attempt in found[:3]] == [
        (f"CODE_{number}", f"number {number}") for number in range(3)
    ]
    assert [attempt.error.attempt for attempt in found[:3]] == [1, 2, 3]
    assert not found[3].HasField("error")
    assert all(attempt.start_time.ToMicroseconds() <= attempt.end_time.ToMicroseconds() for attempt in found)
    assert len({attempt.session_id for attempt in found}) == 4


async def test_attempts_before_a_retry_stay_and_those_after_it_count_anew(brisk: Running) -> None:
    job = await submit(brisk, max_attempts=1)
    await fail(brisk, code="FIRST")
    await brisk.jobs.RetryJob(pb.RetryJobRequest(job_id=job.id))
    await fail(brisk, code="SECOND")

    found = await attempts(brisk, job.id)

    assert [(attempt.attempt, attempt.fence, attempt.error.code) for attempt in found] == [
        (1, 1, "FIRST"),
        (1, 2, "SECOND"),
    ]


async def test_a_cancelled_attempt_is_kept(brisk: Running) -> None:
    job = await submit(brisk)
    given = await claim(brisk, accept=True)
    await brisk.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id))
    under_way = await attempts(brisk, job.id)
    await report(brisk, given.session_id, {"lease_token": given.tasks[0].lease_token, "cancelled": {}})

    (over,) = await attempts(brisk, job.id)

    assert [int(attempt.outcome) for attempt in under_way] == [AttemptOutcome.UNSPECIFIED]
    assert int(over.outcome) == AttemptOutcome.CANCELLED
    assert over.HasField("end_time")


async def test_an_attempt_given_back_is_kept_and_not_counted(brisk: Running) -> None:
    job = await submit(brisk)
    given = await claim(brisk, accept=True)
    await report(brisk, given.session_id, {"lease_token": given.tasks[0].lease_token, "released": {}})
    again = await claim(brisk, accept=True, timeout=SOON)
    await report(brisk, again.session_id, {"lease_token": again.tasks[0].lease_token, "completed": {}})

    found = await attempts(brisk, job.id)

    assert [(one.attempt, int(one.outcome)) for one in found] == [
        (1, AttemptOutcome.RELEASED),
        (1, AttemptOutcome.COMPLETED),
    ]
    assert (await get(brisk, job.id)).attempt == 1


async def test_an_attempt_whose_worker_was_lost_says_so(brisk: Running) -> None:
    worker = RawWorker(brisk)
    await worker.hello()
    job = await submit(brisk)
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, accepted={})
    worker.cut()
    given = await claim(brisk, accept=True, timeout=SOON)

    lost, present = await attempts(brisk, job.id)

    assert (int(lost.outcome), int(lost.error.kind)) == (AttemptOutcome.FAILED, FailureKind.WORKER_LOST)
    assert "its worker was lost in attempt 1 of 4" in lost.error.message
    assert (present.attempt, present.worker_name) == (2, "cron")
    assert given.tasks[0].attempt == 2


async def test_each_attempt_keeps_its_own_progress_and_count_of_item_errors(brisk: Running) -> None:
    job = await submit(brisk)
    for number in (1, 2):
        given = await claim(brisk, accept=True, timeout=SOON)
        token = given.tasks[0].lease_token
        errors = [{"key": f"row {place}"} for place in range(number)]
        await report(
            brisk,
            given.session_id,
            {"lease_token": token, "item_errors": {"first_number": 1, "item_errors": errors}},
            {"lease_token": token, "failed": {"retry_delay": {}, "progress": {"items_processed": 10 * number}}},
        )

    found = await attempts(brisk, job.id)

    assert [attempt.progress.items_processed for attempt in found] == [10, 20]
    assert [attempt.item_error_count for attempt in found] == [1, 2]


async def test_pages_and_skips_hold_each_attempt_once(brisk: Running) -> None:
    job = await failing(brisk, 7)
    assert JobState(job.state) is JobState.PENDING

    async def pages(**fields: Any) -> list[list[int]]:
        found, token = [], ""
        while True:
            request = pb.ListAttemptsRequest(job_id=job.id, page_token=token, **fields)
            answer = await brisk.jobs.ListAttempts(request)
            found.append([attempt.attempt for attempt in answer.attempts])
            token = answer.next_page_token
            if not token:
                return found

    assert await pages(page_size=3) == [[1, 2, 3], [4, 5, 6], [7]]
    assert await pages(page_size=3, skip=2) == [[3, 4, 5], [6, 7]]
    assert await pages(skip=7) == [[]]


PAGE: list[tuple[dict[str, Any], str]] = [
    ({"job_id": "x"}, "job_id"),
    ({"page_size": -1}, "page_size"),
    ({"page_size": 1001}, "page_size"),
    ({"page_token": "%%%"}, "page_token"),
    ({"page_token": "cFsxLDFdLjA"}, "page_token"),
    ({"skip": -1}, "skip"),
    ({"skip": 10_001}, "skip"),
]
ATTEMPT: list[tuple[dict[str, Any], str]] = [({"attempt": -1}, "attempt"), ({"attempt": 1001}, "attempt")]
BAD = {
    "ListAttempts": PAGE,
    "ListItemErrors": [*PAGE, *ATTEMPT],
    "ListJobLogs": [*PAGE, *ATTEMPT, ({"min_level": 9}, "min_level"), ({"after_number": -1}, "after_number")],
}


@pytest.mark.parametrize("method", BAD)
async def test_what_cannot_be_meant_is_refused_by_its_field(brisk: Running, method: str) -> None:
    job = await failing(brisk, 1)

    for fields, field in BAD[method]:
        request = getattr(pb, f"{method}Request")(**{"job_id": job.id, **fields})
        error = await refusal(getattr(brisk.jobs, method)(request))

        assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID"), fields
        assert [violation.field for violation in error.violations] == [field]


@pytest.mark.parametrize("method", ["ListAttempts", "ListJobLogs", "ListItemErrors"])
async def test_a_job_that_is_not_there_has_no_history(brisk: Running, method: str) -> None:
    error = await refusal(getattr(brisk.jobs, method)(getattr(pb, f"{method}Request")(job_id=NOBODY)))

    assert (error.code, error.reason) == (Code.NOT_FOUND, "JOB_NOT_FOUND")
