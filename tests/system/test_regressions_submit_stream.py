"""Faults of the blocking submit stream that were found by hunting: each test opens with what went wrong."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import timedelta

import pytest

from jobhall import ApiError, CallRetry, Client, Submission, SubmitStream, Submitted
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def stream() -> Iterator[SubmitStream]:
    """To a server that is not there: each submit has its answer, a bad one, in milliseconds."""
    hasty = CallRetry(attempts_max=1, delay_first=timedelta(milliseconds=1))
    with Client(f"127.0.0.1:{free_port()}", retry=hasty) as nobody, nobody.jobs.submit_stream() as stream:
        yield stream


@pytest.mark.parametrize("wait", [lambda stream: stream.submit("score"), lambda stream: stream.drain()])
def test_a_callback_that_would_wait_for_an_answer_is_told_not_to(
    stream: SubmitStream, wait: Callable[[SubmitStream], object]
) -> None:
    """It runs in the thread that hears the answers: the stream stood still for ever, and so did all who submitted."""
    told: list[object] = []

    def go_on(_: Future[Submitted]) -> None:
        try:
            wait(stream)
        except RuntimeError as error:
            told.append(error)

    with stream._changed:
        # No answer before the callback is there.
        future = stream.submit_soon(Submission("score"))
        future.add_done_callback(go_on)

    eventually(lambda: told, within=5, what="the callback goes on")
    assert isinstance(future.exception(), ApiError)
    assert "submit_soon" in str(told[0])


def test_a_fork_of_the_program_cannot_submit_over_its_stream_and_hears_so(stream: SubmitStream) -> None:
    """The thread that sends is not in the fork: what it submitted waited for ever."""
    if not (fork := os.fork()):
        try:
            stream.submit_soon(Submission("score"))
        except RuntimeError as error:
            os._exit(0 if "in another process" in str(error) else 1)
        finally:
            os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0
