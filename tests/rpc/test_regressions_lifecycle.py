"""Faults of the lifecycle that were found by hunting over the calls: each test opens with what went wrong before."""

from typing import Any

from jobhall.ids import new_id
from jobhall.limits import INTEGER_MAX
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall.v1.batch_service_pb2 import CreateBatchRequest, GetBatchRequest
from jobhall.v1.job_type_service_pb2 import DeleteJobTypeRequest
from jobhall_server.storage.tally import ITEMS_COUNTED_MAX
from tests.support.calls import get, refusal, submission
from tests.support.servers import Running
from tests.support.unary_calls import SOON, claim, report

AT_ONCE = {"initial_delay": {"seconds": 0}}
HUGE = 2**63 - 1


async def listed(server: Running) -> list[str]:
    """The ids of all jobs, the newest first."""
    return [job.id for job in (await server.jobs.ListJobs(pb.ListJobsRequest())).jobs]


async def test_an_id_that_gave_its_place_cannot_come_back_within_the_same_request(brisk: Running) -> None:
    """A submit that replaces a job deletes it, and then the same request brought that very job once more. Two rows of
    one id were to be written at once: the whole request ended INTERNAL, and of a stream every submit of the message.
    """
    replacing: dict[str, Any] = {"unique_key": "daily", "unique_policy": job_pb2.UNIQUE_POLICY_REPLACE_PENDING}
    first, second = (submission(job_id=new_id(), **replacing) for _ in range(2))
    await brisk.jobs.SubmitJob(pb.SubmitJobRequest(job=first))

    for jobs in ([second, first], [second, submission(job_id=first.job_id)], [second, first, second]):
        error = await refusal(brisk.jobs.BatchSubmitJobs(pb.BatchSubmitJobsRequest(jobs=jobs)))
        assert (error.reason, error.metadata["job_id"]) == ("JOB_ID_REUSED", first.job_id)
        assert await listed(brisk) == [first.job_id]

    stream = brisk.jobs.SubmitJobStream(timeout=10)
    await stream.write(pb.SubmitJobStreamRequest(first_seq=1, jobs=[second, first, second, submission()]))
    await stream.done_writing()
    outcomes = [outcome async for answer in stream for outcome in answer.outcomes]
    assert [outcome.WhichOneof("outcome") for outcome in outcomes] == ["submitted", "error", "submitted", "submitted"]
    assert outcomes[2].submitted.existing
    assert await listed(brisk) == [outcomes[3].submitted.job_id, second.job_id]


async def test_item_errors_stay_with_the_job_until_the_next_attempt_begins(brisk: Running) -> None:
    """Delivered to the next worker, the job still counted the item errors of its latest attempt, and showed none."""
    job = (await brisk.jobs.SubmitJob(pb.SubmitJobRequest(job=submission(retry_policy=AT_ONCE)))).job
    given = await claim(brisk, accept=True)
    token = given.tasks[0].lease_token
    errors = {"first_number": 1, "item_errors": [{"index": 3, "key": "row 3"}]}
    await report(
        brisk,
        given.session_id,
        {"lease_token": token, "item_errors": errors},
        {"lease_token": token, "failed": {"code": "E"}},
    )

    given = await claim(brisk, timeout=SOON)
    claimed = await get(brisk, job.id, include_errors=True)
    await report(brisk, given.session_id, {"lease_token": given.tasks[0].lease_token, "accepted": {}})
    begun = await get(brisk, job.id, include_errors=True)

    assert (claimed.item_error_count, [error.key for error in claimed.item_errors]) == (1, ["row 3"])
    assert (begun.item_error_count, list(begun.item_errors)) == (0, [])


async def test_numbers_that_no_task_can_mean_are_refused_alone(brisk: Running) -> None:
    """All integers of the contract lie below 2^53. Three members of a batch said to have 2^63 items: their sum was more
    than the database holds, so that nothing of the whole report was taken (INTERNAL), however often it was sent. And
    where a thousand members said the most that there may be, neither their batch nor a list with it could be read.
    """
    batch = (await brisk.batches.CreateBatch(CreateBatchRequest())).batch
    jobs = [submission(batch_id=batch.id) for _ in range(3)]
    await brisk.jobs.BatchSubmitJobs(pb.BatchSubmitJobsRequest(jobs=jobs))
    given = await claim(brisk, accept=True, tasks_max=3)
    tokens = [task.lease_token for task in given.tasks]

    progress = {"items_total": HUGE, "items_processed": HUGE}
    answer = await report(brisk, given.session_id, *({"lease_token": token, "progress": progress} for token in tokens))
    assert list(answer.dropped_progress_lease_tokens) == tokens

    item_errors = [{"index": HUGE}]
    answer = await report(
        brisk,
        given.session_id,
        {"lease_token": tokens[0], "item_errors": {"first_number": 1, "item_errors": item_errors}},
        {"lease_token": tokens[0], "item_errors": {"first_number": INTEGER_MAX, "item_errors": [{}, {}]}},
        {"lease_token": tokens[0], "progress": {"items_total": INTEGER_MAX}},
        logs=[{"seq": 4, "lease_token": tokens[0], "first_number": INTEGER_MAX, "log_entries": [{}, {}]}],
    )
    assert sorted(rejection.seq for rejection in answer.rejections) == [1, 2, 4]
    assert not answer.dropped_progress_lease_tokens
    shown = (await brisk.batches.GetBatch(GetBatchRequest(batch_id=batch.id))).batch
    assert shown.progress.items_total == ITEMS_COUNTED_MAX
    assert (await get(brisk, given.tasks[0].job_id)).progress.items_total == INTEGER_MAX


async def test_a_submit_that_is_sent_again_after_its_type_was_deleted_is_the_job_that_is_there(brisk: Running) -> None:
    """The same id and the same submission are the job that is there, in whatever state it is by now. It was looked for
    only after the type was found, so that whoever had lost the answer heard JOB_TYPE_NOT_FOUND of a job that had run.
    """
    sent = submission(job_id=new_id())
    await brisk.jobs.SubmitJob(pb.SubmitJobRequest(job=sent))
    await brisk.jobs.CancelJob(pb.CancelJobRequest(job_id=sent.job_id))
    await brisk.job_types.DeleteJobType(DeleteJobTypeRequest(name="score"))

    again = await brisk.jobs.SubmitJob(pb.SubmitJobRequest(job=sent))
    assert (again.existing, again.job.state) == (True, job_pb2.JOB_STATE_CANCELLED)
    for other, reason in (
        (submission(job_id=sent.job_id, priority=1), "JOB_ID_REUSED"),
        (submission(job_id=new_id()), "JOB_TYPE_NOT_FOUND"),
    ):
        assert (await refusal(brisk.jobs.SubmitJob(pb.SubmitJobRequest(job=other)))).reason == reason
