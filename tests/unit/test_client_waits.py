"""Who waits for which jobs: which watches are opened for them, what these settle, what is left when one fails."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc
import pytest

from jobhall import CallRetry, EventType, Job, JobEvent, Jobs, JobState, WatchUpdate
from jobhall.errors import ApiError, Code, JobNotFoundError, ServerUnreachableError, WatcherLimitError
from jobhall.ids import canonical_id, new_id
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall.waits import Group, Waiter, Waits
from tests.support.fake_channel import fake_server

A, B, C = "a", "b", "c"


def job(job_id: str, state: JobState = JobState.COMPLETED) -> Job:
    return Job(id=job_id, namespace="default", job_type="score", state=state)


def snapshot(*jobs: Job, complete: bool = True) -> WatchUpdate:
    return WatchUpdate(cursor="c", jobs=jobs, snapshot_complete=complete)


def ended(*job_ids: str) -> WatchUpdate:
    events = [
        JobEvent(
            event_type=EventType.COMPLETED,
            job_id=job_id,
            revision=4,
            namespace="default",
            job_type="score",
            state=JobState.COMPLETED,
        )
        for job_id in job_ids
    ]
    return WatchUpdate(cursor="c", events=tuple(events))


class Scene:
    """Waits, and who waits until the test is over."""

    def __init__(self, stack: ExitStack) -> None:
        self.waits = Waits(CallRetry())
        self._stack = stack

    def wait(self, *job_ids: str) -> Waiter:
        return self._stack.enter_context(self.waits.waiting_for(job_ids))

    def open(self) -> Group:
        assert self.waits.wants_watch()
        group = self.waits.next_group()
        assert group is not None
        return group

    def opened(self) -> Group:
        """A watch whose jobs all wait."""
        group = self.open()
        self.waits.take(group, snapshot(*(job(it, JobState.PENDING) for it in group.job_ids)))
        return group


@pytest.fixture
def scene() -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(stack)


# --- who shares a watch ---


def test_one_wait_at_a_time_holds_a_call_open() -> None:
    waits = Waits(CallRetry())

    with waits.waiting_alone() as first, waits.waiting_alone() as second:
        assert (first, second) == (True, False)
    with waits.waiting_alone() as third:
        assert third


def test_a_thousand_waits_are_one_watch(scene: Scene) -> None:
    for number in range(1000):
        scene.wait(str(number))

    group = scene.open()

    assert len(group.job_ids) == 1000
    assert not scene.waits.wants_watch()


def test_what_comes_while_a_watch_is_being_opened_waits_for_the_next(scene: Scene) -> None:
    scene.wait(A)
    group = scene.open()
    scene.wait(B)

    assert not scene.waits.wants_watch()
    scene.waits.take(group, snapshot(job(A, JobState.PENDING)))
    assert scene.open().job_ids == {A, B}
    assert group.place.stopped


def test_more_jobs_than_a_watch_may_name_are_several(scene: Scene) -> None:
    scene.wait(*(str(number) for number in range(2500)))

    groups = [scene.opened() for _ in range(3)]

    assert [len(group.job_ids) for group in groups] == [1000, 1000, 500]
    assert not any(group.place.stopped for group in groups)
    assert not scene.waits.wants_watch()


def test_waits_that_come_one_by_one_never_make_more_than_a_few_watches(scene: Scene) -> None:
    open_groups: list[Group] = []
    asked = 0
    for number in range(900):
        scene.wait(str(number))
        open_groups.append(scene.opened())
        open_groups = [group for group in open_groups if not group.place.stopped]
        asked += len(open_groups[-1].job_ids)
        assert len(open_groups) <= 4

    assert sum(len(group.job_ids) for group in open_groups) == 900
    assert asked < 900 * 20


def test_a_job_that_is_waited_for_twice_is_watched_once(scene: Scene) -> None:
    first = scene.wait(A)
    group = scene.opened()
    second = scene.wait(A)

    assert not scene.waits.wants_watch()
    scene.waits.settle(Jobs((job(A),)))
    assert first.outcomes == second.outcomes == {A: job(A)}
    assert group.place.stopped


# --- what ends a wait ---


def test_a_job_that_has_ended_before_is_read_at_once(scene: Scene) -> None:
    scene.wait(A, B)
    group = scene.open()

    assert scene.waits.take(group, snapshot(job(A), job(B, JobState.RUNNING))) == [A]
    assert scene.waits.state(B) is JobState.RUNNING


def test_a_job_that_is_in_no_page_of_the_snapshot_is_not_there(scene: Scene) -> None:
    waiter = scene.wait(A, B, C)
    group = scene.open()

    scene.waits.take(group, snapshot(job(A, JobState.PENDING), complete=False))
    assert not waiter.ready
    scene.waits.take(group, snapshot(job(C, JobState.PENDING)))

    assert isinstance(waiter.outcomes[B], JobNotFoundError)
    assert waiter.left == [A, C]


def test_a_job_that_is_gone_when_it_is_read_is_not_there(scene: Scene) -> None:
    waiter = scene.wait(A)

    assert scene.waits.take(scene.opened(), ended(A)) == [A]
    scene.waits.settle(Jobs((), (A,)))

    assert isinstance(waiter.outcomes[A], JobNotFoundError)


def test_a_job_that_was_retried_before_it_was_read_is_waited_for_still(scene: Scene) -> None:
    waiter = scene.wait(A)
    group = scene.opened()

    scene.waits.take(group, ended(A))
    scene.waits.settle(Jobs((job(A, JobState.PENDING),)))
    assert not waiter.ready
    scene.waits.take(group, ended(A))
    scene.waits.settle(Jobs((job(A),)))

    assert waiter.ready


@pytest.mark.parametrize(
    ("outcomes", "ready"),
    [
        ([job(A)], False),
        ([job(A), job(B)], True),
        ([job(A, JobState.FAILED)], True),
        ([job(B, JobState.CANCELLED)], True),
    ],
)
def test_a_wait_for_many_ends_with_the_last_or_with_the_first_that_failed(
    scene: Scene, outcomes: Sequence[Job], ready: bool
) -> None:
    waiter = scene.wait(A, B)
    notified: list[bool] = []
    waiter.listen(lambda: notified.append(True))
    scene.opened()

    scene.waits.settle(Jobs(tuple(outcomes)))

    assert waiter.ready is bool(notified) is ready


def test_who_listens_late_is_told_at_once(scene: Scene) -> None:
    waiter = scene.wait(A)
    scene.opened()
    scene.waits.settle(Jobs((job(A),)))
    notified: list[bool] = []

    waiter.listen(lambda: notified.append(True))

    assert notified


def test_a_watch_whose_waits_have_all_gone_is_stopped() -> None:
    waits = Waits(CallRetry())
    with waits.waiting_for([A]):
        with waits.waiting_for([A, B]):
            assert waits.wants_watch()
            group = waits.next_group()
            assert group is not None
        before = (set(group.job_ids), group.place.stopped)

    assert before == ({A}, False)
    assert group.place.stopped
    assert waits.take(group, ended(A)) == []


# --- watches that fail ---


def test_a_watch_that_is_refused_leaves_everybody_to_ask_for_themselves(scene: Scene) -> None:
    waiters = [scene.wait(A), scene.wait(B)]
    group = scene.open()

    scene.waits.fail(group, WatcherLimitError("full"))
    scene.waits.close(group)

    assert [waiter.refused and waiter.ready for waiter in waiters] == [True, True]
    scene.wait(C)
    assert scene.open().job_ids == {C}


def test_an_outage_is_the_answer_to_those_only_who_never_had_another(scene: Scene) -> None:
    old = scene.wait(A)
    first = scene.opened()
    new = scene.wait(B)
    second = scene.open()
    assert first.place.stopped
    scene.waits.close(first)

    scene.waits.fail(second, ApiError("nobody there", code=Code.UNAVAILABLE))
    scene.waits.close(second)

    assert isinstance(new.outcomes[B], ApiError)
    assert not old.ready
    assert scene.open().job_ids == {A}


def test_a_wait_relies_on_watches_only_while_they_are_open(scene: Scene) -> None:
    waiter = scene.wait(A)
    assert not scene.waits.listening(waiter)
    group = scene.opened()
    assert not scene.waits.listening(waiter)

    group.place.take(pb.WatchJobsResponse(cursor="c"))
    assert scene.waits.listening(waiter)
    group.place.delay_seconds(group.place.silent())
    assert not scene.waits.listening(waiter)


def test_after_a_reset_the_snapshot_says_again_what_is_there(scene: Scene) -> None:
    waiter = scene.wait(A, B)
    group = scene.opened()

    scene.waits.take(group, WatchUpdate(cursor="c", reset=True))
    scene.waits.take(group, snapshot(job(B, JobState.PENDING)))

    assert isinstance(waiter.outcomes[A], JobNotFoundError)


# --- ids ---


def test_an_id_is_written_as_the_server_writes_it() -> None:
    made = new_id()

    assert canonical_id(made) == canonical_id(made.upper()) == canonical_id(made.replace("-", "")) == made
    assert canonical_id("report-7") == canonical_id("") == ""


# --- through the client, where there is no watch ---

FIRST, SECOND = new_id(), new_id()


def answered(job_id: str, state: JobState) -> job_pb2.Job:
    return job_pb2.Job(id=job_id, state=job_pb2.JobState.ValueType(int(state)))


@pytest.mark.parametrize("error", [WatcherLimitError("full"), ApiError("no such method", code=Code.UNIMPLEMENTED)])
def test_many_jobs_without_a_watch_are_looked_at_and_waited_for_by_turns(error: ApiError) -> None:
    with fake_server() as server:
        calling = server.calling(lambda: server.client.jobs.wait_for_jobs([FIRST, SECOND]))
        server.refuse_stream("WatchJobs", error)
        states = [answered(FIRST, JobState.RUNNING), answered(SECOND, JobState.COMPLETED)]
        looked = server.answer("BatchGetJobs", pb.BatchGetJobsResponse(jobs=states))
        whole = server.answer("BatchGetJobs", pb.BatchGetJobsResponse(jobs=states[1:]))
        held = server.answer("WaitJob", pb.WaitJobResponse(job=answered(FIRST, JobState.RUNNING)), after_seconds=5.0)
        server.answer("BatchGetJobs", pb.BatchGetJobsResponse(jobs=states[:1]))
        server.answer("WaitJob", pb.WaitJobResponse(job=answered(FIRST, JobState.COMPLETED)))

        assert [it.id for it in calling.result(10)] == [FIRST, SECOND]
    assert (looked.view, list(looked.job_ids)) == (job_pb2.JOB_VIEW_BASIC, [FIRST, SECOND])
    assert (whole.view, list(whole.job_ids)) == (job_pb2.JOB_VIEW_UNSPECIFIED, [SECOND])
    assert (held.job_id, held.timeout.ToSeconds()) == (FIRST, 5)


def test_each_wait_without_a_watch_holds_a_call_open() -> None:
    with fake_server() as server, ThreadPoolExecutor(1) as pool:
        lone = server.calling(lambda: server.client.jobs.wait_for_job(FIRST))
        server.answer("WaitJob", pb.WaitJobResponse(job=answered(FIRST, JobState.RUNNING)), after_seconds=30.0)
        other = pool.submit(lambda: server.client.jobs.wait_for_job(SECOND))
        server.refuse_stream("WatchJobs", WatcherLimitError("full"))
        asked = {
            server.answer("WaitJob", pb.WaitJobResponse(job=answered("any", JobState.COMPLETED))).job_id
            for _ in range(2)
        }

        assert lone.result(10).succeeded
        assert other.result(10).succeeded
    assert asked == {FIRST, SECOND}


def test_a_wait_for_many_that_nobody_ever_answers_is_given_up() -> None:
    with fake_server(retry=CallRetry(attempts_max=2)) as server:
        calling = server.calling(lambda: server.client.jobs.wait_for_jobs([FIRST, SECOND]))
        server.stream("WatchJobs", code=grpc.StatusCode.UNAVAILABLE)
        server.stream("WatchJobs", code=grpc.StatusCode.UNAVAILABLE)

        with pytest.raises(ServerUnreachableError):
            calling.result(10)
