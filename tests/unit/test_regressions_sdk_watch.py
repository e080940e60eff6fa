"""Faults of the SDK's watch and waits that were found by reading and by torture, each with its story."""

import math
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self, cast

import grpc
import pytest

from jobhall import CallRetry, Client, Job, JobEvent, JobState, WatchUpdate
from jobhall.cli.following import follow_jobs
from jobhall.errors import ApiError, Code, CursorExpiredError, WatcherLimitError
from jobhall.ids import new_id
from jobhall.log_place import LogPlace
from jobhall.procedures import Await, Procedures, Send
from jobhall.v1 import event_pb2, job_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall.waiting import Waiting
from jobhall.waits import Waits
from jobhall.watching import WatchOptions, WatchPlace
from tests.support.fake_channel import fake_server

if TYPE_CHECKING:
    from jobhall.cli.output import Follower

POLICY = CallRetry(attempts_max=3)
FIRST, SECOND = new_id(), new_id()
AGED = ApiError("stream timeout", code=Code.DEADLINE_EXCEEDED)
RESET = ApiError("Stream removed", code=Code.UNKNOWN)
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def waiting(clock: Clock) -> Waiting:
    return Waiting(Procedures(POLICY, 30.0, clock), Waits(POLICY))


# --- how long a wait waits ---


@pytest.mark.parametrize("timeout_seconds", [math.inf, 1e18, 86_400.0])
def test_a_wait_for_ever_so_long_is_made_of_calls_of_the_usual_length(timeout_seconds: float) -> None:
    """The wait's own end bounded each call: an answer that a proxy had lost was waited for until tomorrow, and of an
    infinite timeout gRPC made one that was over at once (DEADLINE_EXCEEDED).
    """
    wait = waiting(Clock()).for_job(FIRST, timeout_seconds=timeout_seconds, poll_seconds=None)

    step = next(wait)

    assert isinstance(step, Send)
    assert step.timeout_seconds == 60
    wait.close()


@pytest.mark.parametrize("poll_seconds", [61.0, 600.0, math.inf])
def test_a_poll_interval_that_is_longer_than_the_server_holds_a_call_is_no_error(poll_seconds: float) -> None:
    """WaitJob takes 60 s at most: a poll_interval of two minutes was a FieldInvalidError."""
    wait = waiting(Clock()).for_job(FIRST, timeout_seconds=None, poll_seconds=poll_seconds)

    step = next(wait)

    assert isinstance(step, Send)
    assert cast("Any", step.call.request).timeout.ToSeconds() == 30
    wait.close()


def test_a_long_poll_interval_does_not_keep_a_wait_from_seeing_that_its_watch_is_gone() -> None:
    """With a poll_interval of ten minutes it listened for ten minutes to a watch that was never opened."""
    clock = Clock()
    shared = waiting(clock)
    wait = shared.for_jobs([FIRST, SECOND], timeout_seconds=None, poll_seconds=600)
    step: Any = next(wait)
    assert isinstance(step, Await)
    assert step.seconds == 15
    assert shared.waits.wants_watch()
    group = shared.waits.next_group()
    assert group is not None
    group.place.take(pb.WatchJobsResponse(cursor="c"))
    jobs = [Job(id=it, namespace="default", job_type="score", state=JobState.PENDING) for it in (FIRST, SECOND)]
    shared.waits.take(group, WatchUpdate(cursor="c", jobs=tuple(jobs), snapshot_complete=True))

    listened = 0
    while isinstance(step, Await):
        clock.now += step.seconds
        listened += 1
        step = wait.send(None)

    assert clock.now == 600
    assert listened == 40
    wait.close()


def test_a_wait_that_learnt_by_its_own_look_of_the_end_gives_up_its_part_of_the_watch() -> None:
    """Who is not told by the watch stayed among those who wait: a job that was retried meanwhile was watched on, for
    nobody, until its end or that of the client.
    """
    waits = Waits(POLICY)
    with waits.waiting_for([FIRST]) as waiter:
        assert waits.wants_watch()
        group = waits.next_group()
        assert group is not None
        waiter.tell(FIRST, Job(id=FIRST, namespace="default", job_type="score", state=JobState.FAILED))

    assert group.place.stopped


# --- how a watch goes on, and ends ---


@pytest.mark.parametrize("error", [AGED, RESET, WatcherLimitError("full")])
def test_a_watch_that_was_answered_goes_on_whatever_a_proxy_or_its_own_old_stream_does(error: ApiError) -> None:
    """Proxies end streams for their age, with DEADLINE_EXCEEDED, or with UNKNOWN: both were taken for the answer. Of a
    connection that died unseen the server still counts the stream, which may be the last that there was room for.
    """
    watch = WatchPlace(WatchOptions(), POLICY, draw=lambda: 0.5)
    with pytest.raises(type(error)):
        watch.delay_seconds(error)

    watch.take(pb.WatchJobsResponse(cursor="1"))

    assert [watch.delay_seconds(error) > 0 for _ in range(20)] == [True] * 20


