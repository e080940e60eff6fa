"""What a client asks for when it submits a job, and what it is told at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from jobhall.model import AccessControl, FileInfo, RetryPolicy, TraceContext
from jobhall.plain import Plain
from jobhall.states import UniquePolicy


@dataclass(frozen=True, slots=True)
class Submission(Plain):
    """A job to submit; only the type is required.

    Spans are seconds or timedeltas. A time may be a timedelta too: it counts from now, by this machine's clock.
    """

    job_type: str
    parameters: Any = None
    """Anything that JSON can say, or bytes; None means none."""
    _: KW_ONLY
    content_type: str = ""
    """Media type of the parameters; empty means JSON, or plain bytes."""
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    """The resource that the job concerns, such as a URL path."""
    file_info: FileInfo | None = None
    priority: int | None = None
    """From -100 to 100, higher first; None means the type's default."""
    job_id: str = ""
    """A UUID of your own, by which a repeated submit is known; empty: a fresh one."""
    max_attempts: int = 0
    """Worker losses included; 1 means never run twice, 0 the type's default."""
    schedule_time: datetime | timedelta | None = None
    """Not to be started before; None means at once."""
    start_deadline: datetime | timedelta | None = None
    """Not to be started for the first time after; the job fails with kind EXPIRED instead."""
    retry_policy: RetryPolicy | None = None
    """None means the type's default."""
    run_timeout: float | timedelta | None = None
    """How long one attempt may run; None means the type's default, else no bound."""
    progress_timeout: float | timedelta | None = None
    """How long one attempt may be silent between two reports; the same."""
    batch_id: str = ""
    """The open batch that the job joins."""
    unique_key: str = ""
    """At most one live job of a namespace and type has it, among those of the organisation, else of the owner."""
    unique_policy: UniquePolicy = UniquePolicy.UNSPECIFIED
    """What happens when that key is taken; by default the job that has it is the answer."""
    unique_window: float | timedelta | None = None
    """How long after its submit a job keeps its key even when it has ended; None: until it has ended."""
    retention: float | timedelta | None = None
    """How long the job is kept after its end; None means the type's or the server's default."""
    access_control: AccessControl | None = None
    """None means PRIVATE."""
    trace_context: TraceContext | None = None
    """Handed to the worker as it is."""


@dataclass(frozen=True, slots=True)
class Submitted(Plain):
    """What is known of a job the moment it is durable."""

    job_id: str
    revision: int = 1
    existing: bool = False
    """Whether the job_id or the unique_key named a job that was there already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitAnswer(Plain):
    """What became of a submit, whether it was taken or not."""

    status_code: int
    """As HTTP has it: 200, or that of the error."""
    job_id: str | None = None
    """None where it was refused."""
    failure_reason: str | None = None
    """Why it was refused, or never answered."""
    existing: bool = False
    """Whether the job_id or the unique_key named a job that was there already."""
