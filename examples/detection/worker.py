"""A worker that finds persons, organisations and places in the texts of a library: one job is one text."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jobhall
from examples.detection.failures import told_as_failures
from examples.detection.finding import ENTITY_TYPES, Find, Gazetteer, find_entities
from examples.detection.library import Annotation, Library
from examples.detection.models import DetectionParameters, DetectionProgress, DetectionResult
from examples.detection.records import from_dict, to_dict

GAZETTEER = Gazetteer.load(Path(__file__).with_name("gazetteer.toml"))
PACE_SECONDS = float(os.environ.get("PACE_MS", "0")) / 1000
"""Stands for the call of a model, once for each entity type."""

worker = jobhall.Worker(name=os.environ.get("WORKER_NAME"), concurrency=2)


@worker.handler("detection")
def detect(task: jobhall.Task) -> dict[str, Any]:
    """Writes the annotations of a text, type by type; the attempt after a lost one goes on with the first type due."""
    with told_as_failures():
        asked = from_dict(DetectionParameters, task.parameters)
        library = Library.of_environment()
        text = library.read(asked.resource_id)
        errors = _tell_unknown_types(task, asked)
        progress = _begin(task, asked)
        for entity_type in asked.entity_types[progress.processed_entity_types :]:
            _tell(task, asked, replace(progress, current_entity_type=entity_type))
            time.sleep(PACE_SECONDS)
            findings = find_entities(text, GAZETTEER, entity_type)
            if entity_type in ENTITY_TYPES:
                annotations = [_annotation(asked.resource_id, text, find) for find in findings.kept]
                library.annotate(asked.resource_id, entity_type, annotations)
            progress = replace(
                progress,
                processed_entity_types=progress.processed_entity_types + 1,
                entities_found=progress.entities_found + findings.found,
                entities_emitted=progress.entities_emitted + len(findings.kept),
            )
            _tell(task, asked, progress)
            task.checkpoint(to_dict(progress))
    result = DetectionResult(
        total_found=progress.entities_found, total_emitted=progress.entities_emitted, errors=errors
    )
    return to_dict(result)


def _tell_unknown_types(task: jobhall.Task, asked: DetectionParameters) -> int:
    """A type that nobody knows is an error of that item, not of the job; each attempt has its own item errors."""
    unknown = [(index, name) for index, name in enumerate(asked.entity_types) if name not in ENTITY_TYPES]
    for index, name in unknown:
        task.item_error(
            index=index, key=name, code="ENTITY_TYPE_UNKNOWN", message=f"known are {', '.join(ENTITY_TYPES)}"
        )
    return len(unknown)


def _begin(task: jobhall.Task, asked: DetectionParameters) -> DetectionProgress:
    """Where the attempt before was saved, if there was one."""
    if task.checkpoint_state is None:
        return DetectionProgress(
            total_entity_types=len(asked.entity_types), processed_entity_types=0, entities_found=0, entities_emitted=0
        )
    progress = from_dict(DetectionProgress, task.checkpoint_state)
    task.log(f"attempt {task.attempt} goes on after {progress.processed_entity_types} entity types")
    return progress


def _tell(task: jobhall.Task, asked: DetectionParameters, progress: DetectionProgress) -> None:
    """The counts that every client of jobhall knows, and the detection's own as details."""
    total, done = progress.total_entity_types, progress.processed_entity_types
    current = progress.current_entity_type
    failed = sum(name not in ENTITY_TYPES for name in asked.entity_types[:done])
    task.progress(
        total=total,
        processed=done,
        succeeded=done - failed,
        failed=failed,
        unit="entity types",
        step=current or "",
        step_index=min(done + 1, total),
        step_count=total,
        message=f"looking for {current}" if current else f"{progress.entities_emitted} entities so far",
        details=to_dict(progress),
    )


def _annotation(resource_id: str, text: str, find: Find) -> Annotation:
    return Annotation(
        id=f"{resource_id}:{find.start}-{find.end}",
        resource_id=resource_id,
        entity_type=find.entity_type,
        name=find.name,
        text=text[find.start : find.end],
        start=find.start,
        end=find.end,
        found_by=find.found_by,
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    worker.run()
