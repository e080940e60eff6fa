"""Attempts, counts and explanations on the wire, as dataclasses."""

from __future__ import annotations

from jobhall.model_insight import JobAttempt, JobCounts, JobExplanation, JobStats, QueueStats, WaitReason
from jobhall.states import AttemptOutcome, JobState, WaitReasonKind
from jobhall.v1 import job_pb2, job_service_pb2
from jobhall.wire import job_error_from_wire, progress_from_wire
from jobhall.wire_values import duration_from_wire, enum_from_wire, time_from_wire


def attempt_from_wire(message: job_pb2.Attempt) -> JobAttempt:
    """One attempt at a job."""
    return JobAttempt(
        attempt=message.attempt,
        fence=message.fence,
        worker_name=message.worker_name,
        session_id=message.session_id,
        claimed_at=time_from_wire(message, "claim_time"),
        started_at=time_from_wire(message, "start_time"),
        ended_at=time_from_wire(message, "end_time"),
        outcome=enum_from_wire(AttemptOutcome, message.outcome),
        error=job_error_from_wire(message.error) if message.HasField("error") else None,
        progress=progress_from_wire(message.progress),
        item_error_count=message.item_error_count,
    )


def counts_from_wire(message: job_pb2.JobCounts) -> JobCounts:
    """Counts of jobs by state; of an absent message zeros."""
    return JobCounts(
        scheduled=message.scheduled,
        pending=message.pending,
        claimed=message.claimed,
        running=message.running,
        cancelling=message.cancelling,
        completed=message.completed,
        failed=message.failed,
        cancelled=message.cancelled,
    )


def stats_from_wire(message: job_service_pb2.GetJobStatsResponse) -> JobStats:
    """The counts of everything asked for, and of each queue."""
    return JobStats(
        total=counts_from_wire(message.total),
        queues=tuple(_queue_from_wire(queue) for queue in message.queues),
        removed=counts_from_wire(message.removed),
    )


def explanation_from_wire(message: job_service_pb2.JobExplanation) -> JobExplanation:
    """Why a job is not running."""
    return JobExplanation(
        job_id=message.job_id,
        state=enum_from_wire(JobState, message.state),
        summary=message.summary,
        reasons=tuple(_reason_from_wire(reason) for reason in message.reasons),
        jobs_ahead=message.jobs_ahead,
    )


def _queue_from_wire(message: job_service_pb2.QueueStats) -> QueueStats:
    return QueueStats(
        namespace=message.namespace,
        job_type=message.job_type,
        counts=counts_from_wire(message.counts),
        oldest_pending_age=duration_from_wire(message, "oldest_pending_age"),
        completed_per_second=message.completed_per_second,
        failed_per_second=message.failed_per_second,
        removed=counts_from_wire(message.removed),
    )


def _reason_from_wire(message: job_service_pb2.WaitReason) -> WaitReason:
    return WaitReason(
        kind=enum_from_wire(WaitReasonKind, message.kind),
        message=message.message,
        suggestion=message.suggestion,
        metadata=dict(message.metadata),
        until=time_from_wire(message, "until_time"),
    )
