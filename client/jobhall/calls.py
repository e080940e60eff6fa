"""Every call of the contract as a value: where it goes, what it says, how its answer reads; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypedDict, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from jobhall.errors import MessageTooLargeError
from jobhall.filters import JobSelection, WorkerSelection, filter_text, worker_filter_text
from jobhall.ids import new_id
from jobhall.limits import MESSAGE_BYTES_MAX
from jobhall.model import (
    FileInfo,
    ItemError,
    Job,
    JobPage,
    Jobs,
    JobType,
    LogEntry,
    RetryPolicy,
    ServerInfo,
    Submission,
)
from jobhall.v1 import admin_service_pb2 as admin_pb2
from jobhall.v1 import job_pb2, job_type_pb2
from jobhall.v1 import job_service_pb2 as jobs_pb2
from jobhall.v1 import job_type_service_pb2 as types_pb2
from jobhall.v1 import worker_service_pb2 as workers_pb2
from jobhall.wire import (
    item_error_from_wire,
    job_from_wire,
    job_type_from_wire,
    log_entry_from_wire,
    server_info_from_wire,
    submission_to_wire,
)
from jobhall.wire_values import duration_to_wire, span_to_wire
from jobhall.wire_workers import worker_from_wire
from jobhall.worker_info import WorkerInfo

T_co = TypeVar("T_co", covariant=True)

SUBMIT_STREAM = "/jobhall.v1.JobService/SubmitJobStream"
WATCH = "/jobhall.v1.JobService/WatchJobs"


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One unary call; may be sent any number of times, since a submit carries its job_id."""

    path: str
    """`/package.Service/Method`."""
    request: Message
    response: type[Message]
    decode: Callable[[Any], T_co]
    held_seconds: float = 0.0
    """How long the server holds it open when all is well; the deadline allows for it."""

    @property
    def name(self) -> str:
        """The method, for messages."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    """One page of a list; an empty token means that it is the last."""

    entries: Sequence[T_co]
    next_page_token: str


class SubmitOptions(TypedDict, total=False):
    """What may be said of a job besides its type and parameters; as in Submission."""

    content_type: str
    namespace: str
    labels: dict[str, str]
    path: str
    file_info: FileInfo | None
    priority: int | None
    job_id: str
    max_attempts: int
    retry_policy: RetryPolicy | None
    run_timeout: float | timedelta | None
    progress_timeout: float | timedelta | None


class PageOptions(JobSelection, total=False):
    """Which jobs, and which page of them."""

    page_size: int
    page_token: str
    skip: int
    order_by: str


# --- jobs ---


def submit_job(submission: Submission) -> Call[Job]:
    """Submits one job under its own or a fresh id; the answer is the job."""
    message = submission_to_wire(submission, job_id=submission.job_id or new_id())
    request = jobs_pb2.SubmitJobRequest(job=message)
    return _job_call("SubmitJob", request, jobs_pb2.SubmitJobResponse)


def submit_jobs(submissions: Iterable[Submission]) -> Call[list[Job]]:
    """Submits up to 1000 jobs, all or none; the answer is the jobs in that order, briefly."""
    messages = [
        submission_to_wire(submission, job_id=submission.job_id or new_id(), field=f"jobs[{index}]")
        for index, submission in enumerate(submissions)
    ]
    request = jobs_pb2.BatchSubmitJobsRequest(jobs=messages)
    if (size := request.ByteSize()) > MESSAGE_BYTES_MAX:
        # gRPC itself would refuse it, in words that help nobody.
        raise MessageTooLargeError(f"the jobs have {size} bytes together; the limit is {MESSAGE_BYTES_MAX}: split them")
    return Call(
        "/jobhall.v1.JobService/BatchSubmitJobs",
        request,
        jobs_pb2.BatchSubmitJobsResponse,
        lambda answer: [job_from_wire(job) for job in answer.jobs],
    )


def get_job(job_id: str, *, include_errors: bool) -> Call[Job]:
    """Reads one job, all of it."""
    request = jobs_pb2.GetJobRequest(job_id=job_id, include_errors=include_errors)
    return _job_call("GetJob", request, jobs_pb2.GetJobResponse)


@dataclass(frozen=True, slots=True)
class JobsAnswer:
    """Part of the jobs asked for by id; what did not fit is to be asked for again."""

    jobs: Jobs
    remaining_ids: Sequence[str]


def get_jobs(job_ids: Sequence[str], *, include_errors: bool) -> Call[JobsAnswer]:
    """Reads up to 1000 jobs by id, all of each."""
    return Call(
        "/jobhall.v1.JobService/BatchGetJobs",
        jobs_pb2.BatchGetJobsRequest(job_ids=job_ids, include_errors=include_errors),
        jobs_pb2.BatchGetJobsResponse,
        lambda answer: JobsAnswer(
            Jobs(tuple(job_from_wire(job) for job in answer.jobs), tuple(answer.missing_job_ids)),
            list(answer.remaining_job_ids),
        ),
    )


def list_jobs(options: PageOptions) -> Call[JobPage]:
    """Reads one page of a list, briefly."""
    request = jobs_pb2.ListJobsRequest(
        namespace=options.get("namespace", ""),
        page_size=options.get("page_size", 0),
        page_token=options.get("page_token", ""),
        skip=options.get("skip", 0),
        filter=filter_text(options),
        order_by=options.get("order_by", ""),
        view=job_pb2.JOB_VIEW_BASIC,
    )
    return Call(
        "/jobhall.v1.JobService/ListJobs",
        request,
        jobs_pb2.ListJobsResponse,
        lambda answer: JobPage(tuple(job_from_wire(job) for job in answer.jobs), answer.next_page_token),
    )


def wait_job(job_id: str, *, hold_seconds: float) -> Call[Job]:
    """Waits at the server until the job has ended or the time is over; the answer is the job as it is then."""
    hold = timedelta(seconds=max(0.0, hold_seconds))
    request = jobs_pb2.WaitJobRequest(job_id=job_id, timeout=duration_to_wire(hold))
    return _job_call("WaitJob", request, jobs_pb2.WaitJobResponse, held_seconds=hold_seconds)


def cancel_job(job_id: str, *, reason: str, grace: float | timedelta | None) -> Call[Job]:
    """Cancels a job; the answer is CANCELLED, or CANCELLING while its worker stops."""
    request = jobs_pb2.CancelJobRequest(job_id=job_id, reason=reason, grace=_span(grace, field="grace"))
    return _job_call("CancelJob", request, jobs_pb2.CancelJobResponse)


def retry_job(job_id: str) -> Call[Job]:
    """Makes a failed or cancelled job PENDING again; the answer is the job as it then is."""
    return _job_call("RetryJob", jobs_pb2.RetryJobRequest(job_id=job_id), jobs_pb2.RetryJobResponse)


def delete_job(job_id: str) -> Call[Job]:
    """Deletes a job that no worker holds; the answer is the job as it last was."""
    return _job_call("DeleteJob", jobs_pb2.DeleteJobRequest(job_id=job_id), jobs_pb2.DeleteJobResponse)


def list_item_errors(job_id: str, *, page_token: str) -> Call[Page[ItemError]]:
    """Reads one page of the item errors of the job's latest attempt."""
    return Call(
        "/jobhall.v1.JobService/ListItemErrors",
        jobs_pb2.ListItemErrorsRequest(job_id=job_id, page_token=page_token),
        jobs_pb2.ListItemErrorsResponse,
        lambda answer: Page([item_error_from_wire(error) for error in answer.item_errors], answer.next_page_token),
    )


