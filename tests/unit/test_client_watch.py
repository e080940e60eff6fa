"""A watch's place: what it asks for, what it passes on, and what it makes of each way in which a stream ends."""

import logging
import time
from datetime import UTC, datetime, timedelta

import pytest

from jobhall import AccessControl, CallRetry, EventType, JobAttributes
from jobhall.errors import ApiError, Code, CursorExpiredError, CursorMismatchError
from jobhall.v1 import event_pb2, job_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall.watching import WatchOptions, WatchPlace
from tests.support.fake_channel import fake_server

POLICY = CallRetry(attempts_max=3)
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def place(**options: object) -> WatchPlace:
    return WatchPlace(WatchOptions(**options), POLICY, draw=lambda: 0.5)  # type: ignore[typeddict-item]


def job(job_id: str, revision: int) -> job_pb2.Job:
    return job_pb2.Job(id=job_id, revision=revision, state=job_pb2.JOB_STATE_PENDING)


def event(job_id: str, revision: int) -> event_pb2.JobEvent:
    return event_pb2.JobEvent(job_id=job_id, revision=revision, event_type=event_pb2.EVENT_TYPE_CLAIMED)


def said(
    cursor: str, *events: event_pb2.JobEvent, jobs: tuple[job_pb2.Job, ...] = (), **more: bool
) -> pb.WatchJobsResponse:
    return pb.WatchJobsResponse(cursor=cursor, events=events, snapshot_jobs=jobs, **more)


def told(watch: WatchPlace, response: pb.WatchJobsResponse) -> list[tuple[str, int]]:
    return [(it.job_id, it.revision) for it in watch.take(response).events]


# --- what is asked for ---


def test_a_watch_says_all_that_it_was_told() -> None:
    request = place(
        namespace="media",
        job_ids=["a"],
        batch_id="b",
        job_types=["resize"],
        owner="ann",
        labels={"team": "red"},
        event_types=[EventType.FAILED],
        cursor="c",
        include_snapshot=True,
        reset_when_expired=True,
        stop_when_terminal=True,
    ).request()

    assert request == pb.WatchJobsRequest(
        namespace="media",
        job_ids=["a"],
        batch_id="b",
        job_types=["resize"],
        owner="ann",
        labels={"team": "red"},
        event_types=[event_pb2.EVENT_TYPE_FAILED],
        cursor="c",
        include_snapshot=True,
        expired_cursor_action=pb.EXPIRED_CURSOR_ACTION_RESET,
        stop_when_terminal=True,
    )


def test_an_event_reads_with_all_its_parts_and_those_before_it() -> None:
    message = event_pb2.JobEvent(
        event_type=event_pb2.EVENT_TYPE_UPDATED,
        job_id="j1",
        revision=3,
        fence=7,
        attributes=event_pb2.JobAttributes(
            owner="ann",
            organization_id="org",
            batch_id="b1",
            labels={"team": "red"},
            path="/files/1",
            access_control=job_pb2.AccessControl(read_access=["bob"]),
        ),
        previous_attributes=event_pb2.JobAttributes(owner="ann", batch_id="b1", labels={"team": "blue"}),
    )
    message.time.FromDatetime(MOMENT)

    event = place().take(said("1", message)).events[0]

    assert (event.event_type, event.revision, event.fence, event.happened_at) == (EventType.UPDATED, 3, 7, MOMENT)
    assert (event.owner, event.organization_id, event.batch_id, event.path) == ("ann", "org", "b1", "/files/1")
    assert (event.labels, event.access_control) == ({"team": "red"}, AccessControl(read_access=("bob",)))
    assert event.previous == JobAttributes(owner="ann", batch_id="b1", labels={"team": "blue"})


# --- old news ---


def test_an_event_that_the_snapshot_has_told_already_is_left_out() -> None:
    watch = place(include_snapshot=True)
    watch.take(said("1", jobs=(job("a", 3), job("b", 1)), snapshot_complete=True))

    assert told(watch, said("2", event("a", 2), event("a", 3), event("b", 1), event("c", 1))) == [("c", 1)]
    assert told(watch, said("3", event("a", 4), event("b", 2))) == [("a", 4), ("b", 2)]
    assert watch.request().cursor == "3"


def test_an_event_that_is_in_no_history_is_never_old_news() -> None:
    watch = place(include_snapshot=True)
    watch.take(said("1", jobs=(job("a", 3),), snapshot_complete=True))

    assert told(watch, said("2", event("a", 0))) == [("a", 0)]


def test_events_between_the_pages_of_a_snapshot_are_told() -> None:
    watch = place(include_snapshot=True)
    watch.take(said("1", jobs=(job("a", 1),)))

    assert told(watch, said("2", event("a", 2), event("b", 1))) == [("a", 2), ("b", 1)]
    assert [it.id for it in watch.take(said("2", jobs=(job("c", 2),), snapshot_complete=True)).jobs] == ["c"]
    assert told(watch, said("3", event("c", 2), event("c", 3))) == [("c", 3)]


