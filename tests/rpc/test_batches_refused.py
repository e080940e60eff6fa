"""What BatchService refuses: every field of every request, by its path, with nothing half done."""

from typing import Any

import pytest

from jobhall.errors import Code
from jobhall.limits import BATCH_NAME_BYTES_MAX, BATCH_SUBMIT_MAX, REASON_BYTES_MAX
from jobhall.v1 import batch_service_pb2 as pb
from jobhall.v1 import job_service_pb2 as jobs_pb
from jobhall_server.hall.tokens import page_token
from jobhall_server.hall.views import BatchFilter
from tests.support.batch_calls import change, create, listed, members
from tests.support.calls import refusal, register, submit
from tests.support.servers import Running

NOBODY = "0190a0b0-0000-7000-8000-000000000000"
SCORE: Any = {"job_type": "score"}
LONG_NAME = "n" * (BATCH_NAME_BYTES_MAX + 1)

CREATES: list[tuple[dict[str, Any], str]] = [
    ({"namespace": "No Such"}, "namespace"),
    ({"namespace": "@global"}, "namespace"),
    ({"namespace": "-"}, "namespace"),
    ({"batch_id": "17"}, "batch_id"),
    ({"name": LONG_NAME}, "name"),
    ({"name": "é" * (BATCH_NAME_BYTES_MAX // 2 + 1)}, "name"),
    ({"jobs": [SCORE] * (BATCH_SUBMIT_MAX + 1)}, "jobs"),
    ({"jobs": [SCORE, {}]}, "jobs[1].job_type"),
    ({"jobs": [SCORE, {**SCORE, "batch_id": NOBODY}]}, "jobs[1].batch_id"),
    ({"jobs": [SCORE, {**SCORE, "namespace": "default"}]}, "jobs[1].namespace"),
    ({"jobs": [SCORE, {**SCORE, "priority": 101}]}, "jobs[1].priority"),
    ({"jobs": [SCORE, {**SCORE, "labels": {f"l{n}": "" for n in range(10_000)}}]}, "jobs[1].labels"),
    ({"jobs": [SCORE, {**SCORE, "start_deadline": {"seconds": 1}}]}, "jobs[1].start_deadline"),
    ({"completion_job": {}}, "completion_job.job_type"),
    ({"completion_job": {**SCORE, "batch_id": NOBODY}}, "completion_job.batch_id"),
    ({"completion_job": {**SCORE, "namespace": "eu"}}, "completion_job.namespace"),
    ({"completion_job": {**SCORE, "start_deadline": {"seconds": 9**10}}}, "completion_job.start_deadline"),
    ({"completion_job": {**SCORE, "max_attempts": -1}}, "completion_job.max_attempts"),
    ({"completion_policy": 9}, "completion_policy"),
    ({"access_control": {"visibility": 9}}, "access_control.visibility"),
    ({"access_control": {"read_access": [""]}}, "access_control.read_access[0]"),
]


@pytest.mark.parametrize("validate_only", [False, True])
async def test_a_batch_is_refused_by_the_field_that_is_wrong_and_nothing_is_stored(
    brisk: Running, validate_only: bool
) -> None:
    for fields, path in CREATES:
        refused = await refusal(create(brisk, **fields, validate_only=validate_only))

        assert (refused.code, refused.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID"), fields
        assert [violation.field for violation in refused.violations] == [path]
    assert await listed(brisk, namespace="-") == []
    assert not (await brisk.jobs.ListJobs(jobs_pb.ListJobsRequest(namespace="-"))).jobs


@pytest.mark.parametrize("validate_only", [False, True])
async def test_errors_of_its_jobs_are_those_of_submits_and_refuse_the_whole_batch(
    brisk: Running, validate_only: bool
) -> None:
    await submit(brisk, job_id=NOBODY)
    await submit(brisk, unique_key="taken")

    async def reason(**fields: Any) -> str:
        return str((await refusal(create(brisk, name="bad", **fields, validate_only=validate_only))).reason)

    assert await reason(jobs=[SCORE, {"job_type": "scroe"}]) == "JOB_TYPE_NOT_FOUND"
    assert await reason(jobs=[SCORE], completion_job={"job_type": "scroe"}) == "JOB_TYPE_NOT_FOUND"
    assert await reason(jobs=[SCORE, {**SCORE, "job_id": NOBODY}]) == "JOB_ID_REUSED"
    assert await reason(jobs=[SCORE, {**SCORE, "unique_key": "taken", "unique_policy": 2}]) == "UNIQUE_KEY_TAKEN"
    # Under RETURN_EXISTING too: that job is in no batch, and stays there.
    assert await reason(jobs=[SCORE, {**SCORE, "unique_key": "taken"}]) == "UNIQUE_KEY_TAKEN"
    assert await reason(jobs=[{**SCORE, "unique_key": "new"}] * 2) == "UNIQUE_KEY_TAKEN"
    assert await listed(brisk) == []
    assert len((await brisk.jobs.ListJobs(jobs_pb.ListJobsRequest())).jobs) == 2


async def test_a_batch_that_is_only_tried_is_shown_as_it_would_be(brisk: Running) -> None:
    tried = await create(brisk, jobs=2, name="tried", closed=True, completion_job=SCORE, validate_only=True)
    real = await create(brisk, jobs=2, name="real", batch_id=NOBODY)
    again = await create(brisk, jobs=2, name="real", batch_id=NOBODY, validate_only=True)
    other = await refusal(create(brisk, batch_id=NOBODY, validate_only=True))

    assert (tried.batch.name, tried.batch.id, tried.batch.counts.pending) == ("tried", "", 2)
    assert (tried.batch.owner, tried.batch.closed, list(tried.job_ids)) == ("anonymous", True, [])
    assert not tried.batch.HasField("create_time")
    assert again.batch == real.batch
    assert other.reason == "BATCH_ID_REUSED"
    assert await listed(brisk) == ["real"]


async def test_two_jobs_of_one_id_are_not_taken_for_one(brisk: Running) -> None:
    refused = await refusal(create(brisk, jobs=[{**SCORE, "job_id": NOBODY}] * 2))

    assert refused.reason == "JOB_ID_REUSED"


async def test_jobs_of_another_namespace_do_not_join(brisk: Running) -> None:
    await register(brisk, "score", "eu")
    batch = (await create(brisk)).batch

    refused = await refusal(submit(brisk, namespace="eu", batch_id=batch.id))

    assert (refused.reason, refused.violations[0].field) == ("FIELD_INVALID", "job.batch_id")
    assert await members(brisk, batch.id) == []


LISTS: list[tuple[dict[str, Any], str, str]] = [
    ({"namespace": "No Such"}, "FIELD_INVALID", "namespace"),
    ({"page_size": -1}, "FIELD_INVALID", "page_size"),
    ({"page_size": 1001}, "FIELD_INVALID", "page_size"),
    ({"skip": -1}, "FIELD_INVALID", "skip"),
    ({"skip": 10_001}, "FIELD_INVALID", "skip"),
    ({"page_token": "nonsense"}, "FIELD_INVALID", "page_token"),
    ({"order_by": "state"}, "FILTER_UNSUPPORTED", "order_by"),
    ({"order_by": "name desc"}, "FILTER_UNSUPPORTED", "order_by"),
    ({"filter": "priority = 3"}, "FILTER_UNSUPPORTED", "filter"),
    ({"filter": "state = RUNNING"}, "FIELD_INVALID", "filter"),
    ({"filter": "active = yes"}, "FIELD_INVALID", "filter"),
    ({"filter": "active = true AND active = false"}, "FILTER_UNSUPPORTED", "filter"),
    ({"filter": "state = FAILED AND state = PENDING"}, "FILTER_UNSUPPORTED", "filter"),
    ({"filter": "name = a OR name = b"}, "FILTER_UNSUPPORTED", "filter"),
    ({"filter": "name > a"}, "FILTER_UNSUPPORTED", "filter"),
    ({"filter": "create_time = 2026-01-01T00:00:00Z"}, "FILTER_UNSUPPORTED", "filter"),
    ({"filter": "create_time > yesterday"}, "FIELD_INVALID", "filter"),
    ({"filter": "name ="}, "FILTER_UNSUPPORTED", "filter"),
]


async def test_a_list_is_refused_by_what_is_wrong_and_where(brisk: Running) -> None:
    for fields, reason, path in LISTS:
        refused = await refusal(brisk.batches.ListBatches(pb.ListBatchesRequest(**fields)))

        assert (refused.code, refused.reason) == (Code.INVALID_ARGUMENT, reason), fields
        assert [violation.field for violation in refused.violations] == [path]
        assert "filter" not in fields or refused.metadata["position"].isdigit()


async def test_a_token_that_was_made_up_with_a_name_that_is_no_text_is_refused(brisk: Running) -> None:
    token = page_token(("\ud800", 1), "batches", BatchFilter(namespace="default"), "name")

    refused = await refusal(brisk.batches.ListBatches(pb.ListBatchesRequest(order_by="name", page_token=token)))

    assert (refused.reason, refused.violations[0].field) == ("FIELD_INVALID", "page_token")


async def test_an_update_is_refused_by_what_is_wrong(brisk: Running) -> None:
    batch = (await create(brisk, name="as it was")).batch

    async def field(*paths: str, batch_id: str = batch.id, **fields: Any) -> str:
        refused = await refusal(change(brisk, batch_id, *paths, **fields))
        assert refused.reason == "FIELD_INVALID"
        return str(refused.violations[0].field)

    assert await field() == "update_mask"
    assert await field("owner") == "update_mask"
    assert await field("*") == "update_mask"
    assert await field("completion_job.priority") == "update_mask"
    assert await field("name", batch_id="") == "batch.id"
    assert await field(name=LONG_NAME) == "batch.name"
    assert await field(completion_policy=9) == "batch.completion_policy"
    assert await field(completion_job={}) == "batch.completion_job.job_type"
    assert await field(completion_job={**SCORE, "namespace": "default"}) == "batch.completion_job.namespace"
    assert await field(access_control={"visibility": -1}) == "batch.access_control.visibility"
    unknown = await refusal(change(brisk, batch.id, completion_job={"job_type": "scroe"}))
    nobody = await refusal(change(brisk, NOBODY, completion_job=SCORE))
    missing = await refusal(brisk.batches.UpdateBatch(pb.UpdateBatchRequest()))
    assert (unknown.reason, nobody.reason) == ("JOB_TYPE_NOT_FOUND", "BATCH_NOT_FOUND")
    assert missing.violations[0].field == "batch"
    assert await listed(brisk) == ["as it was"]


async def test_what_names_no_batch_is_refused(brisk: Running) -> None:
    batch = (await create(brisk)).batch

    long_reason = await refusal(
        brisk.batches.CancelBatch(pb.CancelBatchRequest(batch_id=batch.id, reason="r" * (REASON_BYTES_MAX + 1)))
    )
    for batch_id, reason in (("", "FIELD_INVALID"), ("17", "FIELD_INVALID"), (NOBODY, "BATCH_NOT_FOUND")):
        calls = (
            brisk.batches.GetBatch(pb.GetBatchRequest(batch_id=batch_id)),
            brisk.batches.CancelBatch(pb.CancelBatchRequest(batch_id=batch_id)),
            brisk.batches.DeleteBatch(pb.DeleteBatchRequest(batch_id=batch_id)),
        )
        assert {(await refusal(call)).reason for call in calls} == {reason}

    assert long_reason.violations[0].field == "reason"
