"""ExplainJob over the real server: each kind of reason, brought about as it comes about."""

from typing import Any

import pytest

from jobhall.errors import Code
from jobhall.states import JobState, WaitReasonKind
from jobhall.v1 import batch_service_pb2 as batch_pb
from jobhall.v1 import job_service_pb2 as pb
from jobhall.v1 import job_type_service_pb2 as types_pb
from jobhall.v1 import worker_service_pb2
from tests.support.calls import RawWorker, refusal, register, submission, submit
from tests.support.servers import Running
from tests.support.unary_calls import claim, fail, report
from tests.support.waiting import eventually_async

FAR: Any = {"seconds": 4_000_000_000}
SOON = 10.0


async def explain(server: Running, job_id: str) -> pb.JobExplanation:
    return (await server.jobs.ExplainJob(pb.ExplainJobRequest(job_id=job_id))).explanation


async def kinds(server: Running, job_id: str) -> list[WaitReasonKind]:
    return [WaitReasonKind(reason.kind) for reason in (await explain(server, job_id)).reasons]


async def hungry(server: Running, *job_types: str, tasks_max: int = 10, **fields: Any) -> RawWorker:
    worker = RawWorker(server, *job_types, tasks_max=tasks_max)
    await worker.hello(**fields)
    return worker


async def test_no_worker_is_there(brisk: Running) -> None:
    job = await submit(brisk)

    explanation = await explain(brisk, job.id)

    (reason,) = explanation.reasons
    assert (explanation.job_id, JobState(explanation.state)) == (job.id, JobState.PENDING)
    assert int(reason.kind) == WaitReasonKind.NO_WORKER
    assert explanation.summary == reason.message == "No worker serves score in the namespace default."
    assert dict(reason.metadata) == {"job_type": "score", "namespace": "default", "workers": "0"}


async def test_workers_of_another_namespace_and_of_a_like_type_are_named(brisk: Running) -> None:
    job = await submit(brisk)
    await hungry(brisk, "scores")
    like = (await explain(brisk, job.id)).reasons[0]
    await hungry(brisk, "score", namespaces=["blue"])
    elsewhere = (await explain(brisk, job.id)).reasons[0]

    assert like.metadata["nearest"] == "scores"
    assert elsewhere.metadata["other_namespaces"] == "blue"
    assert {like.kind, elsewhere.kind} == {int(WaitReasonKind.NO_WORKER)}


async def test_workers_have_no_room_and_others_come_first(brisk: Running) -> None:
    worker = await hungry(brisk, tasks_max=1)
    await submit(brisk)
    await worker.tasks()
    first, second = await submit(brisk), await submit(brisk)

    assert await kinds(brisk, first.id) == [WaitReasonKind.NO_CAPACITY]
    explanation = await explain(brisk, second.id)
    no_room, behind = explanation.reasons
    assert (no_room.metadata["workers"], no_room.metadata["tasks_max"]) == ("1", "1")
    assert (int(behind.kind), behind.metadata["jobs_ahead"]) == (WaitReasonKind.BEHIND_OTHERS, "1")
    assert explanation.jobs_ahead == 1


async def test_a_number_of_its_own_for_the_type_is_its_room(brisk: Running) -> None:
    worker = RawWorker(brisk, "score", tasks_max=10)
    await worker.hello()
    await worker.send(capacity={"tasks_max": 10, "types": [{"job_type": "score", "tasks_max": 1}]})
    await worker.beat()
    await submit(brisk)
    await worker.tasks()
    job = await submit(brisk)

    assert await kinds(brisk, job.id) == [WaitReasonKind.NO_CAPACITY]


async def test_its_type_is_paused(brisk: Running) -> None:
    await hungry(brisk)
    await brisk.job_types.PauseJobType(types_pb.PauseJobTypeRequest(name="score"))
    job = await submit(brisk)

    assert await kinds(brisk, job.id) == [WaitReasonKind.TYPE_PAUSED]


async def test_its_batch_is_not_active(brisk: Running) -> None:
    await hungry(brisk)
    request = batch_pb.CreateBatchRequest(active=False, jobs=[submission()])
    created = await brisk.batches.CreateBatch(request)
    (job_id,) = created.job_ids

    (reason,) = (await explain(brisk, job_id)).reasons

    assert (int(reason.kind), reason.metadata["batch_id"]) == (WaitReasonKind.BATCH_INACTIVE, created.batch.id)


async def test_it_is_not_due(brisk: Running) -> None:
    await hungry(brisk)
    job = await submit(brisk, schedule_time=FAR)

    (reason,) = (await explain(brisk, job.id)).reasons

    assert (int(reason.kind), reason.until_time.seconds) == (WaitReasonKind.NOT_DUE, FAR["seconds"])


