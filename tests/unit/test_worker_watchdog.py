"""The watchdog speaks of a thread that stands still, and of nothing else."""

import logging
import threading

import pytest

from jobhall.worker.watchdog import LOOK_SECONDS, STUCK_SECONDS, Watchdog, stack_of


@pytest.fixture
def watchdog() -> Watchdog:
    return Watchdog(title="worker w", stack=lambda: "in the middle of it", now=100.0)


def test_a_thread_that_moves_is_no_news(watchdog: Watchdog, caplog: pytest.LogCaptureFixture) -> None:
    for second in range(101, 110):
        watchdog.beat(second - 0.1)
        watchdog.look(second)

    assert caplog.text == ""
    assert watchdog.still_seconds(109.0) == 0


def test_a_thread_that_stands_still_is_said_once_with_its_stack_and_again_when_it_moves(
    watchdog: Watchdog, caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(101, 110):
        watchdog.look(second)
    assert watchdog.still_seconds(109.0) == pytest.approx(9)
    watchdog.beat(109.5)
    watchdog.look(110.0)

    assert [record.levelno for record in caplog.records] == [logging.CRITICAL, logging.WARNING]
    assert "in the middle of it" in caplog.text
    assert "moves again" in caplog.text
    assert watchdog.still_seconds(110.0) == 0


def test_a_process_that_was_suspended_is_said_and_not_taken_for_a_stuck_thread(
    watchdog: Watchdog, caplog: pytest.LogCaptureFixture
) -> None:
    watchdog.look(101.0)

    watchdog.look(101.0 + LOOK_SECONDS + 60)

    assert "the whole process stood still for 60.0 s" in caplog.text
    assert watchdog.still_seconds(162.0 + STUCK_SECONDS) == 0
    assert watchdog.still_seconds(162.1 + STUCK_SECONDS) > 0


def test_where_a_thread_stands_is_shown_as_a_traceback_would() -> None:
    def stand_here() -> None:
        entered.set()
        release.wait(10)

    entered, release = threading.Event(), threading.Event()
    thread = threading.Thread(target=stand_here)
    assert stack_of(thread).startswith("nowhere")
    thread.start()
    assert entered.wait(10)

    shown = stack_of(thread)
    release.set()
    thread.join(10)

    assert "in stand_here" in shown
