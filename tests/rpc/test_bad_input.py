"""How bad input to a call on jobs is refused: code, reason, field; each field is in `test_convert_submissions.py`."""

from typing import Any

from jobhall.errors import Code
from jobhall.limits import PAYLOAD_BYTES_MAX
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from tests.support.calls import refusal, register, submission
from tests.support.servers import Running

NOBODY = "0190a0b0-0000-7000-8000-000000000000"


def job(**fields: Any) -> pb.SubmitJobRequest:
    return pb.SubmitJobRequest(job=submission(**fields))


def update(*paths: str, **fields: Any) -> pb.UpdateJobRequest:
    return pb.UpdateJobRequest(job={"id": NOBODY, **fields}, update_mask={"paths": paths})  # type: ignore[arg-type]


BAD_INPUT: dict[str, tuple[str, Any, Code, str, str]] = {
    "unknown type": ("SubmitJob", job(job_type="scor"), Code.NOT_FOUND, "JOB_TYPE_NOT_FOUND", ""),
    "no type": ("SubmitJob", pb.SubmitJobRequest(), Code.INVALID_ARGUMENT, "FIELD_INVALID", "job.job_type"),
    "no type at all": ("SubmitJob", job(job_type="a b"), Code.INVALID_ARGUMENT, "FIELD_INVALID", "job.job_type"),
    "oversized payload": (
        "SubmitJob",
        job(json='"' + "x" * PAYLOAD_BYTES_MAX + '"'),
        Code.INVALID_ARGUMENT,
        "PAYLOAD_TOO_LARGE",
        "job.parameters.json",
    ),
    "malformed JSON": ("SubmitJob", job(json="{"), Code.INVALID_ARGUMENT, "FIELD_INVALID", "job.parameters.json"),
    "priority": ("SubmitJob", job(priority=101), Code.INVALID_ARGUMENT, "FIELD_INVALID", "job.priority"),
    "attempts": ("SubmitJob", job(max_attempts=-1), Code.INVALID_ARGUMENT, "FIELD_INVALID", "job.max_attempts"),
    "label key": ("SubmitJob", job(labels={"": "x"}), Code.INVALID_ARGUMENT, "FIELD_INVALID", "job.labels['']"),
    "label with a zero": (
        "SubmitJob",
        job(labels={"team": "a\0b"}),
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "job.labels['team']",
    ),
    "path with a zero": ("SubmitJob", job(path="a\0b"), Code.INVALID_ARGUMENT, "FIELD_INVALID", "job.path"),
    "job id": ("SubmitJob", job(job_id="mine"), Code.INVALID_ARGUMENT, "FIELD_INVALID", "job.job_id"),
    "namespace": ("SubmitJob", job(namespace="No Such"), Code.INVALID_ARGUMENT, "FIELD_INVALID", "job.namespace"),
    "policy without key": (
        "SubmitJob",
        job(unique_policy=job_pb2.UNIQUE_POLICY_REJECT),
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "job.unique_policy",
    ),
    "deadline that is over": (
        "SubmitJob",
        job(start_deadline={"seconds": 1}),
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "job.start_deadline",
    ),
    "deadline that is over, only tried": (
        "SubmitJob",
        pb.SubmitJobRequest(job=submission(start_deadline={"seconds": 1}), validate_only=True),
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "job.start_deadline",
    ),
    "unknown batch": ("SubmitJob", job(batch_id=NOBODY), Code.NOT_FOUND, "BATCH_NOT_FOUND", ""),
    "unknown batch, only tried": (
        "BatchSubmitJobs",
        pb.BatchSubmitJobsRequest(jobs=[submission(batch_id=NOBODY)], validate_only=True),
        Code.NOT_FOUND,
        "BATCH_NOT_FOUND",
        "",
    ),
    "unknown type, only tried": (
        "SubmitJob",
        pb.SubmitJobRequest(job=submission("scor"), validate_only=True),
        Code.NOT_FOUND,
        "JOB_TYPE_NOT_FOUND",
        "",
    ),
    "update of nothing": (
        "UpdateJob",
        pb.UpdateJobRequest(job={"id": NOBODY}),  # type: ignore[arg-type]
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "update_mask",
    ),
    "update of everything": ("UpdateJob", update("*"), Code.INVALID_ARGUMENT, "FIELD_INVALID", "update_mask"),
    "update of nobody": ("UpdateJob", update("priority"), Code.NOT_FOUND, "JOB_NOT_FOUND", ""),
    "update without id": (
        "UpdateJob",
        pb.UpdateJobRequest(update_mask={"paths": ["labels"]}),  # type: ignore[arg-type]
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "job.id",
    ),
    "update to what cannot be": (
        "UpdateJob",
        update("priority", priority=101),
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "job.priority",
    ),
    "update that contradicts itself": (
        "UpdateJob",
        update("schedule_time", "start_deadline", schedule_time={"seconds": 9}, start_deadline={"seconds": 9}),
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "job.start_deadline",
    ),
    "retry of nobody": ("RetryJob", pb.RetryJobRequest(job_id=NOBODY), Code.NOT_FOUND, "JOB_NOT_FOUND", ""),
    "retry without id": ("RetryJob", pb.RetryJobRequest(), Code.INVALID_ARGUMENT, "FIELD_INVALID", "job_id"),
    "huge skip": ("ListJobs", pb.ListJobsRequest(skip=10_001), Code.INVALID_ARGUMENT, "FIELD_INVALID", "skip"),
    "list of nowhere": (
        "ListJobs",
        pb.ListJobsRequest(namespace="No Such"),
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "namespace",
    ),
    "no such view of a list": (
        "ListJobs",
        pb.ListJobsRequest(view=9),  # type: ignore[arg-type]
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "view",
    ),
    "negative grace": (
        "CancelJob",
        pb.CancelJobRequest(job_id=NOBODY, grace={"seconds": -1}),  # type: ignore[arg-type]
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "grace",
    ),
    "second of a batch": (
        "BatchSubmitJobs",
        pb.BatchSubmitJobsRequest(jobs=[submission(), submission(priority=-200)]),
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "jobs[1].priority",
    ),
    "empty batch": ("BatchSubmitJobs", pb.BatchSubmitJobsRequest(), Code.INVALID_ARGUMENT, "FIELD_INVALID", "jobs"),
    "unknown job": ("GetJob", pb.GetJobRequest(job_id=NOBODY), Code.NOT_FOUND, "JOB_NOT_FOUND", ""),
    "no id": ("GetJob", pb.GetJobRequest(job_id="7"), Code.INVALID_ARGUMENT, "FIELD_INVALID", "job_id"),
    "no such view": (
        "GetJob",
        pb.GetJobRequest(job_id=NOBODY, view=9),  # type: ignore[arg-type]
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "view",
    ),
    "no ids": ("BatchGetJobs", pb.BatchGetJobsRequest(), Code.INVALID_ARGUMENT, "FIELD_INVALID", "job_ids"),
    "one of the ids": (
        "BatchGetJobs",
        pb.BatchGetJobsRequest(job_ids=[NOBODY, "x"]),
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "job_ids[1]",
    ),
    "bad page token": (
        "ListJobs",
        pb.ListJobsRequest(page_token="!"),
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "page_token",
    ),
    "negative page size": (
        "ListJobs",
        pb.ListJobsRequest(page_size=-1),
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "page_size",
    ),
    "huge page size": (
        "ListJobs",
        pb.ListJobsRequest(page_size=1001),
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "page_size",
    ),
    "negative skip": ("ListJobs", pb.ListJobsRequest(skip=-1), Code.INVALID_ARGUMENT, "FIELD_INVALID", "skip"),
    "filter": ("ListJobs", pb.ListJobsRequest(filter="a ~ b"), Code.INVALID_ARGUMENT, "FILTER_UNSUPPORTED", "filter"),
    "filter's value": (
        "ListJobs",
        pb.ListJobsRequest(filter="state = LOST"),
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "filter",
    ),
    "order": (
        "ListJobs",
        pb.ListJobsRequest(order_by="priority"),
        Code.INVALID_ARGUMENT,
        "FILTER_UNSUPPORTED",
        "order_by",
    ),
    "long wait": (
        "WaitJob",
        pb.WaitJobRequest(job_id=NOBODY, timeout={"seconds": 61}),  # type: ignore[arg-type]
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "timeout",
    ),
    "negative wait": (
        "WaitJob",
        pb.WaitJobRequest(job_id=NOBODY, timeout={"seconds": -1}),  # type: ignore[arg-type]
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "timeout",
    ),
    "wait for nobody": ("WaitJob", pb.WaitJobRequest(job_id=NOBODY), Code.NOT_FOUND, "JOB_NOT_FOUND", ""),
    "long reason": (
        "CancelJob",
        pb.CancelJobRequest(job_id=NOBODY, reason="x" * 5000),
        Code.INVALID_ARGUMENT,
        "FIELD_INVALID",
        "reason",
    ),
    "delete nobody": ("DeleteJob", pb.DeleteJobRequest(job_id=NOBODY), Code.NOT_FOUND, "JOB_NOT_FOUND", ""),
    "errors of nobody": (
        "ListItemErrors",
        pb.ListItemErrorsRequest(job_id=NOBODY),
        Code.NOT_FOUND,
        "JOB_NOT_FOUND",
        "",
    ),
    "logs of nobody": ("ListJobLogs", pb.ListJobLogsRequest(job_id=NOBODY), Code.NOT_FOUND, "JOB_NOT_FOUND", ""),
}


async def test_bad_input_is_refused_with_its_code_reason_and_field(server: Running) -> None:
    await register(server)
    wrong: dict[str, str] = {}

    for name, (method, request, code, reason, field) in BAD_INPUT.items():
        error = await refusal(getattr(server.jobs, method)(request))
        fields = [violation.field for violation in error.violations]
        if (error.code, error.reason, fields[:1]) != (code, reason, [field] if field else []):
            wrong[name] = f"{error.code.name} {error.reason} {fields} {error.message}"

    assert not wrong
