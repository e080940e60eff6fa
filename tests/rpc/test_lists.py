"""ListJobs: every filter field, the four orders, pages that go on where the last one ended, and views."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobhall.v1 import batch_service_pb2, batch_service_pb2_grpc, job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.calls import RawWorker, get, refusal, register, submission, submit
from tests.support.servers import Running
from tests.support.unary_calls import fail


async def listed(server: Running, text: str = "", **fields: Any) -> list[str]:
    """The ids of all pages."""
    ids: list[str] = []
    request = pb.ListJobsRequest(filter=text, **fields)
    while True:
        page = await server.jobs.ListJobs(request)
        ids += [job.id for job in page.jobs]
        if not page.next_page_token:
            return ids
        request.page_token = page.next_page_token


def written(job: job_pb2.Job, name: str, seconds: float = 0) -> str:
    """The time in that field, so many seconds later, as a filter has it."""
    us = getattr(job, name).ToMicroseconds() + round(seconds * 1e6)
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).isoformat()


async def test_a_list_says_by_kind_and_code_how_a_job_failed(server: Running) -> None:
    await register(server)
    job = await submit(server, max_attempts=2)
    waiting = await fail(server, code="BROKEN", message="in many words", retry_delay={"seconds": 3600})

    [brief] = (await server.jobs.ListJobs(pb.ListJobsRequest())).jobs

    assert (waiting.error.message, job.HasField("error")) == ("in many words", False)
    assert brief.error == job_pb2.JobError(kind=job_pb2.FAILURE_KIND_APPLICATION, code="BROKEN")
    await server.jobs.CancelJob(pb.CancelJobRequest(job_id=job.id))
    assert not (await server.jobs.ListJobs(pb.ListJobsRequest())).jobs[0].HasField("error")


async def test_each_condition_of_a_filter_finds_its_jobs_and_no_others(server: Running) -> None:
    worker = RawWorker(server, "fails", tasks_max=1)
    await worker.hello()
    await register(server)
    plain = await submit(server)
    urgent = await submit(server, priority=9, unique_key="nightly", path="/a b", labels={"team": "red"})
    failed = await submit(server, "fails")
    (task,) = await worker.tasks()
    await worker.report(task.lease_token, failed={"code": "BROKEN", "retryable": False})
    cancelled = await submit(server)
    await server.jobs.CancelJob(pb.CancelJobRequest(job_id=cancelled.id))
    cancelled, failed = await get(server, cancelled.id), await get(server, failed.id)
    everything = [cancelled.id, failed.id, urgent.id, plain.id]

    expected = {
        "": everything,
        "state = pending": [urgent.id, plain.id],
        "state = FAILED OR state = CANCELLED": [cancelled.id, failed.id],
        "type = fails": [failed.id],
        "job_type = fails OR type = score": everything,
        "owner = anonymous": everything,
        "owner = somebody": [],
        'path = "/a b"': [urgent.id],
        "unique_key = nightly": [urgent.id],
        "error_kind = application": [failed.id],
        "error_kind = TIMEOUT": [],
        "error_code = BROKEN": [failed.id],
        "labels.team = red": [urgent.id],
        "priority > 0": [urgent.id],
        "priority = 0": [cancelled.id, failed.id, plain.id],
        "priority < 9 AND state = PENDING": [plain.id],
        f'create_time >= "{written(urgent, "create_time")}"': [cancelled.id, failed.id, urgent.id],
        f'create_time > "{written(urgent, "create_time")}"': [cancelled.id, failed.id],
        f'create_time < "{written(urgent, "create_time")}"': [plain.id],
        f'update_time >= "{written(cancelled, "update_time")}"': [cancelled.id],
        f'end_time >= "{written(failed, "end_time")}"': [cancelled.id, failed.id],
        f'end_time <= "{written(failed, "end_time")}"': [failed.id],
        "batch = 0190a0b0-0000-7000-8000-000000000000": [],
    }
    found = {text: await listed(server, text) for text in expected}

    assert found == expected
    await worker.end()


async def test_the_jobs_of_a_batch_are_listed(server: Running) -> None:
    await register(server)
    batches = batch_service_pb2_grpc.BatchServiceStub(server.channel)
    batch = (await batches.CreateBatch(batch_service_pb2.CreateBatchRequest(name="nightly"))).batch
    await submit(server)
    members = [(await submit(server, batch_id=batch.id)).id for _ in range(3)]

    assert await listed(server, f"batch = {batch.id}") == members[::-1]
    assert (await get(server, members[0])).batch_id == batch.id


async def test_a_list_comes_in_the_order_that_is_asked_for(server: Running) -> None:
    await register(server)
    ids = [(await submit(server)).id for _ in range(5)]
    request = pb.UpdateJobRequest(job=job_pb2.Job(id=ids[1], labels={"a": "b"}))
    request.update_mask.paths.append("labels")
    await server.jobs.UpdateJob(request)
    by_update = [ids[0], *ids[2:], ids[1]]

    orders = {
        "": ids[::-1],
        "create_time desc": ids[::-1],
        "create_time": ids,
        "update_time": by_update,
        "update_time desc": by_update[::-1],
    }
    found = {order: await listed(server, order_by=order, page_size=2) for order in orders}

    assert found == orders


@pytest.mark.parametrize("order", ["create_time desc", "create_time"])
async def test_pages_neither_shift_nor_repeat_when_jobs_come_and_go_meanwhile(server: Running, order: str) -> None:
    await register(server)
    ids = [(await submit(server)).id for _ in range(6)]
    expected = ids if order == "create_time" else ids[::-1]
    first = await server.jobs.ListJobs(pb.ListJobsRequest(page_size=2, order_by=order))

    await server.jobs.DeleteJob(pb.DeleteJobRequest(job_id=expected[0]))
    await server.jobs.DeleteJob(pb.DeleteJobRequest(job_id=expected[3]))
    await submit(server)
    rest = await listed(server, page_size=2, order_by=order, page_token=first.next_page_token)

    assert [job.id for job in first.jobs] == expected[:2]
    assert rest[:3] == [expected[2], *expected[4:]]


async def test_a_token_is_good_for_its_own_filter_order_and_namespace_only(server: Running) -> None:
    await register(server)
    await server.jobs.BatchSubmitJobs(pb.BatchSubmitJobsRequest(jobs=[submission() for _ in range(3)]))
    page = await server.jobs.ListJobs(pb.ListJobsRequest(page_size=1, filter="state = PENDING"))
    others: list[dict[str, Any]] = [
        {},
        {"filter": "state = FAILED"},
        {"filter": "state = PENDING", "order_by": "create_time"},
        {"filter": "state = PENDING", "namespace": "other"},
    ]

    refused = [
        await refusal(server.jobs.ListJobs(pb.ListJobsRequest(page_token=page.next_page_token, **other)))
        for other in others
    ]
    smaller = pb.ListJobsRequest(page_token=page.next_page_token, filter="state=pending", page_size=2)

    assert [[violation.field for violation in error.violations] for error in refused] == [["page_token"]] * 4
    assert len((await server.jobs.ListJobs(smaller)).jobs) == 2


async def test_what_is_passed_over_is_passed_over_once(server: Running) -> None:
    await register(server)
    ids = [(await submit(server)).id for _ in range(6)]

    assert await listed(server, skip=2, page_size=2) == ids[:4][::-1]
    assert await listed(server, skip=6) == []
    assert await listed(server, skip=100) == []


async def test_a_list_shows_basic_jobs_unless_it_is_asked_for_all_of_them(server: Running) -> None:
    await register(server)
    await submit(server, json='{"a": 1}', labels={"a": "b"})

    (basic,) = (await server.jobs.ListJobs(pb.ListJobsRequest())).jobs
    (full,) = (await server.jobs.ListJobs(pb.ListJobsRequest(view=job_pb2.JOB_VIEW_FULL))).jobs

    assert not basic.HasField("parameters")
    assert (full.parameters.json, dict(full.labels)) == ('{"a": 1}', {"a": "b"})


async def test_a_list_may_be_of_one_namespace_or_of_all(server: Running) -> None:
    await register(server)
    await register(server, namespace="acme")
    here, there = await submit(server), await submit(server, namespace="acme")

    assert await listed(server) == [here.id]
    assert await listed(server, namespace="acme") == [there.id]
    assert await listed(server, namespace="-") == [there.id, here.id]
    assert await listed(server, namespace="-", order_by="create_time", page_size=1) == [here.id, there.id]