def list_job_logs(job_id: str, *, page_token: str) -> Call[Page[LogEntry]]:
    """Reads one page of the log of the job's latest attempt."""
    return Call(
        "/jobhall.v1.JobService/ListJobLogs",
        jobs_pb2.ListJobLogsRequest(job_id=job_id, page_token=page_token),
        jobs_pb2.ListJobLogsResponse,
        lambda answer: Page([log_entry_from_wire(entry) for entry in answer.log_entries], answer.next_page_token),
    )


# --- workers ---


def get_worker(worker_id: str) -> Call[WorkerInfo]:
    """Reads one worker."""
    request = workers_pb2.GetWorkerRequest(worker_id=worker_id)
    return _worker_call("GetWorker", request, workers_pb2.GetWorkerResponse)


def list_workers(selection: WorkerSelection, *, page_token: str) -> Call[Page[WorkerInfo]]:
    """Reads one page of the workers that are there."""
    request = workers_pb2.ListWorkersRequest(
        namespace=selection.get("namespace", ""), page_token=page_token, filter=worker_filter_text(selection)
    )
    return Call(
        "/jobhall.v1.WorkerService/ListWorkers",
        request,
        workers_pb2.ListWorkersResponse,
        lambda answer: Page([worker_from_wire(worker) for worker in answer.workers], answer.next_page_token),
    )


