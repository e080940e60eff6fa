"""What times and counters say: rates over the run and lately, what is left, when it goes; nothing divides by 0."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobhall.states import HELD_STATES, TERMINAL_STATES, JobState
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.timing import RECENT_US, Pace, purge_at, timing
from tests.support.job_views import job_view

SECOND = 1_000_000
NOW = 1_000 * SECOND
TIMES = st.integers(0, 2**53)
COUNTS = st.none() | st.integers(0, 2**53)


@st.composite
def jobs(draw: Any) -> Any:
    """Whatever a row may hold, times in any order."""
    progress = st.builds(
        Progress,
        total=COUNTS,
        processed=COUNTS,
        reported_at=st.none() | TIMES,
        recent_per_second=st.none() | st.floats(0, 1e12),
    )
    return job_view(
        draw(st.sampled_from([state for state in JobState if state])),
        created_at=draw(TIMES),
        started_at=draw(st.none() | TIMES),
        ended_at=draw(st.none() | TIMES),
        progress=draw(st.none() | progress),
    )


@given(jobs(), TIMES)
def test_whatever_a_job_holds_its_timing_is_finite_and_never_negative(job: Any, now: int) -> None:
    known = timing(job, now)

    for value in (
        known.queue_us,
        known.run_us,
        known.items_per_second,
        known.recent_per_second,
        known.remaining_us,
    ):
        assert value is None or (math.isfinite(value) and value >= 0)
    if known.remaining_us is not None:
        assert job.state in HELD_STATES
        assert known.items_per_second


@given(st.lists(st.tuples(TIMES, st.integers(0, 2**53)), max_size=50))
def test_whatever_a_task_counts_its_pace_is_finite_and_never_negative(words: list[tuple[int, int]]) -> None:
    pace = Pace()

    for at, processed in words:
        recent = pace.take(at, processed)
        assert recent is None or (math.isfinite(recent) and recent >= 0)


def test_a_rate_is_what_was_processed_by_the_time_that_it_ran() -> None:
    job = job_view(
        JobState.RUNNING,
        created_at=NOW - 30 * SECOND,
        started_at=NOW - 20 * SECOND,
        progress=Progress(total=100, processed=40),
    )

    known = timing(job, NOW)

    assert (known.queue_us, known.run_us) == (10 * SECOND, 20 * SECOND)
    assert known.items_per_second == pytest.approx(2.0)
    assert known.remaining_us == 30 * SECOND


@given(
    st.integers(0, 2**40),
    st.integers(0, 2**40),
    st.integers(1, 2**50),
    st.sampled_from(sorted(HELD_STATES)),
)
def test_an_active_job_s_percentage_rate_and_estimate_are_those_of_its_rows_and_its_time(
    processed: int, left: int, run_us: int, state: JobState
) -> None:
    total = processed + left
    progress = Progress(total=total, processed=processed)
    job = job_view(state, created_at=0, started_at=NOW, progress=progress)

    known = timing(job, NOW + run_us)

    assert progress.percent_done == (pytest.approx(processed / total * 100) if total else None)
    assert known.run_us == run_us
    if processed:
        rows_per_second = processed / (run_us / SECOND)
        assert known.items_per_second == pytest.approx(rows_per_second)
        assert known.remaining_us == pytest.approx(left / rows_per_second * SECOND, rel=1e-9, abs=1)
    else:
        assert (known.items_per_second, known.remaining_us) == (None, None)


@given(st.integers(1, 2**40), st.integers(0, 2**40), st.integers(1, 2**50), st.sampled_from(sorted(TERMINAL_STATES)))
def test_an_ended_job_keeps_its_rate_and_needs_no_estimate(
    processed: int, since: int, run_us: int, state: JobState
) -> None:
    progress = Progress(total=2 * processed, processed=processed)
    job = job_view(state, created_at=0, started_at=NOW, ended_at=NOW + run_us, progress=progress)

    known, later = timing(job, NOW + run_us), timing(job, NOW + run_us + since)

    assert known == later
    assert known.items_per_second == pytest.approx(processed * SECOND / run_us)
    assert known.remaining_us is None


def test_the_recent_rate_is_shown_for_ten_seconds_after_the_word_that_it_came_with() -> None:
    def recent(reported_at: int, state: JobState = JobState.RUNNING) -> float | None:
        progress = Progress(processed=5, reported_at=reported_at, recent_per_second=3.0)
        ended_at = NOW if state.terminal else None
        job = job_view(state, started_at=NOW - 60 * SECOND, ended_at=ended_at, progress=progress)
        return timing(job, NOW).recent_per_second

    assert recent(NOW - RECENT_US) == 3.0
    assert recent(NOW - RECENT_US - 1) is None
    assert recent(NOW, JobState.COMPLETED) is None


def test_a_pace_is_that_of_the_last_ten_seconds_and_not_of_the_whole_run() -> None:
    pace = Pace()
    slow = [pace.take(second * SECOND, second) for second in range(100)]
    fast = [pace.take((100 + second) * SECOND, 100 + 50 * second) for second in range(20)]

    assert slow[0] is None
    assert slow[50] == pytest.approx(1.0)
    assert fast[-1] == pytest.approx(50.0)


def test_words_that_come_all_at_once_make_no_pace() -> None:
    pace = Pace()

    assert [pace.take(NOW + place, 1000 * place) for place in range(5)] == [None] * 5


def test_a_task_that_counts_anew_has_a_pace_anew() -> None:
    pace = Pace()
    before = [pace.take(NOW + second * SECOND, 1000 + second) for second in range(5)]
    after = [pace.take(NOW + (5 + second) * SECOND, 10 * second) for second in range(3)]

    assert before[-1] == pytest.approx(1.0)
    assert after == [None, pytest.approx(10.0), pytest.approx(10.0)]


def test_a_pace_remembers_a_few_words_however_many_come() -> None:
    pace = Pace()
    for milliseconds in range(100_000):
        pace.take(milliseconds * 1000, milliseconds)

    assert len(pace._marks) <= 12


@pytest.mark.parametrize("state", [state for state in JobState if state])
def test_a_job_is_removed_so_long_after_its_end_as_it_says_itself_or_its_server_says(state: JobState) -> None:
    ended_at = NOW if state in TERMINAL_STATES else None
    silent, own, at_once = (
        job_view(state, ended_at=ended_at, terminal_at=ended_at, retention_us=retention_us)
        for retention_us in (None, 5 * SECOND, 0)
    )

    answers = [purge_at(silent, 7 * SECOND), purge_at(silent, None), purge_at(own, 7 * SECOND), purge_at(at_once, None)]

    if ended_at is None:
        assert answers == [None] * 4
    else:
        assert answers == [NOW + 7 * SECOND, None, NOW + 5 * SECOND, NOW]
