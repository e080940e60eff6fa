"""The history checker finds nothing in histories that keep the promises, and each promise's breach in broken ones."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jobhall.states import EventType, JobState
from tests.support.history import Answer, Call, Event, History, Kept, Recorder, What, contradictions, read_calls

ROOT = Path(__file__).resolve().parents[2]
JOB = "job-1"
WAY = [
    (EventType.SUBMITTED, JobState.PENDING),
    (EventType.CLAIMED, JobState.CLAIMED),
    (EventType.RUNNING, JobState.RUNNING),
    (EventType.READY, JobState.PENDING),
    (EventType.CLAIMED, JobState.CLAIMED),
    (EventType.RUNNING, JobState.RUNNING),
    (EventType.COMPLETED, JobState.COMPLETED),
]


def call(
    what: What,
    at: float,
    *,
    process: str = "client",
    fence: int = 0,
    value: str = "",
    answer: Answer = Answer.OK,
    revision: int = 0,
    job_id: str = JOB,
) -> Call:
    """A call at a time, answered half a second later."""
    return Call(
        process=process,
        what=what,
        job_id=job_id,
        fence=fence,
        value=value,
        called_at=at,
        answered_at=at + 0.5,
        answer=answer,
        revision=revision,
    )


def events(way: list[tuple[EventType, JobState]]) -> list[Event]:
    return [
        Event(job_id=JOB, revision=number, event_type=kind, state=state)
        for number, (kind, state) in enumerate(way, start=1)
    ]


CALLS = [
    call(What.SUBMIT, 1),
    call(What.READ, 2, revision=1),
    call(What.CLAIM, 3, process="first", fence=1),
    call(What.ACCEPT, 4, process="first", fence=1),
    call(What.CLAIM, 6, process="second", fence=2),
    call(What.COMPLETE, 7, process="first", fence=1, value="old", answer=Answer.REFUSED),
    call(What.READ, 8, revision=5),
    call(What.COMPLETE, 9, process="second", fence=2, value="new", answer=Answer.UNKNOWN),
    call(What.COMPLETE, 10, process="second", fence=2, value="new"),
    call(What.READ, 11, revision=7),
]
GOOD = History(CALLS, events(WAY), {JOB: Kept(state=JobState.COMPLETED, value="new", revision=7)})


def test_a_history_that_keeps_every_promise_is_believed() -> None:
    assert contradictions(GOOD) == []


def test_what_nobody_heard_of_may_have_happened_or_not() -> None:
    """A submit and a completion without an answer, of a job that is there or is not."""
    unheard = [
        call(What.SUBMIT, 1, answer=Answer.UNKNOWN),
        call(What.COMPLETE, 9, fence=2, value="new", answer=Answer.UNKNOWN),
    ]

    assert contradictions(replace(GOOD, calls=unheard)) == []
    assert contradictions(History(unheard)) == []


def test_a_report_that_was_sent_before_the_next_claim_may_be_answered_again_after_it() -> None:
    """The failure of fence 1 was recorded, its ack lost; meanwhile the job was tried again."""
    calls = [
        call(What.CLAIM, 1, process="first", fence=1),
        call(What.FAIL, 2, process="first", fence=1, value="E", answer=Answer.UNKNOWN),
        call(What.CLAIM, 3, process="second", fence=2),
        call(What.FAIL, 4, process="first", fence=1, value="E"),
    ]

    assert contradictions(History(calls)) == []


def test_a_deleted_job_is_not_missed() -> None:
    way = [*WAY, (EventType.DELETED, JobState.COMPLETED)]

    assert contradictions(History([*CALLS, call(What.DELETE, 12)], events(way), {})) == []


BROKEN_CALLS = {
    "a fence has two owners": ([*CALLS, call(What.CLAIM, 6, process="third", fence=2)], "is owned by"),
    "a later claim has a smaller fence": (
        [*CALLS, call(What.CLAIM, 12, process="third", fence=1)],
        "was claimed after",
    ),
    "a stale completion is taken": (
        [*CALLS[:5], call(What.COMPLETE, 7, process="first", fence=1, value="new"), *CALLS[6:]],
        "was taken after second had claimed fence 2",
    ),
    "a stale accept is taken": ([*CALLS, call(What.ACCEPT, 7, process="first", fence=1, value="again")], "was taken"),
    "two results are taken": ([*CALLS, call(What.COMPLETE, 12, fence=2, value="newer")], "2 different completions"),
    "an acknowledged job is gone": ([*CALLS, call(What.SUBMIT, 1, job_id="job-2")], "job-2: its submit"),
    "an acknowledged cancel left no trace": ([*CALLS, call(What.CANCEL, 5)], "the log does not know"),
    "a deleted job is there": ([*CALLS, call(What.DELETE, 12)], "and it is there"),
    "a later read sees less": ([*CALLS, call(What.READ, 12, revision=6)], "saw revision 7, a later one 6"),
    "an acknowledged job is not found": ([*CALLS, call(What.READ, 12, answer=Answer.REFUSED)], "not found"),
}


@pytest.mark.parametrize(("calls", "says"), BROKEN_CALLS.values(), ids=BROKEN_CALLS)
def test_calls_that_break_a_promise_are_named(calls: list[Call], says: str) -> None:
    found = contradictions(replace(GOOD, calls=calls))

    assert [line for line in found if says in line], found


BROKEN_LOGS = {
    "a revision is missing": (
        [event for event in GOOD.events if event.revision != 4],
        "its revisions are [1, 2, 3, 5, 6, 7]",
    ),
    "it begins in the middle": (events(WAY[1:]), "its first event is CLAIMED"),
    "it is claimed twice in a row": (events([*WAY[:2], *WAY[1:]]), "CLAIMED is followed by CLAIMED"),
    "it moves on after its end": (events([*WAY, WAY[1]]), "COMPLETED is followed by CLAIMED"),
    "it completes twice": (events([*WAY, WAY[-1]]), "completed 2 times"),
    "a delivery counts as an attempt": (
        [replace(event, attempt=1) if event.revision > 1 else event for event in GOOD.events],
        "CLAIMED counts 1 attempts",
    ),
    "a start counts twice": (
        [replace(event, attempt=2) if event.revision > 2 else event for event in GOOD.events],
        "RUNNING counts 2 attempts",
    ),
    "an event and its state disagree": (events([*WAY[:-1], (EventType.COMPLETED, JobState.FAILED)]), "leads to FAILED"),
    "it is stored otherwise": (events(WAY[:-1]), "its last event is"),
    "there is no event of it": (
        [replace(event, job_id="job-2") for event in GOOD.events],
        "job-1: stored without any event",
    ),
}


@pytest.mark.parametrize(("log", "says"), BROKEN_LOGS.values(), ids=BROKEN_LOGS)
def test_a_log_that_breaks_a_promise_is_named(log: list[Event], says: str) -> None:
    found = contradictions(replace(GOOD, events=log))

    assert [line for line in found if says in line], found


def test_an_acknowledged_result_that_is_not_the_stored_one_is_named() -> None:
    found = contradictions(replace(GOOD, finals={JOB: Kept(state=JobState.COMPLETED, value="other", revision=7)}))

    assert [line for line in found if "the completion with 'new' was acknowledged" in line], found


def test_what_a_process_recorded_is_read_again_with_the_calls_that_it_did_not_live_to_hear_of(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "one.calls", "one")
    with recorder.call(What.SUBMIT, JOB) as outcome:
        outcome.answer = Answer.OK
    with pytest.raises(ConnectionError), recorder.call(What.COMPLETE, JOB, fence=3, value="v"):
        raise ConnectionError
    with (tmp_path / "one.calls").open("a") as file:
        file.write('{"cut short')

    submit, complete = read_calls(tmp_path)

    assert (submit.what, submit.answer, submit.answered_at < complete.called_at) == (What.SUBMIT, Answer.OK, True)
    assert (complete.fence, complete.value, complete.answer) == (3, "v", Answer.UNKNOWN)


def test_the_program_judges_a_folder(tmp_path: Path) -> None:
    for name in ("one", "two"):
        Recorder(tmp_path / f"{name}.calls", name).claimed(JOB, fence=1, called_at=0)

    judged = subprocess.run(
        [sys.executable, "-m", "tests.support.history", str(tmp_path)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert judged.returncode == 1
    assert "fence 1 is owned by one and two" in judged.stdout
    assert len(json.loads((tmp_path / "one.calls").read_text())) > 1
