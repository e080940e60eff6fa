"""JobService: each method decodes, calls one use case, encodes."""

# The names and signatures of methods are those of the generated base class.
# ruff: noqa: N802, ARG002

from __future__ import annotations

from collections.abc import Sequence

from jobhall.errors import FieldInvalidError
from jobhall.limits import (
    BATCH_GET_MAX,
    BATCH_SUBMIT_MAX,
    INCLUDED_ERRORS_MAX,
    MESSAGE_BYTES_MAX,
    SKIP_MAX,
    WAIT_TIMEOUT_DEFAULT,
    WAIT_TIMEOUT_MAX,
)
from jobhall.v1 import job_pb2, job_service_pb2
from jobhall_server.domain.job import JobView
from jobhall_server.hall import checks
from jobhall_server.hall.hall import Hall
from jobhall_server.hall.views import JobFilter
from jobhall_server.rpc.caller import principal
from jobhall_server.rpc.convert import payload_out, seconds_of
from jobhall_server.rpc.convert_jobs import (
    basic_job_out,
    item_errors_out,
    job_out,
    view_is_basic,
)
from jobhall_server.rpc.convert_rules import span_in
from jobhall_server.rpc.convert_submissions import submission_in, update_in
from jobhall_server.rpc.filters import parse_filter, parse_order
from jobhall_server.rpc.interceptor import Context
from jobhall_server.rpc.job_history import JobHistory
from jobhall_server.rpc.job_management import JobManagement
from jobhall_server.rpc.pages import how_many_fit, page_size_in, page_that_fits
from jobhall_server.rpc.streams import Stream
from jobhall_server.rpc.submit_stream import serve_submits
from jobhall_server.rpc.watch import serve_watch

_FULL_AT_ONCE = 50
"""Jobs read with their payloads at once: 100 MiB at worst, not 2 GiB."""


