"""Everything that is set of one thing, by name, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobhall.cli.phrases import (
    attempt_error_text,
    counts_text,
    file_text,
    outcome_text,
    progress_text,
    retry_text,
    shown,
    tasks_text,
    value_text,
)
from jobhall.model import Job
from jobhall.model_batches import Batch
from jobhall.model_insight import JobExplanation
from jobhall.model_types import JobType
from jobhall.states import JobState
from jobhall.worker_info import WorkerInfo

Rows = list[tuple[str, str]]


def job_rows(job: Job) -> Rows:
    """Of a job, by the names of the dataclass."""
    task = job.current_task
    return _set(
        ("id", job.id),
        ("type", job.job_type),
        ("namespace", job.namespace),
        ("state", job.state.name),
        ("attempt", f"{job.attempt} of {job.max_attempts}" if job.max_attempts else job.attempt),
        ("worker losses", job.worker_losses or ""),
        ("due", job.scheduled_at if job.state is JobState.SCHEDULED else None),
        ("start deadline", job.start_deadline),
        ("worker", task.worker_name if task else ""),
        ("progress", progress_text(job.progress)),
        ("items per second", job.timing.recent_items_per_second or job.timing.items_per_second),
        ("remaining", job.timing.estimated_remaining),
        ("created", job.created_at),
        ("started", job.started_at),
        ("ended", job.ended_at),
        ("queued for", job.timing.queue_duration),
        ("ran for", job.timing.run_duration),
        ("retries", retry_text(job.retry_policy) if job.retry_policy else ""),
        ("run timeout", job.run_timeout),
        ("progress timeout", job.progress_timeout),
        ("priority", job.priority or ""),
        ("batch", job.batch_id),
        ("unique key", job.unique_key),
        ("path", job.path),
        ("file", file_text(job.file_info) if job.file_info else ""),
        ("labels", _pairs(job.labels)),
        ("owner", job.owner),
        ("parameters", value_text(job.parameters)),
        ("result", value_text(job.result)),
        ("error" if job.done else "last error", attempt_error_text(job.error) if job.error else ""),
        ("cancelled", "" if job.succeeded or job.error else outcome_text(job)),
        ("item errors", job.item_error_count or ""),
        ("retention", job.retention),
        ("kept until", job.purge_at),
        ("checkpoint", value_text(job.checkpoint)),
        ("etag", job.etag),
    )


def worker_rows(worker: WorkerInfo) -> Rows:
    """Of a worker, by the names of the dataclass."""
    runtime = worker.runtime
    return _set(
        ("id", worker.id),
        ("name", worker.name),
        ("state", worker.state.name),
        ("namespaces", " ".join(worker.namespaces)),
        ("types", " ".join(worker.job_types)),
        ("tasks", tasks_text(worker)),
        ("tasks at most", _pairs(worker.capacity_by_type)),
        ("labels", _pairs(worker.labels)),
        ("last seen", worker.last_seen_at),
        ("created", worker.created_at),
        ("expires", worker.expires_at),
        ("language", f"{runtime.language} {runtime.language_version}".strip()),
        ("sdk", f"{runtime.sdk_name} {runtime.sdk_version}".strip()),
        ("host", runtime.hostname),
        ("process", runtime.process_id or ""),
        ("platform", runtime.platform),
        ("epoch", worker.epoch),
        ("replica", worker.replica_id),
        ("stream", "none: it calls" if worker.unary else ""),
    )


def job_type_rows(it: JobType) -> Rows:
    """Of a job type, by the names of the dataclass."""
    defaults = it.defaults
    return _set(
        ("name", it.name),
        ("namespace", it.namespace),
        ("description", it.description),
        ("version", it.version),
        ("paused", "yes" if it.paused else ""),
        ("workers", " ".join([str(it.worker_count), *it.worker_names])),
        ("jobs", counts_text(it.counts)),
        ("priority", defaults.priority),
        ("attempts", defaults.max_attempts or ""),
        ("retries", retry_text(defaults.retry_policy) if defaults.retry_policy else ""),
        ("run timeout", defaults.run_timeout),
        ("progress timeout", defaults.progress_timeout),
        ("retention", defaults.retention),
        ("parameters schema", value_text(it.parameters_schema)),
        ("result schema", value_text(it.result_schema)),
        ("created", it.created_at),
        ("updated", it.updated_at),
        ("etag", it.etag),
    )


def batch_rows(batch: Batch) -> Rows:
    """Of a batch, by the names of the dataclass."""
    last = batch.completion_job
    return _set(
        ("id", batch.id),
        ("name", batch.name),
        ("namespace", batch.namespace),
        ("state", batch.state.name),
        ("closed", "yes" if batch.closed else "no: jobs may join it"),
        ("active", "" if batch.active else "no: its jobs are held back"),
        ("jobs", counts_text(batch.counts)),
        ("progress", progress_text(batch.progress)),
        ("completion job", f"{last.job_type}, {batch.completion_policy.name}" if last else ""),
        ("submitted as", batch.completion_job_id),
        ("created", batch.created_at),
        ("started", batch.started_at),
        ("ended", batch.ended_at),
        ("owner", batch.owner),
        ("etag", batch.etag),
    )


def explanation_rows(explanation: JobExplanation) -> Rows:
    """Why a job waits: the summary, unless a reason says the same, and each reason with what would help."""
    said = {reason.message for reason in explanation.reasons}
    rows: list[tuple[str, Any]] = [
        ("id", explanation.job_id),
        ("state", explanation.state.name),
        ("summary", "" if explanation.summary in said else explanation.summary),
        ("jobs ahead", explanation.jobs_ahead or ""),
    ]
    for reason in explanation.reasons:
        rows += [
            ("reason", f"{reason.kind.name}: {reason.message}"),
            ("would help", reason.suggestion),
            ("until", reason.until),
        ]
    return _set(*rows)


def _set(*rows: tuple[str, Any]) -> Rows:
    return [(name, text) for name, value in rows if (text := shown(value))]


def _pairs(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(values.items()))
