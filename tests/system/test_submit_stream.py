"""The blocking submit stream against a real server process: order, refusals, bounds, ends, and a server that dies."""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import pytest

from jobhall import ApiError, CallRetry, Client, ServerUnreachableError, Submission, SubmitStream, Submitted
from jobhall.errors import (
    Code,
    FieldInvalidError,
    JobIdReusedError,
    JobTypeNotFoundError,
    PayloadTooLargeError,
)
from jobhall.limits import STREAM_SUBMIT_UNACKED_MAX
from tests.support.ports import free_port
from tests.support.processes import Processes, Server
from tests.support.stored import Stored
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

PATIENT = CallRetry(attempts_max=1000, delay_max=timedelta(seconds=0.2))
SUBMITTERS = 8
WAIT_SECONDS = 10.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests here but those that kill theirs."""
    with Processes(tmp_path_factory.mktemp("stream")) as processes:
        yield processes.serve()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as client:
        client.types.register("score")
        yield client


def test_each_submit_is_answered_and_the_jobs_stand_in_the_order_of_the_calls(client: Client) -> None:
    ids = [str(uuid.uuid4()) for _ in range(64)]

    with client.jobs.submit_stream() as stream:
        futures = [stream.submit_soon(Submission("score", number, job_id=ids[number])) for number in range(64)]

    assert [future.result(0) for future in futures] == [Submitted(job_id) for job_id in ids]
    listed = [job.id for job in client.jobs.list_jobs(job_types=["score"])]
    assert [job_id for job_id in listed if job_id in ids] == ids[::-1]
    assert [job.parameters for job in client.jobs.get_jobs(ids)] == list(range(64))


def test_a_refused_submit_is_refused_alone_and_as_its_class(client: Client) -> None:
    known = client.jobs.submit("score", 1)
    outcomes: list[object] = []

    with client.jobs.submit_stream() as stream:
        for name, parameters, job_id in (
            ("score", 1, ""),
            ("scroe", 1, ""),
            ("score", 1, known.id),
            ("score", 2, known.id),
            ("score", "x" * 2**20, ""),
            ("score", float("nan"), ""),
        ):
            try:
                outcomes.append(stream.submit(name, parameters, job_id=job_id).existing)
            except ApiError as error:
                outcomes.append(type(error))

    refused = [JobIdReusedError, PayloadTooLargeError, FieldInvalidError]
    assert outcomes == [False, JobTypeNotFoundError, True, *refused]


def test_a_stream_is_open_within_its_block_and_nowhere_else(client: Client) -> None:
    stream = client.jobs.submit_stream()
    with pytest.raises(RuntimeError, match="not open"):
        stream.submit("score")

    for _ in range(2):
        with stream:
            stream.submit("score")

    with pytest.raises(RuntimeError, match="not open"):
        stream.submit("score")


def test_a_block_that_fails_waits_for_nothing_and_leaves_nobody_waiting() -> None:
    futures: list[Future[Submitted]] = []

    def fail(stream: SubmitStream) -> None:
        with stream:
            futures.extend(stream.submit_soon(Submission("score")) for _ in range(3))
            raise ZeroDivisionError

    with Client(f"127.0.0.1:{free_port()}", retry=PATIENT) as nobody, pytest.raises(ZeroDivisionError):
        fail(nobody.jobs.submit_stream())

    assert [future.exception(0).code for future in futures] == [Code.CANCELLED] * 3  # type: ignore[union-attr]
    assert not [thread for thread in threading.enumerate() if thread.name == "jobhall-submits"]


def test_where_nobody_answers_it_gives_up_as_a_call_does_and_may_be_used_again() -> None:
    hasty = CallRetry(attempts_max=2, delay_first=timedelta(milliseconds=1))
    with Client(f"127.0.0.1:{free_port()}", retry=hasty) as nobody, nobody.jobs.submit_stream() as stream:
        for _ in range(2):
            with pytest.raises(ServerUnreachableError, match="jobhall-server serve"):
                stream.submit("score")


def test_who_submits_faster_than_a_server_answers_waits_for_room_and_is_let_go_at_the_end() -> None:
    """Nobody answers at all: the queue would else have grown for as long as the program had memory."""
    count = 0

    def submit_on(stream: SubmitStream) -> None:
        nonlocal count
        while True:
            stream.submit_soon(Submission("score"))
            count += 1

    with (
        Client(f"127.0.0.1:{free_port()}", retry=PATIENT) as nobody,
        ThreadPoolExecutor(1) as pool,
        pytest.raises(ZeroDivisionError),
        nobody.jobs.submit_stream() as stream,
    ):
        submitting = pool.submit(submit_on, stream)
        eventually(lambda: count >= STREAM_SUBMIT_UNACKED_MAX, within=WAIT_SECONDS, what="the stream is full")
        full = count
        raise ZeroDivisionError

    with pytest.raises(RuntimeError, match="not open"):
        submitting.result(WAIT_SECONDS)
    assert count == full == STREAM_SUBMIT_UNACKED_MAX


def test_a_callback_of_an_answer_may_submit_although_the_stream_is_full(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that tells the answers would else wait for the room that it alone can make."""
    monkeypatch.setattr("jobhall.submit_stream.STREAM_SUBMIT_UNACKED_MAX", 50)
    futures: list[Future[Submitted]] = []

    def submit_two(_: object = None) -> None:
        for _ in range(2):
            if len(futures) < 500:
                futures.append(stream.submit_soon(Submission("score")))
                futures[-1].add_done_callback(submit_two)

    with client.jobs.submit_stream() as stream:
        submit_two()
        eventually(lambda: len(futures) >= 500, within=WAIT_SECONDS, what="each answer has led to two more")

    assert len({future.result(0).job_id for future in futures}) == len(futures)


def test_a_closed_client_ends_its_stream(server: Server, client: Client) -> None:
    other = Client(server.address)
    with other.jobs.submit_stream() as stream:
        stream.submit("score")
        other.close()
        with pytest.raises((ApiError, RuntimeError), match=r"closed|not open"):
            stream.submit("score")


def test_a_stream_outlives_its_server_and_every_acknowledged_job_is_there_once(processes: Processes) -> None:
    """Threads without pause; the server is killed in the midst, twice, and comes back on its file and port."""
    server = processes.serve(log_level="warning")
    acknowledged: list[str] = []
    enough = threading.Event()

    def submit_on(stream: SubmitStream) -> None:
        while not enough.is_set():
            acknowledged.append(stream.submit("score", len(acknowledged)).job_id)

    def more() -> None:
        wanted = len(acknowledged) + 200
        eventually(lambda: len(acknowledged) >= wanted, within=WAIT_SECONDS, what="200 more are acknowledged")

    with Client(server.address, retry=PATIENT) as client:
        client.types.register("score")
        with ThreadPoolExecutor(SUBMITTERS) as pool, client.jobs.submit_stream() as stream:
            submitting = [pool.submit(submit_on, stream) for _ in range(SUBMITTERS)]
            try:
                more()
                for _ in range(2):
                    server.kill()
                    server = processes.serve(listen=server.address, log_level="warning")
                    more()
            finally:
                enough.set()
            for future in submitting:
                future.result(WAIT_SECONDS)
    stored = Stored(server.database)

    assert sorted(stored.states()) == sorted(acknowledged)
    stored.check()
