"""Job types as the SDK gives and takes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from jobhall.model import RetryPolicy
from jobhall.model_insight import JobCounts
from jobhall.plain import Plain


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDefaults(Plain):
    """What a submit of a type means where it does not say; spans are seconds or timedeltas, and come back as these."""

    priority: int | None = None
    max_attempts: int = 0
    """0 means 4."""
    retry_policy: RetryPolicy | None = None
    run_timeout: float | timedelta | None = None
    """None: without bound."""
    progress_timeout: float | timedelta | None = None
    retention: float | timedelta | None = None
    """None: what the server is set to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobType(Plain):
    """A registered job type."""

    name: str
    """`name` or `category:name`."""
    namespace: str
    """Where it is registered: a namespace, or `@global`."""
    description: str = ""
    parameters_schema: Any = None
    """The JSON Schema of parameters, decoded; None: anything goes."""
    result_schema: Any = None
    """The same of results."""
    defaults: JobDefaults = field(default_factory=JobDefaults)
    version: int = 0
    """Counts its registrations with other schemas, from 1."""
    paused: bool = False
    """It accepts submits and hands out none."""
    worker_count: int = 0
    """How many workers serve it now."""
    worker_names: tuple[str, ...] = ()
    """Names of some of them, at most 100."""
    counts: JobCounts = field(default_factory=JobCounts)
    """Its jobs."""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    etag: str = ""
