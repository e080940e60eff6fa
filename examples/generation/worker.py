"""A worker that writes articles about what a detection has found: one job is one article."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import jobhall
from examples.detection.failures import told_as_failures
from examples.detection.library import Library, ReferenceNotFoundError
from examples.detection.records import from_dict, to_dict
from examples.generation.models import STAGES, GenerationParameters, GenerationResult, Stage
from examples.generation.writing import LanguageUnknownError, Subject, Templates

PACE_SECONDS = float(os.environ.get("PACE_MS", "0")) / 1000
"""Stands for the call of a model, once for each section, and for the other stages."""

worker = jobhall.Worker(name=os.environ.get("WORKER_NAME"), concurrency=2)


@worker.handler("generation")
def generate(task: jobhall.Task) -> dict[str, Any]:
    """Writes an article and links the annotation to it, in four stages; an attempt starts anew.

    A job may run twice. Its article has the job's own id, so that the second attempt puts it in place of the first
    one's, and links to the same; nothing is there twice, and no link ever leads nowhere.
    """
    with told_as_failures():
        asked = from_dict(GenerationParameters, task.parameters)
        library, templates = Library.of_environment(), _templates(asked.language)

        _tell(task, "fetching", 0, f"reading {asked.source_resource_id}")
        subject = _fetch(library, asked)

        title = asked.title or templates.title(subject)
        sections = [*templates.sections(subject, prompt=asked.prompt, entity_types=asked.entity_types)]
        article = [f"{title}\n{'=' * len(title)}"]
        for number, section in enumerate(sections):
            _tell(task, "generating", 10 + 70 * number / len(sections), f"section {number + 1} of {len(sections)}")
            article.append(section)

        result = GenerationResult(resource_id=f"article-{task.job_id}", resource_name=title)
        _tell(task, "creating", 80, f"creating {result.resource_id}")
        library.add(result.resource_id, "\n\n".join(article) + "\n")

        _tell(task, "linking", 90, f"linking {asked.reference_id} to it")
        library.link(subject.reference, result.resource_id)
        task.progress(percent=100, message=f"“{title}” is written")
    return to_dict(result)


def _templates(language: str | None) -> Templates:
    try:
        return Templates(language)
    except LanguageUnknownError as error:
        raise jobhall.TaskFailed(str(error), code="LANGUAGE_UNKNOWN", retryable=False) from None


def _fetch(library: Library, asked: GenerationParameters) -> Subject:
    source = library.read(asked.source_resource_id)
    annotations = library.annotations(asked.source_resource_id)
    for annotation in annotations:
        if annotation.id == asked.reference_id:
            return Subject(source=source, reference=annotation, annotations=annotations)
    raise ReferenceNotFoundError(f"{asked.source_resource_id!r} has no annotation {asked.reference_id!r}")


def _tell(task: jobhall.Task, stage: Stage, percentage: float, message: str) -> None:
    """Each stage begins by being told."""
    index, count = STAGES.index(stage) + 1, len(STAGES)
    task.progress(stage=stage, step=stage, step_index=index, step_count=count, percent=percentage, message=message)
    time.sleep(PACE_SECONDS)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    worker.run()
