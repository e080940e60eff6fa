"""Counters and explanations, domain → pb2."""

from __future__ import annotations

from jobhall.v1 import job_pb2, job_service_pb2
from jobhall_server.domain.batch import Counts
from jobhall_server.hall.explain import JobExplanation, WaitReason
from jobhall_server.hall.management import JobStats
from jobhall_server.hall.views import QueueStats
from jobhall_server.rpc.convert import duration, timestamp


def counts_out(counts: Counts) -> job_pb2.JobCounts:
    """Jobs by state."""
    return job_pb2.JobCounts(**counts._asdict())


def stats_out(stats: JobStats, *, now_us: int) -> job_service_pb2.GetJobStatsResponse:
    """All counters that were asked for."""
    return job_service_pb2.GetJobStatsResponse(
        total=counts_out(stats.total),
        queues=[_queue_out(queue, now_us) for queue in stats.queues],
        removed=counts_out(stats.removed),
    )


def explanation_out(explanation: JobExplanation) -> job_service_pb2.JobExplanation:
    """Why a job waits."""
    return job_service_pb2.JobExplanation(
        job_id=explanation.job_id,
        state=int(explanation.state),  # type: ignore[arg-type]  # equal numbers, proven by a test
        summary=explanation.summary,
        reasons=[_reason_out(reason) for reason in explanation.reasons],
        jobs_ahead=explanation.jobs_ahead,
    )


def _queue_out(stats: QueueStats, now_us: int) -> job_service_pb2.QueueStats:
    message = job_service_pb2.QueueStats(
        namespace=stats.queue.namespace,
        job_type=stats.queue.job_type,
        counts=counts_out(stats.counts),
        removed=counts_out(stats.removed),
        completed_per_second=stats.completed_per_second,
        failed_per_second=stats.failed_per_second,
    )
    if stats.oldest_ready_at is not None:
        message.oldest_pending_age.CopyFrom(duration(max(0, now_us - stats.oldest_ready_at) / 1e6))
    return message


def _reason_out(reason: WaitReason) -> job_service_pb2.WaitReason:
    return job_service_pb2.WaitReason(
        kind=int(reason.kind),  # type: ignore[arg-type]
        message=reason.message,
        suggestion=reason.suggestion,
        metadata=reason.metadata,
        until_time=None if reason.until_at is None else timestamp(reason.until_at),
    )