def test_what_the_snapshot_told_is_kept_only_until_there_is_newer() -> None:
    watch = place(include_snapshot=True)
    watch.take(said("1", jobs=tuple(job(str(number), 1) for number in range(100)), snapshot_complete=True))

    watch.take(said("2", *(event(str(number), 2) for number in range(100))))

    assert not watch._told


def test_a_watch_without_a_snapshot_passes_on_everything() -> None:
    watch = place(cursor="0")

    assert told(watch, said("1", event("a", 1), event("a", 1))) == [("a", 1), ("a", 1)]


# --- a place that is gone ---


@pytest.mark.parametrize("error", [CursorExpiredError(), CursorMismatchError()])
def test_a_place_that_the_log_does_not_have_is_an_error_unless_the_watch_may_begin_anew(error: ApiError) -> None:
    strict = place()
    strict.take(said("1"))

    with pytest.raises(type(error)):
        strict.delay_seconds(error)


@pytest.mark.parametrize("error", [CursorExpiredError(), CursorMismatchError()])
def test_a_watch_that_begins_anew_asks_for_a_snapshot_and_says_so_once(error: ApiError) -> None:
    watch = place(reset_when_expired=True, include_snapshot=True)
    watch.take(said("1", jobs=(job("a", 9),), snapshot_complete=True))

    delay = watch.delay_seconds(error)
    request = watch.request()
    first = watch.take(said("7"))
    page = watch.take(said("7", jobs=(job("a", 2),), snapshot_complete=True))

    assert delay == 0
    assert (request.cursor, request.include_snapshot) == ("", True)
    assert (first.reset, page.reset) == (True, False)
    assert told(watch, said("8", event("a", 3))) == [("a", 3)]
    assert not watch.request().include_snapshot


def test_a_watch_that_begins_anew_says_so_though_its_first_stream_breaks() -> None:
    watch = place(reset_when_expired=True, cursor="old")

    watch.delay_seconds(CursorMismatchError())
    watch.delay_seconds(ApiError(code=Code.UNAVAILABLE))

    assert watch.take(said("7")).reset


def test_a_new_watch_that_is_refused_its_place_does_not_try_for_ever() -> None:
    watch = place(reset_when_expired=True)

    with pytest.raises(CursorMismatchError):
        watch.delay_seconds(CursorMismatchError())


# --- silence ---


def test_a_watch_that_was_answered_outlives_any_number_of_silences() -> None:
    watch = place()
    watch.take(said("1"))

    delays = [watch.delay_seconds(watch.silent()) for _ in range(50)]

    assert max(delays) <= POLICY.delay_max.total_seconds()
    assert not watch.open
    watch.take(said("2"))
    assert watch.open


def test_a_break_and_its_end_are_told_once_to_whoever_listens(caplog: pytest.LogCaptureFixture) -> None:
    """A watch at a terminal was as silent while the server was away as while nothing happened."""
    caplog.set_level(logging.INFO, "jobhall.watching")
    watch = place()
    watch.take(said("1"))
    for _ in range(5):
        watch.delay_seconds(ApiError("gone", code=Code.UNAVAILABLE))
    watch.take(said("2"))
    watch.take(said("3"))

    assert caplog.messages == [
        "the watch lost its stream (UNAVAILABLE); it goes on from its place when a server answers",
        "the watch goes on",
    ]


def test_one_that_never_was_is_given_up() -> None:
    watch = place()

    watch.delay_seconds(watch.silent())
    watch.delay_seconds(watch.silent())
    with pytest.raises(ApiError, match="silent for 30 s"):
        watch.delay_seconds(watch.silent())


def test_a_stream_that_falls_silent_is_cancelled_and_opened_again_from_its_place() -> None:
    """A read of the blocking client cannot end by itself: where a proxy held a stream open, the watch hung for ever."""
    policy = CallRetry(silence_max=timedelta(seconds=0.05))
    with fake_server(retry=policy) as server:
        watch = server.client.jobs.watch()
        calling = server.calling(lambda: [next(watch).cursor, next(watch).cursor])
        silent = server.open_stream("WatchJobs")
        silent.send_response(said("1"))
        second = server.stream("WatchJobs", said("2"))

        assert calling.result(10) == ["1", "2"]
        watch.close()
    assert second.cursor == "1"


def test_a_reader_that_takes_its_time_is_not_taken_for_a_silent_server() -> None:
    policy = CallRetry(silence_max=timedelta(seconds=0.05))
    with fake_server(retry=policy) as server:
        watch = server.client.jobs.watch()
        calling = server.calling(lambda: next(watch).cursor)
        stream = server.open_stream("WatchJobs")
        stream.send_response(said("1"))
        assert calling.result(10) == "1"

        time.sleep(3 * policy.silence_max.total_seconds())  # sleeps: the reader is slow
        stream.send_response(said("2"))

        assert server.calling(lambda: next(watch).cursor).result(10) == "2"
        watch.close()
