"""The detection job: what it is asked, how far it has come, what it answers, typed, from and to plain dicts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

import jobhall
from examples.detection.records import from_dict, to_dict
from jobhall import QueueStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionParameters:
    """Which entities are sought in which resource."""

    resource_id: str
    entity_types: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.entity_types or len(set(self.entity_types)) < len(self.entity_types):
            raise ValueError(f"entity_types are one or more, none of them twice, not {list(self.entity_types)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionProgress:
    """How far a detection has come; it goes as the `details` of jobhall's own progress."""

    total_entity_types: int
    processed_entity_types: int
    current_entity_type: str | None = None
    entities_found: int
    entities_emitted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionResult:
    """What was found; fewer are emitted, since a find within a longer one is not an entity of its own."""

    total_found: int
    total_emitted: int
    errors: int
    """Entity types that nobody knows; each is an item error of the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """What holds for a job of any type."""

    id: str
    status: QueueStatus
    """jobhall tells eight states apart; these five are enough for somebody who waits for an answer."""
    user_id: str
    created: datetime
    started_at: datetime | None = None
    """Of the latest attempt."""
    completed_at: datetime | None = None
    error: str | None = None
    retry_count: int
    max_retries: int

    @staticmethod
    def of(job: jobhall.Job) -> dict[str, Any]:
        """The facts of a job that was read, as keywords."""
        assert job.created_at is not None
        return {
            "id": job.id,
            "status": QueueStatus.of(job),
            "user_id": job.owner,
            "created": job.created_at,
            "started_at": job.started_at,
            "completed_at": job.ended_at,
            "error": job.error_message,
            "retry_count": max(job.attempt - 1, 0),
            "max_retries": job.max_attempts - 1,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionJob(JobFacts):
    """A detection as its client sees it: `to_dict` makes a plain dict of it, `from_dict` makes it of one."""

    type: Literal["detection"] = "detection"
    resource_id: str
    entity_types: tuple[str, ...]
    progress: DetectionProgress | None = None
    result: DetectionResult | None = None

    @classmethod
    def read(cls, job: jobhall.Job) -> Self:
        """The typed view of a job that `get_job` has read."""
        asked = from_dict(DetectionParameters, job.parameters)
        details = job.progress.details
        return cls(
            **JobFacts.of(job),
            resource_id=asked.resource_id,
            entity_types=asked.entity_types,
            progress=from_dict(DetectionProgress, details) if details else None,
            result=from_dict(DetectionResult, job.result) if job.succeeded else None,
        )


def submit_detection(client: jobhall.Client, parameters: DetectionParameters, *, max_retries: int = 3) -> DetectionJob:
    """Submits one; a retry is an attempt after the first, so that `max_retries` 0 means: never run twice."""
    return DetectionJob.read(client.jobs.submit("detection", to_dict(parameters), max_attempts=max_retries + 1))
