"""JobService: what each call answers; `test_bad_input.py` has what each refuses."""

import asyncio
import uuid

from jobhall.errors import Code
from jobhall.limits import PAYLOAD_BYTES_MAX
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.calls import RawWorker, get, refusal, register, submission, submit
from tests.support.servers import Running

NOBODY = "0190a0b0-0000-7000-8000-000000000000"


async def test_a_submitted_job_is_answered_in_full_and_read_back_the_same(server: Running) -> None:
    await register(server)

    job = await submit(
        server,
        json='{"a": 1}',
        labels={"team": "red"},
        path="/files/1",
        priority=7,
        max_attempts=2,
        file_info={"name": "annual.csv", "size_bytes": 10},
    )

    assert job.state == job_pb2.JOB_STATE_PENDING
    assert uuid.UUID(job.id).version == 7
    assert (job.namespace, job.job_type, job.priority, job.max_attempts) == ("default", "score", 7, 2)
    assert (job.parameters.json, dict(job.labels), job.path) == ('{"a": 1}', {"team": "red"}, "/files/1")
    assert (job.file_info.name, job.file_info.size_bytes) == ("annual.csv", 10)
    assert (job.revision, job.etag, job.owner) == (1, "1", "anonymous")
    again = await get(server, job.id)
    again.ClearField("timing")
    job.ClearField("timing")
    assert again == job


async def test_a_basic_view_has_no_payload_and_no_labels(server: Running) -> None:
    await register(server)
    job = await submit(server, json="{}", labels={"a": "b"})

    basic = await get(server, job.id, view=job_pb2.JOB_VIEW_BASIC)

    assert (basic.id, basic.state, basic.revision) == (job.id, job.state, 1)
    assert not basic.HasField("parameters")
    assert not basic.labels


async def test_an_object_is_stored_as_json_and_shown_as_an_object_on_request(server: Running) -> None:
    await register(server)
    message = submission()
    message.parameters.object.update({"n": 3, "deep": {"x": [1.5, None, True]}})

    job = (await server.jobs.SubmitJob(pb.SubmitJobRequest(job=message))).job

    assert job.parameters.json == '{"deep":{"x":[1.5,null,true]},"n":3}'
    shown = await get(server, job.id, object_payloads=True)
    assert dict(shown.parameters.object)["n"] == 3


async def test_a_submit_with_its_own_id_may_be_repeated(server: Running) -> None:
    await register(server)
    job_id = str(uuid.uuid4())

    request = pb.SubmitJobRequest(job=submission(json="{}", job_id=job_id))
    first = await server.jobs.SubmitJob(request)
    again = await server.jobs.SubmitJob(request)
    other = await refusal(submit(server, json="[]", job_id=job_id))

    assert first.job.id == again.job.id == job_id
    assert (first.existing, again.existing) == (False, True)
    assert (other.code, other.reason) == (Code.ALREADY_EXISTS, "JOB_ID_REUSED")


async def test_a_batch_of_submits_is_all_or_nothing(server: Running) -> None:
    await register(server)

    made = await server.jobs.BatchSubmitJobs(pb.BatchSubmitJobsRequest(jobs=[submission() for _ in range(3)]))
    error = await refusal(
        server.jobs.BatchSubmitJobs(pb.BatchSubmitJobsRequest(jobs=[submission(), submission("scor")]))
    )

    assert len({job.id for job in made.jobs}) == 3
    assert error.reason == "JOB_TYPE_NOT_FOUND"
    assert len((await server.jobs.ListJobs(pb.ListJobsRequest())).jobs) == 3


async def test_jobs_are_read_by_their_ids_and_the_unknown_ones_named(server: Running) -> None:
    await register(server)
    jobs = [await submit(server, json=str(number)) for number in range(3)]

    answer = await server.jobs.BatchGetJobs(pb.BatchGetJobsRequest(job_ids=[jobs[2].id, NOBODY, jobs[0].id]))

    assert [job.id for job in answer.jobs] == [jobs[2].id, jobs[0].id]
    assert answer.missing_job_ids == [NOBODY]
    assert not answer.remaining_job_ids


async def test_jobs_that_do_not_fit_into_one_answer_are_named_for_another(server: Running) -> None:
    await register(server)
    large = '"' + "x" * (PAYLOAD_BYTES_MAX - 2) + '"'
    ids = [(await submit(server, json=large)).id for _ in range(5)]

    answer = await server.jobs.BatchGetJobs(pb.BatchGetJobsRequest(job_ids=ids))
    page = await server.jobs.ListJobs(pb.ListJobsRequest(view=job_pb2.JOB_VIEW_FULL))

    assert [job.id for job in answer.jobs] + list(answer.remaining_job_ids) == ids
    assert len(answer.jobs) == 3
    assert len(page.jobs) == 3
    rest = await server.jobs.ListJobs(pb.ListJobsRequest(view=job_pb2.JOB_VIEW_FULL, page_token=page.next_page_token))
    assert [job.id for job in [*page.jobs, *rest.jobs]] == ids[::-1]


