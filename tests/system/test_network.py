"""Networks that lose, hold or forget, between a worker and its server: the job is elsewhere in time, or nothing is."""

import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, Self

import grpc
import pytest

from jobhall.states import EventType, JobState
from jobhall.v1 import worker_service_pb2, worker_service_pb2_grpc
from tests.support import journal
from tests.support.processes import Processes
from tests.support.proxy import Proxy, Way
from tests.support.scene import SILENCE_SECONDS, Scene
from tests.support.waiting import eventually

TO_CLIENT, TO_SERVER = (frozenset({way}) for way in (Way.TO_CLIENT, Way.TO_SERVER))
OUTAGE_SECONDS = 3.0
OUTAGE_SECONDS_LONG = 30.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90), pytest.mark.long_timeout(300)]


class Net(Scene):
    """With a proxy between the server and the worker `far`; the worker `near` has none, and the client neither."""

    def __init__(self, processes: Processes, **settings: Any) -> None:
        super().__init__(processes, **settings)
        self.proxy = Proxy(self.server.address)

    def __enter__(self) -> Self:
        self.proxy.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.proxy.__exit__(*error)

    def work_far(self, *, concurrency: int = 1) -> None:
        self.work("far", address=self.proxy.address, concurrency=concurrency)

    def work_near(self) -> None:
        self.work("near", concurrency=2)


@pytest.fixture
def outage_seconds(long: bool) -> float:
    return OUTAGE_SECONDS_LONG if long else OUTAGE_SECONDS


@pytest.fixture
def impatient(processes: Processes) -> Iterator[Net]:
    """A server that gives up on a worker after a second."""
    with Net(processes, session_ttl_seconds=1, accept_seconds=1) as net:
        yield net


@pytest.fixture
def patient(processes: Processes) -> Iterator[Net]:
    """A server that waits for a worker, and for an accept, for longer than these tests take."""
    with Net(processes, session_ttl_seconds=30, accept_seconds=30) as net:
        yield net


def pass_until(at: float) -> None:
    """There is nothing to be seen meanwhile."""
    eventually(lambda: time.monotonic() >= at, within=max(0.0, at - time.monotonic()) + 1, what="the time passes")


def test_a_deaf_worker_is_given_nothing_that_waits_for_it(
    impatient: Net, outage_seconds: float, figures: Callable[..., None]
) -> None:
    """The server's words to a worker are lost, its beats arrive: it lives, and whatever it is given never comes.

    Of two jobs one runs there before, one is given to it after. The second must go elsewhere soon and at no cost. The
    worker hears nothing either, gives its stream up and finds no other; so the first one's turn elsewhere comes too.
    """
    net = impatient
    net.work_far(concurrency=2)
    before = net.hold()

    net.proxy.swallow(TO_CLIENT)
    deaf_at = time.monotonic()
    after = net.client.jobs.submit("note").id
    net.is_in(JobState.CLAIMED, after)
    net.work_near()
    elsewhere = net.started(after)
    again = net.started(before, times=2)
    pass_until(deaf_at + outage_seconds)
    streams = net.streams("far")
    net.proxy.heal()
    net.proxy.drop_connections()
    net.back("far", streams)
    net.open()
    net.ended(before, times=2)
    net.is_in(JobState.COMPLETED, before, after)

    claimed_at = next(event.at for event in net.log_of(after) if event.event_type is EventType.CLAIMED)
    waited = next(event.at for event in net.log_of(after) if event.event_type is EventType.RUNNING) - claimed_at
    figures(deaf_for=f"{outage_seconds:g} s", undelivered_job_elsewhere_after=f"{waited:.1f} s")
    assert (elsewhere.worker, again.worker) == ("near", "near")
    assert waited <= SILENCE_SECONDS + 1 + 2
    assert net.counted(after) == (1, 0)
    assert net.counted(before) == (2, 1)
    assert journal.executions(net.folder)[after] == 1
    net.judge()


def test_the_job_behind_a_black_hole_is_elsewhere_in_time_and_what_comes_out_of_it_is_refused(
    impatient: Net, outage_seconds: float, figures: Callable[..., None]
) -> None:
    """Nothing gets through in either direction, for much longer than the worker's time to live; then all of it does.

    Among what comes out are beats and reports of streams that are over, and Hellos of streams that were given up.
    """
    net = impatient
    net.work_far()
    job_id = net.hold()
    net.work_near()

    net.proxy.hold()
    hole_at = time.monotonic()
    again = net.started(job_id, times=2)
    net.open()
    net.is_in(JobState.COMPLETED, job_id)
    row = net.stored.job(job_id)
    pass_until(hole_at + outage_seconds)
    streams = net.streams("far")
    net.proxy.heal()
    net.back("far", streams)
    net.ended(job_id, times=2)

    waited = again.at - hole_at
    figures(black_hole_for=f"{outage_seconds:g} s", job_elsewhere_after=f"{waited:.1f} s")
    assert again.worker == "near"
    assert waited <= SILENCE_SECONDS + 1 + 2
    assert net.stored.job(job_id) == row
    assert net.counted(job_id) == (2, 1)
    net.judge()


