"""Following jobs: what is said of an update, and from which cursor one could go on."""

from dataclasses import dataclass, field
from typing import Self

import pytest

from jobhall.cli.following import Place
from jobhall.model import Job
from jobhall.model_events import JobEvent, WatchUpdate
from jobhall.states import EventType
from tests.support.board_news import event, job

A, B, C, D = (event(name, EventType.READY, revision=2) for name in "abcd")


@dataclass
class Heard:
    """A follower that writes down what it is told, with the cursor."""

    said: list[tuple[str, str]] = field(default_factory=list)

    def show(self, job: Job, *, cursor: str = "") -> None:
        self.said.append((job.id, cursor))

    def tell(self, event: JobEvent, *, cursor: str = "") -> None:
        self.said.append((event.job_id, cursor))

    def mark(self, cursor: str) -> None:
        self.said.append(("", cursor))

    def begin_anew(self) -> None:
        self.said.append(("reset", ""))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return None


def heard(*updates: WatchUpdate, place: Place) -> list[tuple[str, str]]:
    follower = Heard()
    for update in updates:
        place.tell(update, follower)
    return follower.said


def test_only_the_last_of_the_events_that_share_a_cursor_is_said_with_it() -> None:
    """A script that keeps the cursor of each line, and is killed between two of them, would lose what came after."""
    place = Place(whole=True)
    said = heard(WatchUpdate(cursor="1"), WatchUpdate(cursor="2", events=(A, B, C)), place=place)

    assert said == [("", "1"), ("a", "1"), ("b", "1"), ("c", "2")]
    assert place.cursor == "2"


def test_whoever_stops_after_any_line_and_goes_on_from_its_cursor_misses_nothing() -> None:
    log = [("1", A), ("1", B), ("2", C), ("3", D)]
    updates = [
        WatchUpdate(cursor=cursor, events=tuple(it for at, it in log if at == cursor)) for cursor in ("1", "2", "3")
    ]
    said = heard(*updates, place=Place(whole=True))

    for stop in range(len(said)):
        cursor = said[stop][1]
        again = [it.job_id for at, it in log if at > cursor]
        assert set(again) | {job_id for job_id, _ in said[: stop + 1]} == set("abcd")


def test_before_the_snapshot_is_whole_there_is_no_place_to_go_on_from() -> None:
    said = heard(
        WatchUpdate(cursor="1", jobs=(job("j"),)),
        WatchUpdate(cursor="1", events=(A,)),
        WatchUpdate(cursor="1", jobs=(job("k"),), snapshot_complete=True),
        WatchUpdate(cursor="2", events=(B,)),
        place=Place(),
    )

    assert said == [("j", ""), ("a", ""), ("k", ""), ("", "1"), ("b", "2")]


def test_a_reset_is_said_first_and_begins_anew() -> None:
    place = Place("old", whole=True)
    said = heard(
        WatchUpdate(cursor="7", reset=True, jobs=(job("j"),)),
        WatchUpdate(cursor="7", snapshot_complete=True),
        place=place,
    )

    assert said == [("reset", ""), ("j", ""), ("", "7")]


def test_a_bookmark_is_said_once() -> None:
    said = heard(*(WatchUpdate(cursor=cursor) for cursor in ("1", "1", "2")), place=Place(whole=True))

    assert said == [("", "1"), ("", "2")]


@pytest.mark.parametrize(
    ("cursor", "says"), [("42", "jobhall: to go on from here: --since 42\n"), ("", "")], ids=["somewhere", "nowhere"]
)
def test_ctrl_c_is_told_how_to_go_on(cursor: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), Place(cursor).told_at_ctrl_c():
        raise KeyboardInterrupt

    assert capsys.readouterr().err == says
