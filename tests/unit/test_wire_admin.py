"""What AdminService is told on the wire: a whole job with its history goes there and comes back as it was."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings

from jobhall import FailureKind, ImportedJob, Job, JobError, JobState
from jobhall.calls_admin import create_api_key, import_jobs, list_api_keys, list_audit_entries
from jobhall.errors import FieldInvalidError, MessageTooLargeError, PayloadTooLargeError
from jobhall.limits import PAYLOAD_BYTES_MAX
from jobhall.v1 import admin_service_pb2 as pb
from jobhall.wire import item_error_from_wire, job_from_wire, log_entry_from_wire
from jobhall.wire_admin import imported_job_bytes, imported_job_to_wire
from jobhall.wire_insight import attempt_from_wire
from tests.support.imports import imported_jobs

EVERY_STATE = tuple(state for state in JobState if state not in (0, JobState.RUNNING, JobState.CANCELLING))
PENDING = Job(id="a", namespace="default", job_type="score", state=JobState.PENDING)


def read(message: pb.ImportedJob) -> ImportedJob:
    """As a client is told of it by the calls for each part."""
    return ImportedJob(
        job=job_from_wire(message.job),
        attempts=tuple(attempt_from_wire(attempt) for attempt in message.attempts),
        log_entries=tuple(log_entry_from_wire(entry) for entry in message.log_entries),
        item_errors=tuple(item_error_from_wire(error) for error in message.item_errors),
    )


@settings(max_examples=200)
@given(message=imported_jobs(EVERY_STATE))
def test_a_job_and_all_that_belongs_to_it_come_back(message: pb.ImportedJob) -> None:
    imported = read(message)

    sent = imported_job_to_wire(imported)

    assert read(pb.ImportedJob.FromString(sent.SerializeToString())) == imported
    assert imported_job_bytes(imported) == sent.ByteSize()
    assert ImportedJob.from_dict(imported.to_dict()) == imported


def test_the_null_of_json_is_not_the_absence_of_content() -> None:
    null = replace(PENDING, parameters_content_type="application/json")

    assert imported_job_to_wire(ImportedJob(job=null)).job.parameters.json == "null"
    assert not imported_job_to_wire(ImportedJob(job=PENDING)).job.HasField("parameters")


@pytest.mark.parametrize(
    ("job", "field"),
    [
        (replace(PENDING, attempt=2**31), "jobs[1].job.attempt"),
        (replace(PENDING, fence=2**63), "jobs[1].job.fence"),
        (replace(PENDING, result={1, 2}), "jobs[1].job.result"),
        (replace(PENDING, error=JobError(kind=FailureKind.TIMEOUT, details={"a": {1}})), "jobs[1].job.error.details.a"),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_field(job: Job, field: str) -> None:
    with pytest.raises(FieldInvalidError) as caught:
        import_jobs([ImportedJob(job=PENDING), ImportedJob(job=job)], validate_only=False)

    assert caught.value.violations[0].field == field


def test_jobs_that_are_too_large_together_are_refused_before_they_are_sent() -> None:
    large = ImportedJob(job=replace(PENDING, parameters="x" * (PAYLOAD_BYTES_MAX - 9)))

    with pytest.raises(MessageTooLargeError):
        import_jobs([large] * 4, validate_only=False)
    with pytest.raises(PayloadTooLargeError):
        import_jobs([ImportedJob(job=replace(PENDING, result="x" * PAYLOAD_BYTES_MAX))], validate_only=False)


def test_a_key_is_asked_for_as_it_is_to_be_and_only_once() -> None:
    whose: dict[str, Any] = {"subject": "gpu-7", "organization_id": "acme", "namespaces": (), "job_types": ["score"]}
    call = create_api_key("gpu", roles=["worker"], expires=timedelta(days=1), **whose)

    key: pb.ApiKey = call.request.api_key  # type: ignore[attr-defined]
    assert (key.name, key.subject, key.organization_id, list(key.roles)) == ("gpu", "gpu-7", "acme", ["worker"])
    assert (list(key.job_types), key.HasField("expire_time"), call.repeatable) == (["score"], True, False)
    with pytest.raises(FieldInvalidError):
        create_api_key("gpu", roles="worker", expires=None, **whose)


def test_keys_and_entries_are_chosen_by_a_filter() -> None:
    keys: Any = list_api_keys({"subject": "ann", "revoked": False}, page_token="t").request
    entries: Any = list_audit_entries({"code": "OK", "order_by": "time"}, page_token="").request

    assert (keys.filter, keys.page_token) == ('subject = "ann" AND revoked = false', "t")
    assert (entries.filter, entries.order_by) == ('code = "OK"', "time")
    with pytest.raises(TypeError, match="there is no argument 'subjekt'"):
        list_api_keys({"subjekt": "ann"}, page_token="")  # type: ignore[typeddict-unknown-key]
