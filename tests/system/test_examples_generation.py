"""The generation example over a real server: the article, its stages, and what a killed worker leaves behind."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.detection.library import Annotation
from examples.detection.models import DetectionResult
from examples.detection.records import from_dict, to_dict
from examples.generation.models import (
    STAGES,
    GenerationJob,
    GenerationParameters,
    GenerationProgress,
    submit_generation,
)
from tests.support.documents import Reader, blocks_of
from tests.support.library_hall import STUDY, LibraryHall
from tests.support.processes import ROOT, START_SECONDS, Processes
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


@pytest.fixture
def hall(processes: Processes) -> Iterator[LibraryHall]:
    """With the shipped library, and a worker for detection."""
    hall = LibraryHall(processes)
    hall.ship()
    hall.work("detection")
    with hall.client:
        yield hall


def reference_of(name: str, hall: LibraryHall) -> Annotation:
    """The first place of a name, once it was looked for."""
    assert hall.ended(hall.detect()).succeeded
    return next(found for found in hall.library.annotations(STUDY) if found.name == name)


def about(reference: Annotation, **more: object) -> GenerationParameters:
    asked = {"reference_id": reference.id, "source_resource_id": reference.resource_id, **more}
    return from_dict(GenerationParameters, asked)


def articles_in(hall: LibraryHall) -> list[str]:
    return [path.stem for path in (hall.library.folder / "resources").iterdir() if path.name.startswith("article-")]


def test_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    with Reader(folder=tmp_path) as reader:
        for block in blocks_of((ROOT / "examples" / "generation" / "README.md").read_text()):
            reader.follow(block)


def test_it_writes_an_article_and_links_the_annotation_to_it(hall: LibraryHall) -> None:
    hall.work("generation")
    reference = reference_of("London", hall)

    submitted = submit_generation(hall.client, about(reference, prompt="Where to?", title="The great city"))
    job = GenerationJob.read(hall.ended(submitted.id))

    assert (job.status, job.retry_count, job.max_retries) == ("complete", 0, 3)
    assert job.result is not None
    assert (job.result.resource_name, job.prompt, job.language) == ("The great city", "Where to?", None)
    assert job.progress == GenerationProgress(stage="linking", percentage=100, message="“The great city” is written")
    assert from_dict(GenerationJob, json.loads(json.dumps(to_dict(job)))) == job
    article = hall.library.read(job.result.resource_id)
    assert article.startswith("The great city\n==============\n\nThe question was: Where to?\n\nLondon is a place in")
    assert "the crowded *London* streets" in article
    assert hall.library.linked(reference) == job.result.resource_id


def test_the_four_stages_are_told_in_their_order(hall: LibraryHall) -> None:
    hall.work("generation", pace_ms=150)
    reference = reference_of("Murray", hall)

    # Progress is told to who watches, and not kept: it begins when the watch is there.
    hall.client.types.pause("generation")
    job_id = submit_generation(hall.client, about(reference)).id
    watch = hall.client.jobs.watch(job_ids=[job_id], stop_when_terminal=True)
    next(watch)
    hall.client.types.resume("generation")
    told = [event.progress for update in watch for event in update.events if event.progress]

    assert list(dict.fromkeys(progress.stage for progress in told)) == list(STAGES)
    assert all(progress.message for progress in told)
    percentages = [progress.percent or 0.0 for progress in told]
    assert percentages == sorted(percentages)
    assert {progress.step_count for progress in told} == {4}


def test_it_writes_german_and_only_of_the_entity_types_that_were_asked_for(hall: LibraryHall) -> None:
    hall.work("generation")
    reference = reference_of("London", hall)

    submitted = submit_generation(hall.client, about(reference, language="de", entity_types=["Person"]))
    job = GenerationJob.read(hall.ended(submitted.id))

    assert job.result is not None
    article = hall.library.read(job.result.resource_id)
    assert article.startswith("Über London\n")
    assert "wird dort 3-mal genannt" in article
    assert "Im selben Absatz\n----------------\n- Stamford (2)\n- John H. Watson (1)\n\n" in article


def test_an_article_is_a_resource_that_can_be_worked_on_in_its_turn(hall: LibraryHall) -> None:
    hall.work("generation")
    submitted = submit_generation(hall.client, about(reference_of("Kandahar", hall)))
    written = GenerationJob.read(hall.ended(submitted.id)).result
    assert written is not None

    detected = hall.ended(hall.detect("Organization", resource_id=written.resource_id))

    assert from_dict(DetectionResult, detected.result).errors == 0
    assert "Fifth Northumberland Fusiliers" in {found.name for found in hall.library.annotations(written.resource_id)}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"reference_id": f"{STUDY}:0-7"}, "REFERENCE_NOT_FOUND"),
        ({"source_resource_id": "the-valley-of-fear"}, "RESOURCE_NOT_FOUND"),
        ({"language": "eo"}, "LANGUAGE_UNKNOWN"),
    ],
)
def test_what_is_wrong_with_the_job_is_not_tried_twice(more: dict[str, str], code: str, hall: LibraryHall) -> None:
    hall.work("generation")
    reference = reference_of("London", hall)

    job = hall.ended(submit_generation(hall.client, about(reference, **more)).id)

    assert job.error is not None
    assert (job.error.code, job.error.retryable, job.attempt) == (code, False, 1)
    assert articles_in(hall) == []


def test_a_source_in_which_nothing_was_sought_yet_is_waited_for(hall: LibraryHall) -> None:
    hall.work("generation")
    parameters = GenerationParameters(reference_id=f"{STUDY}:83-103", source_resource_id=STUDY)
    job_id = submit_generation(hall.client, parameters, max_retries=9).id
    eventually(
        lambda: (error := hall.client.jobs.get_job(job_id).error) and error.code == "SOURCE_NOT_DETECTED",
        within=START_SECONDS,
        what="an attempt finds no annotations",
    )

    hall.detect()

    job = GenerationJob.read(hall.ended(job_id))
    assert job.result is not None
    assert job.result.resource_name == "About University of London"
    assert job.retry_count >= 1


def test_a_worker_that_dies_between_two_stages_leaves_nothing_twice(hall: LibraryHall) -> None:
    """The article is there and not linked yet when the worker is killed; the next attempt writes it in its place."""
    victim = hall.work("generation", "victim", pace_ms=500)
    reference = reference_of("Sherlock Holmes", hall)
    job_id = submit_generation(hall.client, about(reference)).id
    [left] = eventually(lambda: articles_in(hall), within=START_SECONDS, what="the article is created")
    victim.kill()
    text = hall.library.read(left)
    assert hall.library.linked(reference) is None

    hall.work("generation", "survivor")
    job = hall.ended(job_id)

    assert job.attempt == 2
    assert job.result == {"resource_id": left, "resource_name": "About Sherlock Holmes"}
    assert articles_in(hall) == [left]
    assert hall.library.read(left) == text
    assert hall.library.linked(reference) == left
