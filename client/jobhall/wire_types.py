"""Job types on the wire, there and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jobhall.model_types import JobDefaults, JobType
from jobhall.v1 import job_type_pb2
from jobhall.wire_insight import counts_from_wire
from jobhall.wire_submissions import retry_policy_from_wire, retry_policy_to_wire
from jobhall.wire_values import duration_from_wire, int32, json_text, span_to_wire, time_from_wire


def schema_to_wire(schema: Mapping[str, Any] | bool | str | None, *, field: str) -> str:
    """A JSON Schema as text, which is what a str already is; nothing of None."""
    if schema is None:
        return ""
    return schema if isinstance(schema, str) else json_text(schema, field=field)


def defaults_to_wire(defaults: JobDefaults | None, *, field: str) -> job_type_pb2.JobDefaults | None:
    """What a submit means where it does not say."""
    if defaults is None:
        return None
    return job_type_pb2.JobDefaults(
        priority=None if defaults.priority is None else int32(defaults.priority, field=f"{field}.priority"),
        max_attempts=int32(defaults.max_attempts, field=f"{field}.max_attempts"),
        retry_policy=retry_policy_to_wire(defaults.retry_policy, field=f"{field}.retry_policy"),
        run_timeout=span_to_wire(defaults.run_timeout, field=f"{field}.run_timeout"),
        progress_timeout=span_to_wire(defaults.progress_timeout, field=f"{field}.progress_timeout"),
        retention=span_to_wire(defaults.retention, field=f"{field}.retention"),
    )


def job_type_from_wire(message: job_type_pb2.JobType) -> JobType:
    """A registered job type."""
    return JobType(
        name=message.name,
        namespace=message.namespace,
        description=message.description,
        parameters_schema=_schema_from_wire(message.parameters_schema),
        result_schema=_schema_from_wire(message.result_schema),
        defaults=_defaults_from_wire(message.defaults),
        version=message.version,
        paused=message.paused,
        worker_count=message.worker_count,
        worker_names=tuple(message.worker_names),
        counts=counts_from_wire(message.counts),
        created_at=time_from_wire(message, "create_time"),
        updated_at=time_from_wire(message, "update_time"),
        etag=message.etag,
    )


def _schema_from_wire(text: str) -> Any:
    return json.loads(text) if text else None


def _defaults_from_wire(message: job_type_pb2.JobDefaults) -> JobDefaults:
    return JobDefaults(
        priority=message.priority if message.HasField("priority") else None,
        max_attempts=message.max_attempts,
        retry_policy=retry_policy_from_wire(message.retry_policy) if message.HasField("retry_policy") else None,
        run_timeout=duration_from_wire(message, "run_timeout"),
        progress_timeout=duration_from_wire(message, "progress_timeout"),
        retention=duration_from_wire(message, "retention"),
    )