class JobServicer(JobHistory, JobManagement):
    """What is not here, the generated base class answers: UNIMPLEMENTED."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._jobs = hall.jobs

    async def SubmitJob(
        self, request: job_service_pb2.SubmitJobRequest, context: Context
    ) -> job_service_pb2.SubmitJobResponse:
        submission = submission_in(request.job, "job")
        if request.validate_only:
            ((job, existing),) = await self._jobs.try_many(principal(), [submission])
            return job_service_pb2.SubmitJobResponse(job=_as_it_would_be(self._full(job)), existing=existing)
        job, existing = await self._jobs.submit(principal(), submission)
        return job_service_pb2.SubmitJobResponse(job=self._full(job), existing=existing)

    async def BatchSubmitJobs(
        self, request: job_service_pb2.BatchSubmitJobsRequest, context: Context
    ) -> job_service_pb2.BatchSubmitJobsResponse:
        _check_count(len(request.jobs), BATCH_SUBMIT_MAX, "jobs")
        submissions = [submission_in(job, f"jobs[{place}]") for place, job in enumerate(request.jobs)]
        if request.validate_only:
            tried = await self._jobs.try_many(principal(), submissions)
            return job_service_pb2.BatchSubmitJobsResponse(
                jobs=[_as_it_would_be(basic_job_out(job)) for job, _ in tried]
            )
        jobs = await self._jobs.submit_many(principal(), submissions)
        return job_service_pb2.BatchSubmitJobsResponse(jobs=[basic_job_out(job) for job, _ in jobs])

    async def SubmitJobStream(self, _requests: object, stream: Stream) -> None:  # type: ignore[override]
        await serve_submits(self._jobs, stream)

    async def GetJob(self, request: job_service_pb2.GetJobRequest, context: Context) -> job_service_pb2.GetJobResponse:
        basic = view_is_basic(request.view, basic_default=False)
        job = await self._jobs.get(
            principal(),
            request.job_id,
            full=not basic,
            include_errors=request.include_errors,
            include_checkpoint=request.include_checkpoint,
        )
        return job_service_pb2.GetJobResponse(job=self._job(job, basic=basic, as_object=request.object_payloads))

    async def BatchGetJobs(
        self, request: job_service_pb2.BatchGetJobsRequest, context: Context
    ) -> job_service_pb2.BatchGetJobsResponse:
        _check_count(len(request.job_ids), BATCH_GET_MAX, "job_ids")
        basic = view_is_basic(request.view, basic_default=False)
        asked = {checks.job_id(text, f"job_ids[{place}]"): text for place, text in enumerate(request.job_ids)}
        ids = list(asked)
        messages, read = await self._read(
            ids, basic=basic, include_errors=request.include_errors, as_object=request.object_payloads
        )
        fitting = how_many_fit(messages)
        found = {message.id for message in messages}
        return job_service_pb2.BatchGetJobsResponse(
            jobs=messages[:fitting],
            missing_job_ids=[asked[job_id] for job_id in ids[:read] if job_id not in found],
            remaining_job_ids=[message.id for message in messages[fitting:]] + ids[read:],
        )

    async def ListJobs(
        self, request: job_service_pb2.ListJobsRequest, context: Context
    ) -> job_service_pb2.ListJobsResponse:
        order = parse_order(request.order_by)
        basic = view_is_basic(request.view, basic_default=True)
        where = parse_filter(
            request.filter, JobFilter(namespace=checks.listed_namespace(request.namespace, "namespace"))
        )
        checks.check_range(request.skip, 0, SKIP_MAX, "skip")

        async def ask(size: int) -> tuple[list[JobView], str]:
            return await self._jobs.page(
                principal(),
                where,
                page_size=size,
                page_token_text=request.page_token,
                skip=request.skip,
                order=order,
            )

        async def encode(jobs: Sequence[JobView]) -> list[job_pb2.Job]:
            if basic:
                return [basic_job_out(job) for job in jobs]
            return (await self._read([job.job_id for job in jobs], basic=False))[0]

        jobs, token = await page_that_fits(ask, encode, page_size_in(request.page_size))
        return job_service_pb2.ListJobsResponse(jobs=jobs, next_page_token=token)

    async def WaitJob(
        self, request: job_service_pb2.WaitJobRequest, context: Context
    ) -> job_service_pb2.WaitJobResponse:
        basic = view_is_basic(request.view, basic_default=False)
        longest = WAIT_TIMEOUT_MAX.total_seconds()
        seconds = WAIT_TIMEOUT_DEFAULT.total_seconds()
        if request.HasField("timeout"):
            seconds = seconds_of(request.timeout, "timeout")
        if seconds > longest:
            raise FieldInvalidError("timeout", f"is {seconds:g} s; the longest is {longest:g} s: wait again after it")
        job = await self._jobs.wait(principal(), request.job_id, timeout_seconds=seconds)
        if request.include_errors:
            job = await self._jobs.get(principal(), request.job_id, include_errors=True)
        message = self._job(job, basic=basic, as_object=request.object_payloads)
        return job_service_pb2.WaitJobResponse(job=message, done=job.state.terminal)

    async def UpdateJob(
        self, request: job_service_pb2.UpdateJobRequest, context: Context
    ) -> job_service_pb2.UpdateJobResponse:
        update = update_in(request.job, list(request.update_mask.paths))
        job = await self._jobs.update(principal(), request.job.id, update, etag=request.job.etag)
        return job_service_pb2.UpdateJobResponse(job=self._full(job))

    async def CancelJob(
        self, request: job_service_pb2.CancelJobRequest, context: Context
    ) -> job_service_pb2.CancelJobResponse:
        grace = span_in(request.grace, "grace") / 1e6 if request.HasField("grace") else None
        job, told = await self._jobs.cancel(
            principal(), request.job_id, reason=request.reason, grace_seconds=grace, etag=request.etag
        )
        return job_service_pb2.CancelJobResponse(job=self._full(job), worker_told=told)

    async def RetryJob(
        self, request: job_service_pb2.RetryJobRequest, context: Context
    ) -> job_service_pb2.RetryJobResponse:
        job = await self._jobs.retry(principal(), request.job_id, etag=request.etag)
        return job_service_pb2.RetryJobResponse(job=self._full(job))

    async def DeleteJob(
        self, request: job_service_pb2.DeleteJobRequest, context: Context
    ) -> job_service_pb2.DeleteJobResponse:
        job = await self._jobs.delete(principal(), request.job_id, etag=request.etag)
        return job_service_pb2.DeleteJobResponse(job=self._full(job))

    async def WatchJobs(self, request: job_service_pb2.WatchJobsRequest, context: Stream) -> None:  # type: ignore[override]
        await serve_watch(self._hall, request, context)

    async def _read(
        self, ids: Sequence[str], *, basic: bool, include_errors: bool = False, as_object: bool = False
    ) -> tuple[list[job_pb2.Job], int]:
        """Those of the jobs that exist, read until they are more than one answer holds; and how many ids that took."""
        messages: list[job_pb2.Job] = []
        size = 0
        at_once = len(ids) if basic and not include_errors else _FULL_AT_ONCE
        for start in range(0, len(ids), at_once or 1):
            if size > MESSAGE_BYTES_MAX:
                return messages, start
            some = ids[start : start + at_once]
            jobs = await self._jobs.get_many(principal(), some, full=not basic, include_errors=include_errors)
            more = [self._job(job, basic=basic, as_object=as_object) for job in jobs]
            size += sum(message.ByteSize() for message in more)
            messages += more
        return messages, len(ids)

    def _full(self, job: JobView) -> job_pb2.Job:
        return job_out(job, now_us=self._hall.clock.now_us())

    def _job(self, job: JobView, *, basic: bool, as_object: bool) -> job_pb2.Job:
        if not basic:
            return job_out(job, now_us=self._hall.clock.now_us(), as_object=as_object)
        message = basic_job_out(job)
        if job.checkpoint is not None:
            message.checkpoint.CopyFrom(payload_out(job.checkpoint, as_object=as_object))
        message.item_errors.extend(item_errors_out(job.item_errors[:INCLUDED_ERRORS_MAX]))
        return message


def _check_count(count: int, limit: int, field: str) -> None:
    if not 1 <= count <= limit:
        raise FieldInvalidError(field, f"has {count} entries; it must have 1 to {limit}")


def _as_it_would_be(message: job_pb2.Job) -> job_pb2.Job:
    """The answer to a submit that was only tried: a job that would be new has nothing of what its submit gives it."""
    if not message.id:
        for name in ("revision", "etag", "create_time", "update_time", "timing"):
            message.ClearField(name)
    return message
