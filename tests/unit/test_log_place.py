"""A reader's place in the log of a job: which lines it asks for, over pages, attempts and what a watch says."""

from typing import Any, Unpack

from jobhall import Job, JobEvent, JobState, LogEntry, LogLevel, LogPage, WatchUpdate
from jobhall.calls_insight import LogOptions
from jobhall.log_place import LogPlace
from jobhall.states import EventType

JOB_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def place(**options: Unpack[LogOptions]) -> LogPlace:
    return LogPlace(JOB_ID, options)


def snapshot(attempt: int, state: JobState = JobState.RUNNING) -> WatchUpdate:
    job = Job(id=JOB_ID, namespace="default", job_type="resize", state=state, attempt=attempt)
    return WatchUpdate(cursor="c", jobs=(job,))


def event(kind: EventType, attempt: int, state: JobState) -> WatchUpdate:
    said = JobEvent(
        event_type=kind,
        job_id=JOB_ID,
        revision=1,
        namespace="default",
        job_type="resize",
        state=state,
        attempt=attempt,
    )
    return WatchUpdate(cursor="c", events=(said,))


def page(*numbers: int, token: str = "") -> LogPage:
    return LogPage(tuple(LogEntry(message=f"line {number}", number=number) for number in numbers), token)


def asked(place: LogPlace) -> tuple[int, int, str] | None:
    """Attempt, after_number and page_token of what is asked for next."""
    call = place.next_call()
    if call is None:
        return None
    request: Any = call.request
    return request.attempt, request.after_number, request.page_token


def test_who_does_not_follow_reads_all_pages_of_the_latest_attempt_once() -> None:
    reader = place(min_level=LogLevel.WARNING)
    reader.finish()
    call = reader.next_call()

    assert call is not None
    assert call.request.min_level == LogLevel.WARNING  # type: ignore[attr-defined]
    assert asked(reader) == (0, 0, "")
    reader.take(page(1, 2, token="more"))
    assert asked(reader) == (0, 0, "more")
    reader.take(page(3))
    assert asked(reader) is None


def test_an_empty_page_with_a_token_is_not_the_last() -> None:
    reader = place()
    reader.finish()
    reader.take(page(token="more"))

    assert asked(reader) == (0, 0, "more")


def test_nothing_is_asked_for_before_the_first_attempt() -> None:
    reader = place()
    reader.see(snapshot(0, JobState.PENDING))

    assert asked(reader) is None
    reader.see(event(EventType.RUNNING, 1, JobState.RUNNING))
    assert asked(reader) == (1, 0, "")


def test_every_word_of_the_watch_is_a_reason_to_look_for_lines_after_the_last() -> None:
    reader = place()
    reader.see(snapshot(2))
    reader.take(page(1, 2))

    assert asked(reader) is None
    reader.see(WatchUpdate(cursor="c"))
    assert asked(reader) == (2, 2, "")


def test_the_attempt_before_is_read_to_its_end_before_the_next() -> None:
    reader = place()
    reader.see(snapshot(1))
    reader.take(page(1))
    reader.see(event(EventType.RUNNING, 2, JobState.RUNNING))

    assert asked(reader) == (1, 1, "")
    reader.take(page(2))
    assert asked(reader) == (2, 0, "")
    reader.take(page(1))
    assert asked(reader) is None
    assert not reader.over


def test_a_late_word_of_the_attempt_before_is_no_new_attempt() -> None:
    """The log was told twice: LOG events are not in order with the others, and one of attempt 1 came after RUNNING."""
    reader = place()
    reader.see(snapshot(1))
    reader.see(event(EventType.RUNNING, 2, JobState.RUNNING))
    reader.see(event(EventType.LOG, 1, JobState.RUNNING))
    reader.take(page(1))
    reader.take(page(1))

    assert asked(reader) is None


def test_it_is_over_when_the_job_has_ended() -> None:
    reader = place()
    reader.see(snapshot(1))
    reader.take(page())

    before = reader.over
    reader.see(event(EventType.COMPLETED, 1, JobState.COMPLETED))
    assert (before, reader.over) == (False, True)
    assert asked(reader) == (1, 0, "")


def test_one_attempt_alone_is_over_when_the_job_waits_for_the_next() -> None:
    reader = place(attempt=1, after_number=7)
    reader.see(snapshot(1))

    assert asked(reader) == (1, 7, "")
    before = reader.over
    reader.see(event(EventType.SCHEDULED, 1, JobState.SCHEDULED))
    assert (before, reader.over) == (False, True)


def test_one_attempt_alone_that_is_past_is_over_at_once() -> None:
    reader = place(attempt=1)
    reader.see(snapshot(3))

    assert reader.over
    assert asked(reader) == (1, 0, "")


def test_one_attempt_alone_is_waited_for() -> None:
    reader = place(attempt=2)
    reader.see(snapshot(1))
    reader.see(event(EventType.SCHEDULED, 1, JobState.SCHEDULED))

    assert not reader.over


def test_a_job_that_ended_before_its_first_attempt_has_nothing_but_what_the_server_says_is_its_latest() -> None:
    reader = place()
    reader.see(snapshot(0, JobState.CANCELLED))

    assert reader.over
    reader.finish()
    assert asked(reader) == (0, 0, "")