async def test_a_list_is_read_page_by_page_newest_first_and_filtered(server: Running) -> None:
    await register(server)
    ids = [(await submit(server, labels={"parity": str(number % 2)})).id for number in range(5)]

    first = await server.jobs.ListJobs(pb.ListJobsRequest(page_size=2))
    second = await server.jobs.ListJobs(pb.ListJobsRequest(page_size=2, page_token=first.next_page_token))
    last = await server.jobs.ListJobs(pb.ListJobsRequest(page_size=2, page_token=second.next_page_token))
    odd = await server.jobs.ListJobs(pb.ListJobsRequest(filter="labels.parity = 1 AND state = PENDING"))
    skipped = await server.jobs.ListJobs(pb.ListJobsRequest(skip=3))

    assert [job.id for page in (first, second, last) for job in page.jobs] == ids[::-1]
    assert not last.next_page_token
    assert [job.id for job in odd.jobs] == [ids[3], ids[1]]
    assert [job.id for job in skipped.jobs] == [ids[1], ids[0]]


async def test_a_wait_returns_when_its_time_is_over_and_when_the_job_ends(server: Running) -> None:
    await register(server)
    job = await submit(server)
    request = pb.WaitJobRequest(job_id=job.id)
    request.timeout.nanos = 1_000_000

    early = await server.jobs.WaitJob(request)
    waiting = asyncio.ensure_future(server.jobs.WaitJob(pb.WaitJobRequest(job_id=job.id)))
    await server.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id, reason="enough"))
    ended = await waiting

    assert not early.done
    assert ended.done
    assert ended.job.state == job_pb2.JOB_STATE_CANCELLED
    assert (ended.job.cancel_reason, ended.job.cancelled_by) == ("enough", "anonymous")


async def test_a_cancelled_job_may_be_cancelled_again_and_a_deleted_one_is_gone(server: Running) -> None:
    await register(server)
    job = await submit(server)

    first = await server.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id))
    again = await server.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id))
    last = await server.jobs.DeleteJob(pb.DeleteJobRequest(job_id=job.id))
    gone = await refusal(get(server, job.id))

    assert first.job.state == again.job.state == last.job.state == job_pb2.JOB_STATE_CANCELLED
    assert not first.worker_told
    assert gone.reason == "JOB_NOT_FOUND"


async def test_a_running_job_is_not_deleted_and_a_finished_one_not_cancelled(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()
    job = await submit(server)
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, accepted={})

    running = await refusal(server.jobs.DeleteJob(pb.DeleteJobRequest(job_id=job.id)))
    await worker.report(task.lease_token, completed={})
    finished = await refusal(server.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id)))

    assert (running.code, running.reason) == (Code.FAILED_PRECONDITION, "JOB_RUNNING")
    assert (finished.code, finished.reason) == (Code.FAILED_PRECONDITION, "JOB_TERMINAL")
    assert finished.metadata["state"] == "COMPLETED"
    await worker.end()


async def test_item_errors_and_log_lines_are_listed_in_pages(server: Running) -> None:
    worker = RawWorker(server)
    await worker.hello()
    job = await submit(server)
    (task,) = await worker.tasks()
    errors = [{"index": n, "key": f"row {n}", "code": "BAD", "message": "no"} for n in range(3)]
    await worker.report(task.lease_token, item_errors={"first_number": 1, "item_errors": errors})
    await worker.log(task.lease_token, 1, "one", "two", "three")

    first = await server.jobs.ListItemErrors(pb.ListItemErrorsRequest(job_id=job.id, page_size=2))
    token = first.next_page_token
    rest = await server.jobs.ListItemErrors(pb.ListItemErrorsRequest(job_id=job.id, page_size=2, page_token=token))
    logs = await server.jobs.ListJobLogs(pb.ListJobLogsRequest(job_id=job.id))
    shown = await get(server, job.id, include_errors=True)

    assert [error.key for error in [*first.item_errors, *rest.item_errors]] == ["row 0", "row 1", "row 2"]
    assert first.total_count == 3
    assert [(entry.number, entry.message, entry.attempt) for entry in logs.log_entries] == [
        (1, "one", 1),
        (2, "two", 1),
        (3, "three", 1),
    ]
    assert [error.index for error in shown.item_errors] == [0, 1, 2]
    for view in (job_pb2.JOB_VIEW_FULL, job_pb2.JOB_VIEW_BASIC):
        several = pb.BatchGetJobsRequest(job_ids=[job.id], view=view, include_errors=True)
        (listed,) = (await server.jobs.BatchGetJobs(several)).jobs
        assert [error.index for error in listed.item_errors] == [0, 1, 2]
    await worker.end()


async def test_an_unknown_type_is_refused_with_the_nearest_one(server: Running) -> None:
    await register(server, "resize")

    error = await refusal(submit(server, "resise"))

    assert error.metadata["nearest"] == "resize"
    assert "did you mean 'resize'?" in error.message
