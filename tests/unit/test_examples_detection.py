"""The pure parts of the examples of detection and generation: records, names in a text, templates, files."""

import tomllib
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.detection.finding import ENTITY_TYPES, RULES, Find, Gazetteer, find_entities
from examples.detection.library import Annotation, Library, LibraryUnavailableError, ResourceNotFoundError
from examples.detection.models import DetectionJob, DetectionParameters, DetectionProgress, DetectionResult
from examples.detection.records import RecordError, from_dict, to_dict
from examples.generation.models import STAGES, GenerationJob, GenerationProgress, GenerationResult
from examples.generation.writing import TEMPLATES, LanguageUnknownError, Templates
from jobhall import QueueStatus

NAMES = {"Person": {"Ada Lovelace": ["Ada", "Ada Lovelace"]}, "Place": {"London": ["London"]}}
TIMES = st.datetimes(timezones=st.just(UTC))
TEXTS = st.text(max_size=20)
TYPES = st.lists(TEXTS, min_size=1, unique=True, max_size=4).map(tuple)
COUNTS = st.integers(min_value=0)
FACTS = {
    "id": TEXTS,
    "status": st.sampled_from(["pending", "running", "complete", "failed", "cancelled"]),
    "user_id": TEXTS,
    "created": TIMES,
    "started_at": st.none() | TIMES,
    "completed_at": st.none() | TIMES,
    "error": st.none() | TEXTS,
    "retry_count": COUNTS,
    "max_retries": COUNTS,
}
DETECTIONS = st.builds(
    DetectionJob,
    resource_id=TEXTS,
    entity_types=TYPES,
    progress=st.none() | st.builds(DetectionProgress),
    result=st.none() | st.builds(DetectionResult),
    **FACTS,
)
GENERATIONS = st.builds(
    GenerationJob,
    reference_id=TEXTS,
    source_resource_id=TEXTS,
    entity_types=st.none() | TYPES,
    prompt=st.none() | TEXTS,
    progress=st.none()
    | st.builds(GenerationProgress, stage=st.sampled_from(STAGES), percentage=st.floats(min_value=0, max_value=100)),
    result=st.none() | st.builds(GenerationResult),
    **FACTS,
)


@given(DETECTIONS | GENERATIONS)
def test_a_typed_job_comes_back_from_a_dict_as_it_was(job: DetectionJob | GenerationJob) -> None:
    assert from_dict(type(job), to_dict(job)) == job


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (["a"], "from a dict"),
        (
            {"resource_id": "a", "entity_types": ["Place"], "pace": 1, "colour": 2},
            "has no colour, pace; it has resource",
        ),
        ({}, "needs resource_id, entity_types"),
        ({"resource_id": True, "entity_types": ["Place"]}, "resource_id is True, which is no str"),
        ({"resource_id": "a", "entity_types": "Place"}, "entity_types is 'Place'"),
        ({"resource_id": "a", "entity_types": ["Place", "Place"]}, "none of them twice"),
    ],
)
def test_a_dict_of_another_shape_is_refused_by_name(values: object, complaint: str) -> None:
    with pytest.raises(RecordError, match=complaint):
        from_dict(DetectionParameters, values)


@pytest.mark.parametrize("count", [1.5, "1", True, float("inf"), float("nan")])
def test_a_count_is_a_whole_number(count: object) -> None:
    result = {"total_found": 3.0, "total_emitted": 2, "errors": 0}

    assert from_dict(DetectionResult, result) == DetectionResult(total_found=3, total_emitted=2, errors=0)
    with pytest.raises(RecordError, match="errors is"):
        from_dict(DetectionResult, {**result, "errors": count})


def test_a_time_that_is_none_is_refused() -> None:
    job = DetectionJob(
        id="1",
        status=QueueStatus.PENDING,
        user_id="",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        retry_count=0,
        max_retries=3,
        resource_id="a",
        entity_types=("Place",),
    )

    with pytest.raises(RecordError, match="yesterday"):
        from_dict(DetectionJob, {**to_dict(job), "created": "yesterday"})


