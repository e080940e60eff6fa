"""A worker comes back at random moments, soon at first, and always in time for its session."""

from datetime import timedelta

import pytest

from jobhall.worker.backoff import reconnect_seconds


def longest(tries: int, *, session_seconds: float = 15.0, retry_after: timedelta | None = None) -> float:
    return reconnect_seconds(tries, session_seconds=session_seconds, retry_after=retry_after, draw=lambda: 1.0)


def test_the_first_tries_are_soon_and_each_pause_is_jittered_down_to_nothing() -> None:
    assert [longest(tries) for tries in range(4)] == pytest.approx([0.2, 0.4, 0.8, 1.6])
    assert reconnect_seconds(9, session_seconds=15.0, draw=lambda: 0.0) == 0


@pytest.mark.parametrize(("session_seconds", "expected"), [(1.0, 1 / 3), (15.0, 5.0), (60.0, 10.0), (3600.0, 10.0)])
def test_no_pause_is_longer_than_a_third_of_the_sessions_life_nor_than_ten_seconds(
    session_seconds: float, expected: float
) -> None:
    """With a session_ttl of 1 s and pauses of up to 10 s a worker came back after its session was over, though the
    server had been there for seconds: one of 273 tasks was executed again.
    """
    assert longest(50, session_seconds=session_seconds) == pytest.approx(expected)


def test_the_servers_word_is_heeded_within_ten_seconds() -> None:
    assert longest(0, retry_after=timedelta(seconds=3)) == pytest.approx(3.2)
    assert longest(0, retry_after=timedelta(minutes=5)) == 10.0
