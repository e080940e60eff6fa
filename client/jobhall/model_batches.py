"""Batches as the SDK gives them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from jobhall.model import AccessControl, Progress
from jobhall.model_insight import JobCounts
from jobhall.plain import Plain
from jobhall.states import BatchState, CompletionPolicy
from jobhall.submission import Submission


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Plain):
    """Jobs grouped together: their counts, their progress and what follows from these."""

    id: str
    namespace: str
    state: BatchState
    name: str = ""
    closed: bool = False
    """It takes no more jobs, and can come to an end."""
    active: bool = True
    """Its jobs are handed out."""
    counts: JobCounts = field(default_factory=JobCounts)
    progress: Progress = field(default_factory=Progress)
    """Sums of its jobs' items; percent over its jobs."""
    completion_job: Submission | None = None
    """What is submitted once when it is closed and all its jobs have ended."""
    completion_policy: CompletionPolicy = CompletionPolicy.ALL_COMPLETED
    completion_job_id: str = ""
    """The id of that job once it is submitted."""
    created_at: datetime | None = None
    started_at: datetime | None = None
    """When its first job was started."""
    ended_at: datetime | None = None
    updated_at: datetime | None = None
    access_control: AccessControl = field(default_factory=AccessControl)
    owner: str = ""
    organization_id: str = ""
    created_by: str = ""
    etag: str = ""
    job_ids: tuple[str, ...] = ()
    """Ids of the jobs that it was created with, in their order; only `create` tells them."""

    def __hash__(self) -> int:
        # By its id alone: its completion job's parameters may be dicts, which have no hash.
        return hash(self.id)

    @property
    def done(self) -> bool:
        """Whether it is closed and all its jobs have ended."""
        return self.state in {BatchState.COMPLETED, BatchState.FAILED}

    @property
    def succeeded(self) -> bool:
        """Whether it is closed and all its jobs are COMPLETED."""
        return self.state is BatchState.COMPLETED


@dataclass(frozen=True, slots=True)
class BatchPage(Plain):
    """One page of a list; an empty token means that it is the last."""

    batches: tuple[Batch, ...]
    next_page_token: str = ""