def test_who_follows_a_log_outlives_the_loss_of_the_place_in_the_events() -> None:
    """After a long outage, or a restored backup, `logs(follow=True)` raised CursorExpiredError or CursorMismatchError,
    though it only wants to know when to look.
    """
    watch = WatchPlace(LogPlace(FIRST, {}).watch, POLICY)
    watch.take(pb.WatchJobsResponse(cursor="1"))

    assert watch.delay_seconds(CursorExpiredError()) == 0
    assert watch.request().include_snapshot


def test_what_a_snapshot_told_is_forgotten_once_events_are_newer_by_far() -> None:
    """The revisions of a million jobs that waited were kept as long as the watch was open: some 200 MB."""
    watch = WatchPlace(WatchOptions(include_snapshot=True), POLICY)
    jobs = [job_pb2.Job(id=str(number), revision=5) for number in range(100)]
    for job in jobs:
        job.update_time.FromDatetime(NOON)

    def told(seconds: float) -> int:
        event = event_pb2.JobEvent(job_id="0", revision=1)
        event.time.FromDatetime(NOON + timedelta(seconds=seconds))
        return len(watch.take(pb.WatchJobsResponse(cursor="2", events=[event])).events)

    watch.take(pb.WatchJobsResponse(cursor="1", snapshot_jobs=jobs, snapshot_complete=True))

    assert [told(-10), told(0), told(59)] == [0, 0, 0]
    assert len(watch._told) == 100
    assert told(61) == 1
    assert not watch._told


# --- close() of the blocking client ---


class Closing:
    """A channel that another thread closes in the moment before a stream is opened."""

    def __init__(self) -> None:
        self.client: Client
        self._channel = grpc.insecure_channel("127.0.0.1:1")

    def unary_stream(self, path: str, **options: Any) -> Callable[..., Any]:
        method = self._channel.unary_stream(path, **options)

        def call(*arguments: Any, **options: Any) -> Any:
            self.client.close()
            return method(*arguments, **options)

        return call

    def close(self) -> None:
        self._channel.close()


def test_a_watch_whose_client_is_closed_as_it_opens_its_stream_just_ends() -> None:
    """It raised gRPC's ValueError ("Cannot invoke RPC: Channel closed!"), in one of a hundred runs."""
    channel = Closing()
    channel.client = Client("127.0.0.1:1", channel=cast("Any", channel))

    assert list(channel.client.jobs.watch()) == []


def test_a_watch_that_stops_when_all_is_over_does_not_say_so_when_its_client_is_closed() -> None:
    """It just ended, which is how it says that every job has."""
    channel = Closing()
    channel.client = Client("127.0.0.1:1", channel=cast("Any", channel))

    with pytest.raises(ApiError, match="the client was closed") as caught:
        list(channel.client.jobs.watch(job_ids=[FIRST], stop_when_terminal=True))

    assert caught.value.code is Code.CANCELLED


def test_a_watch_that_was_left_lying_about_keeps_no_thread_of_a_closed_client() -> None:
    """One that is neither read nor closed, but still held, had the client's watchdog wake up for it for ever."""
    before = set(threading.enumerate())
    with fake_server() as server:
        watch = server.client.jobs.watch()
        calling = server.calling(lambda: next(watch).cursor)
        server.open_stream("WatchJobs").send_response(pb.WatchJobsResponse(cursor="1"))
        assert calling.result(10) == "1"
        watchdog = next(it for it in set(threading.enumerate()) - before if it.name == "jobhall-silence")

        server.client.close()

        watchdog.join(5)
        assert not watchdog.is_alive()
        watch.close()


# --- the command line ---


class Heard:
    """A follower that writes down which jobs it was shown."""

    def __init__(self) -> None:
        self.said: list[tuple[str, int]] = []

    def show(self, job: Job, *, cursor: str = "") -> None:
        self.said.append((cursor, job.revision))

    def tell(self, event: JobEvent, *, cursor: str = "") -> None:
        self.said.append((cursor, event.revision))

    def mark(self, cursor: str) -> None:
        return None

    def begin_anew(self) -> None:
        self.said.append(("reset", 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return None


def test_after_a_restored_backup_a_job_is_shown_as_it_is_now_though_its_revision_is_lower() -> None:
    """`jobhall watch ID` left out what was no newer than what it had shown before, of the database that is gone."""
    before = job_pb2.Job(id=FIRST, revision=5, state=job_pb2.JOB_STATE_RUNNING)
    after = job_pb2.Job(id=FIRST, revision=2, state=job_pb2.JOB_STATE_PENDING)
    follower = Heard()
    with fake_server() as server:
        calling = server.calling(lambda: follow_jobs(server.client, [FIRST], cast("Follower", follower)))
        server.answer("BatchGetJobs", pb.BatchGetJobsResponse(jobs=[before]))
        request = server.stream(
            "WatchJobs",
            pb.WatchJobsResponse(cursor="1", cursor_reset=True),
            pb.WatchJobsResponse(cursor="1", snapshot_jobs=[after], snapshot_complete=True),
        )
        server.answer("BatchGetJobs", pb.BatchGetJobsResponse(jobs=[after]))
        calling.result(10)

    assert follower.said == [("", 5), ("reset", 0), ("", 2), ("1", 2)]
    assert request.expired_cursor_action == pb.EXPIRED_CURSOR_ACTION_RESET
