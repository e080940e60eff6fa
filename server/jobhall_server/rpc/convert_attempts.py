"""Attempts as history shows them, domain → pb2."""

from __future__ import annotations

from dataclasses import replace

from jobhall.v1 import job_pb2
from jobhall_server.domain.job import AttemptView
from jobhall_server.rpc.convert import progress_out, timestamp
from jobhall_server.rpc.convert_jobs import error_out


def attempt_out(view: AttemptView) -> job_pb2.Attempt:
    """One attempt."""
    message = job_pb2.Attempt(
        attempt=view.attempt,
        fence=view.fence,
        worker_name=view.worker,
        session_id=view.session_id,
        start_time=timestamp(view.started_at),
        outcome=int(view.outcome),  # type: ignore[arg-type]  # equal numbers, proven by a test
        item_error_count=view.item_error_count,
    )
    if view.claimed_at is not None:
        message.claim_time.CopyFrom(timestamp(view.claimed_at))
    if view.ended_at is not None:
        message.end_time.CopyFrom(timestamp(view.ended_at))
    if view.failure is not None:
        failure = view.failure
        said = failure.message or failure.code.replace("_", " ").capitalize()
        message.error.CopyFrom(error_out(replace(failure, message=said, attempt=failure.attempt or view.attempt)))
    if view.progress is not None:
        message.progress.CopyFrom(progress_out(view.progress))
    return message
