"""Page tokens and cursors: they lead back to their place, for their own request only, whatever a caller sends."""

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobhall.errors import CursorMismatchError, FieldInvalidError
from jobhall.states import JobState
from jobhall_server.hall.tokens import cursor, cursor_number, digest, named_place, page_place, page_token
from jobhall_server.hall.views import JobFilter, LogPlace, Place

PLACES = st.integers(0, 2**59)
LOG = LogPlace("log-1", first=5, last=40)
HOSTILE = [
    "%%%",
    "é",
    "A",
    "AAAA",
    "____",
    *(
        base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        for text in (
            "p",
            "p.",
            "p1",
            "p[1,2].0",
            "p[².0",
            f"p[{'9' * 5000}].0",
            "c",
            "c².log-1",
            f"c{'9' * 5000}.log-1",
        )
    ),
]


@given(st.builds(Place, PLACES, PLACES), st.text(), st.text())
def test_a_page_token_leads_back_to_its_place(place: Place, namespace: str, path: str) -> None:
    request = JobFilter(namespace=namespace, path=path)

    assert page_place(page_token(place, "jobs", request), "jobs", request) == place


@given(st.text(), PLACES)
def test_a_place_in_a_list_by_names_is_a_name_and_no_time(name: str, key: int) -> None:
    token = page_token((name, key), "batches")

    assert named_place(token, "batches") == (name, key)
    with pytest.raises(FieldInvalidError):
        page_place(token, "batches")
    with pytest.raises(FieldInvalidError):
        named_place(page_token(Place(1, key), "batches"), "batches")


def test_no_token_is_the_first_page() -> None:
    assert page_place("", "jobs", JobFilter()) is None
    assert named_place("", "batches") is None


@pytest.mark.parametrize(
    "other",
    [
        JobFilter(namespace="b"),
        JobFilter(namespace="a", states=frozenset({JobState.RUNNING})),
        JobFilter(namespace="a", labels=(("k", "v"),)),
        JobFilter(namespace="a", path=""),
    ],
)
def test_a_page_token_of_another_request_is_refused(other: JobFilter) -> None:
    token = page_token(Place(0, 7), "jobs", JobFilter(namespace="a"))

    with pytest.raises(FieldInvalidError) as caught:
        page_place(token, "jobs", other)

    assert [violation.field for violation in caught.value.violations] == ["page_token"]


def test_a_page_token_of_another_list_is_refused() -> None:
    with pytest.raises(FieldInvalidError):
        page_place(page_token(Place(0, 7), "logs", "job-1"), "item_errors", "job-1")


def test_a_page_token_is_good_in_every_process() -> None:
    """A set of texts has another order in each process, since Python salts their hashes: a list that was begun at one
    replica could not be continued at the next, nor after a restart.
    """
    words = [f"type-{number}" for number in range(64)]
    one, other = next(
        (frozenset(pair), frozenset(reversed(pair)))
        for pair in itertools.combinations(words, 2)
        if list(frozenset(pair)) != list(frozenset(reversed(pair)))
    )

    token = page_token(Place(0, 7), "jobs", JobFilter(job_types=one))

    assert page_place(token, "jobs", JobFilter(job_types=other)) == Place(0, 7)


@pytest.mark.parametrize("token", HOSTILE)
def test_a_page_token_that_somebody_made_up_is_refused(token: str) -> None:
    with pytest.raises(FieldInvalidError):
        page_place(token, "jobs", JobFilter())


@given(st.text(min_size=1))
def test_no_text_at_all_breaks_the_reader_of_page_tokens(token: str) -> None:
    with pytest.raises(FieldInvalidError):
        page_place(token, "jobs")


def test_a_page_token_with_the_right_mark_and_an_impossible_place_is_refused() -> None:
    """The mark keeps mistakes out, not malice: it is no secret."""
    mark = base64.urlsafe_b64decode(page_token(Place(1, 1), "jobs") + "==").decode().rpartition(".")[2]

    for place in (
        "²",
        "9" * 5000,
        "[]",
        "[1]",
        "[1,-1]",
        "[-1,1]",
        "[1,2,3]",
        "[1,1.0]",
        "[true,1]",
        f"[{2**63},1]",
        "[" * 90_000,
    ):
        token = base64.urlsafe_b64encode(f"p{place}.{mark}".encode()).decode().rstrip("=")

        with pytest.raises(FieldInvalidError):
            page_place(token, "jobs")
        with pytest.raises(FieldInvalidError):
            named_place(token, "jobs")


@given(st.integers(0, 40))
def test_a_cursor_leads_back_to_its_place(number: int) -> None:
    """Also to one that the log no longer reaches back to: that is CURSOR_EXPIRED, and for the watch to say."""
    assert cursor_number(cursor(LOG.log_id, number), LOG) == number


def test_a_cursor_of_another_log_or_beyond_the_head_is_refused() -> None:
    elsewhere = cursor("log-2", 7)
    beyond = cursor(LOG.log_id, 41)

    for text in (elsewhere, beyond):
        with pytest.raises(CursorMismatchError):
            cursor_number(text, LOG)


@pytest.mark.parametrize("text", ["", *HOSTILE])
def test_a_cursor_that_somebody_made_up_is_refused(text: str) -> None:
    with pytest.raises(CursorMismatchError):
        cursor_number(text, LOG)


@given(st.text())
def test_no_text_at_all_breaks_the_reader_of_cursors(text: str) -> None:
    with pytest.raises(CursorMismatchError):
        cursor_number(text, LOG)


@given(st.lists(st.one_of(st.text(), st.integers(), st.none())))
def test_a_digest_fits_into_63_bits_and_keeps_its_parts_apart(parts: list[object]) -> None:
    assert 0 <= digest(*parts) < 2**63
    assert digest(*parts) != digest(*parts, "")
