"""The detection example over a real server: what it finds, what it tries again, and what a killed worker costs."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.detection.models import DetectionJob, DetectionProgress, DetectionResult
from examples.detection.records import from_dict, to_dict
from tests.support.documents import Reader, blocks_of
from tests.support.library_hall import ALL_TYPES, STUDY, LibraryHall
from tests.support.processes import ROOT, START_SECONDS, Processes
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


@pytest.fixture
def hall(processes: Processes) -> Iterator[LibraryHall]:
    hall = LibraryHall(processes)
    with hall.client:
        yield hall


def test_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    with Reader(folder=tmp_path) as reader:
        for block in blocks_of((ROOT / "examples" / "detection" / "README.md").read_text()):
            reader.follow(block)


def test_it_finds_what_a_reader_finds_and_says_where(hall: LibraryHall) -> None:
    hall.ship()
    hall.work("detection")

    job = DetectionJob.read(hall.ended(hall.detect()))

    assert (job.status, job.retry_count, job.max_retries, job.user_id) == ("complete", 0, 3, "anonymous")
    assert job.result == DetectionResult(total_found=35, total_emitted=29, errors=0)
    assert job.progress == DetectionProgress(
        total_entity_types=3, processed_entity_types=3, entities_found=35, entities_emitted=29
    )
    assert job.completed_at is not None
    assert job.started_at is not None
    assert job.created <= job.started_at <= job.completed_at
    assert from_dict(DetectionJob, json.loads(json.dumps(to_dict(job)))) == job
    text, annotations = hall.library.read(STUDY), hall.library.annotations(STUDY)
    assert len({found.id for found in annotations}) == len(annotations) == 29
    assert all(text[found.start : found.end] == found.text for found in annotations)
    named = {kind: {found.name for found in annotations if found.entity_type == kind} for kind in ALL_TYPES}
    assert named["Person"] == {"Murray", "Stamford", "John H. Watson", "Sherlock Holmes"}
    assert {"University of London", "St Bartholomew's Hospital"} < named["Organization"]
    assert {"London", "Kandahar", "Baker Street"} < named["Place"]
    assert [found.start for found in annotations if found.name == "London"] == [
        at for at in places_of("London", text) if not text[:at].endswith("University of ")
    ]


def test_an_entity_type_that_nobody_knows_is_an_error_of_that_item_alone(hall: LibraryHall) -> None:
    hall.ship()
    hall.work("detection")

    job = hall.ended(hall.detect("Ship", "Person"))

    assert job.result == {"total_found": 12, "total_emitted": 8, "errors": 1}
    assert [(error.index, error.key, error.code) for error in job.item_errors] == [(0, "Ship", "ENTITY_TYPE_UNKNOWN")]
    assert (job.progress.items_succeeded, job.progress.items_failed) == (1, 1)


@pytest.mark.parametrize("resource_id", ["the-valley-of-fear", "../resources/a-study-in-scarlet"])
def test_a_resource_that_is_not_there_is_not_sought_twice(resource_id: str, hall: LibraryHall) -> None:
    hall.ship()
    hall.work("detection")

    job = hall.ended(hall.detect(resource_id=resource_id))

    assert job.error is not None
    assert (job.error.code, job.error.retryable, job.attempt) == ("RESOURCE_NOT_FOUND", False, 1)
    assert job.error.stack == ""
    assert DetectionJob.read(job).status == "failed"
    assert DetectionJob.read(job).error == job.error.message


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"resource_id": STUDY}, "needs entity_types"),
        ({"resource_id": STUDY, "entity_types": []}, "one or more"),
        ({"resource_id": STUDY, "entity_types": ["Place"], "colour": "red"}, "has no colour"),
        ({"resource_id": 7, "entity_types": ["Place"]}, "resource_id is 7"),
    ],
)
def test_parameters_that_cannot_be_read_fail_at_once(
    parameters: dict[str, object], complaint: str, hall: LibraryHall
) -> None:
    hall.ship()
    hall.work("detection")

    job = hall.ended(hall.client.jobs.submit("detection", parameters).id)

    assert job.error is not None
    assert (job.error.code, job.attempt) == ("PARAMETERS_INVALID", 1)
    assert complaint in job.error.message


def test_a_library_that_is_away_is_asked_again_until_it_is_back(hall: LibraryHall) -> None:
    hall.work("detection")
    job_id = hall.detect(max_retries=5)
    eventually(
        lambda: (error := hall.client.jobs.get_job(job_id).error) and error.code == "LIBRARY_UNAVAILABLE",
        within=START_SECONDS,
        what="an attempt finds no library",
    )

    hall.ship()

    job = DetectionJob.read(hall.ended(job_id))
    assert job.status == "complete"
    assert job.max_retries == 5
    assert 1 <= job.retry_count <= 5


def test_without_retries_a_library_that_is_away_fails_the_job(hall: LibraryHall) -> None:
    hall.work("detection")

    job = hall.ended(hall.detect(max_retries=0))

    assert job.error is not None
    assert (job.error.code, job.error.retryable, job.attempt) == ("LIBRARY_UNAVAILABLE", True, 1)


def test_after_the_death_of_a_worker_another_goes_on_with_the_entity_type_that_was_due(hall: LibraryHall) -> None:
    """The first of three types is written and saved when the worker is killed: nobody looks for it again."""
    hall.ship()
    victim = hall.work("detection", "victim", pace_ms=1500)
    job_id = hall.detect()
    eventually(
        lambda: hall.client.jobs.get_job(job_id, include_checkpoint=True).checkpoint,
        within=START_SECONDS,
        what="the first entity type is saved",
    )
    victim.kill()
    persons = hall.library.folder / "annotations" / STUDY / "Person.jsonl"
    written_at = persons.stat().st_mtime_ns

    hall.work("detection", "survivor")
    job = hall.ended(job_id)

    assert job.result == {"total_found": 35, "total_emitted": 29, "errors": 0}
    assert job.attempt == 2
    assert [line.message for line in hall.client.jobs.logs(job_id)] == ["attempt 2 goes on after 1 entity types"]
    assert persons.stat().st_mtime_ns == written_at
    assert len(hall.library.annotations(STUDY)) == 29


def places_of(word: str, text: str) -> list[int]:
    return [at for at in range(len(text)) if text.startswith(word, at)]
