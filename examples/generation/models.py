"""The generation job: what it is asked, how far it has come, what it answers, typed, from and to plain dicts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

import jobhall
from examples.detection.models import JobFacts
from examples.detection.records import from_dict, to_dict

Stage = Literal["fetching", "generating", "creating", "linking"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationParameters:
    """Which annotation an article is written about, and how."""

    reference_id: str
    """The annotation; the article is linked to it."""
    source_resource_id: str
    """The text that the annotation stands in."""
    prompt: str | None = None
    """The question that the article answers; it stands at its head."""
    title: str | None = None
    """None: the templates have one."""
    entity_types: tuple[str, ...] | None = None
    """Whose entities are told of along with it; None: of all types."""
    language: str | None = None
    """`en` or `de`; None: English."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationProgress:
    """How far a generation has come."""

    stage: Stage
    percentage: float
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationResult:
    """The article: a resource of the library as any other."""

    resource_id: str
    resource_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationJob(JobFacts):
    """A generation as its client sees it: `to_dict` makes a plain dict of it, `from_dict` makes it of one."""

    type: Literal["generation"] = "generation"
    reference_id: str
    source_resource_id: str
    prompt: str | None = None
    title: str | None = None
    entity_types: tuple[str, ...] | None = None
    language: str | None = None
    progress: GenerationProgress | None = None
    result: GenerationResult | None = None

    @classmethod
    def read(cls, job: jobhall.Job) -> Self:
        """The typed view of a job that `get_job` has read."""
        asked = from_dict(GenerationParameters, job.parameters)
        return cls(
            **JobFacts.of(job),
            reference_id=asked.reference_id,
            source_resource_id=asked.source_resource_id,
            prompt=asked.prompt,
            title=asked.title,
            entity_types=asked.entity_types,
            language=asked.language,
            progress=_progress_of(job.progress),
            result=from_dict(GenerationResult, job.result) if job.succeeded else None,
        )


def submit_generation(
    client: jobhall.Client, parameters: GenerationParameters, *, max_retries: int = 3
) -> GenerationJob:
    """Submits one; a retry is an attempt after the first, so that `max_retries` 0 means: never run twice."""
    return GenerationJob.read(client.jobs.submit("generation", to_dict(parameters), max_attempts=max_retries + 1))


def _progress_of(progress: jobhall.Progress) -> GenerationProgress | None:
    """Each of its fields has one in jobhall's own progress."""
    if not progress.stage:
        return None
    told = {"stage": progress.stage, "percentage": progress.percent or 0.0}
    return replace(from_dict(GenerationProgress, told), message=progress.message or None)