async def test_it_backs_off_after_a_failure(brisk: Running) -> None:
    job = await submit(brisk)
    await fail(brisk, retry_delay={"seconds": 3600})

    reason = (await explain(brisk, job.id)).reasons[0]

    assert int(reason.kind) == WaitReasonKind.BACKING_OFF
    assert "Attempt 1 of 4 failed (BROKEN)" in reason.message
    assert reason.until_time.seconds > 0


async def test_the_session_with_room_gave_it_back_as_not_its_own(brisk: Running) -> None:
    worker = await hungry(brisk)
    job = await submit(brisk)
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, released={"reason": 3})

    (reason,) = (await explain(brisk, job.id)).reasons

    assert int(reason.kind) == WaitReasonKind.SESSIONS_EXCLUDED
    assert "by-hand" in reason.message


async def test_the_only_worker_drains(brisk: Running) -> None:
    worker = RawWorker(brisk)
    welcome = await worker.hello()
    job = await submit(brisk)
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, accepted={})

    await brisk.workers.DrainWorker(worker_service_pb2.DrainWorkerRequest(worker_id=welcome.session_id))
    waiting = await submit(brisk)

    (reason,) = (await explain(brisk, waiting.id)).reasons
    assert (int(reason.kind), reason.metadata["draining"]) == (WaitReasonKind.NO_WORKER, "1")
    assert await kinds(brisk, job.id) == [WaitReasonKind.NOT_WAITING]


async def test_jobs_that_lost_their_workers_are_kept_apart(brisk: Running) -> None:
    # Two jobs whose worker went without a word: one worker is given one of them at a time.
    first = await hungry(brisk, tasks_max=2)
    jobs = [await submit(brisk) for _ in range(2)]
    tasks: list[Any] = []
    while len(tasks) < 2:
        tasks += await first.tasks()
    for task in tasks:
        await first.report(task.lease_token, accepted={})
    first.cut()
    for job in jobs:
        await back(brisk, job.id)

    second = await hungry(brisk)
    (given,) = await second.tasks()

    (other,) = {job.id for job in jobs} - {given.job_id}
    assert await kinds(brisk, other) == [WaitReasonKind.POISON_SUSPECT]


async def back(server: Running, job_id: str) -> None:
    async def pending() -> bool:
        return int((await explain(server, job_id)).state) == JobState.PENDING

    await eventually_async(pending, within=SOON, what="the job is PENDING again")


async def test_a_job_in_the_hands_of_a_worker_or_at_its_end_does_not_wait(brisk: Running) -> None:
    job = await submit(brisk)
    given = await claim(brisk)
    claimed = await explain(brisk, job.id)
    token = given.tasks[0].lease_token
    await report(brisk, given.session_id, {"lease_token": token, "accepted": {}})
    running = await explain(brisk, job.id)
    await report(brisk, given.session_id, {"lease_token": token, "completed": {}})
    over = await explain(brisk, job.id)

    assert ["given to the worker cron" in claimed.summary, "cron runs it" in running.summary] == [True, True]
    assert over.summary.startswith("It is COMPLETED since ")
    assert {one.reasons[0].kind for one in (claimed, running, over)} == {int(WaitReasonKind.NOT_WAITING)}
    assert running.reasons[0].metadata["session_id"] == given.session_id


async def test_nothing_keeps_a_job_that_is_about_to_be_given_out(brisk: Running) -> None:
    # A worker with room takes it within milliseconds: what is asked in between has no reason to tell.
    await hungry(brisk)
    job = await submit(brisk)

    explanation = await explain(brisk, job.id)

    assert [WaitReasonKind(reason.kind) for reason in explanation.reasons] in ([], [WaitReasonKind.NOT_WAITING])


@pytest.mark.parametrize(
    ("job_id", "code", "reason"),
    [
        ("", Code.INVALID_ARGUMENT, "FIELD_INVALID"),
        ("x", Code.INVALID_ARGUMENT, "FIELD_INVALID"),
        ("0190a0b0-0000-7000-8000-000000000000", Code.NOT_FOUND, "JOB_NOT_FOUND"),
    ],
)
async def test_a_job_that_is_not_there_is_not_explained(server: Running, job_id: str, code: Code, reason: str) -> None:
    await register(server)

    error = await refusal(server.jobs.ExplainJob(pb.ExplainJobRequest(job_id=job_id)))

    assert (error.code, error.reason) == (code, reason)