@pytest.mark.parametrize("side", ["server", "worker"])
def test_a_connection_that_only_one_side_believes_in_costs_nothing(
    patient: Net, side: str, figures: Callable[..., None]
) -> None:
    """One side sees its connection reset, the other hears nothing of that, ever; new connections work.

    Where the server lost it, the worker notices after three silent beats. Where the worker lost it, its new stream
    takes the session over from the one that the server still believes in. Either way it keeps what it runs.
    """
    net = patient
    net.work_far()
    job_id = net.hold()
    net.work_near()
    streams = net.streams("far")

    began_at = time.monotonic()
    (net.proxy.forget_server_side if side == "server" else net.proxy.forget_client_side)()
    net.back("far", streams)
    back_after = time.monotonic() - began_at
    net.open()
    net.is_in(JobState.COMPLETED, job_id)

    figures(lost_by=f"the {side}", back_after=f"{back_after:.1f} s")
    assert back_after <= SILENCE_SECONDS + 2
    assert net.counted(job_id) == (1, 0)
    assert [start.worker for start in journal.starts(net.folder, job_id)] == ["far"]
    net.judge()


def test_a_delivery_that_was_lost_right_after_its_claim_goes_out_again_at_once(
    patient: Net, figures: Callable[..., None]
) -> None:
    """The claim is committed, the assignment is on its way, and the connection breaks: the worker never heard of it.

    The accept time is half a minute here: it is the worker's next Hello, which does not list the job, that frees it.
    """
    net = patient
    net.work_far()
    net.proxy.swallow(TO_CLIENT, new=False)
    job_id = net.client.jobs.submit("note").id
    net.is_in(JobState.CLAIMED, job_id)

    broken_at = time.monotonic()
    net.proxy.drop_connections()
    start = net.started(job_id)
    net.is_in(JobState.COMPLETED, job_id)

    figures(runs_after=f"{start.at - broken_at:.1f} s")
    assert start.at - broken_at <= SILENCE_SECONDS + 2
    assert net.counted(job_id) == (1, 0)
    assert [event.event_type for event in net.log_of(job_id)].count(EventType.CLAIMED) == 2
    net.judge()


def test_a_unary_claim_whose_answer_was_lost_goes_back_at_no_cost(impatient: Net, figures: Callable[..., None]) -> None:
    """A script claims, the claim is committed, the answer is lost: nobody knows the session, and its time is a minute.

    The job was never named by a report, so it is free when the accept time is over.
    """
    net = impatient
    job_id = net.client.jobs.submit("note").id
    with grpc.insecure_channel(net.proxy.address) as channel:
        twins = worker_service_pb2_grpc.WorkerServiceStub(channel)
        grpc.channel_ready_future(channel).result(10)
        net.proxy.swallow(TO_CLIENT)
        request = worker_service_pb2.ClaimTasksRequest(job_types=["note"], worker_name="script")
        claim = twins.ClaimTasks.future(request, timeout=1)
        net.is_in(JobState.CLAIMED, job_id)
        claimed_at = time.monotonic()
        assert claim.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    net.work_near()
    start = net.started(job_id)
    net.is_in(JobState.COMPLETED, job_id)

    figures(runs_after=f"{start.at - claimed_at:.1f} s")
    assert start.at - claimed_at <= 1 + 2
    assert net.counted(job_id) == (1, 0)
    net.judge()


def test_a_late_hello_does_not_throw_out_the_newer_stream(patient: Net) -> None:
    """A Hello hangs in the network, its worker gives up and connects anew; then the old Hello arrives after all."""
    net = patient
    with grpc.insecure_channel(net.proxy.address) as slow, grpc.insecure_channel(net.server.address) as quick:
        grpc.channel_ready_future(slow).result(10)
        net.proxy.hold(TO_SERVER, new=False)
        old, new = Raw(slow), Raw(quick)
        old.say(hello=_hello(connection=2))
        new.say(hello=_hello(connection=3))
        assert new.hears().HasField("welcome")

        net.proxy.heal()

        with pytest.raises(grpc.RpcError) as ended:
            old.hears()
        assert ended.value.code() is grpc.StatusCode.ABORTED
        new.say(heartbeat=worker_service_pb2.Heartbeat(number=1))
        assert new.hears().heartbeat_reply.number == 1
        old.leave()
        new.leave()


class Raw:
    """A worker's stream by the bare stubs."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._requests: SimpleQueue[worker_service_pb2.WorkRequest | None] = SimpleQueue()
        self._stream = worker_service_pb2_grpc.WorkerServiceStub(channel).Work(
            iter(self._requests.get, None), timeout=20
        )

    def say(self, **request: Any) -> None:
        self._requests.put(worker_service_pb2.WorkRequest(**request))

    def hears(self) -> worker_service_pb2.WorkResponse:
        return next(self._stream)

    def leave(self) -> None:
        self._requests.put(None)


def _hello(*, connection: int) -> worker_service_pb2.Hello:
    return worker_service_pb2.Hello(
        worker_name="raw",
        job_types=["note"],
        protocol_version=1,
        session_id="019a0000-0000-7000-8000-000000000001",
        resume_token="a-secret-of-the-worker",
        connection=connection,
    )
