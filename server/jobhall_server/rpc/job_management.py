"""The methods of JobService on many jobs, the counters, and why one of them waits."""

# The names and signatures of methods are those of the generated base class.
# ruff: noqa: N802, ARG002

from __future__ import annotations

from jobhall.errors import FieldInvalidError, MessageTooLargeError
from jobhall.limits import BULK_JOBS_MAX, MESSAGE_BYTES_MAX, STATS_JOB_TYPES_MAX, SUBJECT_BYTES_MAX
from jobhall.v1 import job_service_pb2
from jobhall.v1.job_service_pb2_grpc import JobServiceServicer
from jobhall_server.hall import checks
from jobhall_server.hall.hall import Hall
from jobhall_server.hall.views import JobFilter
from jobhall_server.rpc.caller import principal
from jobhall_server.rpc.convert_rules import retention_in
from jobhall_server.rpc.convert_stats import explanation_out, stats_out
from jobhall_server.rpc.filters import parse_filter
from jobhall_server.rpc.interceptor import Context


class JobManagement(JobServiceServicer):
    """Bulk verbs, stats and explanations."""

    _hall: Hall

    async def CancelJobs(
        self, request: job_service_pb2.CancelJobsRequest, context: Context
    ) -> job_service_pb2.CancelJobsResponse:
        done = await self._hall.management.cancel_jobs(
            principal(),
            _where(request.namespace, request.filter),
            reason=request.reason,
            jobs_max=_jobs_max(request.jobs_max),
            dry_run=request.dry_run,
        )
        return job_service_pb2.CancelJobsResponse(cancelled_count=done.count, more=done.more)

    async def RetryJobs(
        self, request: job_service_pb2.RetryJobsRequest, context: Context
    ) -> job_service_pb2.RetryJobsResponse:
        done = await self._hall.management.retry_jobs(
            principal(),
            _where(request.namespace, request.filter),
            jobs_max=_jobs_max(request.jobs_max),
            dry_run=request.dry_run,
        )
        return job_service_pb2.RetryJobsResponse(
            retried_count=done.count, more=done.more, skipped_count=done.skipped_count
        )

    async def PurgeJobs(
        self, request: job_service_pb2.PurgeJobsRequest, context: Context
    ) -> job_service_pb2.PurgeJobsResponse:
        if not request.HasField("min_age"):
            raise FieldInvalidError("min_age", "is required; 0 s is all that has ended")
        done = await self._hall.management.purge_jobs(
            principal(),
            _where(request.namespace, request.filter, required=False),
            min_age_us=retention_in(request.min_age, "min_age"),
            jobs_max=_jobs_max(request.jobs_max),
            dry_run=request.dry_run,
        )
        return job_service_pb2.PurgeJobsResponse(purged_count=done.count, more=done.more)

    async def GetJobStats(
        self, request: job_service_pb2.GetJobStatsRequest, context: Context
    ) -> job_service_pb2.GetJobStatsResponse:
        checks.check_count(len(request.job_types), STATS_JOB_TYPES_MAX, "job_types")
        checks.check_text(request.owner, SUBJECT_BYTES_MAX, "owner")
        stats = await self._hall.management.stats(
            principal(),
            checks.listed_namespace(request.namespace, "namespace"),
            job_types=[
                checks.check_job_type(spec, f"job_types[{place}]") for place, spec in enumerate(request.job_types)
            ],
            owner=request.owner,
        )
        answer = stats_out(stats, now_us=self._hall.clock.now_us())
        if answer.ByteSize() > MESSAGE_BYTES_MAX:
            raise MessageTooLargeError(f"{len(stats.queues)} queues are more than one answer holds; name a namespace")
        return answer

    async def ExplainJob(
        self, request: job_service_pb2.ExplainJobRequest, context: Context
    ) -> job_service_pb2.ExplainJobResponse:
        explanation = await self._hall.management.explain(principal(), request.job_id)
        return job_service_pb2.ExplainJobResponse(explanation=explanation_out(explanation))


def _where(namespace: str, text: str, *, required: bool = True) -> JobFilter:
    if required and not text.strip():
        raise FieldInvalidError("filter", "is required: say which jobs, as in ListJobs")
    return parse_filter(text, JobFilter(namespace=checks.one_namespace(namespace, "namespace")))


def _jobs_max(jobs_max: int) -> int:
    checks.check_range(jobs_max, 0, BULK_JOBS_MAX, "jobs_max")
    return jobs_max or BULK_JOBS_MAX
