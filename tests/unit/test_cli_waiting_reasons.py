"""Why a job waits, told to who waits for it: once, and again when the reason is another one."""

from collections.abc import Callable, Iterable
from threading import Event
from threading import enumerate as enumerate_threads

import pytest

from jobhall.cli.waiting_reasons import told_why_it_waits
from jobhall.errors import ServerUnreachableError
from jobhall.model_insight import JobExplanation, WaitReason
from jobhall.states import JobState, WaitReasonKind
from tests.support.waiting import eventually

ID = "01977c0e-0000-7000-8000-000000000001"
WITHIN = 10.0


def waits(kind: WaitReasonKind, summary: str, state: JobState = JobState.PENDING) -> JobExplanation:
    reason = WaitReason(kind=kind, message=summary, suggestion="Help it.")
    return JobExplanation(job_id=ID, state=state, summary=summary, reasons=(reason,))


ALONE = waits(WaitReasonKind.NO_WORKER, "Nobody is there.")
FULL = waits(WaitReasonKind.NO_CAPACITY, "All are busy.")
RUNNING = waits(WaitReasonKind.NOT_WAITING, "It runs.", JobState.RUNNING)
AT_ONCE = JobExplanation(job_id=ID, state=JobState.PENDING, summary="Nothing keeps it.")


def answering(answers: Iterable[JobExplanation | None]) -> tuple[Callable[[], JobExplanation], Event]:
    """One answer after the other, None for a server that is away; the event is set when there are no more."""
    left, over = iter(answers), Event()

    def explain() -> JobExplanation:
        try:
            answer = next(left)
        except StopIteration:
            over.set()
            answer = None
        if answer is None:
            raise ServerUnreachableError("h:1")
        return answer

    return explain, over


def test_each_new_reason_is_told_once_and_only_while_the_job_waits(capsys: pytest.CaptureFixture[str]) -> None:
    explain, over = answering([AT_ONCE, ALONE, ALONE, None, ALONE, RUNNING, FULL, FULL, RUNNING])

    with told_why_it_waits(explain, first_seconds=0.0, again_seconds=0.0):
        assert over.wait(WITHIN)

    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "jobhall: still PENDING: Nobody is there. Help it.",
        "jobhall: still PENDING: All are busy. Help it.",
    ]
    assert said.out == ""


def test_of_a_short_wait_nothing_is_asked() -> None:
    explain, asked = answering([])

    with told_why_it_waits(explain):
        pass

    assert not asked.is_set()


def test_an_answer_that_comes_after_the_end_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    asked, may_answer = Event(), Event()

    def explain() -> JobExplanation:
        asked.set()
        may_answer.wait(WITHIN)
        return ALONE

    with pytest.raises(KeyboardInterrupt), told_why_it_waits(explain, first_seconds=0.0):
        assert asked.wait(WITHIN)
        raise KeyboardInterrupt
    may_answer.set()
    eventually(
        lambda: not [it for it in enumerate_threads() if it.name == "jobhall-why"], within=WITHIN, what="it ended"
    )

    assert capsys.readouterr().err == ""
