"""Every call of the contract as a value: where it goes, what it says, how its answer reads; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic, TypedDict, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from jobhall.errors import FieldInvalidError, MessageTooLargeError
from jobhall.filters import JobSelection, check_names, filter_text, filter_texts, settled
from jobhall.limits import MESSAGE_BYTES_MAX
from jobhall.misfits import names_misfits
from jobhall.model import AccessControl, CancelledJob, FileInfo, Job, JobPage, Jobs, RetryPolicy, TraceContext
from jobhall.model_insight import BulkOutcome
from jobhall.states import UniquePolicy
from jobhall.submission import Submission, SubmitAnswer
from jobhall.unchanged import Unchanged, changes
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as jobs_pb2
from jobhall.wire import cancelled_from_wire, job_from_wire, submit_answer_from_wire
from jobhall.wire_submissions import access_control_to_wire, submission_to_wire
from jobhall.wire_values import duration_to_wire, int32, span_to_wire, when_to_wire

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

SUBMIT_STREAM = "/jobhall.v1.JobService/SubmitJobStream"
WATCH = "/jobhall.v1.JobService/WatchJobs"


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One unary call."""

    path: str
    """`/package.Service/Method`."""
    request: Message
    response: type[Message]
    decode: Callable[[Any], T_co]
    held_seconds: float = 0.0
    """How long the server holds it open when all is well; the deadline allows for it."""
    repeatable: bool = True
    """Whether it may be sent again when its answer was lost: all may but one that makes something without an id."""

    @property
    def name(self) -> str:
        """The method, for messages."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    """One page of a list; an empty token means that it is the last."""

    entries: Sequence[T_co]
    next_page_token: str


def unary(
    service: str,
    request: Message,
    response: type[Message],
    decode: Callable[[Any], T],
    *,
    held_seconds: float = 0.0,
    repeatable: bool = True,
) -> Call[T]:
    """The call that the request is named after."""
    method = request.DESCRIPTOR.name.removesuffix("Request")
    return Call(f"/jobhall.v1.{service}/{method}", request, response, decode, held_seconds, repeatable)


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
    schedule_time: datetime | timedelta | None
    start_deadline: datetime | timedelta | None
    batch_id: str
    unique_key: str
    unique_policy: UniquePolicy
    unique_window: float | timedelta | None
    retention: float | timedelta | None
    access_control: AccessControl | None
    trace_context: TraceContext | None


class PageOptions(JobSelection, total=False):
    """Which jobs, and which page of them."""

    page_size: int
    """1 to 1000; 100 where it is left out."""
    page_token: str
    skip: int
    """How many to pass over first; 0 to 10,000."""
    order_by: str
    """`create_time desc` where it is left out, `create_time`, `update_time desc` or `update_time`."""
    full: bool
    """Tell each job whole, not briefly."""


# --- submitting ---


def submit_job(submission: Submission) -> Call[Job]:
    """Submits one job under its own or a fresh id; the answer is the job."""
    message = submission_to_wire(submission)
    return _job_call(jobs_pb2.SubmitJobRequest(job=message), jobs_pb2.SubmitJobResponse)


def try_submit_job(submission: Submission) -> Call[SubmitAnswer]:
    """Submits one job under its own or a fresh id; the answer is what became of that."""
    message = submission_to_wire(submission)
    return unary(
        "JobService", jobs_pb2.SubmitJobRequest(job=message), jobs_pb2.SubmitJobResponse, submit_answer_from_wire
    )


@names_misfits
def validate_job(submission: Submission) -> Call[Job]:
    """Checks a submit and stores nothing; the answer is the job as it would be."""
    message = submission_to_wire(submission, job_id=submission.job_id)
    return _job_call(jobs_pb2.SubmitJobRequest(job=message, validate_only=True), jobs_pb2.SubmitJobResponse)


@names_misfits
def submit_jobs(jobs: Iterable[Submission]) -> Call[list[Job]]:
    """Submits up to 1000 jobs, all or none; the answer is the jobs in that order, briefly."""
    messages = [submission_to_wire(submission, field=f"jobs[{index}]") for index, submission in enumerate(jobs)]
    return _jobs_call(jobs_pb2.BatchSubmitJobsRequest(jobs=messages))


@names_misfits
def validate_jobs(jobs: Iterable[Submission]) -> Call[list[Job]]:
    """Checks up to 1000 submits and stores nothing; the answer is the jobs as they would be."""
    messages = [
        submission_to_wire(submission, job_id=submission.job_id, field=f"jobs[{index}]")
        for index, submission in enumerate(jobs)
    ]
    return _jobs_call(jobs_pb2.BatchSubmitJobsRequest(jobs=messages, validate_only=True))


def check_size(request: Message) -> None:
    """MESSAGE_TOO_LARGE where gRPC itself would refuse it, in words that help nobody."""
    if (size := request.ByteSize()) > MESSAGE_BYTES_MAX:
        raise MessageTooLargeError(f"the jobs have {size} bytes together; the limit is {MESSAGE_BYTES_MAX}: split them")


# --- reading ---


@names_misfits
def get_job(
    job_id: str, *, include_errors: bool = False, include_checkpoint: bool = False, briefly: bool = False
) -> Call[Job]:
    """Reads one job, all of it or briefly."""
    request = jobs_pb2.GetJobRequest(
        job_id=job_id, include_errors=include_errors, include_checkpoint=include_checkpoint, view=_view(briefly)
    )
    return _job_call(request, jobs_pb2.GetJobResponse)


@dataclass(frozen=True, slots=True)
class JobsAnswer:
    """Part of the jobs asked for by id; what did not fit is to be asked for again."""

    jobs: Jobs
    remaining_ids: Sequence[str]


@names_misfits
def get_jobs(job_ids: Sequence[str], *, include_errors: bool = False, briefly: bool = False) -> Call[JobsAnswer]:
    """Reads up to 1000 jobs by id, all of each or briefly."""
    return unary(
        "JobService",
        jobs_pb2.BatchGetJobsRequest(job_ids=job_ids, include_errors=include_errors, view=_view(briefly)),
        jobs_pb2.BatchGetJobsResponse,
        lambda answer: JobsAnswer(
            Jobs(tuple(job_from_wire(job) for job in answer.jobs), tuple(answer.missing_job_ids)),
            list(answer.remaining_job_ids),
        ),
    )


@names_misfits
def list_jobs(options: PageOptions, *, only: str | None = None) -> Call[JobPage]:
    """Reads one page of a list; `only` is one of the filter texts that its conditions take."""
    check_names(options, PageOptions)
    request = jobs_pb2.ListJobsRequest(
        namespace=options.get("namespace", ""),
        page_size=int32(options.get("page_size", 0), field="page_size"),
        page_token=options.get("page_token", ""),
        skip=int32(options.get("skip", 0), field="skip"),
        filter=filter_text(options) if only is None else only,
        order_by=options.get("order_by", ""),
        view=job_pb2.JOB_VIEW_FULL if options.get("full") else job_pb2.JOB_VIEW_BASIC,
    )
    return unary(
        "JobService",
        request,
        jobs_pb2.ListJobsResponse,
        lambda answer: JobPage(tuple(job_from_wire(job) for job in answer.jobs), answer.next_page_token),
    )


@names_misfits
def wait_job(job_id: str, *, hold_seconds: float) -> Call[Job]:
    """Waits at the server until the job has ended or the time is over; the answer is the job as it is then."""
    hold = timedelta(seconds=max(0.0, hold_seconds))
    request = jobs_pb2.WaitJobRequest(job_id=job_id, timeout=duration_to_wire(hold))
    return _job_call(request, jobs_pb2.WaitJobResponse, held_seconds=hold_seconds)


# --- changing one ---


@names_misfits
def update_job(
    job_id: str,
    *,
    priority: int | Unchanged,
    schedule_time: datetime | timedelta | Unchanged | None,
    start_deadline: datetime | timedelta | Unchanged | None,
    labels: Mapping[str, str] | Unchanged,
    access_control: AccessControl | Unchanged | None,
    etag: str,
) -> Call[Job]:
    """Changes what is not UNCHANGED; the answer is the job as it then is."""
    fields = changes(
        priority=(priority, partial(int32, field="job.priority")),
        schedule_time=(schedule_time, partial(when_to_wire, field="job.schedule_time")),
        start_deadline=(start_deadline, partial(when_to_wire, field="job.start_deadline")),
        labels=(labels, None),
        access_control=(access_control, access_control_to_wire),
    )
    job = job_pb2.Job(id=job_id, etag=etag, **fields)
    request = jobs_pb2.UpdateJobRequest(job=job, update_mask=FieldMask(paths=fields))
    return _job_call(request, jobs_pb2.UpdateJobResponse)


@names_misfits
def cancel_job(job_id: str, *, reason: str, grace: float | timedelta | None, etag: str) -> Call[CancelledJob]:
    """Cancels a job; the answer is CANCELLED, or CANCELLING while its worker stops."""
    request = jobs_pb2.CancelJobRequest(
        job_id=job_id, reason=reason, etag=etag, grace=span_to_wire(grace, field="grace")
    )
    return unary("JobService", request, jobs_pb2.CancelJobResponse, cancelled_from_wire)


@names_misfits
def retry_job(job_id: str, *, etag: str) -> Call[Job]:
    """Makes a failed or cancelled job PENDING again; the answer is the job as it then is."""
    return _job_call(jobs_pb2.RetryJobRequest(job_id=job_id, etag=etag), jobs_pb2.RetryJobResponse)


@names_misfits
def delete_job(job_id: str, *, etag: str) -> Call[Job]:
    """Deletes a job that no worker holds; the answer is the job as it last was."""
    return _job_call(jobs_pb2.DeleteJobRequest(job_id=job_id, etag=etag), jobs_pb2.DeleteJobResponse)


# --- changing many: one step each, of at most so many jobs ---

BulkStep = Callable[[int], Call[BulkOutcome]]
"""A step that changes at most so many jobs."""

_MAY_BE_NOTHING = ("namespace", "priority_min", "priority_max")


@names_misfits
def cancel_jobs(selection: JobSelection, *, reason: str, dry_run: bool) -> Sequence[BulkStep]:
    """Cancels the jobs of a selection, a step for each of its filters."""
    return _steps(
        selection,
        jobs_pb2.CancelJobsRequest(reason=reason, dry_run=dry_run),
        jobs_pb2.CancelJobsResponse,
        lambda answer: BulkOutcome(count=answer.cancelled_count, more=answer.more),
    )


@names_misfits
def retry_jobs(selection: JobSelection, *, dry_run: bool) -> Sequence[BulkStep]:
    """Retries the failed and cancelled jobs of a selection."""
    return _steps(
        selection,
        jobs_pb2.RetryJobsRequest(dry_run=dry_run),
        jobs_pb2.RetryJobsResponse,
        lambda answer: BulkOutcome(count=answer.retried_count, skipped=answer.skipped_count, more=answer.more),
    )


@names_misfits
def purge_jobs(selection: JobSelection, *, min_age: float | timedelta, dry_run: bool) -> Sequence[BulkStep]:
    """Deletes the ended jobs of a selection that are old enough."""
    return _steps(
        selection,
        jobs_pb2.PurgeJobsRequest(min_age=span_to_wire(min_age, field="min_age"), dry_run=dry_run),
        jobs_pb2.PurgeJobsResponse,
        lambda answer: BulkOutcome(count=answer.purged_count, more=answer.more),
    )


def _steps(
    selection: JobSelection, request: Any, response: type[Message], decode: Callable[[Any], BulkOutcome]
) -> Sequence[BulkStep]:
    """FIELD_INVALID of a condition that names nothing, which in a list would be all jobs."""
    check_names(selection, JobSelection)
    selection = settled(selection)
    for name, value in selection.items():
        if value is None or (not value and name not in _MAY_BE_NOTHING):
            raise FieldInvalidError(name, "names nothing; leave it out if all jobs are meant")
    request.namespace = selection.get("namespace", "")

    def step(text: str, jobs_max: int) -> Call[BulkOutcome]:
        chosen = type(request)(filter=text, jobs_max=jobs_max)
        chosen.MergeFrom(request)
        return unary("JobService", chosen, response, decode)

    return [partial(step, text) for text in filter_texts(selection)]


def _view(briefly: bool) -> job_pb2.JobView.ValueType:
    return job_pb2.JOB_VIEW_BASIC if briefly else job_pb2.JOB_VIEW_UNSPECIFIED


def _job_call(request: Message, response: type[Message], *, held_seconds: float = 0.0) -> Call[Job]:
    return unary("JobService", request, response, lambda answer: job_from_wire(answer.job), held_seconds=held_seconds)


def _jobs_call(request: jobs_pb2.BatchSubmitJobsRequest) -> Call[list[Job]]:
    check_size(request)
    return unary(
        "JobService",
        request,
        jobs_pb2.BatchSubmitJobsResponse,
        lambda answer: [job_from_wire(job) for job in answer.jobs],
    )
