"""The board of `jobhall top`: what a watch and the server's counts make of it, without a terminal."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jobhall.cli.board import Board, Figures, Order, View
from jobhall.cli.board_jobs import Pace, created_by_id
from jobhall.model import Job, JobError, Progress, TaskInfo
from jobhall.model_events import JobEvent
from jobhall.model_insight import JobCounts
from jobhall.states import EventType, FailureKind, JobState
from tests.support.board_news import NOW, event, job, progress, tell


def board(*news: Job | JobEvent) -> Board:
    it = Board()
    tell(it, *news)
    return it


def view(it: Board, order: Order = "state", *, jobs_max: int = 50) -> View:
    return it.view(order, jobs_max=jobs_max, now=NOW)


def shown(it: Board, order: Order = "state", *, jobs_max: int = 50) -> dict[str, JobState]:
    return {row.id: row.state for row in view(it, order, jobs_max=jobs_max).jobs}


def test_those_that_run_are_first_then_the_oldest_that_wait_then_the_last_that_ended() -> None:
    it = board(
        job("young", age=5),
        job("old", age=90),
        job("run", JobState.RUNNING),
        job("due", JobState.SCHEDULED, age=99),
        event("a", EventType.COMPLETED, revision=4),
        event("b", EventType.FAILED, revision=4),
        event("stop", EventType.CANCELLING, revision=4),
    )

    assert list(shown(it)) == ["run", "stop", "old", "young", "due", "b", "a"]


@pytest.mark.parametrize(
    ("order", "ids"),
    [("age", ["w", "far", "near"]), ("progress", ["near", "far", "w"]), ("type", ["w", "near", "far"])],
)
def test_the_order_is_as_asked_and_what_ended_is_last_in_each(order: Order, ids: list[str]) -> None:
    it = board(
        job("w", age=90, job_type="a"),
        job("far", JobState.RUNNING, age=60, progress=Progress(percent=10.0)),
        job("near", JobState.RUNNING, age=30, progress=Progress(percent=90.0), job_type="b"),
        event("over", EventType.COMPLETED, revision=9, job_type="a"),
    )

    assert list(shown(it, order)) == [*ids, "over"]


def test_a_job_goes_through_its_states() -> None:
    it = board()
    seen = []
    kinds = (EventType.SUBMITTED, EventType.CLAIMED, EventType.RUNNING, EventType.SCHEDULED, EventType.COMPLETED)
    for revision, kind in enumerate(kinds, start=1):
        tell(it, event("j", kind, revision=revision))
        seen.append(shown(it)["j"].name)

    assert seen == ["PENDING", "CLAIMED", "RUNNING", "SCHEDULED", "COMPLETED"]


def test_old_news_change_nothing_whether_they_are_events_or_a_snapshot() -> None:
    it = board(
        job("j", JobState.RUNNING, revision=5),
        event("j", EventType.SUBMITTED, revision=1),
        event("j", EventType.CLAIMED, revision=5),
    )
    assert shown(it) == {"j": JobState.RUNNING}

    tell(it, event("j", EventType.COMPLETED, revision=6))
    tell(it, job("j", JobState.RUNNING, revision=5))
    assert shown(it) == {"j": JobState.COMPLETED}


@pytest.mark.parametrize("kind", [EventType.DELETED, EventType.LEFT])
def test_what_is_deleted_or_falls_out_of_the_filter_is_gone(kind: EventType) -> None:
    it = board(job("j", JobState.RUNNING), event("j", kind, revision=2))

    assert shown(it) == {}


def test_where_a_watch_begins_anew_what_was_known_before_is_forgotten() -> None:
    it = board(job("gone", JobState.RUNNING))

    it.begin([job("there")], now=NOW)

    assert shown(it) == {"there": JobState.PENDING}


def test_pace_and_what_is_left_come_from_the_progress_of_the_last_seconds() -> None:
    it = board(event("j", EventType.RUNNING, revision=3, attempt=1, worker_name="w1"))
    tell(it, *(progress("j", second * 10, second=second) for second in range(11)))

    [row] = view(it).jobs
    assert row.items_per_second == pytest.approx(10)
    assert row.remaining == timedelta(seconds=90)
    assert row.worker_name == "w1"

    tell(it, *(progress("j", 100 + second * 50, second=10 + second) for second in range(11)))
    [row] = view(it).jobs
    assert row.items_per_second == pytest.approx(50)


def test_a_further_attempt_begins_again_and_the_last_words_of_the_one_before_say_nothing() -> None:
    it = board(
        event("j", EventType.RUNNING, revision=3, attempt=1),
        progress("j", 500, second=1),
        event("j", EventType.RUNNING, revision=5, attempt=2),
        progress("j", 501, second=2, attempt=1),
    )
    assert view(it).jobs[0].progress == Progress()

    tell(it, event("j", EventType.COMPLETED, revision=6, attempt=2))
    tell(it, progress("j", 999, second=3, attempt=2))
    assert shown(it) == {"j": JobState.COMPLETED}


def test_a_job_of_the_snapshot_is_looked_at_whole_once_to_know_its_worker() -> None:
    brief = job("j", JobState.RUNNING, revision=3, attempt=1, progress=Progress(percent=40.0))
    it = board(brief, job("w"))
    assert it.brief(view(it)) == ["j"]

    task = TaskInfo(attempt=1, fence=1, worker_name="w1", session_id="s")
    counted = Progress(percent=40.0, items_total=10, items_processed=4)
    it.learn([replace(brief, current_task=task, progress=counted)], missing_ids=[], now=NOW)

    assert it.brief(view(it)) == []
    assert view(it).jobs[0].worker_name == "w1"
    assert view(it).jobs[0].progress == counted


def test_a_look_at_those_in_view_leaves_them_in_view() -> None:
    """Of many jobs of one call, those that were looked at stood behind the others then: no row ever had a worker."""
    jobs = [job(f"j{number}", JobState.RUNNING, revision=3) for number in range(9)]
    it = board(*reversed(jobs))
    in_view = it.brief(view(it, jobs_max=3))

    task = TaskInfo(attempt=1, fence=1, worker_name="w1", session_id="s")
    it.learn([replace(one, current_task=task) for one in jobs if one.id in in_view], missing_ids=[], now=NOW)

    assert [(row.id, row.worker_name) for row in view(it, jobs_max=3).jobs] == [(id_, "w1") for id_ in in_view]


def test_the_percentage_of_the_snapshot_is_no_count_of_items() -> None:
    """A job at 4 % that then said 40 items had gained 36 within the blink of an eye: `884/s` it was, and not 10."""
    it = board(job("j", JobState.RUNNING, attempt=1, progress=Progress(percent=4.0)))
    tell(it, progress("j", 40, second=0.1), progress("j", 50, second=1.1))

    assert view(it).jobs[0].items_per_second == pytest.approx(10)


def test_a_look_that_is_older_than_what_happened_since_changes_nothing() -> None:
    brief = job("j", JobState.RUNNING, revision=3)
    it = board(brief, event("j", EventType.COMPLETED, revision=4))

    it.learn([brief, job("left", JobState.RUNNING)], missing_ids=["another"], now=NOW)

    assert shown(it) == {"j": JobState.COMPLETED}


def test_a_job_that_is_known_by_its_progress_alone_is_on_the_board_until_a_look_finds_it_gone() -> None:
    it = board(progress("j", 10, second=1))
    assert shown(it) == {"j": JobState.RUNNING}
    assert it.brief(view(it)) == ["j"]

    it.learn([], missing_ids=["j"], now=NOW)

    assert shown(it) == {}


def test_how_it_failed_is_known_from_events_and_from_a_look() -> None:
    it = board(
        event("a", EventType.FAILED, revision=2, failure_kind=FailureKind.APPLICATION, failure_code="NO_FILE"),
        event("b", EventType.FAILED, revision=2, failure_kind=FailureKind.TIMEOUT),
    )
    tell(it, job("c", JobState.RUNNING))
    failed = job("c", JobState.FAILED, revision=2, error=JobError(kind=FailureKind.APPLICATION, code="BAD"))
    it.learn([failed], missing_ids=[], now=NOW)

    assert {row.id: row.failure for row in view(it).jobs} == {"a": "NO_FILE", "b": "TIMEOUT", "c": "BAD"}


def test_of_a_million_jobs_it_keeps_some_thousand_and_says_how_many_more_there_are() -> None:
    it = Board()
    for page in range(10):
        it.add([job(f"{page}-{n}", age=1e6 - page) for n in range(1000)], now=NOW)
    tell(it, *(event(f"r{n}", EventType.RUNNING, revision=2) for n in range(10_000)))
    tell(it, *(event(f"e{n}", EventType.COMPLETED, revision=3) for n in range(10_000)))
    it.count(Figures(counts=JobCounts(pending=1_000_000, running=50_000, completed=7)), [])

    assert len(view(it, jobs_max=10**9).jobs) < 5000
    assert view(it, jobs_max=20).more == 1_050_000 - 20
    assert next(iter(shown(it))) == "r0"


def test_where_nobody_counts_just_these_jobs_only_those_known_are_said_to_be_more() -> None:
    it = board(*(job(str(n)) for n in range(30)))
    it.count(Figures(counts=JobCounts(pending=1000), wider=True), [])

    assert view(it, jobs_max=10).more == 20


@pytest.mark.parametrize(("known", "waiting", "short"), [(99, 99, False), (99, 1000, True), (100, 1000, False)])
def test_it_knows_when_it_should_ask_which_jobs_wait_next(known: int, waiting: int, *, short: bool) -> None:
    it = board(*(job(str(number)) for number in range(known)))

    it.count(Figures(counts=JobCounts(pending=waiting)), [])

    assert it.short is short


def test_a_pace_that_shrinks_begins_again() -> None:
    pace = Pace()
    for second, amount in ((0, 0), (1, 10), (2, 5)):
        pace.add(NOW + timedelta(seconds=second), amount)

    assert pace.per_second is None


def test_the_age_of_a_job_known_by_an_event_is_in_its_id() -> None:
    assert created_by_id("01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b") == datetime(2025, 6, 17, 4, 3, 25, 178_000, tzinfo=UTC)
    assert created_by_id("5b7a0000-0000-4d2c-9b5e-0c1d2e3f4a5b") is None
    assert created_by_id("my-own-id") is None
    assert created_by_id("ffffffff-ffff-7fff-bfff-ffffffffffff") is None