def drain_worker(worker_id: str, *, timeout: float | timedelta | None, reason: str) -> Call[WorkerInfo]:
    """Lets a worker finish what it holds, and leave; the answer is the worker, DRAINING."""
    span = _span(timeout, field="timeout")
    request = workers_pb2.DrainWorkerRequest(worker_id=worker_id, timeout=span, reason=reason)
    return _worker_call("DrainWorker", request, workers_pb2.DrainWorkerResponse)


# --- job types and the server ---


def register_job_type(name: str, *, namespace: str, description: str) -> Call[JobType]:
    """Registers a job type; one that is there already stays as it is."""
    message = job_type_pb2.JobType(name=name, namespace=namespace, description=description)
    request = types_pb2.RegisterJobTypeRequest(job_type=message)
    return _job_type_call("RegisterJobType", request, types_pb2.RegisterJobTypeResponse)


def get_job_type(name: str, *, namespace: str) -> Call[JobType]:
    """Reads one job type."""
    request = types_pb2.GetJobTypeRequest(namespace=namespace, name=name)
    return _job_type_call("GetJobType", request, types_pb2.GetJobTypeResponse)


def list_job_types(*, namespace: str, page_token: str) -> Call[Page[JobType]]:
    """Reads one page of the job types that may be submitted in the namespace."""
    return Call(
        "/jobhall.v1.JobTypeService/ListJobTypes",
        types_pb2.ListJobTypesRequest(namespace=namespace, page_token=page_token),
        types_pb2.ListJobTypesResponse,
        lambda answer: Page([job_type_from_wire(it) for it in answer.job_types], answer.next_page_token),
    )


def server_info() -> Call[ServerInfo]:
    """Asks the server what it is."""
    return Call(
        "/jobhall.v1.AdminService/GetServerInfo",
        admin_pb2.GetServerInfoRequest(),
        admin_pb2.GetServerInfoResponse,
        lambda answer: server_info_from_wire(answer.server_info),
    )


def _job_call(name: str, request: Message, response: type[Message], *, held_seconds: float = 0.0) -> Call[Job]:
    path = f"/jobhall.v1.JobService/{name}"
    return Call(path, request, response, lambda answer: job_from_wire(answer.job), held_seconds)


def _job_type_call(name: str, request: Message, response: type[Message]) -> Call[JobType]:
    path = f"/jobhall.v1.JobTypeService/{name}"
    return Call(path, request, response, lambda answer: job_type_from_wire(answer.job_type))


def _worker_call(name: str, request: Message, response: type[Message]) -> Call[WorkerInfo]:
    path = f"/jobhall.v1.WorkerService/{name}"
    return Call(path, request, response, lambda answer: worker_from_wire(answer.worker))


def _span(span: float | timedelta | None, *, field: str) -> Duration | None:
    return None if span is None else span_to_wire(span, field=field)