def found(text: str, entity_type: str) -> list[tuple[str, str]]:
    """The name and the text of each entity that is kept."""
    finds = find_entities(text, Gazetteer(NAMES), entity_type).kept
    return [(find.name, text[find.start : find.end]) for find in finds]


def test_a_name_within_a_longer_one_is_found_and_not_kept() -> None:
    text = "A degree of the University of London, got in London."

    places = find_entities(text, Gazetteer(NAMES), "Place")

    assert places.found == 2
    assert [find.start for find in places.kept] == [text.rindex("London")]
    assert found(text, "Organization") == [("University of London", "University of London")]


def test_a_known_name_goes_before_a_rule_and_a_name_may_go_over_the_end_of_a_line() -> None:
    text = "Letters\n\nShe wrote to Ada\nLovelace and to Turin."

    assert found(text, "Person") == [("Ada Lovelace", "Ada\nLovelace")]
    assert found(text, "Place") == [("Turin", "Turin")]


def test_a_name_that_a_rule_has_found_once_is_that_name_wherever_it_stands() -> None:
    assert found("Murray came. It was Murray, my orderly.", "Person") == [("Murray", "Murray")] * 2


def test_the_title_of_a_text_has_no_names_in_it() -> None:
    assert found("A Day in London\n\nIt rained in London.", "Place") == [("London", "London")]
    assert find_entities("A Day in London\n\nIt rained.", Gazetteer(NAMES), "Place").found == 0


@given(st.text(alphabet="AaMry. ,\nLondonitUversf", max_size=80))
def test_what_is_kept_never_overlaps_and_is_no_more_than_what_is_found(text: str) -> None:
    findings = [find_entities(text, Gazetteer(NAMES), entity_type) for entity_type in ENTITY_TYPES]

    kept: list[Find] = sorted((find for each in findings for find in each.kept), key=lambda find: find.start)
    assert all(before.end <= after.start for before, after in pairwise(kept))
    assert all(len(each.kept) <= each.found for each in findings)


def test_every_rule_is_of_a_known_type_and_has_a_name_of_its_own() -> None:
    assert {rule.entity_type for rule in RULES} == set(ENTITY_TYPES)
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_every_language_has_all_the_words() -> None:
    words = {path.stem: tomllib.loads(path.read_text()) for path in TEMPLATES.glob("*.toml")}

    assert words.keys() == {"de", "en"}
    assert words["de"].keys() == words["en"].keys()
    assert words["de"]["kinds"].keys() == words["en"]["kinds"].keys() == set(ENTITY_TYPES)
    with pytest.raises(LanguageUnknownError, match="only for de, en"):
        Templates("../templates/en")


def test_a_library_is_never_made_where_it_should_be_mounted(tmp_path: Path) -> None:
    with pytest.raises(LibraryUnavailableError, match="no library"):
        Library(tmp_path / "away").add("a", "text")

    assert not (tmp_path / "away").exists()


@pytest.mark.parametrize("resource_id", ["", "..", "../a", "a/b", "A", "a\n", "a" * 101])
def test_an_id_that_could_be_a_way_out_of_the_folder_is_no_resource(resource_id: str, tmp_path: Path) -> None:
    with pytest.raises(ResourceNotFoundError):
        Library(tmp_path).add(resource_id, "text")


def test_what_a_killed_writer_left_is_no_annotation(tmp_path: Path) -> None:
    library = Library(tmp_path)
    annotation = annotated("London")
    library.annotate("a", "Place", [annotation])
    (tmp_path / "annotations" / "a" / ".Place.jsonl.0.part").write_text('{"id": "a:0')

    assert library.annotations("a") == [annotation]
    assert library.linked(annotation) is None


def test_an_entity_may_have_an_end_of_a_line_in_it_that_only_unicode_knows(tmp_path: Path) -> None:
    library = Library(tmp_path)
    annotation = annotated("Baker\u2028Street")

    library.annotate("a", "Place", [annotation])

    assert library.annotations("a") == [annotation]


def annotated(text: str) -> Annotation:
    return Annotation(
        id=f"a:0-{len(text)}",
        resource_id="a",
        entity_type="Place",
        name=" ".join(text.split()),
        text=text,
        start=0,
        end=len(text),
        found_by="gazetteer",
    )
